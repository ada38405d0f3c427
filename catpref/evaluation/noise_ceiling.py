"""The noise ceiling: the best accuracy to expect of any model of an observer who is not always consistent."""

from dataclasses import dataclass

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


def noise_ceiling(known: float | None, observer: PsychometricFit, any_is_fair: bool = True) -> NoiseCeiling:
    """Return what a simulated observer knows of its own ceiling, else what all trials together tell.

    Where answers had a part in choosing every pair, these tell nothing of pairs at random.
    """
    if known is not None:
        return NoiseCeiling(known, None, "known (simulated observer)")
    if not any_is_fair:
        return NoiseCeiling(None, None, "not known without random trials")
    low, high = observer.noise_ceiling_ci95
    if high - low > VAGUE:
        return NoiseCeiling(None, (low, high), f"not known better than {low:.2f} to {high:.2f}")
    return NoiseCeiling(observer.noise_ceiling, (low, high), "one model of all trials")
