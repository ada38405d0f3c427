"""Automatic relevance determination: which layers and which regions of the image a taste depends on.

The dimensions of an embedding come in blocks (one layer in one region, or one late stage). Each block has its own
prior variance, whose logarithm is a sum of factors (the layer's and the region's), each with a Gaussian prior. One
session hardly tells the factors: their priors were learned from many people's choices on several sets of images, by
`benchmarks.relevance_prior`, and stand in ``relevance_prior.json``. The most probable factors are taken; the choices
are made Gaussian by Laplace's approximation at the current utilities, in turn with the factors.

References
----------
MacKay (1992). The evidence framework applied to classification networks. Neural Computation 4(5).
Rasmussen & Williams (2006). Gaussian Processes for Machine Learning, sections 3.4 and 5.1.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files

import numpy as np
from scipy.linalg import block_diag, get_blas_funcs, get_lapack_funcs
from scipy.optimize import minimize
from scipy.special import logsumexp

from catpref.models import davidson
from catpref.models.newton import minimise
from catpref.perception.embeddings import Blocks

_syrk, _trmm, _trsm, _trsv = get_blas_funcs(("syrk", "trmm", "trsm", "trsv"), dtype=float)
_potrf, _potri, _potrs = get_lapack_funcs(("potrf", "potri", "potrs"), dtype=float)

_LIMIT = 12.0  # on the log variances, so that no step of the search overflows
_ROUNDS = 6
_STEPS = 12
_FLAT = 1e-8  # of the log posterior: steps that gain less are lost in the rounding of the inner products
_ENOUGH = 1e-8  # twice the log posterior still to be gained
_ROUNDING = 4 * float(np.finfo(np.float32).eps)  # of the inner products, in units of their mean diagonal
_LEAST_INFORMATION = 1e-15  # of the greatest: what a Cholesky factor needs is a little more than rounding


@dataclass(frozen=True)
class Prior:
    """What is known of the log variances before any choice.

    Attributes
    ----------
    factors
        1 where a variance has a factor: shape (blocks + 1, factors + 2). The last row is that of the image effects,
        the last column theirs, and the last but one scales all blocks.
    mean, sd
        Of each factor's logarithm, shape (factors + 2,).
    shares
        What the exponential of the factors is multiplied by, shape (blocks + 1,).
    """

    factors: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    shares: np.ndarray

    def variances(self, logs: np.ndarray) -> np.ndarray:
        """Return the variances of the blocks and the image effects, shape (blocks + 1,)."""
        return np.exp(self.factors @ logs) * self.shares


def prior_of(blocks: Blocks, learned: Mapping[str, tuple[float, float]] | None = None) -> Prior:
    """Return the prior of an embedding's blocks: a layer or late stage typically matters as its kind does.

    If each has its prior mean, all layers and late stages together have the variance that "scale" says, in squared
    logits.

    Parameters
    ----------
    blocks
        Of the embedding.
    learned
        Mean and standard deviation of the log factors, by their kind; None takes those of ``relevance_prior.json``.
    """
    learned = learned or learned_prior()
    kinds = np.array(blocks.kinds)
    mean, sd = np.array([learned[kind] for kind in (*kinds, "scale", "image effect")]).T
    is_source = kinds != "region"
    of_source = blocks.factors[:, is_source]
    mean[:-2][is_source] -= logsumexp(mean[:-2][is_source])
    shares = of_source @ (1 / of_source.sum(0))
    factors = block_diag(np.column_stack([blocks.factors, np.ones(len(shares))]), np.ones((1, 1)))
    return Prior(np.asarray(factors), mean, sd, np.append(shares, 1.0))


def typical_variances(blocks: Blocks) -> np.ndarray:
    """Return each block's prior variance where every layer and late stage matters as its kind typically does."""
    prior = prior_of(blocks)
    variances = prior.variances(prior.mean)[:-1]
    return variances / variances.sum()


@cache
def learned_prior() -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation of the log factors, by their kind."""
    text = files("catpref.models").joinpath("relevance_prior.json").read_text("utf-8")
    return {kind: (mean, sd) for kind, (mean, sd) in json.loads(text).items()}


def block_variances(
    grams: np.ndarray, prior: Prior, incidence: np.ndarray, choices: np.ndarray
) -> tuple[np.ndarray, float]:
    """Find how much each block matters, and how much the image itself does beside them.

    Parameters
    ----------
    grams
        Inner products of the items (images, or differences of two) within each block, each with a mean diagonal
        of about one, and, last, if every image were a dimension of its own, shape (blocks + 1, items, items).
    prior
        What is known before.
    incidence
        How each trial's utility difference is made of the items' utilities, shape (trials, items).
    choices
        0 = left, 1 = right, 0.5 = no preference, shape (trials,).

    Returns
    -------
    ndarray
        Each block's prior variance, shape (blocks,).
    float
        That of the image effects.
    """
    found = prior.variances(log_factors(grams, prior, incidence, choices)[0])
    return found[:-1], float(found[-1])


def log_factors(
    grams: np.ndarray, prior: Prior, incidence: np.ndarray, choices: np.ndarray
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Find the most probable log factors; see `block_variances`.

    Returns
    -------
    ndarray
        The log factors, shape (factors + 2,).
    Callable
        The gradient of the negative log posterior at any log factors, with the choices made Gaussian at these.
    """
    items = grams.shape[1]
    # A quarter of the memory to read, half of half as long numbers: much of the search's time goes to that.
    lower = np.tril_indices(items)
    flat = np.array([gram[lower] for gram in grams], np.float32)
    often = np.where(lower[0] == lower[1], 1.0, 2.0)

    def weighted(block: np.ndarray) -> np.ndarray:
        summed = np.zeros((items, items))
        summed[lower] = block.astype(np.float32) @ flat
        return _mirrored(summed)

    def loss(point: np.ndarray, observed: "_Evidence") -> tuple[float, np.ndarray]:
        block = prior.variances(point)
        value, gradient = observed.log_likelihood(weighted(block))
        slope = prior.factors.T @ (block * (flat @ (often * gradient[lower]).astype(np.float32)) / 2)
        apart = (point - prior.mean) / prior.sd
        return np.square(apart).sum() / 2 - value, apart / prior.sd - slope

    logs = found = prior.mean
    weights = np.zeros(items)
    ties = davidson.tie_parameter(np.zeros(len(choices)), choices)
    bounds = [(-_LIMIT, _LIMIT)] * len(logs)
    step = 0
    while True:
        step += 1
        logs = found
        gram = weighted(prior.variances(logs))
        weights = _mode(gram, incidence, choices, weights, ties)
        ties = davidson.tie_parameter(incidence @ (gram @ weights), choices)
        observed = _observe(incidence, choices, gram @ weights, ties)
        options = {"maxiter": _STEPS, "ftol": _FLAT}
        found = minimize(
            loss, logs, args=(observed,), jac=True, method="L-BFGS-B", bounds=bounds, options=options
        ).x
        if step == _ROUNDS or np.abs(found - logs).max() < 0.1:
            return found, partial(_slope, loss, observed)


def _slope(
    loss: Callable[..., tuple[float, np.ndarray]], observed: "_Evidence", point: np.ndarray
) -> np.ndarray:
    return loss(point, observed)[1]


@dataclass(frozen=True)
class _Evidence:
    """What choices say of utilities, as if they were Gaussian: ``pull @ u − u @ information @ u / 2``.

    Attributes
    ----------
    root
        Lower triangular, in Fortran's order; times its transpose, it is the information. Its diagonal alone, shape
        (items,), where that is all there is: items that are trials.
    seen
        Times the root, it is the pull.
    norm
        Bound of the information's greatest eigenvalue.
    """

    root: np.ndarray
    seen: np.ndarray
    norm: float

    def log_likelihood(self, gram: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the log marginal likelihood of a prior covariance, and twice its gradient by that covariance.

        The gradient is symmetric, and right up to its diagonal: what is above, nobody reads.
        """
        factor = self._factor(gram)
        weights = self._root_times(_potrs(factor, self.seen, lower=1)[0])
        value = self._root_times(self.seen) @ gram @ weights / 2 - np.log(np.diag(factor)).sum()
        if self.root.ndim == 1:
            taken = self.root[:, None] * _potri(factor, lower=1)[0] * self.root
        else:
            taken = _syrk(1, _trsm(1, factor, self.root, side=1, lower=1, trans_a=1), lower=1)
        return float(value), np.outer(weights, weights) - taken  # (gram + information⁻¹)⁻¹

    def weights(self, gram: np.ndarray) -> np.ndarray:
        """Return what, times a prior covariance, are the most probable utilities under it."""
        return self._root_times(_potrs(self._factor(gram), self.seen, lower=1)[0])

    def _root_times(self, vector: np.ndarray) -> np.ndarray:
        return self.root * vector if self.root.ndim == 1 else self.root @ vector

    def _factor(self, gram: np.ndarray) -> np.ndarray:
        """Return the lower Cholesky factor of ``I + rootᵀ gram root``, whose eigenvalues are 1 at least.

        Not so once the gram matrix has been rounded to float32, if the search for the variances tries very large
        ones. What rounding can have taken from the eigenvalues beyond one half is given back to them.
        """
        if self.root.ndim == 1:
            product = (self.root[:, None] * gram * self.root).T  # symmetric, and in Fortran's order
        else:
            product = _trmm(1, self.root, gram, side=1, lower=1)
            product = _trmm(1, self.root, product, lower=1, trans_a=1, overwrite_b=1)
        rounded = _ROUNDING * float(np.trace(gram)) * self.norm
        _diagonal(product)[:] += 1 + max(rounded - 0.5, 0)
        return _cholesky(product)


def _mirrored(lower: np.ndarray) -> np.ndarray:
    """Return a symmetric matrix, given what it has up to its diagonal, and zeros beyond."""
    return lower + np.tril(lower, -1).T


def _diagonal(matrix: np.ndarray) -> np.ndarray:
    """Return a view of the diagonal that can be written to."""
    return np.einsum("ii->i", matrix)


def _cholesky(matrix: np.ndarray) -> np.ndarray:
    """Return the lower Cholesky factor; LAPACK itself, since scipy's checks take longer than small matrices do."""
    factor, failed = _potrf(matrix, lower=1, clean=1, overwrite_a=1)
    if failed:
        raise np.linalg.LinAlgError(f"minor {failed} of the matrix is not positive definite")
    return factor


def _observe(
    incidence: np.ndarray, choices: np.ndarray, utilities: np.ndarray, ties: float = 0.0
) -> _Evidence:
    """Expand the log likelihood of the choices to second order around the utilities."""
    _, pulls, of_trials = davidson.likelihood(incidence @ utilities, choices, ties)
    information = incidence.T @ (incidence * of_trials[:, None])
    # Nothing is known of the sum of all utilities: the least that makes a Cholesky factor of the information.
    norm = float(np.abs(information).sum(1).max())
    _diagonal(information)[:] += max(_LEAST_INFORMATION * norm, np.finfo(float).tiny)
    pull = incidence.T @ pulls
    if np.count_nonzero(information) == len(information):
        root = np.sqrt(np.diag(information))
        return _Evidence(root, root * utilities + pull / root, norm)
    root = _cholesky(information)
    return _Evidence(root, root.T @ utilities + _trsv(root, pull, lower=1), norm)


def _mode(
    gram: np.ndarray, incidence: np.ndarray, choices: np.ndarray, weights: np.ndarray, ties: float
) -> np.ndarray:
    """Find the weights that, times a prior covariance, are the most probable utilities.

    These are Newton's steps of Rasmussen & Williams, algorithm 3.1.
    """

    def loss(weights: np.ndarray) -> float:
        utilities = gram @ weights
        return float(
            weights @ utilities / 2 - davidson.likelihood(incidence @ utilities, choices, ties)[0].sum()
        )

    def step_at(weights: np.ndarray) -> tuple[np.ndarray, float, None]:
        utilities = gram @ weights
        step = weights - _observe(incidence, choices, utilities, ties).weights(gram)
        pulls = davidson.likelihood(incidence @ utilities, choices, ties)[1]
        gradient = gram @ (weights - incidence.T @ pulls)
        return step, float(gradient @ step), None

    return minimise(weights, loss, step_at, _ENOUGH)[0]
