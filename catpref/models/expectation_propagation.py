"""Expectation propagation: a Gaussian posterior of weights, from choices whose logits are linear in them.

P(chosen) = λ / 2 + (1 − λ) · logistic(logit), with a known lapse rate λ; beside the weights, a trial's logit may have
noise of its own. Laplace's approximation looks at the posterior at one point. Where each trial has little company, as
when every image is shown once, that point says little of the rest; here each trial's likelihood is matched by its
moments instead. To have these in closed form, the logistic is written as a mixture of cumulative Gaussians, which
differs from it by at most 10⁻⁵.

References
----------
Minka (2001). Expectation propagation for approximate Bayesian inference. UAI.
Kuss & Rasmussen (2005). Assessing approximate inference for binary Gaussian process classification. JMLR 6.
Monahan & Stefanski (1989). Normal scale mixture approximations to F*(z) and computation of the logistic-normal
integral. In Balakrishnan (ed.), Handbook of the Logistic Distribution.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.special import ndtr

# Of the mixture, by least squares, errors in the tail relative to it.
_PARTS = np.array([0.01090735, 0.12780642, 0.37177115, 0.3917073, 0.09780778])[:, None]
_STEEPNESS = np.array([0.27337749, 0.37512618, 0.51670378, 0.72232558, 1.02872713])[:, None]
_NORMAL_DENSITY = 1 / np.sqrt(2 * np.pi)

_DAMPING = 0.8
_SWEEPS = 30
_ENOUGH = 1e-3  # of a trial's site, relative to its posterior
_LEAST_PRECISION = 1e-9  # of a site, where none may be negative


class Design(Protocol):
    """How the logits of what was chosen are made of the weights: a row a trial."""

    def times(self, weights: np.ndarray) -> np.ndarray:
        """Return the logits, shape (trials,)."""
        ...

    def pulls(self, trials: np.ndarray) -> np.ndarray:
        """Return the sum of the rows, each times its number, shape (dimensions,)."""
        ...

    def squares(self, trials: np.ndarray) -> np.ndarray:
        """Return the sum of the rows' outer products, each times its number, shape (dimensions, dimensions)."""
        ...

    def variances(self, covariance: np.ndarray) -> np.ndarray:
        """Return the variance of each logit, shape (trials,), given the weights' covariance."""
        ...


@dataclass(frozen=True)
class Dense:
    """A design in which each logit is made of many weights, shape (trials, dimensions)."""

    matrix: np.ndarray

    def times(self, weights: np.ndarray) -> np.ndarray:
        """Return the logits; those of several weightings side by side, if these are."""
        return self.matrix @ weights

    def pulls(self, trials: np.ndarray) -> np.ndarray:
        """Return the sum of the rows, each times its number."""
        return trials @ self.matrix

    def squares(self, trials: np.ndarray) -> np.ndarray:
        """Return the sum of the rows' outer products, each times its number."""
        return (self.matrix.T * trials) @ self.matrix

    def variances(self, covariance: np.ndarray) -> np.ndarray:
        """Return the variance of each logit."""
        return ((self.matrix @ covariance) * self.matrix).sum(1)


@dataclass(frozen=True)
class Sparse:
    """A design in which each logit is made of few weights.

    Attributes
    ----------
    places, values
        Of which, and how much of each, shape (trials, weights a trial).
    dimensions
        The number of weights.
    """

    places: np.ndarray
    values: np.ndarray
    dimensions: int

    def times(self, weights: np.ndarray) -> np.ndarray:
        """Return the logits; those of several weightings side by side, if these are."""
        return np.einsum("tw,tw...->t...", self.values, weights[self.places])

    def pulls(self, trials: np.ndarray) -> np.ndarray:
        """Return the sum of the rows, each times its number."""
        return np.bincount(self.places.ravel(), (self.values.T * trials).T.ravel(), self.dimensions)

    def squares(self, trials: np.ndarray) -> np.ndarray:
        """Return the sum of the rows' outer products, each times its number."""
        cells, products = self._products
        summed = np.bincount(cells.ravel(), (products * trials).ravel(), self.dimensions**2)
        return summed.reshape(self.dimensions, -1)

    def variances(self, covariance: np.ndarray) -> np.ndarray:
        """Return the variance of each logit."""
        cells, products = self._products
        return (products * covariance.ravel()[cells]).sum(0)

    @cached_property
    def _products(self) -> tuple[np.ndarray, np.ndarray]:
        """The cells of a covariance that each trial touches, and products of its values; shape (cells, trials)."""
        cells = self.places[:, :, None] * self.dimensions + self.places[:, None]
        products = self.values[:, :, None] * self.values[:, None]
        trials = len(self.places)
        return cells.reshape(trials, -1).T.copy(), products.reshape(trials, -1).T.copy()


def sparse_of(matrix: np.ndarray) -> Sparse:
    """Return a design, shape (trials, dimensions), most of which is 0."""
    most = int(np.count_nonzero(matrix, axis=1).max())
    places = np.argsort(matrix == 0, axis=1, kind="stable")[:, :most]
    return Sparse(places, np.take_along_axis(matrix, places, axis=1), matrix.shape[1])


@dataclass(frozen=True)
class Posterior:
    """A Gaussian posterior of weights.

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
    design: Design,
    prior: np.ndarray,
    noise: np.ndarray,
    offsets: np.ndarray,
    lapse: float = 0.0,
    sites: np.ndarray | None = None,
) -> Posterior:
    """Approximate the posterior.

    With lapses, an unlikely choice makes its logit less certain than it was: its site has a negative precision. Where
    sites do not come to rest with these, as where little else holds a logit, none is negative.

    Parameters
    ----------
    design
        Makes of the weights the logits of what was chosen.
    prior
        Variance of each weight, whose mean is 0, shape (dimensions,).
    noise
        Variance of what else is in each logit, of each trial alone, shape (trials,).
    offsets
        What is known of each logit, shape (trials,), to which the weights add.
    lapse
        Lapse rate.
    sites
        Where to start: those of a similar posterior.
    """
    start = np.zeros((2, len(noise))) if sites is None else sites
    least = -np.inf if lapse else _LEAST_PRECISION
    found, is_at_rest = _sites(design, prior, noise, offsets, lapse, start, least)
    if lapse and not is_at_rest:
        found, _ = _sites(design, prior, noise, offsets, lapse, start, _LEAST_PRECISION)
    precision, shift = found
    mean, covariance, log_determinant = _gaussian(design, prior, precision, shift)
    centre, variance = _without_own(design, mean, covariance, precision, shift)
    mass, _, _ = _log_likelihood(centre + offsets, variance + noise, lapse)
    beside = 1 + precision * variance
    of_sites = (shift**2 * variance + 2 * shift * centre - precision * centre**2) / beside - np.log(beside)
    evidence = mass.sum() - of_sites.sum() / 2 - log_determinant / 2 + shift @ design.times(mean) / 2
    return Posterior(mean, covariance, float(evidence), found)


def _sites(
    design: Design,
    prior: np.ndarray,
    noise: np.ndarray,
    offsets: np.ndarray,
    lapse: float,
    sites: np.ndarray,
    least: float,
) -> tuple[np.ndarray, bool]:
    """Return sites that match all moments, with precisions of at least so much, and whether these were found."""
    precision, shift = np.maximum(sites[0], least), sites[1].copy()
    for _ in range(_SWEEPS):
        try:
            mean, covariance, _ = _gaussian(design, prior, precision, shift)
        except LinAlgError:
            break
        centre, variance = _without_own(design, mean, covariance, precision, shift)
        _, slope, bend = _log_likelihood(centre + offsets, variance + noise, lapse)
        beside = np.maximum(1 - variance * bend, 1e-12 / variance)
        new_precision = np.maximum(bend / beside, least)
        # The mean with the trial is centre + variance · slope.
        new_shift = slope + (centre + variance * slope) * new_precision
        change = np.abs(new_precision - precision).max() + np.abs(new_shift - shift).max()
        if change < _ENOUGH:
            return np.array([precision, shift]), True
        precision += _DAMPING * (new_precision - precision)
        shift += _DAMPING * (new_shift - shift)
    return np.array([precision, shift]), False


def _gaussian(
    design: Design, prior: np.ndarray, precision: np.ndarray, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return mean and covariance of the weights given all sites, and log |precision · prior variances|."""
    scales = np.sqrt(prior)
    total = design.squares(precision) * scales * scales[:, None]
    total[np.diag_indices_from(total)] += 1
    factor = cho_factor(total, lower=True, overwrite_a=True, check_finite=False)
    covariance = cho_solve(factor, np.diag(scales), overwrite_b=True, check_finite=False) * scales[:, None]
    return covariance @ design.pulls(shift), covariance, 2 * float(np.log(np.diag(factor[0])).sum())


def _without_own(
    design: Design, mean: np.ndarray, covariance: np.ndarray, precision: np.ndarray, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return each logit's mean and variance given all other trials' sites."""
    variances = np.maximum(design.variances(covariance), 1e-12)
    alone = 1 / np.maximum(1 / variances - precision, 1e-9 / variances)
    return alone * (design.times(mean) / variances - shift), alone


def _log_likelihood(
    centre: np.ndarray, variance: np.ndarray, lapse: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the log of the likelihood's mean over Gaussian logits, its slope by their mean, and minus its bend."""
    steepness = _STEEPNESS / np.sqrt(1 + _STEEPNESS**2 * variance)
    reached = steepness * centre
    density = _PARTS * (1 - lapse) * _NORMAL_DENSITY * np.exp(-np.square(reached) / 2) * steepness
    mass = np.maximum(lapse / 2 + (1 - lapse) * (_PARTS * ndtr(reached)).sum(0), 1e-300)
    slope = density.sum(0) / mass
    return np.log(mass), slope, slope**2 + (density * reached * steepness).sum(0) / mass
