"""Which pairs of an adaptive session were chosen by the answers before, and which are a fair sample.

An adaptive session says so in a column `chosen_by`: `adaptive` where the pair was chosen by the answers before it,
`random` where it was drawn beforehand; empty in catch trials and repeats. Accuracy can be judged on pairs alone that
no answer had a part in: how well others are predicted depends on what they were chosen for.
"""

import numpy as np
import pandas as pd

from catpref.design.trial_list import AT_RANDOM, BY_ANSWERS
from catpref.errors import BadInput
from catpref.sessions import cells
from catpref.sessions.table import SIDES

ADAPTIVE, RANDOM = BY_ANSWERS, AT_RANDOM
COLUMN = "chosen_by"


def chosen_by(cell: str) -> str | None:
    """Read how a pair was chosen; None where the cell is empty."""
    how = None if cells.is_nothing(cell) else cells.without_quotes(cell).lower()
    if how not in (None, ADAPTIVE, RANDOM):
        raise BadInput(
            "does not say how the pair was chosen; write adaptive, random or nothing, or rename the column"
        )
    return how


def of_trials(trials: pd.DataFrame) -> np.ndarray | None:
    """Return how the pair of each trial was chosen.

    Parameters
    ----------
    trials
        As in `catpref.sessions.session.Session`.

    Returns
    -------
    ndarray or None
        Shape (trials,), `ADAPTIVE` or `RANDOM`, or "" in files where no trial says it: there, no pair was chosen by
        answers. A trial of an adaptive session that does not say it counts as one of the same participant's others
        with the same two images does, which it repeats, and as adaptive where there is none. None where no trial says
        it at all.
    """
    said = trials[COLUMN].to_numpy(object) if COLUMN in trials else np.full(len(trials), None)
    marked = pd.notna(said)
    if not marked.any():
        return None
    who = trials["participant"] if "participant" in trials else pd.Series(None, trials.index, dtype=object)
    pairs = list(
        zip(who.where(who.notna(), None), map(frozenset, trials[list(SIDES)].to_numpy()), strict=True)
    )
    known: dict[object, str] = {}
    for pair, how in zip(pairs, said, strict=True):
        if isinstance(how, str) and known.get(pair) != ADAPTIVE:
            known[pair] = how
    of_adaptive = trials["source"].isin(trials.loc[marked, "source"].unique())
    return np.array([
        how if isinstance(how, str) else known.get(pair, ADAPTIVE) if adaptive else ""
        for how, pair, adaptive in zip(said, pairs, of_adaptive, strict=True)
    ])  # fmt: skip
