"""Calibration of a model: one gain on its logits, learned from choices between images it was not fitted to."""

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_expit


def fit_gain(
    logits: Callable[[float], np.ndarray],
    choices: np.ndarray,
    usual: tuple[float, float] = (0.0, 1.0),
) -> tuple[float, float]:
    """Find the gain under which the choices are most likely, with a Gaussian prior on its logarithm.

    Parameters
    ----------
    logits
        Gives the logits of choosing the right under a gain, shape (trials,).
    choices
        0 = left, 1 = right, shape (trials,).
    usual
        Mean and standard deviation of the prior; by default a gain between 1/7 and 7 is not unusual.

    Returns
    -------
    float
        The gain.
    float
        The negative log posterior there, in nats and up to a constant.
    """
    mean, sd = usual
    signs = np.where(choices == 1, 1.0, -1.0)

    def loss(log_gain: float) -> float:
        likely = log_expit(signs * logits(np.exp(log_gain))).sum()
        return float(np.square((log_gain - mean) / sd) / 2 - likely)

    best = minimize_scalar(loss, bounds=(-3, 3), method="bounded")
    return float(np.exp(best.x)), float(best.fun)
