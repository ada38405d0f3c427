"""Bayesian logistic regression of choices on signed differences, by Laplace's approximation.

P(right) = λ / 2 + (1 − λ) · logistic(w · (x_right − x_left) + b), with a known lapse rate λ, and independent Gaussian
priors on w (variance `prior_variance`, chosen by marginal likelihood) and on the side bias b (variance
`BIAS_VARIANCE`).

References
----------
MacKay (1992). The evidence framework applied to classification networks. Neural Computation 4(5).
Bishop (2006). Pattern Recognition and Machine Learning, section 4.5.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit

from catpref.models.newton import mode

BIAS_VARIANCE = 1.0
"""Prior variance of the side bias, in squared logits: a bias of one logit (73% to one side) is not unusual."""

# Bounds of the search for the prior's strength: log of the variance of a typical trial's utility difference.
_LOG_SPREAD = (-10.0, 8.0)
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
    """

    weights: np.ndarray
    side_bias: float
    precision: np.ndarray
    prior_variance: float
    log_evidence: float

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
        0 = left, 1 = right, shape (trials,).
    prior_variance
        Variance of the prior on each weight; None takes the one with the greatest marginal likelihood.
    lapse
        Lapse rate of the observer.
    """
    start = np.zeros(differences.shape[1] + 1)
    if prior_variance is not None:
        return _at(differences, choices, prior_variance, lapse, start)
    typical = float(np.square(differences).sum(1).mean()) or 1.0

    def loss(spread: float) -> float:
        nonlocal start  # the mode at one strength of the prior is near that at another
        posterior = _at(differences, choices, float(np.exp(spread)) / typical, lapse, start)
        start = np.append(posterior.weights, posterior.side_bias)
        return -posterior.log_evidence

    best = minimize_scalar(loss, bounds=_LOG_SPREAD, method="bounded", options={"xatol": 0.1})
    return _at(differences, choices, float(np.exp(best.x)) / typical, lapse, start)


def _at(
    differences: np.ndarray, choices: np.ndarray, prior_variance: float, lapse: float, start: np.ndarray
) -> Posterior:
    """Find the posterior's mode, and its curvature there, in units of the prior's standard deviations."""
    scales = np.full(differences.shape[1] + 1, np.sqrt(prior_variance))
    scales[-1] = np.sqrt(BIAS_VARIANCE)
    signs = np.where(choices == 1, 1.0, -1.0)
    design = np.column_stack([differences, np.ones(len(differences))]) * scales * signs[:, None]

    def log_chosen(logits: np.ndarray) -> np.ndarray:
        return np.log(lapse / 2 + (1 - lapse) * expit(logits)) if lapse else log_expit(logits)

    def slopes(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        p_this, p_other = expit(logits), expit(-logits)
        if not lapse:
            return p_other, p_this * p_other
        # How probably the observer looked, if they chose this side, and if they had chosen the other.
        looked = (1 - lapse) * p_this / (lapse / 2 + (1 - lapse) * p_this)
        had_looked = (1 - lapse) * p_other / (lapse / 2 + (1 - lapse) * p_other)
        # Fisher's information, which is never negative.
        return looked * p_other, looked * had_looked * p_this * p_other

    found = mode(design, log_chosen, slopes, start / scales, _ENOUGH)
    weights = found.weights * scales
    return Posterior(
        weights[:-1],
        float(weights[-1]),
        found.precision,
        prior_variance,
        found.log_evidence,
    )
