"""Expectation propagation: a Gaussian posterior of weights, from choices whose logits are linear in them.

Laplace's approximation looks at the posterior at one point. Where each trial has little company, as when every image
is shown once, that point says little of the rest; here each trial's likelihood is matched by its moments instead.

References
----------
Minka (2001). Expectation propagation for approximate Bayesian inference. UAI.
Kuss & Rasmussen (2005). Assessing approximate inference for binary Gaussian process classification. JMLR 6.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_DAMPING = 0.8
_SWEEPS = 30
_ENOUGH = 1e-3  # of a trial's site, relative to its posterior
_LEAST_PRECISION = 1e-9  # of a site; with lapses a likelihood may have none


@dataclass(frozen=True)
class Posterior:
    """A Gaussian posterior of weights whose prior is the standard Gaussian.

    Attributes
    ----------
    mean, covariance
        Shapes (dimensions,) and (dimensions, dimensions).
    log_evidence
        Log marginal likelihood of the choices.
    sites
        Precision and precision times mean that stand for each trial's likelihood, shape (2, trials).
    """

    mean: np.ndarray
    covariance: np.ndarray
    log_evidence: float
    sites: np.ndarray


def fit(
    design: np.ndarray,
    likelihood: Callable[[np.ndarray], np.ndarray],
    sites: np.ndarray | None = None,
) -> Posterior:
    """Approximate the posterior.

    Parameters
    ----------
    design
        Times the weights, these are the logits of what was chosen, shape (trials, dimensions).
    likelihood
        Of what was chosen, given its logits, shape (trials, nodes).
    sites
        Where to start: those of a similar posterior.
    """
    trials = len(design)
    precision, shift = np.zeros((2, trials)) if sites is None else sites.copy()
    for _ in range(_SWEEPS):
        mean, covariance, _ = _gaussian(design, precision, shift)
        centre, variance, tilted = _tilted(design, mean, covariance, precision, shift, likelihood)
        new_precision = np.maximum(1 / tilted[2] - 1 / variance, _LEAST_PRECISION)
        new_shift = tilted[1] * (new_precision + 1 / variance) - centre / variance
        change = np.abs(new_precision - precision).max() + np.abs(new_shift - shift).max()
        precision += _DAMPING * (new_precision - precision)
        shift += _DAMPING * (new_shift - shift)
        if change < _ENOUGH:
            break
    mean, covariance, log_determinant = _gaussian(design, precision, shift)
    centre, variance, tilted = _tilted(design, mean, covariance, precision, shift, likelihood)
    beside = 1 + precision * variance
    of_sites = (shift**2 * variance + 2 * shift * centre - precision * centre**2) / beside - np.log(beside)
    evidence = np.log(tilted[0]).sum() - of_sites.sum() / 2 - log_determinant / 2 + shift @ design @ mean / 2
    return Posterior(mean, covariance, float(evidence), np.array([precision, shift]))


def _gaussian(
    design: np.ndarray, precision: np.ndarray, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return mean and covariance of the weights given all sites, and the log determinant of their precision."""
    total = (design.T * precision) @ design
    total[np.diag_indices_from(total)] += 1
    factor = cho_factor(total, lower=True)
    covariance = cho_solve(factor, np.eye(len(total)))
    return covariance @ (design.T @ shift), covariance, 2 * float(np.log(np.diag(factor[0])).sum())


def _tilted(
    design: np.ndarray,
    mean: np.ndarray,
    covariance: np.ndarray,
    precision: np.ndarray,
    shift: np.ndarray,
    likelihood: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each logit's mean and variance without its own trial, and mass, mean and variance with it."""
    variances = np.maximum(((design @ covariance) * design).sum(1), 1e-12)
    alone = 1 / np.maximum(1 / variances - precision, 1e-9 / variances)
    centre = alone * ((design @ mean) / variances - shift)
    points = centre[:, None] + np.sqrt(alone)[:, None] * _NODES
    weighed = likelihood(points) * _WEIGHTS
    mass = np.maximum(weighed.sum(1), 1e-300)
    middle = (weighed * points).sum(1) / mass
    spread = (weighed * np.square(points - middle[:, None])).sum(1) / mass
    return centre, alone, np.array([mass, middle, np.maximum(spread, 1e-12)])
