"""What several participants share, and what is each one's own, in sentences."""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from catpref.evaluation.analysis import Analysis
from catpref.evaluation.people import Observers
from catpref.models.population import ALONE, SHARED
from catpref.models.registry import DEFAULT
from catpref.models.siamese_cnn import SIAMESE_CNN
from catpref.sessions.table import SIDES

ROWS = 15
"""Participants in the table where there are more than `FEW`."""

FEW = 30

_OPPOSITE, _LITTLE, _MUCH = -0.2, 0.2, 0.7  # mean agreements, up to which words change
_CONSISTENT = (
    0.7  # reliability, from which on the choices tell one image from another; that of coin flips is 0.5
)
_SEEN = 0.9  # of the images, by a participant on average, from which on their utilities are their own
_FEW_PEOPLE = 10


def of_page(analysis: Analysis) -> dict[str, Any]:
    """Return what the page says of several participants, by the names that it uses."""
    table = _several(analysis).table
    return {
        "sharing": of_sharing(analysis),
        "agreement": of_agreement(analysis),
        "gains": of_gains(analysis),
        "looked_at": of_remarks(analysis),
        "precision": of_precision(analysis),
        "shows_faces": shows_faces(analysis),
        "rows": notable(table).assign(remark=table["remark"].fillna("")).to_dict("records"),
        "count": len(table),
    }


def of_sharing(analysis: Analysis) -> str:
    """Return how much of taste is shared, and the beholder index."""
    several = _several(analysis)
    part, (low, high) = several.shared_fraction, several.shared_fraction_ci95
    return (
        f"{100 * part:.0f}% of the variance of taste is shared by the {len(several.table)} participants (95% "
        f"interval {100 * low:.0f} to {100 * high:.0f}%); the rest is each one's own: a beholder index of "
        f"{1 - part:.2f} ({1 - high:.2f} to {1 - low:.2f}), where 0 would be one taste for all and 1 nothing in "
        "common."
    )


def of_agreement(analysis: Analysis) -> str:
    """Return how well participants agree with each other."""
    several = _several(analysis)
    mean = several.agreement
    codes = several.table["participant"].to_list()
    of_pairs = several.agreements[np.triu_indices(len(codes), 1)]
    if len(codes) == 2:
        return (
            f"{codes[0]} and {codes[1]} {_in_words(mean)}: their utilities correlate at r = {_minus(mean)}."
        )
    least, most = of_pairs.min(), of_pairs.max()
    return (
        f"Participants {_in_words(mean)}: on average, the utilities of two correlate at r = {_minus(mean)} "
        f"(from {_minus(least)} to {_minus(most)}, pair by pair)."
    )


def of_gains(analysis: Analysis) -> list[str]:
    """Return what the shared taste predicts of new images, what departures add, and what learning together does."""
    shared = next(result.scores for result in analysis.baselines if result.model == SHARED.name)
    if shared is None:
        return []
    low, high = (100 * end for end in shared.accuracy_ci95)
    shown = "" if low > 50 else ", which is not shown to be better than chance"
    return [
        f"On new images, the shared taste alone predicts {100 * shared.accuracy:.0f}% of choices (95% interval "
        f"{low:.0f} to {high:.0f}%){shown}.",
    ] + [
        f"On new images, {what} {_added(*analysis.differences[model.name])}."
        for model, what in (
            (SHARED, "knowing how each participant departs from the shared taste"),
            (ALONE, "learning from all participants together, rather than from each one alone,"),
        )
    ]


def of_remarks(analysis: Analysis) -> str:
    """Return who is to be looked at, participant by participant."""
    table = _several(analysis).table
    found = table.dropna(subset=["remark"])
    if found.empty:
        return "No participant answers as if at random, against the others, or by side."
    named = found.head(ROWS)
    said = "; ".join(
        f"{code}: {remark}" for code, remark in zip(named["participant"], named["remark"], strict=True)
    )
    return f"To be looked at: {said}{f'; and {len(found) - ROWS} more' if len(found) > ROWS else ''}."


def of_precision(analysis: Analysis) -> str:
    """Return how far one participant's accuracy can be trusted."""
    held_out = float(np.median(_several(analysis).table["held_out"]))
    if not held_out > 0:
        return "No trials are held out of half of the participants."
    return (
        f"Of one participant, {held_out:.0f} trials are held out (median), so that chance alone moves each accuracy "
        f"by up to {100 * 1.96 * np.sqrt(0.25 / held_out):.0f} percentage points (95% interval)."
    )


def remarks(analysis: Analysis) -> list[str]:
    """Return what a reader of the headline should know of several participants."""
    several, found = _several(analysis), []
    if len(several.table) < _FEW_PEOPLE and not analysis.better_than_chance:
        found.append(
            f"The interval of the accuracy allows for other participants as well as other images; "
            f"{len(several.table)} participants tell little of others, so that it is wide."
        )
    asked = tuple(analysis.options.models)
    if SIAMESE_CNN.name in asked and asked != DEFAULT:
        found.append(
            f"No {SIAMESE_CNN.title} was trained: beside a shared and a personal taste, a network has not been found "
            "to predict new images any better."
        )
    return found


def shows_faces(analysis: Analysis) -> bool:
    """Return whether faces are to be shown by participants' utilities.

    Either the model predicts new images, or participants saw the images themselves and are consistent.
    """
    if analysis.better_than_chance:
        return True
    reliability = _several(analysis).table["reliability"].fillna(0.0).to_numpy()
    part = float(seen_by(analysis).mean()) / len(reliability)
    return part >= _SEEN and float(np.median(reliability)) >= _CONSISTENT


def seen_by(analysis: Analysis) -> np.ndarray:
    """Return how many participants saw each image, shape (images,)."""
    session = analysis.pictures.merged
    people = session.trials["participant"]
    seen = {pair for side in SIDES for pair in zip(people, session.trials[side], strict=True)}
    counts = Counter(image for _, image in seen)
    return np.array([counts[image] for image in session.images])


def notable(table: pd.DataFrame) -> pd.DataFrame:
    """Return the participants for the page: all where they are few, else those with remarks and least agreement."""
    if len(table) <= FEW:
        return table
    order = table.assign(_none=table["remark"].isna()).sort_values(["_none", "agreement"], kind="stable")
    return order.drop(columns="_none").head(ROWS)


def _several(analysis: Analysis) -> Observers:
    assert analysis.observers is not None
    return analysis.observers


def _in_words(agreement: float) -> str:
    if agreement <= _OPPOSITE:
        return "have opposite tastes"
    if agreement < _LITTLE:
        return "have little in common"
    return "agree in part" if agreement < _MUCH else "have largely the same taste"


def _added(more: float, interval: tuple[float, float]) -> str:
    """Return what the first model gains over another, whose difference from it is given."""
    gain, low, high = -100 * more, -100 * interval[1], -100 * interval[0]
    numbers = f"{_signed(gain)} percentage points, 95% interval {_signed(low)} to {_signed(high)}"
    if low > 0:
        return f"adds to accuracy ({numbers})"
    return f"lowers accuracy ({numbers})" if high < 0 else f"is not shown to change accuracy ({numbers})"


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "−").replace("+0.0", "0.0").replace("−0.0", "0.0")


def _minus(number: float) -> str:
    return f"{number:.2f}".replace("-", "−")
