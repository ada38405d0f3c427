"""From the rows of a table to trials; what makes one row useless costs that row, and a line that says why."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from catpref.errors import BadInput, shown
from catpref.sessions import cells
from catpref.sessions.chosen_by import chosen_by
from catpref.sessions.image_names import ImageNames
from catpref.sessions.table import SIDES, Table, free_name

log = logging.getLogger(__name__)

Columns = dict[str, list[Any]]
"""The columns of a table, of the same length; None is an unknown value."""

_LONGEST_MEDIAN = 20  # seconds that half of the answers of a session may take
_MOST_MILLISECONDS = 1e5  # as such a median; more are microseconds
_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+(\.\d*)?")
_MOST_NAMED = 5  # rows, or reasons, in one line

_READERS: dict[str, Callable[[str], Any]] = {
    "choice": cells.choice, "catch": cells.scrambled_side, "rt": cells.seconds, "onset": cells.seconds,
    "participant": cells.label, "session": cells.label, "design": cells.label, "chosen_by": chosen_by,
}  # fmt: skip


class Fault(NamedTuple):
    """Why a row cannot be used."""

    line: int
    column: str | None
    wrong: str
    advice: str


def read_rows(table: Table, images: ImageNames, names: dict[str, str], strict: bool) -> tuple[Columns, int]:
    """Check a table and read its columns.

    Parameters
    ----------
    table
        With at least the columns `left_image`, `right_image` and `choice`.
    images
        The stimulus folder.
    names
        What each image file is called. Added to, so that a file has one name in all tables.
    strict
        Whether to refuse a table with a row that cannot be used.

    Returns
    -------
    columns
        Those of the table, and where each row is from, without the rows that cannot be used.
    left_out
        The number of these.

    Raises
    ------
    BadInput
        If an image is not found, or if more than half of the rows (with `strict`, one) cannot be used.
    """
    table = _without_our_names(table)
    columns = {name: list(table[name]) for name in table.columns if name}
    if "rt" in columns:
        columns["rt"] = _without_thousands(columns["rt"])
    faults: dict[int, Fault] = {}
    for name, read in _READERS.items():
        for row, cell in enumerate(columns.get(name, ())):
            try:
                columns[name][row] = read(cell)
            except BadInput as problem:
                wrong, _, advice = str(problem).partition("; ")
                faults.setdefault(row, Fault(table.lines[row], name, f"{cell[:40]!r} {wrong}", advice))
    found = find_images(table, images, faults)
    left_out = leave_out(table, faults, strict)
    kept = [row for row in range(len(table.rows)) if row not in faults]
    trials: Columns = {name: [column[row] for row in kept] for name, column in columns.items()}
    called = {cell: names.setdefault(file, str(PurePosixPath(name))) for cell, (name, file) in found.items()}
    for side in SIDES:
        trials[side] = [called[name] for name in trials[side]]
    if "rt" in trials:
        trials["rt"] = in_seconds(table, trials["rt"])
    trials |= {"source": [str(table.path)] * len(kept), "row": [table.lines[row] for row in kept]}
    return trials, left_out


def find_images(table: Table, images: ImageNames, faults: dict[int, Fault]) -> dict[str, tuple[str, str]]:
    """Look up every image once: its name in the table -> its name in the stimulus folder, and the file.

    Rows that have a fault are not looked at; those with one image or one image twice get one.

    Raises
    ------
    BadInput
        If an image is not found: that is no property of the row, but of the stimulus folder.
    """
    found: dict[str, tuple[str, str]] = {}
    for row, pair in enumerate(zip(table["left_image"], table["right_image"], strict=True)):
        for side, name in zip(SIDES, pair, strict=True):
            if row in faults or name in found:
                continue
            try:
                found[name] = images.find(name)
            except BadInput as problem:
                if not cells.is_nothing(name):
                    raise BadInput(f"{table.at(row, side)}: {problem}; check it, or stimuli=") from problem
                faults[row] = Fault(table.lines[row], side, "the image name is empty", "correct the row")
        if row not in faults and found[pair[0]][1] == found[pair[1]][1]:
            wrong = f"{pair[1][:100]!r} is the left image too"
            faults[row] = Fault(table.lines[row], "right_image", wrong, "correct the row")
    _say_what_was_found(table.path, {name: called for name, (called, _) in found.items()})
    return found


def _say_what_was_found(path: Path, called: Mapping[str, str]) -> None:
    """Name examples of images that were found under other names, unless all names start with the same folders."""
    examples: dict[str, str] = {}
    for name, own in called.items():
        if name != own:
            slashed = name.replace("\\", "/")
            start = slashed.removesuffix(f"/{own}")
            examples.setdefault("" if start == slashed else start, f"{shown(name)} is {shown(own)}")
    if len(examples) > 1 or "" in examples:
        number = sum(name != own for name, own in called.items())
        log.info("%s: image names taken for others: %d (%s)", path, number, _some([*examples.values()], ", "))


def leave_out(table: Table, faults: Mapping[int, Fault], strict: bool) -> int:
    """Count the rows that cannot be used and name them in a line, or refuse the table.

    Raises
    ------
    BadInput
        As `read_rows`.
    """
    unusable = [
        *faults.values(),
        *(Fault(line, None, wrong, "correct the row") for line, wrong in table.ragged),
    ]
    if not unusable:
        return 0
    unusable.sort(key=lambda fault: fault.line)
    rows = len(table.rows) + len(table.ragged)
    if strict or 2 * len(unusable) > rows:
        line, column, wrong, advice = unusable[0]
        place = (
            f"row {line}" if column is None else f"row {line}, column {shown(table.name_in_file(column))}:"
        )
        others = f" ({len(unusable)} of {rows} rows cannot be used)" if len(unusable) > 1 else ""
        raise BadInput(f"{table.path}: {place} {wrong}; {advice}{others}")
    lines: dict[str, list[str]] = {}
    for fault in unusable:
        lines.setdefault(fault.wrong, []).append(str(fault.line))
    reasons = [f"row{'s' * (len(where) > 1)} {_some(where, ', ')}: {wrong}" for wrong, where in lines.items()]
    log.warning("%s: %s; left out (%d of %d rows)", table.path, _some(reasons, "; "), len(unusable), rows)
    return len(unusable)


def _some(parts: Sequence[str], separator: str) -> str:
    return separator.join([*parts[:_MOST_NAMED], *["…"] * (len(parts) > _MOST_NAMED)])


def _without_thousands(times: list[str]) -> list[str]:
    """Take the commas out of milliseconds such as 1,225, which others such as 929 show to be no decimal commas."""
    plain = [cells.without_quotes(time) for time in times]
    are_whole = any(time.isdecimal() and int(time) >= 100 for time in plain)
    return [time.replace(",", "") if are_whole and _THOUSANDS.fullmatch(time) else time for time in plain]


def in_seconds(table: Table, times: list[float | None]) -> list[float | None]:
    """Take times that are too long for seconds for milliseconds, or else microseconds, and say so."""
    known = [time for time in times if time is not None]
    middle = float(np.median(known)) if known else 0.0
    if middle <= _LONGEST_MEDIAN:
        return times
    unit, size = ("milliseconds", 1e3) if middle <= _MOST_MILLISECONDS else ("microseconds", 1e6)
    column = shown(table.name_in_file("rt"))
    log.info("%s: the median of column %s is %g, so it was taken for %s", table.path, column, middle, unit)
    return [None if time is None else time / size for time in times]


def _without_our_names(table: Table) -> Table:
    """Rename columns that are called like those in which trials note where they are from."""
    for name in {"source", "row"}.intersection(table.columns):
        renamed = free_name(name, table.columns)
        log.info("%s: its column %s is called %s from here on", table.path, name, renamed)
        table = table.renamed({name: renamed})
    return table
