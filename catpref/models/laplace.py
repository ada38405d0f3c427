"""Bayesian logistic regression of choices on signed differences, by Laplace's approximation.

P(right) = λ / 2 + (1 − λ) · logistic(w · (x_right − x_left) + b), with a known lapse rate λ, and independent Gaussian
priors on w (variance `prior_variance`, chosen by marginal likelihood) and on the side bias b (variance
`BIAS_VARIANCE`). With a third answer, it is Davidson's model (`catpref.models.davidson`), ν chosen likewise.

References
----------
MacKay (1992). The evidence framework applied to classification networks. Neural Computation 4(5).
Bishop (2006). Pattern Recognition and Machine Learning, section 4.5.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize_scalar

from catpref.models import davidson
from catpref.models.newton import mode

BIAS_VARIANCE = 1.0
"""Prior variance of the side bias, in squared logits: a bias of one logit (73% to one side) is not unusual."""

# Bounds of the search for the prior's strength: log of the variance of a typical trial's utility difference.
_LOG_SPREAD = (-10.0, 8.0)
_LOG_TIES = (-8.0, 8.0)  # of ν
_ROUNDS = 2  # of the search for the prior's strength and ν in turn
_ENOUGH = 1e-8  # twice the log posterior still to be gained


@dataclass(frozen=True)
class Posterior:
    """A Gaussian approximation of what the choices say.

    Attributes
    ----------
    weights
        Posterior mode of w, shape (dimensions,).
    side_bias
        Posterior mode of b, in logits; positive means that the right is chosen more often.
    precision
        Posterior precision of the whitened weights (w / √prior_variance, then b / √BIAS_VARIANCE), shape
        (dimensions + 1, dimensions + 1).
    prior_variance
        Prior variance of each weight.
    log_evidence
        Log marginal likelihood of the choices at that prior.
    ties
        ν, how readily the observer has no preference; 0 where there is no third answer.
    """

    weights: np.ndarray
    side_bias: float
    precision: np.ndarray
    prior_variance: float
    log_evidence: float
    ties: float

    @property
    def side_bias_sd(self) -> float:
        """Posterior standard deviation of the side bias, in logits."""
        last = np.zeros(len(self.precision))
        last[-1] = 1
        return float(np.sqrt(BIAS_VARIANCE * cho_solve(cho_factor(self.precision), last)[-1]))


def fit(
    differences: np.ndarray, choices: np.ndarray, prior_variance: float | None = None, lapse: float = 0.0
) -> Posterior:
    """Fit the weights and the side bias.

    Parameters
    ----------
    differences
        x_right − x_left, shape (trials, dimensions).
    choices
        0 = left, 1 = right, 0.5 = no preference, shape (trials,).
    prior_variance
        Variance of the prior on each weight; None takes the one with the greatest marginal likelihood.
    lapse
        Lapse rate of the observer.
    """
    start = np.zeros(differences.shape[1] + 1)
    ties = davidson.tie_parameter(np.zeros(len(choices)), choices)
    typical = float(np.square(differences).sum(1).mean()) or 1.0
    variance = prior_variance or 1 / typical

    def at(variance: float, ties: float) -> Posterior:
        nonlocal start  # the mode at one strength of the prior is near that at another
        posterior = _at(differences, choices, variance, lapse, ties, start)
        start = np.append(posterior.weights, posterior.side_bias)
        return posterior

    for _ in range(_ROUNDS if ties else 1):
        if prior_variance is None:
            spread = _most_likely(lambda spread, ties=ties: at(spread / typical, ties), _LOG_SPREAD, 0.1)
            variance = spread / typical
        if ties:
            ties = _most_likely(lambda ties, variance=variance: at(variance, ties), _LOG_TIES, 0.02)
    return at(variance, ties)


def _most_likely(fit_at: Callable[[float], Posterior], bounds: tuple[float, float], near: float) -> float:
    """Return the number under which the choices are most likely, by its logarithm."""
    best = minimize_scalar(
        lambda log: -fit_at(float(np.exp(log))).log_evidence,
        bounds=bounds,
        method="bounded",
        options={"xatol": near},
    )
    return float(np.exp(best.x))


def _at(
    differences: np.ndarray,
    choices: np.ndarray,
    prior_variance: float,
    lapse: float,
    ties: float,
    start: np.ndarray,
) -> Posterior:
    """Find the posterior's mode, and its curvature there, in units of the prior's standard deviations."""
    scales = np.full(differences.shape[1] + 1, np.sqrt(prior_variance))
    scales[-1] = np.sqrt(BIAS_VARIANCE)
    design = np.column_stack([differences, np.ones(len(differences))]) * scales
    found = mode(
        design,
        lambda logits: davidson.likelihood(logits, choices, ties, lapse)[0],
        lambda logits: davidson.likelihood(logits, choices, ties, lapse)[1:],
        start / scales,
        _ENOUGH,
    )
    weights = found.weights * scales
    return Posterior(
        weights[:-1],
        float(weights[-1]),
        found.precision,
        prior_variance,
        found.log_evidence,
        ties,
    )
