"""Reaction times: how long choices took, how many were too fast or too slow, and whether hard ones took longer."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import median_abs_deviation

_FAST = 0.2  # seconds: less than it takes to see two images and press a key
_FAR = 3.0  # scaled median absolute deviations above the median of log(rt) (Leys et al. 2013)
_NORMAL = 1.4826  # that a Gaussian's standard deviation is, in median absolute deviations
_SLOW = 20.0  # seconds: with such a median they are probably milliseconds
_LEAST = 3  # trials, for thirds


@dataclass(frozen=True)
class ReactionTimes:
    """Reaction times, in seconds.

    Attributes
    ----------
    trials
        Answered trials with a reaction time.
    median, quartiles
        The quartiles are the first and the third.
    too_fast
        Fraction below 0.2 s.
    outliers
        Fraction more than three scaled median absolute deviations above the median of log(rt).
    median_by_difficulty
        Medians of the hardest, middle and easiest third of the trials, by |utility difference|; None with fewer than
        three trials.
    warning
        What is wrong with them, or None.
    """

    trials: int
    median: float
    quartiles: tuple[float, float]
    too_fast: float
    outliers: float
    median_by_difficulty: tuple[float, float, float] | None
    warning: str | None


def summarise(rt: np.ndarray, easiness: np.ndarray) -> ReactionTimes | None:
    """Summarise reaction times.

    Parameters
    ----------
    rt
        Seconds, NaN where unknown, shape (trials,).
    easiness
        |utility difference| of each trial, shape (trials,).

    Returns
    -------
    ReactionTimes or None
        None where no reaction time is known.
    """
    known = np.isfinite(rt) & (rt > 0)
    rt, easiness = rt[known], easiness[known]
    if not len(rt):
        return None
    low, median, high = (float(part) for part in np.quantile(rt, [0.25, 0.5, 0.75]))
    logs = np.log(rt)
    limit = np.median(logs) + _FAR * _NORMAL * median_abs_deviation(logs)
    thirds = np.array_split(rt[np.argsort(easiness, kind="stable")], 3)
    hard, middle, easy = (float(np.median(third)) if len(rt) >= _LEAST else np.nan for third in thirds)
    return ReactionTimes(
        trials=len(rt),
        median=median,
        quartiles=(low, high),
        too_fast=float((rt < _FAST).mean()),
        outliers=float((logs > limit).mean()),
        median_by_difficulty=(hard, middle, easy) if len(rt) >= _LEAST else None,
        warning=None
        if median <= _SLOW
        else f"Reaction times were taken for seconds, and with a median of {median:.0f} look wrong; milliseconds?",
    )
