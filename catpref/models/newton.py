"""Newton's method with steps that cannot overshoot, and the Gaussian that it leaves around the mode of a posterior.

Every Newton step here points downhill, since its curvature is positive definite. It is halved until the loss falls
by a fair part of what the step promises (Armijo's rule), so that the loss falls at every step, however strong the
choices and wherever the search starts.

References
----------
Nocedal & Wright (2006). Numerical Optimization, chapter 3.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.linalg import cho_factor, cho_solve

_FAIR_PART = 1e-4  # of what a step promises to first order: the customary value
_LEAST_STEP = 2.0**-40  # of a whole one: below, the loss is flat to rounding
_ROUNDING = 16 * np.finfo(float).eps  # of a loss that is a sum of many terms
_MOST_STEPS = 100  # a dozen is usual

T = TypeVar("T")


def minimise(
    point: np.ndarray,
    loss: Callable[[np.ndarray], float],
    step_at: Callable[[np.ndarray], tuple[np.ndarray, float, T]],
    enough: float,
) -> tuple[np.ndarray, float, T]:
    """Find the minimum of a loss.

    Parameters
    ----------
    point
        Where to start.
    loss
        What to minimise; finite everywhere.
    step_at
        The Newton step at a point, which is to be subtracted; the gradient times that step; and whatever else of the
        point the caller would have at the end.
    enough
        Twice the loss that may be left to be gained.

    Returns
    -------
    ndarray
        The minimum.
    float
        The loss there.
    T
        What `step_at` said of it.
    """
    current = loss(point)
    step, promised, beside = step_at(point)
    for _ in range(_MOST_STEPS):
        if promised <= max(enough, _ROUNDING * abs(current)):
            break
        size = 1.0
        while (new := loss(point - size * step)) > current - _FAIR_PART * size * promised:
            size /= 2
            if size < _LEAST_STEP:
                return point, current, beside
        point, current = point - size * step, new
        step, promised, beside = step_at(point)
    return point, current, beside


@dataclass(frozen=True)
class Mode:
    """The most probable weights under a standard Gaussian prior, and how sharp their posterior is there.

    Attributes
    ----------
    weights
        Shape (dimensions,).
    precision
        Of the posterior, shape (dimensions, dimensions).
    factor
        Its Cholesky factor, as from `scipy.linalg.cho_factor`.
    log_evidence
        Log marginal likelihood of the choices, by Laplace's approximation.
    """

    weights: np.ndarray
    precision: np.ndarray
    factor: tuple[np.ndarray, bool]
    log_evidence: float

    @property
    def last_variance(self) -> float:
        """Posterior variance of the last weight."""
        last = np.zeros(len(self.weights))
        last[-1] = 1
        return float(cho_solve(self.factor, last)[-1])


def mode(
    design: np.ndarray,
    log_likelihoods: Callable[[np.ndarray], np.ndarray],
    slopes: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    start: np.ndarray,
    enough: float,
) -> Mode:
    """Find the mode of a posterior of weights whose prior is the standard Gaussian.

    Parameters
    ----------
    design
        Times the weights, these are the logits of each trial, shape (trials, dimensions).
    log_likelihoods
        Of each choice, given these logits.
    slopes
        Their derivative by the logits and their information (how fast it falls, or is expected to), which is not
        negative.
    start
        Where to start, shape (dimensions,).
    enough
        Twice the log posterior that may be left to be gained.
    """

    def loss(weights: np.ndarray) -> float:
        return float(weights @ weights / 2 - log_likelihoods(design @ weights).sum())

    def step_at(weights: np.ndarray) -> tuple[np.ndarray, float, tuple[np.ndarray, tuple[np.ndarray, bool]]]:
        pulls, information = slopes(design @ weights)
        gradient = weights - design.T @ pulls
        weighted = design * np.sqrt(information)[:, None]
        precision = weighted.T @ weighted
        precision[np.diag_indices_from(precision)] += 1
        factor = cho_factor(precision)
        step = cho_solve(factor, gradient)
        return step, float(gradient @ step), (precision, factor)

    weights, least, (precision, factor) = minimise(start, loss, step_at, enough)
    return Mode(weights, precision, factor, -least - float(np.log(np.diag(factor[0])).sum()))


def laplace_covariance(
    gradient: Callable[[np.ndarray], np.ndarray], mode: np.ndarray, step: float, prior_sd: np.ndarray
) -> np.ndarray:
    """Return the covariance of a posterior by its curvature at the mode, from differences of the gradient.

    Parameters
    ----------
    gradient
        Of the negative log posterior.
    mode
        Where it is least, shape (parameters,).
    step
        To either side, over which differences are taken.
    prior_sd
        Of each parameter, shape (parameters,): no direction is less certain than the widest of these.

    Returns
    -------
    ndarray
        Shape (parameters, parameters).
    """
    around = step * np.eye(len(mode))
    curvature = np.array([gradient(mode + one) - gradient(mode - one) for one in around]) / (2 * step)
    values, vectors = np.linalg.eigh((curvature + curvature.T) / 2)
    return vectors @ np.diag(1 / np.maximum(values, 1 / np.square(prior_sd).max())) @ vectors.T
