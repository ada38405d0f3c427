"""How accuracy grows with the number of trials, and how many are needed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from catpref.evaluation.resampling import resampled

FRACTIONS = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Parts of the training trials from which is learned, beside all of them."""

LEAST_TRIALS = 10

_DRAWS = 300
_STEPS = 120  # of the grid on which the half-way point is sought
_REACH = 10.0  # times the trials there were: where the half-way point is sought


@dataclass(frozen=True)
class LearningCurve:
    """Accuracy on held-out trials against the number of training trials.

    Attributes
    ----------
    trials
        Mean number of training trials at each point, shape (points,).
    accuracy
        At each point, shape (points,).
    accuracy_ci95
        95% interval at each point, shape (points, 2): over the images drawn, see
        `catpref.evaluation.resampling.resampled`.
    limit, half
        The curve ``0.5 + (limit − 0.5) · n / (n + half)`` fitted to the points; None where they do not tell it.
    trials_for_90_percent, trials_for_90_percent_ci95
        Trials needed for 90% of what could be gained over chance with these images, ``9 · half``; None where the
        points do not tell.
    """

    trials: list[float]
    accuracy: list[float]
    accuracy_ci95: list[tuple[float, float]]
    limit: float | None
    half: float | None
    trials_for_90_percent: float | None
    trials_for_90_percent_ci95: tuple[float, float] | None


def fit(hits: Mapping[float, np.ndarray], pairs: np.ndarray, seed: int = 0) -> LearningCurve:
    """Fit a saturating curve to accuracies.

    The curve is reported if accuracy grows with more than 97.5% of the resamplings of the images, and the interval of
    the trials needed lies within the points: nothing is said of fewer trials, or of more.

    Parameters
    ----------
    hits
        For each number of training trials, 1 for a hit and 0 for a miss at each held-out trial, shape (trials,).
    pairs
        The images of these held-out trials as indices, shape (trials, 2).
    seed
        Seed of the resampling.
    """
    trials = np.array(sorted(hits))
    values = np.array([hits[number] for number in trials])
    draws = np.array([values @ weights / weights.sum() for weights in resampled(pairs, _DRAWS, seed)])
    intervals = np.quantile(draws, [0.025, 0.975], axis=0).T
    accuracy = values.mean(1)
    limit, half = (float(number[0]) for number in _saturating(trials, accuracy[None]))
    limits, halves = _saturating(trials, draws)
    low, high = np.quantile(9 * halves, [0.025, 0.975])
    grows = len(trials) > 2 and np.quantile(limits, 0.025) > 0.5
    told = grows and trials[0] <= low and high <= trials[-1]
    return LearningCurve(
        trials=trials.tolist(),
        accuracy=accuracy.tolist(),
        accuracy_ci95=[(float(least), float(most)) for least, most in intervals],
        limit=limit if told else None,
        half=half if told else None,
        trials_for_90_percent=9 * half if told else None,
        trials_for_90_percent_ci95=(float(low), float(high)) if told else None,
    )


def _saturating(trials: np.ndarray, accuracies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit the curve to rows of accuracies by least squares; gives each row's limit and half-way point."""
    halves = np.geomspace(trials[0] / 100, _REACH * trials[-1] / 9, _STEPS)
    shapes = trials / (trials + halves[:, None])
    gains = (accuracies - 0.5) @ shapes.T / np.square(shapes).sum(1)
    misfits = np.square((accuracies - 0.5)[:, None] - gains[:, :, None] * shapes).sum(2)
    best = misfits.argmin(1)
    return 0.5 + gains[np.arange(len(best)), best], halves[best]
