"""The posterior of a taste after some answers, by Laplace's approximation.

P(right) = logistic(u(right) − u(left) + side bias). The strength of the taste is one of a few scales, that with the
greatest marginal likelihood. It begins anew at each call, so that the same answers give the same posterior to
rounding, after a pause or in another language. In the browser, ``adaptive.js`` does the same.

References
----------
MacKay (1992). The evidence framework applied to classification networks. Neural Computation 4(5).
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky
from scipy.special import expit

from catpref.adaptive.prior import Prior

LOG_SCALES = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""Logarithms of the scales that a taste may have, in units of the prior's."""

LOG_SCALE_SD = 0.5
"""Standard deviation of the logarithm a priori."""

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
    left, right = np.asarray(pairs, int).reshape(-1, 2).T
    design = np.column_stack([prior.features[right] - prior.features[left], np.ones(len(left))])
    offsets = prior.mean[right] - prior.mean[left]
    choices = np.asarray(choices, float)
    found: list[tuple[float, float, np.ndarray, np.ndarray, np.ndarray]] = []
    for log_scale in LOG_SCALES:
        sds = np.full(design.shape[1], np.exp(log_scale))
        sds[-1] = np.sqrt(prior.side_bias_variance)
        weights, factor, evidence = _mode(design * sds, offsets, choices)
        found.append(
            (evidence - (log_scale / LOG_SCALE_SD) ** 2 / 2, np.exp(log_scale), weights, factor, sds)
        )
    _, scale, weights, factor, sds = max(found, key=lambda one: one[0])
    covariance = cho_solve((factor, True), np.eye(len(sds))) * np.outer(sds, sds)
    return Posterior(weights[:-1] * sds[:-1], float(weights[-1] * sds[-1]), covariance, float(scale))


def _mode(
    design: np.ndarray, offsets: np.ndarray, choices: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the mode of standard normal weights, the Cholesky factor of its precision, and the log evidence."""
    weights = np.zeros(design.shape[1])
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
