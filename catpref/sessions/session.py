"""session.csv in all its dialects, read into one validated table.

A session is a CSV with a header and one row a trial: `left_image`, `right_image`, `choice` (0 = left,
1 = right, empty = no answer) and any further column. `catpref.sessions.dialects` makes one of what other programs
write.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from catpref.errors import BadInput
from catpref.sessions import cells, chosen_by
from catpref.sessions.columns import NOTHING, Asked
from catpref.sessions.description import pooled_noise_ceiling, stimulus_folder
from catpref.sessions.dialects import as_session, check_codings, check_images
from catpref.sessions.image_names import ImageNames
from catpref.sessions.participants import without_names
from catpref.sessions.rows import Columns, Fault, find_images, leave_out, read_rows
from catpref.sessions.table import SIDES, Table, read_table, table_of

log = logging.getLogger(__name__)


class CatchTrials(NamedTuple):
    """How the participant did where one side showed a scrambled image, so that attention alone finds the face."""

    trials: int
    """Catch trials that were answered."""

    passed: int
    """Those of them in which the face was chosen, not the scrambled image."""


@dataclass(frozen=True)
class Session:
    """The answered trials of one or more session files, checked.

    Attributes
    ----------
    trials
        One row an answered trial, index 0 … n − 1. Always there: `left_image`, `right_image` (str, relative
        to `stimuli`; one name a file, even where the session spells it in two ways), `choice` (int; 0 = left,
        1 = right; float where there is 0.5 = no preference), `source` (str, the session file) and `row` (int,
        its line there; the header is line 1).
        Where the files have them: `participant`, `session`, `design`, `chosen_by` (str or None), `rt`, `onset`
        (seconds, NaN = unknown), `block`, `trial`, `repeat_of` (nullable integers, or str where one is not a whole
        number), and every other named column, as text; a file's own `source` and `row` are called
        `source_in_file` and `row_in_file`.
    stimuli
        The stimulus folder.
    excluded
        How many rows had no answer or could not be used; they are not among `trials`.
    catch
        The answered catch trials, which are not among `trials` either; None where there are none.
    noise_ceiling
        The best accuracy to expect, if the session's own JSON knows it (a simulated observer's does).
    """

    trials: pd.DataFrame
    stimuli: Path
    excluded: int
    catch: CatchTrials | None
    noise_ceiling: float | None

    @property
    def has_preference(self) -> np.ndarray:
        """Whether a side was preferred in each trial, shape (trials,)."""
        return self.trials["choice"].to_numpy() != cells.NO_PREFERENCE

    @property
    def chosen_by(self) -> np.ndarray | None:
        """How each pair was chosen (`catpref.sessions.chosen_by.of_trials`); None where no trial says it."""
        return chosen_by.of_trials(self.trials)

    @property
    def is_fair(self) -> np.ndarray:
        """Whether no answer had a part in choosing each pair: accuracy is judged on such, shape (trials,)."""
        how = self.chosen_by
        return np.ones(len(self.trials), bool) if how is None else how != chosen_by.ADAPTIVE

    @property
    def choice_right(self) -> float:
        """The fraction of right choices where a side was preferred."""
        return float(self.trials["choice"].to_numpy()[self.has_preference].mean())

    @property
    def images(self) -> list[str]:
        """Every image shown in an answered trial, once, sorted."""
        return sorted({*self.trials["left_image"], *self.trials["right_image"]})

    @property
    def pairs(self) -> np.ndarray:
        """Left and right image of each trial as indices of `images`, shape (trials, 2)."""
        return np.searchsorted(self.images, self.trials[list(SIDES)].to_numpy())

    @property
    def participants(self) -> int | None:
        """The number of different participant codes, or None where a trial does not say whose it is."""
        codes = set(self.trials["participant"]) if "participant" in self.trials else {None}
        return len(codes) if all(isinstance(code, str) for code in codes) else None


def read_sessions(
    sources: Sequence[Path | pd.DataFrame],
    stimuli: Path | None = None,
    asked: Asked = NOTHING,
    strict: bool = False,
) -> Session:
    """Read one or more session files, of one participant or several, into one table.

    A trial that stands in the files twice, since PsychoPy wrote a partial and a full file or since a session went
    on, counts once: with its first answer, in the order of the files. Two rows are the same trial if they agree
    in participant, session, block, trial and both images (the participant, the trial, and the session or date
    must be known), and also in the date, where there is one, or in choice, rt and onset. One without an answer
    gives way to one with an answer of any date.

    Of several files, those without a trial are left out. A participant who is not named by a code
    (`catpref.sessions.participants`) is called unnamed-1 and so on, and columns of names or addresses are left out.

    Parameters
    ----------
    sources
        The files, or tables with the columns of such files, which need `stimuli`.
    stimuli
        The stimulus folder. By default each file's own: the one that the JSON beside it names under
        ``"stimuli"`` (`NAME.json` for `NAME.csv`, else `session.json`; relative to the JSON's folder), else
        the folder of the CSV.
    asked
        What the user said of the files' columns and values (`catpref.sessions.columns.asked`).
    strict
        Whether one row that cannot be used is enough to refuse a file: one whose choice is not 0, 1 or empty, that
        shows one image only, or one image on both sides, has an unreadable time, or too many cells. By default such
        rows are left out, which one line says, and a file is refused if more than half of its rows are such.

    Raises
    ------
    BadInput
        If a file is missing or is not a session; if too many rows cannot be used; if an image is missing or
        outside the stimulus folder; if no trial is answered; or if the files do not share one stimulus folder.
    """
    shown, folder, left_out = _read(sources, stimuli, asked, strict)
    scrambled = shown.pop("catch", [None] * len(shown["row"]))
    answered = [row for row, choice in enumerate(shown["choice"]) if choice is not None]
    real = [row for row in answered if not scrambled[row]]
    if not real:
        names = ", ".join(dict.fromkeys(shown["source"]))
        raise BadInput(f"{names}: no trial has an answer (0 or 1 in column choice)")
    passed = [(scrambled[row] == "left") == shown["choice"][row] for row in answered if scrambled[row]]
    trials = {name: [cells[row] for row in real] for name, cells in shown.items()}
    _say_what_was_answered_again(trials)
    return Session(
        trials=_frame(trials),
        stimuli=folder,
        excluded=len(scrambled) - len(answered) + left_out,
        catch=CatchTrials(len(passed), sum(passed)) if passed else None,
        noise_ceiling=pooled_noise_ceiling(sources, trials["source"]),
    )


def read_trials(
    paths: Sequence[Path], stimuli: Path | None = None, asked: Asked = NOTHING, strict: bool = False
) -> tuple[pd.DataFrame, Path]:
    """Read every trial of some session files, those without an answer and catch trials too.

    Returns
    -------
    trials
        As in `Session.trials`, but `choice` is nullable, and there is `catch` where a file has it:
        the side that was scrambled, or empty.
    folder
        The stimulus folder.

    Raises
    ------
    BadInput
        As `read_sessions`, but for files without an answer.
    """
    trials, folder, _ = _read(paths, stimuli, asked, strict)
    return _frame(trials), folder


def read_pairs(
    source: Path | pd.DataFrame, stimuli: Path | None = None, asked: Asked = NOTHING, strict: bool = False
) -> tuple[pd.DataFrame, Path]:
    """Read a list of pairs, answered or not, to predict the choices.

    Parameters
    ----------
    source
        A CSV, or a table, with at least the columns `left_image` and `right_image`, in any dialect of a session.
    stimuli
        The stimulus folder; by default found as in `read_sessions`.
    asked
        What the user said of the file's columns.
    strict
        Whether to refuse a file for one row that shows one image only, or one image on both sides. By default such
        rows are left out, as in `read_sessions`.

    Returns
    -------
    pairs
        The file's rows and columns as text, so that they can be written back as they were, but image names are
        relative to the stimulus folder. (Of other programs' files: the rows that show a pair.)
    folder
        The stimulus folder.

    Raises
    ------
    BadInput
        As `read_sessions`, except that a choice is neither needed nor looked at.
    """
    table = as_session(_table(source), asked, answered=False)
    folder = stimulus_folder([source] if isinstance(source, Path) else [], stimuli)
    if not table.rows:
        check_images(table)
        raise BadInput(f"{table.path}: has a header but no trials")
    faults: dict[int, Fault] = {}
    found = find_images(table, ImageNames(folder), faults)
    leave_out(table, faults, strict)
    pairs = table.frame().drop(index=list(faults)).reset_index(drop=True)
    for side in SIDES:
        pairs[side] = [found[name][0] for name in pairs[side]]
    return pairs, folder


def check_both_sides_chosen(session: Session) -> None:
    """Refuse a session in which only one side was ever chosen: it says nothing about the images.

    Raises
    ------
    BadInput
        If all choices are the same.
    """
    chosen = set(session.trials["choice"]) - {cells.NO_PREFERENCE}
    if len(chosen) < 2:
        side = f"only the {('left', 'right')[int(chosen.pop())]}" if chosen else "no"
        sources = ", ".join(session.trials["source"].unique())
        raise BadInput(f"{sources}: {side} side was ever chosen, so there is nothing to learn from")


# ---- from files to one table -------------------------------------------------------------------------------

_WHOLE = {"block", "trial", "repeat_of"}


def _read(
    sources: Sequence[Path | pd.DataFrame], stimuli: Path | None, asked: Asked, strict: bool
) -> tuple[Columns, Path, int]:
    """Return the trials, the stimulus folder, and how many rows could not be used."""
    in_files = [_table(source) for source in sources]
    if asked.choices is None:
        check_codings(in_files)
    tables = [as_session(table, asked) for table in in_files]
    folder = stimulus_folder([source for source in sources if isinstance(source, Path)], stimuli)
    filled = [table for table in tables if table.rows]
    if not filled:
        check_images(tables[0])
        raise BadInput(f"{', '.join(str(table.path) for table in tables)}: has a header but no trials")
    for table in tables:
        if not table.rows:
            log.info("%s: shows no pair of images; left out", table.path)
    images, names = ImageNames(folder), {}
    read = [read_rows(table, images, names, strict) for table in filled]
    trials = _joined([columns for columns, _ in read])
    for name in _WHOLE.intersection(trials):
        trials[name] = cells.whole_numbers(trials[name])
    return _once(without_names(trials)), folder, sum(left_out for _, left_out in read)


def _table(source: Path | pd.DataFrame) -> Table:
    return table_of(source) if isinstance(source, pd.DataFrame) else read_table(source, SIDES)


def _frame(trials: Columns) -> pd.DataFrame:
    """Make a data frame, in which whole numbers and times are numbers and all else is an object."""
    frame: dict[str, Any] = {}
    for name, column in trials.items():
        if name in ("rt", "onset"):
            frame[name] = np.array(column, dtype=float)
        elif name == "choice" and cells.NO_PREFERENCE in column:
            frame[name] = pd.array(column, dtype="Float64") if None in column else np.array(column)
        elif name in ("choice", "row") and None not in column:
            frame[name] = np.array(column, dtype=int)
        elif name in _WHOLE | {"choice"} and not any(isinstance(cell, str) for cell in column):
            frame[name] = pd.array(column, dtype="Int64")
        else:
            frame[name] = pd.Series(column, dtype=object)
    return pd.DataFrame(frame)


# ---- what all files together say ---------------------------------------------------------------------------


def _joined(files: Sequence[Columns]) -> Columns:
    """Put the trials of several files under each other."""
    columns = dict.fromkeys(name for file in files for name in file)
    return {
        name: [cell for file in files for cell in file.get(name, [None] * len(file["row"]))]
        for name in columns
    }


def _once(trials: Columns) -> Columns:
    """Keep one row of each trial; `read_sessions` says which."""
    rows = range(len(trials["row"]))
    nothing = [None] * len(rows)

    def values(*names: str) -> list[tuple[Any, ...]]:
        return list(zip(*(trials.get(name, nothing) for name in names), strict=True))

    trial = values("participant", "session", "block", "trial", *SIDES)
    date, answer = values("date"), values("choice", "rt", "onset")
    seen: set[tuple[Any, ...]] = set()
    copies: set[int] = set()
    for row in sorted(rows, key=lambda row: trials["choice"][row] is None):
        participant, session, _, number_, *_ = trial[row]
        if participant is None or number_ in (None, "") or (session is None and date[row][0] in (None, "")):
            continue
        choice, rt, _ = answer[row]
        same = [(*trial[row], "date", *date[row])]
        same += [(*trial[row], "answer", *answer[row])] * (rt is not None)
        if not seen.isdisjoint(same) or (choice is None and trial[row] in seen):
            copies.add(row)
        seen.update(same, [trial[row]])
    if copies:
        log.info("%d trials stand in the files twice; their first answers count", len(copies))
    return {name: [cells[row] for row in rows if row not in copies] for name, cells in trials.items()}


def _say_what_was_answered_again(answered: Columns) -> None:
    """Say how many pairs were answered more than once in one session, beside the repeats that the file calls so."""
    nothing = [None] * len(answered["row"])
    repeat_of, *whose = (answered.get(name, nothing) for name in ("repeat_of", "participant", "session"))
    pairs = map(frozenset, zip(*(answered[side] for side in SIDES), strict=True))
    times = Counter(
        key for key, of in zip(zip(*whose, pairs, strict=True), repeat_of, strict=True) if of in (None, "")
    )
    again = sum(number > 1 for number in times.values())
    if again:
        many = "1 pair was" if again == 1 else f"{again} pairs were"
        log.info("%s answered twice or more; the later answers count as repeats of the first", many)
