"""The posterior of a taste after some answers, by Laplace's approximation.

P(right) = logistic(u(right) − u(left) + side bias). The strength of the taste is one of a few scales, that with the
greatest marginal likelihood; it is found anew each time that the answers have doubled, since that takes longest. All
begins anew at each call, so that the same answers give the same posterior to rounding, after a pause or in another
language. In the browser, ``adaptive.js`` does the same.

References
----------
MacKay (1992). The evidence framework applied to classification networks. Neural Computation 4(5).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.linalg import cho_solve, cholesky
from scipy.special import expit

from catpref.adaptive.prior import Prior

LOG_SCALES = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""Logarithms of the scales that a taste may have, in units of the prior's."""

LOG_SCALE_SD = 0.5
"""Standard deviation of the logarithm a priori."""

FIRST_TRIALS = 20
"""After which the scale is found for the first time; before, it is that of the prior."""

_MOST_STEPS = 50
_ENOUGH = 1e-10  # of Newton's decrement


@dataclass(frozen=True)
class Posterior:
    """A Gaussian approximation of what the answers say.

    Attributes
    ----------
    weights
        Of the features, in logits, shape (dimensions,).
    side_bias
        In logits.
    covariance
        Of the weights and, last, the side bias, shape (dimensions + 1, dimensions + 1).
    scale
        The strength of the taste, in units of the prior's.
    """

    weights: np.ndarray
    side_bias: float
    covariance: np.ndarray
    scale: float

    def utilities(self, prior: Prior) -> np.ndarray:
        """Return the expected utility of each image, in logits, shape (images,)."""
        return prior.mean + prior.features @ self.weights


def learn(prior: Prior, pairs: np.ndarray, choices: np.ndarray) -> Posterior:
    """Learn a taste from answers.

    Parameters
    ----------
    prior
        What is known before.
    pairs
        Left and right image of each trial, as indices of the prior's images, shape (trials, 2).
    choices
        0 = left, 1 = right, 0.5 = no preference, shape (trials,).
    """
    sides, given = np.ascontiguousarray(pairs, np.int64).reshape(-1, 2), np.ascontiguousarray(choices, float)
    first = FIRST_TRIALS
    while 2 * first <= len(given):
        first *= 2
    enough = len(given) >= FIRST_TRIALS
    log_scale = _log_scale(prior, sides[:first].tobytes(), given[:first].tobytes()) if enough else 0.0
    design, offsets, sds = _scaled(prior, sides, log_scale)
    weights, factor, _ = _mode(design, offsets, given)
    covariance = cho_solve((factor, True), np.eye(len(sds))) * np.outer(sds, sds)
    return Posterior(weights[:-1] * sds[:-1], float(weights[-1] * sds[-1]), covariance, float(sds[0]))


@lru_cache(maxsize=1)
def _log_scale(prior: Prior, pairs: bytes, choices: bytes) -> float:
    """Return the most probable of the scales, by its logarithm."""
    sides, given = np.frombuffer(pairs, np.int64).reshape(-1, 2), np.frombuffer(choices)

    def log_probability(log_scale: float) -> float:
        design, offsets, _ = _scaled(prior, sides, log_scale)
        # Weights that change no trial's logit change no evidence: as many are enough as there are trials.
        few = np.asarray(np.linalg.qr(design.T, mode="r")).T
        return _mode(few, offsets, given)[2] - (log_scale / LOG_SCALE_SD) ** 2 / 2

    return max(LOG_SCALES, key=log_probability)


def _scaled(prior: Prior, pairs: np.ndarray, log_scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what weights of unit variance are multiplied by in each trial, logits beside, and the weights' sds."""
    left, right = pairs.T
    sds = np.full(prior.features.shape[1] + 1, np.exp(log_scale))
    sds[-1] = np.sqrt(prior.side_bias_variance)
    design = np.column_stack([prior.features[right] - prior.features[left], np.ones(len(left))]) * sds
    return design, prior.mean[right] - prior.mean[left], sds


def _mode(
    design: np.ndarray, offsets: np.ndarray, choices: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the mode of standard normal weights, the Cholesky factor of its precision, and the log evidence."""
    weights, factor = np.zeros(design.shape[1]), np.eye(design.shape[1])
    loss = _loss(weights, design, offsets, choices)
    for _ in range(_MOST_STEPS):
        p_right = expit(offsets + design @ weights)
        gradient = weights - design.T @ (choices - p_right)
        precision = design.T @ (design * (p_right * (1 - p_right))[:, None])
        precision[np.diag_indices_from(precision)] += 1
        factor = cholesky(precision, lower=True)
        step = cho_solve((factor, True), gradient)
        if gradient @ step < _ENOUGH:
            break
        size = 1.0
        while (new := _loss(weights - size * step, design, offsets, choices)) > loss and size > 1e-6:
            size /= 2
        weights, loss = weights - size * step, new
    return weights, factor, -loss - float(np.log(np.diag(factor)).sum())


def _loss(weights: np.ndarray, design: np.ndarray, offsets: np.ndarray, choices: np.ndarray) -> float:
    logits = offsets + design @ weights
    return float(weights @ weights / 2 - (choices * logits - np.logaddexp(0, logits)).sum())
