"""The noise ceiling: the best accuracy to expect of any model of an observer who is not always consistent."""

from dataclasses import dataclass

import numpy as np

from catpref.models import psychometric
from catpref.models.kernels import right_minus_left
from catpref.models.psychometric import PsychometricFit

VAGUE = 0.2
"""An interval of a probability that is wider than that tells nothing."""


@dataclass(frozen=True)
class NoiseCeiling:
    """The best accuracy to expect of any model.

    Attributes
    ----------
    accuracy
        None where the trials do not tell it.
    ci95
        Its 95% interval; None where it is known.
    method
        How it was found, or why it was not.
    """

    accuracy: float | None
    ci95: tuple[float, float] | None
    method: str


def noise_ceiling(known: float | None, observer: PsychometricFit) -> NoiseCeiling:
    """Return what a simulated observer knows of its own ceiling, else what all trials together tell."""
    if known is not None:
        return NoiseCeiling(known, None, "known (simulated observer)")
    low, high = observer.noise_ceiling_ci95
    if high - low > VAGUE:
        return NoiseCeiling(None, (low, high), f"not known better than {low:.2f} to {high:.2f}")
    return NoiseCeiling(observer.noise_ceiling, (low, high), "one model of all trials")


def without_embedding(pairs: np.ndarray, choices: np.ndarray) -> PsychometricFit:
    """Estimate how an observer answers from which images won alone.

    Parameters
    ----------
    pairs
        Left and right image of each trial as indices, shape (trials, 2).
    choices
        0 = left, 1 = right, shape (trials,).
    """
    differences = right_minus_left(np.eye(int(pairs.max()) + 1), pairs)
    return psychometric.fit(differences, np.square(differences).sum(1), pairs, choices)
