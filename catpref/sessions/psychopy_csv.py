"""The wide CSVs that PsychoPy and Pavlovia write: those of any experiment that shows two images a trial.

They have a row for every pass through any routine, and a column for everything that any of them noted, so that
what makes a trial has to be found:

- *The images* are in the columns `left_image` and `right_image`, else in the two whose names differ only in
  their side, such as `leftImage` and `rightImage`, `stim_L` and `stim_R`. Rows without images are those of
  other routines. Rows that a loop wrote whose name speaks of practice are left out.
- *The answer* is in a column `choice`, else in that of a keyboard (`key_resp.keys`), a mouse
  (`mouse.clicked_name`), or one of each. It is the component that was clicked, if its name says the side; the image
  that was clicked; 0 for left and 1 for right, or 1 and 2; an arrow; F or J; or, where only two keys were ever
  used, one under each hand, the key under that hand. With several keys or clicks in a trial, all must name one side.
- *The reaction time* is that of the keyboard or mouse with the answer, the first where there are several.
"""

import re
from dataclasses import replace
from itertools import compress
from pathlib import PurePosixPath

from catpref.errors import BadInput, shown
from catpref.sessions.cells import NO_PREFERENCE, is_nothing, number, without_quotes
from catpref.sessions.table import SIDES, Table
from catpref.stimuli.images import SUFFIXES

_WRITTEN_BY_PSYCHOPY = re.compile(r"\.(keys|clicked_\w+|started|stopped|thisN|thisTrialN|thisRepN)$")
_ANSWERS = (".keys", ".clicked_name", ".clicked_image")
_PRACTICE_LOOP = re.compile(r"(?i)[^.]*(prac|train|exampl|tutorial|demo|warm)[^.]*\.this(Rep|Trial)?N$")
_SIDE = re.compile(r"(?i:left|right)|(?:^|(?<=_))[lrLR](?=_|$)|(?<=[a-z0-9])[LR](?=$|_|[A-Z])")
_HANDS = ({*"qwertasdfgzxcv", "lshift", "lctrl", "lalt"}, {*"yuiophjklnm", "rshift", "rctrl", "ralt"})


def is_wide(table: Table) -> bool:
    """Return whether PsychoPy or PsychoJS wrote this table."""
    return any(_WRITTEN_BY_PSYCHOPY.search(name) for name in table.columns)


def pairs(table: Table) -> Table:
    """Keep the rows that show two images, in the columns `left_image` and `right_image`.

    Raises
    ------
    BadInput
        If more than one pair of columns may be that of the images. (Without any, no row is kept.)
    """
    sides = _image_columns(table)
    if sides is None:
        return replace(table, rows=[], lines=[])
    columns = [dict(zip(sides, SIDES, strict=True)).get(name, name) for name in table.columns]
    practice = [place for place, name in enumerate(columns) if _PRACTICE_LOOP.match(name)]
    places = [columns.index(side) for side in SIDES]
    shows = [
        not all(is_nothing(row[place]) for place in places)
        and all(is_nothing(row[place]) for place in practice)
        for row in table.rows
    ]
    return Table(table.path, columns, list(compress(table.rows, shows)), list(compress(table.lines, shows)))


def with_choices(table: Table) -> Table:
    """Add the columns `choice` (0, 1 or empty), `rt` and `trial` (the row's place), but for those there are.

    Parameters
    ----------
    table
        What `pairs` gave.

    Raises
    ------
    BadInput
        If no column has answers, or several that may be meant; if an answer is no side; or if two in one
        trial name different sides.
    """
    answers = _answers(table)
    reaction = {column: _times(table, column) for column in answers}
    choices, times = [], []
    for row in range(len(table.rows)):
        given = {column: sides[row] for column, sides in answers.items() if sides[row]}
        named = set().union(*given.values())
        unknown = named - {0, 1, NO_PREFERENCE}
        if unknown:
            column = next(column for column, sides in given.items() if sides & unknown)
            raise BadInput(
                f"{table.at(row, column)}: {str(unknown.pop())[:40]!r} is not a choice; use 0 (left), 1 (right),"
                " empty (no answer), or a key: left, right, F, J"
            )
        if len(named) > 1:
            raise BadInput(
                f"{table.at(row, ' and '.join(given))}: both sides are chosen; add a column choice with 0 = left,"
                " 1 = right"
            )
        choices.append("".join(map(str, named)))
        times.append(next((reaction[column][row] for column in given), ""))
    added = {"choice": choices}
    if "rt" not in table.columns and any(times):
        added["rt"] = times
    if "trial" not in table.columns:
        added["trial"] = [str(row) for row in range(len(table.rows))]
    return table.with_columns(**added)


def _image_columns(table: Table) -> tuple[str, str] | None:
    """Find the columns of the left and the right image; None where nothing looks like them."""
    named = set(SIDES).intersection(table.columns)
    if named:
        return SIDES if len(named) == 2 else None
    stems: dict[tuple[str, ...], dict[int, str]] = {}
    for name in table.columns:
        found = _SIDE.search(name)
        if found and "." not in name:  # those with a dot are a component's, such as mouse.leftButton
            stem = (name[: found.start()].lower(), name[found.end() :].lower(), str(len(found.group()) > 1))
            stems.setdefault(stem, {})[found.group().lower().startswith("r")] = name
    pairs = [(names[False], names[True]) for names in stems.values() if len(names) == 2]
    if len(pairs) > 1:
        pairs = [pair for pair in pairs if any(_looks_like_image(cell) for cell in table[pair[0]])]
    if len(pairs) > 1:
        raise BadInput(
            f"{table.path}: the images may be in {shown(' or '.join(' and '.join(pair) for pair in pairs[:4]), 300)};"
            f" name the right two {' and '.join(SIDES)}"
        )
    return pairs[0] if pairs else None


def _looks_like_image(cell: str) -> bool:
    return PurePosixPath(cell.strip()).suffix.lower() in SUFFIXES


Named = frozenset[float | str]
"""The sides that an answer names, 0 = left and 1 = right, no preference, and whatever in it is none of these."""


def _answers(table: Table) -> dict[str, list[Named]]:
    """Find the columns with answers, and what each of their cells names."""
    if "choice" in table.columns:
        return {"choice": _named(table, "choice")}
    columns = [name for name in table.columns if name.endswith(_ANSWERS)]
    if not columns:
        found = shown(", ".join(table.columns), 300)
        raise BadInput(
            f"{table.path}: the header has no column choice and none of keys or clicks; it has: {found}"
        )
    named = {column: _named(table, column) for column in columns}
    chosen: dict[str, list[Named]] = {}
    for ending in _ANSWERS:
        used = [name for name in columns if name.endswith(ending) and any(s & {0, 1} for s in named[name])]
        if len(used) > 1:
            raise BadInput(
                f"{table.path}: more than one of the columns {shown(', '.join(used), 300)} has answers (left, right,"
                " F, J); add a column choice with 0 = left, 1 = right"
            )
        chosen |= {name: named[name] for name in used}
    if not chosen and any(any(sides) for sides in named.values()):
        raise BadInput(
            f"{table.path}: none of the columns {shown(', '.join(columns), 300)} has answers (left, right, F, J); add"
            " a column choice with 0 = left, 1 = right"
        )
    return chosen


def _named(table: Table, column: str) -> list[Named]:
    items = {cell: _items(cell) for cell in set(table[column])}
    images = zip(*(map(str.strip, table[side]) for side in SIDES), strict=True)
    if column.endswith((".clicked_name", ".clicked_image")):  # other things may be clicked on, too
        return [
            frozenset(side for item in items[cell] if (side := _side_of_click(item, pair)) is not None)
            for cell, pair in zip(table[column], images, strict=True)
        ]
    items = {cell: [item.lower() for item in named] for cell, named in items.items()}
    meaning = _meaning_of_keys({item for named in items.values() for item in named}, column == "choice")
    sides = {cell: frozenset(meaning.get(item, item) for item in named) for cell, named in items.items()}
    return [sides[cell] for cell in table[column]]


def _side_of_click(item: str, pair: tuple[str, str]) -> int | None:
    if item in pair:
        return pair.index(item)
    found = _SIDE.search(item)
    return None if found is None else int(found.group().lower().startswith("r"))


def _meaning_of_keys(seen: set[str], digits_only: bool) -> dict[str, float]:
    """Return which side each of the keys stands for that were used in one column."""
    meaning: dict[str, float] = {"left": 0, "f": 0, "right": 1, "j": 1}
    numbers = {item: number(item) for item in seen}
    if 2 in numbers.values():
        low, high = 1, 2
    elif 0 in numbers.values() or digits_only:
        low, high = 0, 1
    else:  # a lone 1 may be either
        low, high = None, None
    for item, value in numbers.items():
        if value is not None and value in (low, high):
            meaning[item] = int(value == high)
        elif digits_only and value == NO_PREFERENCE:
            meaning[item] = NO_PREFERENCE
    if not seen & meaning.keys():
        left, right = (seen & hand for hand in _HANDS)
        if len(left) == len(right) == 1:
            meaning |= {left.pop(): 0, right.pop(): 1}
    return meaning


def _items(cell: str) -> list[str]:
    """Take apart a list as PsychoPy and PsychoJS write it."""
    if number(cell) is not None:  # perhaps with a decimal comma
        return [without_quotes(cell)]
    items = (without_quotes(item) for item in without_quotes(cell).split(","))
    return [item for item in items if not is_nothing(item)]


def _times(table: Table, column: str) -> list[str]:
    """Return the reaction times that stand beside the answers of a column, empty where there are none."""
    answer, _, kind = column.rpartition(".")
    times = f"{answer}.rt" if kind == "keys" else f"{answer}.time"
    if times not in table.columns:
        return [""] * len(table.rows)
    return [next(iter(_items(cell)), "") for cell in table[times]]
