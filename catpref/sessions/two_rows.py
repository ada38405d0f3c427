"""Tables with two rows a trial, one for each image, as statistics programs like them."""

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from catpref.errors import shown
from catpref.sessions.cells import is_nothing, without_quotes
from catpref.sessions.table import SIDES, Table
from catpref.stimuli.images import SUFFIXES

log = logging.getLogger(__name__)

_TRIAL = {"trial", "pair"}
_WHOSE = {"participant", "subject", "observer", "session", "block", "run"}
_SIDE = {"side", "position", "location"}
_MARK = {"chosen", "choice", "chose", "selected", "picked", "preferred", "won", "winner", "win", "response"}
_SIDES = {"left": 0, "l": 0, "right": 1, "r": 1}
_MARKS = {"1": 1, "1.0": 1, "true": 1, "yes": 1, "0": 0, "0.0": 0, "false": 0, "no": 0}
_CHOICES = {(1, 0): "0", (0, 1): "1", (0, 0): "", (1, 1): "left+right"}


def joined(table: Table) -> Table:
    """Return a table with one row a trial, where two rows show the images of one; any other table as it is.

    Such a table has one column of images and one that numbers trials or pairs (within participants, sessions and
    blocks). Another tells the side of each image, or marks the image that was chosen by 1 and 0 or true and false.
    The images are in `left_image` and `right_image` of the result; where no column tells sides, in `winner` and
    `loser`. Whatever else the two rows say is taken from the first that says it. Rows without a partner are `ragged`.
    """
    image = [name for name in table.columns if _are_images(table[name])]
    number = _named(table, _TRIAL)
    side, mark = _column_of(table, _SIDE, _SIDES), _column_of(table, _MARK, _MARKS)
    if len(image) != 1 or not number or (side is None and mark is None):
        return table
    images = table[image[0]]
    sides = _meant(table, side, _SIDES)
    marked = _meant(table, mark, _MARKS)
    trials: dict[tuple[str, ...], list[int]] = {}
    for row, key in enumerate(zip(*(table[name] for name in [*_named(table, _WHOSE), *number]), strict=True)):
        if not is_nothing(images[row]):
            trials.setdefault(key, []).append(row)
    order = (
        sides if side is not None else [not one for one in marked]
    )  # the image on the left, or the chosen one
    pairs, odd = [], []
    for rows in (sorted(rows, key=order.__getitem__) for rows in trials.values()):
        whole = len(rows) == 2 and order[rows[0]] < order[rows[1]]
        (pairs if whole else odd).append(rows)
    if len(pairs) <= len(odd):
        return table
    names = ("winner", "loser") if side is None else SIDES
    added = {name: [images[rows[place]] for rows in pairs] for place, name in enumerate(names)}
    if side is not None and mark is not None:
        added["choice"] = [_CHOICES[marked[left], marked[right]] for left, right in pairs]
    log.info("%s: two rows a trial, told by column %s, were joined", table.path, shown(", ".join(number)))
    ragged = [(table.lines[row], "is not one of two rows of a trial") for rows in odd for row in rows]
    rows = [
        [_first(table.rows[row][place] for row in sorted(pair)) for place in range(len(table.columns))]
        for pair in pairs
    ]
    lines = [table.lines[min(pair)] for pair in pairs]
    joint = replace(table, rows=rows, lines=lines, ragged=[*table.ragged, *ragged]).with_columns(**added)
    return _without(joint, {image[0], side, mark} - {*added})


def _first(cells: Iterable[str]) -> str:
    return next((cell for cell in cells if not is_nothing(cell)), "")


def _without(table: Table, columns: Collection[str | None]) -> Table:
    keep = [place for place, name in enumerate(table.columns) if name not in columns]
    rows = [[row[place] for place in keep] for row in table.rows]
    return replace(table, columns=[table.columns[place] for place in keep], rows=rows)


def _named(table: Table, words: set[str]) -> list[str]:
    """Return the columns whose names have one of some words, such as ``trialNumber`` or ``trial_no``."""
    return [
        name
        for name in table.columns
        if words & {word.lower() for word in re.findall("[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}
    ]


def _column_of(table: Table, words: set[str], values: Mapping[str, int]) -> str | None:
    """Return the column of such a name that holds such values alone."""
    return next(
        (name for name in _named(table, words) if {_plain(cell) for cell in table[name]} <= {*values, ""}),
        None,
    )


def _meant(table: Table, column: str | None, values: Mapping[str, int]) -> list[int]:
    return [
        0 if column is None else values.get(_plain(cell), 0) for cell in table[column or table.columns[0]]
    ]


def _plain(cell: str) -> str:
    return "" if is_nothing(cell) else without_quotes(cell).lower()


def _are_images(cells: list[str]) -> bool:
    names = [without_quotes(cell) for cell in cells if not is_nothing(cell)]
    return bool(names) and all(PurePosixPath(name).suffix.lower() in SUFFIXES for name in names)
