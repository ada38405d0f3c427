"""Automatic relevance determination: which layers and which regions of the image a taste depends on.

The dimensions of an embedding come in blocks (one layer in one region). Each block has its own prior variance,
whose logarithm is a sum of factors (the layer's and the region's), each with a wide Gaussian prior. The factors
with the greatest marginal likelihood of the choices are taken; the choices are made Gaussian by Laplace's
approximation at the current utilities, in turn with the factors.

References
----------
MacKay (1992). The evidence framework applied to classification networks. Neural Computation 4(5).
Rasmussen & Williams (2006). Gaussian Processes for Machine Learning, sections 3.4 and 5.1.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lu_factor, lu_solve
from scipy.optimize import minimize
from scipy.special import expit

_FACTOR_SD = 3.0  # of the log variances: one region may well matter 20 times more than another
_LIMIT = 12.0  # on the log variances, so that no step of the search overflows
_ROUNDS = 6
_STEPS = 12


def block_variances(
    grams: np.ndarray, factors: np.ndarray, incidence: np.ndarray, choices: np.ndarray
) -> np.ndarray:
    """Find how much each block matters.

    Parameters
    ----------
    grams
        Inner products of the items (images, or differences of two) within each block, each with a mean diagonal
        of about one, shape (blocks, items, items).
    factors
        1 where a block has a factor, shape (blocks, factors).
    incidence
        How each trial's utility difference is made of the items' utilities, shape (trials, items).
    choices
        0 = left, 1 = right, shape (trials,).

    Returns
    -------
    ndarray
        Each block's prior variance, shape (blocks,).
    """
    blocks, items, _ = grams.shape
    # Half as long a memory to read: the search for the factors takes its time for nothing else.
    flat = grams.reshape(blocks, -1).astype(np.float32)
    factors = np.column_stack([factors, np.ones(blocks)])  # the last one scales all blocks

    def variances(logs: np.ndarray) -> np.ndarray:
        return np.exp(factors @ logs) / blocks

    def weighted(block: np.ndarray) -> np.ndarray:
        return (block.astype(np.float32) @ flat).reshape(items, items).astype(float)

    def loss(point: np.ndarray, observed: "_Evidence") -> tuple[float, np.ndarray]:
        block = variances(point)
        value, outer = observed.log_likelihood(weighted(block))
        slope = factors.T @ (block * (flat @ outer.ravel().astype(np.float32)) / 2)
        return np.square(point / _FACTOR_SD).sum() / 2 - value, point / _FACTOR_SD**2 - slope

    logs = np.zeros(factors.shape[1])
    utilities = np.zeros(items)
    for _ in range(_ROUNDS):
        utilities = _mode(weighted(variances(logs)), incidence, choices, utilities)
        observed = _observe(incidence, choices, utilities)

        bounds = [(-_LIMIT, _LIMIT)] * len(logs)
        found = minimize(
            loss,
            logs,
            args=(observed,),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": _STEPS},
        ).x
        moved = np.abs(found - logs).max()
        logs = found
        if moved < 0.1:
            break
    return variances(logs)


@dataclass(frozen=True)
class _Evidence:
    """What choices say of utilities, as if they were Gaussian: ``pull @ u − u @ information @ u / 2``."""

    information: np.ndarray
    pull: np.ndarray

    def log_likelihood(self, gram: np.ndarray) -> tuple[float, np.ndarray]:
        """Give the log marginal likelihood of a prior covariance, and twice its gradient by that covariance."""
        factor = lu_factor(np.eye(len(gram)) + self.information @ gram, overwrite_a=True, check_finite=False)
        precision = lu_solve(factor, self.information, check_finite=False)  # (gram + information⁻¹)⁻¹
        pulled = gram @ self.pull
        weights = self.pull - precision @ pulled
        value = pulled @ weights / 2 - np.log(np.abs(np.diag(factor[0]))).sum() / 2
        return float(value), np.outer(weights, weights) - precision


def _observe(incidence: np.ndarray, choices: np.ndarray, utilities: np.ndarray) -> _Evidence:
    """Expand the log likelihood of the choices to second order around the utilities."""
    p_right = expit(incidence @ utilities)
    information = incidence.T @ (incidence * (p_right * (1 - p_right))[:, None])
    return _Evidence(information, information @ utilities + incidence.T @ (choices - p_right))


def _mode(gram: np.ndarray, incidence: np.ndarray, choices: np.ndarray, utilities: np.ndarray) -> np.ndarray:
    """Find the most probable utilities by Newton steps (Rasmussen & Williams, algorithm 3.1)."""
    for _ in range(20):
        seen = _observe(incidence, choices, utilities)
        moved = gram @ np.linalg.solve(np.eye(len(gram)) + seen.information @ gram, seen.pull)
        step = np.abs(moved - utilities).max()
        utilities = moved
        if step < 1e-3:
            break
    return utilities
