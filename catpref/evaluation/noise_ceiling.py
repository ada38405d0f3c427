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
    return _ceiling(known, observer.noise_ceiling, observer.noise_ceiling_ci95, any_is_fair)


def taste_ceiling(known: float | None, observer: PsychometricFit, any_is_fair: bool = True) -> NoiseCeiling:
    """Return the noise ceiling with the side bias set aside; without one it is that of a simulated observer, too."""
    low, high = observer.side_bias_ci95
    return _ceiling(
        known if low <= 0 <= high else None,
        observer.taste_ceiling,
        observer.taste_ceiling_ci95,
        any_is_fair,
    )


def _ceiling(
    known: float | None, estimate: float, ci95: tuple[float, float], any_is_fair: bool
) -> NoiseCeiling:
    """Return a ceiling where the trials tell it.

    None can be below 0.5, so that any estimate is too high on average for someone who answers at random: where the
    interval reaches down to there, it stands alone.
    """
    if known is not None:
        return NoiseCeiling(known, None, "known (simulated observer)")
    if not any_is_fair:
        return NoiseCeiling(None, None, "not known without random trials")
    low, high = ci95
    if low <= 0.5 or high - low > VAGUE:
        return NoiseCeiling(None, ci95, f"not known better than {low:.2f} to {high:.2f}")
    return NoiseCeiling(estimate, ci95, "one model of all trials")
