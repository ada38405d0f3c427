"""A trial list: a CSV with a row a trial, which says what a session is to show."""

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from catpref._io.reading import read_bytes
from catpref.errors import BadInput
from catpref.stimuli.images import image_path

RANDOM, FULL, INCOMPLETE = "random-sampled", "fully-sampled", "balanced-incomplete"
ADAPTIVE, RANKING = "adaptive", "adaptive-ranking"
FIXED, BY_LEARNING = (RANDOM, FULL, INCOMPLETE), (ADAPTIVE, RANKING)
"""The designs whose pairs are all fixed before a session, and those that choose pairs from its answers."""

BLOCK = 100

BY_ANSWERS, AT_RANDOM = "adaptive", "random"
"""How the pair of a trial was chosen, in an adaptive session."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One row of a trial list.

    `repeat_of` is the trial in which the pair was first shown, sides swapped. `catch` is empty, or the side
    whose image is shown scrambled (`catpref.stimuli.scrambling`), to see whether the participant looks; such a trial
    is no pair of the design, and is passed by choosing the other side.

    `chosen_by` is empty in all designs but the adaptive ones. There it is ``adaptive`` where the images are chosen in
    the session, from the answers before, so that a list has no names of them; ``random`` where they were drawn
    beforehand; and empty in repeats and catch trials.
    """

    trial: int
    block: int
    design: str
    left_image: str
    right_image: str
    repeat_of: int | None = None
    catch: str = ""
    chosen_by: str = ""

    @property
    def is_open(self) -> bool:
        """Whether the images are still to be chosen, from the answers before."""
        return not self.left_image and self.chosen_by == BY_ANSWERS


_ALL_COLUMNS = tuple(field.name for field in fields(Trial))
COLUMNS = _ALL_COLUMNS[:-1]
"""Of a list whose pairs are all fixed; an adaptive one has `chosen_by`, too."""

_LARGEST_LIST = 64 * 2**20  # bytes; a list of 100,000 trials has about 8 MiB

_REQUIRED = COLUMNS[:-1]  # lists made before there were catch trials have none


def is_adaptive(design: str) -> bool:
    """Return whether a design chooses pairs from the answers."""
    return design in BY_LEARNING


def columns_of(design: str) -> tuple[str, ...]:
    """Return the columns of a design's trial list."""
    return _ALL_COLUMNS if is_adaptive(design) else COLUMNS


def write_trial_list(path: Path, trials: Sequence[Trial]) -> None:
    """Write a trial list as UTF-8 CSV."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    columns = columns_of(trials[0].design) if trials else COLUMNS
    writer.writerow(columns)
    writer.writerows(astuple(trial)[: len(columns)] for trial in trials)
    try:
        content = table.getvalue().encode()
    except UnicodeEncodeError as problem:
        name = problem.object[max(0, problem.start - 40) : problem.end + 40]
        raise BadInput(f"{name!r} is not a name in UTF-8; rename the image") from problem
    path.write_bytes(content)


def read_trial_list(path: Path, folder: Path, designs: Sequence[str] = FIXED) -> list[Trial]:
    """Read a trial list for a stimulus folder, as `write_trial_list` or a careful person wrote it.

    Further columns are left aside.

    Parameters
    ----------
    path
        The list.
    folder
        The stimulus folder.
    designs
        What the list may be of; by default a design whose pairs are all fixed.

    Raises
    ------
    BadInput
        If the file or a column is missing, a row is malformed, the trials or blocks are not numbered in order
        from 0, or an image is missing or outside the stimulus folder.
    """
    try:
        text = read_bytes(path, _LARGEST_LIST).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        missing = [name for name in _REQUIRED if name not in (reader.fieldnames or ())]
        if missing:
            raise BadInput(f"{path}: has no column {missing[0]}; a trial list has {', '.join(COLUMNS)}")
        rows = [(f"{path} line {reader.line_num}", row) for row in reader]
    except FileNotFoundError as problem:
        raise BadInput(f"{path}: cannot be read ({problem.strerror})") from problem
    except (UnicodeDecodeError, csv.Error) as problem:
        raise BadInput(
            f"{path}: is not a CSV file in UTF-8; write it with python -m catpref.trials"
        ) from problem
    trials: list[Trial] = []
    for where, row in rows:
        if None in row.values():
            raise BadInput(f"{where}: has too few columns; write the list with python -m catpref.trials")
        try:
            trial = _check(row, trials, folder, designs)
        except BadInput as problem:
            raise BadInput(f"{where}: {problem}") from problem
        trials.append(trial)
    if not trials:
        raise BadInput(f"{path}: holds no trials; write the list with python -m catpref.trials")
    return trials


def _check(row: dict[str, str], before: Sequence[Trial], folder: Path, designs: Sequence[str]) -> Trial:
    repeat_of = _number(row, "repeat_of") if row["repeat_of"] else None
    trial = Trial(
        trial=_number(row, "trial"),
        block=_number(row, "block"),
        design=row["design"],
        left_image=row["left_image"],
        right_image=row["right_image"],
        repeat_of=repeat_of,
        catch=row.get("catch", ""),
        chosen_by=row.get("chosen_by", "") if is_adaptive(row["design"]) else "",
    )
    last_block = before[-1].block if before else -1
    sides = {trial.left_image, trial.right_image}
    if trial.trial != len(before):
        raise BadInput(f"trial is {trial.trial}, but must be {len(before)}; number the trials from 0")
    if trial.block not in (last_block, last_block + 1) or trial.block < 0:
        raise BadInput(f"block is {trial.block}; number the blocks from 0 in the order of the trials")
    if trial.design not in designs:
        *others, last = designs
        raise BadInput(f"design is '{trial.design}'; it must be {', '.join(others)} or {last}")
    if before and trial.design != before[0].design:
        raise BadInput(f"design is {trial.design}, but {before[0].design} above; a list has one design")
    if is_adaptive(trial.design):
        _check_choice_of_pair(trial)
    if not trial.is_open and len({image_path(folder, name) for name in sides}) == 1:
        raise BadInput(f"{trial.left_image} is on both sides; show two different images")
    if trial.catch not in ("", "left", "right"):
        raise BadInput(
            f"catch is '{trial.catch}'; it must be left, right (the side shown scrambled) or empty"
        )
    if trial.catch and repeat_of is not None:
        raise BadInput("has both catch and repeat_of; a catch trial repeats nothing")
    if repeat_of is not None and not (
        repeat_of < len(before)
        and not before[repeat_of].catch
        and sides == {before[repeat_of].left_image, before[repeat_of].right_image}
    ):
        raise BadInput(f"repeat_of is {repeat_of}, which is not an earlier trial with the same two images")
    return trial


def _check_choice_of_pair(trial: Trial) -> None:
    """Raise BadInput unless a trial of an adaptive list says how its pair is chosen, and has images accordingly."""
    by = () if trial.catch or trial.repeat_of is not None else (BY_ANSWERS, AT_RANDOM)
    by = by[:1] if trial.design == RANKING else by
    if trial.chosen_by not in (by or ("",)):
        kind = "a trial" if by else "a catch trial or repeat"
        raise BadInput(f"chosen_by is '{trial.chosen_by}'; of {kind} it must be {' or '.join(by) or 'empty'}")
    if trial.chosen_by == BY_ANSWERS and (trial.left_image or trial.right_image):
        raise BadInput("has images, but chosen_by is adaptive; leave the images empty")


def _number(row: dict[str, str], column: str) -> int:
    text = row[column]
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise BadInput(f"{column} is '{text[:40]}', not a whole number")
    return int(text)
