"""What simulated studies say of each design, and which one is enough.

A plan promises what one new study will find, not only what studies find on average. The studies that were simulated
are few, and may have come out well by chance; its intervals are tolerance intervals, which hold 95 of 100 new studies
in 90 of 100 plans.

References
----------
Hahn & Meeker (1991). Statistical intervals: a guide for practitioners. Wiley.
Howe (1969). Two-sided tolerance limits for normal populations: some improvements. JASA 64(326).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binomtest, chi2, nct, norm

from catpref.design.trial_list import ADAPTIVE, FULL, INCOMPLETE, RANDOM
from catpref.plans.studies import Cell, Study

_LEVEL = 0.95  # the part of new studies that an interval holds
_ASSURANCE = 0.9  # that it does


@dataclass(frozen=True)
class Expected:
    """What to expect of a study.

    Attributes
    ----------
    cell
        Which one.
    studies
        How many were simulated.
    accuracy, accuracy_ci95
        What its report will say: the mean, and the interval in which at least 95% of new studies' will be.
    width
        Mean width of the report's own 95% interval.
    power, power_ci95
        How often the report calls the taste above chance, and Wilson's interval of that.
    new, best, ceiling
        Mean accuracies on new images; see `Study`.
    gain, gain_low
        The part of what can be gained on new images, and what new studies reach, as large a part of them as the
        confidence asked for.
    agreement, agreement_found, agreement_error
        Mean correlation of two people's utilities, what the model says of it, and the root of the mean squared error
        of that; None for one person.
    """

    cell: Cell
    studies: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    width: float
    power: float
    power_ci95: tuple[float, float]
    new: float
    best: float
    ceiling: float
    gain: float
    gain_low: float
    agreement: float | None
    agreement_found: float | None
    agreement_error: float | None


def expect(cell: Cell, studies: Sequence[Study], confidence: float) -> Expected:
    """Summarise the simulated studies of a cell.

    Parameters
    ----------
    cell
        Which one.
    studies
        At least two.
    confidence
        Of `Expected.gain_low`: the part of new studies that is to reach it.
    """
    values = {name: np.array([getattr(study, name) for study in studies]) for name in Study._fields}
    accuracy = float(values["accuracy"].mean())
    reach = _two_sided(len(studies)) * float(values["accuracy"].std(ddof=1))
    above = int(values["above"].sum())
    power = binomtest(above, len(studies)).proportion_ci(method="wilson")
    # Of means, since what there is to gain may be little in one study.
    to_gain = float(values["best"].mean()) - 0.5
    gains = (values["new"] - 0.5) / to_gain
    gain = float(gains.mean())
    several = cell.people > 1
    error = values["agreement_found"] - values["agreement"]
    return Expected(
        cell=cell,
        studies=len(studies),
        accuracy=accuracy,
        accuracy_ci95=(max(0.0, accuracy - reach), min(1.0, accuracy + reach)),
        width=float((values["high"] - values["low"]).mean()),
        power=above / len(studies),
        power_ci95=(float(power.low), float(power.high)),
        new=float(values["new"].mean()),
        best=float(values["best"].mean()),
        ceiling=float(values["ceiling"].mean()),
        gain=gain,
        gain_low=max(0.0, gain - _one_sided(len(studies), confidence) * float(gains.std(ddof=1))),
        agreement=float(values["agreement"].mean()) if several else None,
        agreement_found=float(values["agreement_found"].mean()) if several else None,
        agreement_error=float(np.sqrt(np.square(error).mean())) if several else None,
    )


def _one_sided(count: int, part: float) -> float:
    """Return how many standard deviations below the mean of so many values a part of all lies above (Gaussian)."""
    return float(nct.ppf(_ASSURANCE, count - 1, norm.ppf(part) * np.sqrt(count)) / np.sqrt(count))


def _two_sided(count: int) -> float:
    """Return within how many standard deviations of the mean of so many values 95% of all lie (Howe 1969)."""
    widened = (count - 1) * (1 + 1 / count) / chi2.ppf(1 - _ASSURANCE, count - 1)
    return float(norm.ppf((1 + _LEVEL) / 2) * np.sqrt(widened))


def enough(expected: Sequence[Expected], gain: float) -> Expected | None:
    """Return the study of fewest trials in all, then images, of which a new one reaches a gain; None if none does."""
    reaching = [one for one in expected if one.gain_low >= gain]
    return min(reaching, key=lambda one: _effort(one.cell), default=None)


def _effort(cell: Cell) -> tuple[int, int]:
    return cell.people * cell.trials, cell.images


def sentence(expected: Sequence[Expected], gain: float, confidence: float) -> str:
    """Return in one sentence what a study takes.

    Parameters
    ----------
    expected
        Of one noise.
    gain
        The part of what can be gained that is wanted.
    confidence
        With which a study is to reach it.
    """
    wanted = f"{100 * gain:.0f}% of the gain with {100 * confidence:.0f}% confidence"
    found = enough(expected, gain)
    if found is not None:
        return f"For {wanted} {_asked(found.cell)}."
    most = max(expected, key=lambda one: one.gain)
    least = f"at least {100 * most.gain_low:.0f}%" if most.gain_low > 0 else "perhaps nothing"
    return (
        f"No study of this plan reaches {wanted}. Most is gained if you {_asked(most.cell)}: on average "
        f"{100 * max(0.0, most.gain):.0f}%, with that confidence {least}."
    )


def _asked(cell: Cell) -> str:
    who = "one person" if cell.people == 1 else f"each of {cell.people} people"
    what = {
        RANDOM: f"{cell.trials} random pairs of {cell.images} images",
        FULL: f"all {cell.trials} pairs of {cell.images} images",
        INCOMPLETE: f"a balanced {cell.trials} of all pairs of {cell.images} images",
        ADAPTIVE: f"{cell.trials} adaptive pairs of at least {cell.images} images",
    }[cell.design]
    return f"show {who} {what}"


def by_noise(expected: Sequence[Expected]) -> dict[float, list[Expected]]:
    """Return the studies of each noise, in order."""
    found: dict[float, list[Expected]] = {}
    for one in expected:
        found.setdefault(one.cell.noise, []).append(one)
    return found


def table(studies: Mapping[Cell, Sequence[Study]], confidence: float) -> tuple[list[Expected], pd.DataFrame]:
    """Summarise every cell; return that, and the rows of plan.csv."""
    expected = [expect(cell, each, confidence) for cell, each in studies.items()]
    rows = [
        {
            **one.cell._asdict(),
            "studies": one.studies,
            "accuracy": one.accuracy,
            "accuracy_low": one.accuracy_ci95[0],
            "accuracy_high": one.accuracy_ci95[1],
            "width_of_ci95": one.width,
            "power": one.power,
            "power_low": one.power_ci95[0],
            "power_high": one.power_ci95[1],
            "accuracy_new_images": one.new,
            "accuracy_carried": one.best,
            "noise_ceiling": one.ceiling,
            "gain": one.gain,
            "gain_low": one.gain_low,
            "agreement": one.agreement,
            "agreement_found": one.agreement_found,
            "agreement_error": one.agreement_error,
        }
        for one in expected
    ]
    return expected, pd.DataFrame(rows).round(6)
