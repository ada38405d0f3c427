"""Tables that say which image won, and not on which side it was: winner and loser, or how often each of two won.

Such trials get sides by a fixed rule that half of the winners are right, and a column `sides_known` with ``no``, so
that no side bias is estimated from them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from catpref.errors import BadInput, shown
from catpref.sessions.cells import is_nothing, number
from catpref.sessions.table import SIDES, Table
from catpref.sessions.words import IMAGE, KINDS, side_of, words

SIDES_KNOWN = "sides_known"
_MOST = 2**20  # trials that one table may stand for
_WON = (
    ({"winner"}, {"loser"}), ({"winning"}, {"losing"}), ({"won"}, {"lost"}), ({"chosen"}, {"unchosen"}),
    ({"chosen"}, {"rejected"}), ({"chosen"}, {"not", "chosen"}), ({"selected"}, {"unselected"}),
    ({"selected"}, {"rejected"}), ({"preferred"}, {"rejected"}),
)  # fmt: skip
_COUNTS = (
    {"wins"},
    {"win"},
    {"wins", "n"},
    {"n"},
    {"votes"},
    {"count"},
    {"n", "chosen"},
    {"times", "chosen"},
)
_REPEATED = ({"count"}, {"freq"}, {"frequency"}, {"wins"}, {"n", "wins"})


def sides_known(trials: pd.DataFrame) -> bool:
    """Return whether it is known of every trial on which side its images were."""
    return SIDES_KNOWN not in trials or "no" not in set(trials[SIDES_KNOWN])


def winner_columns(table: Table) -> tuple[str, str] | None:
    """Find the columns with the image that won and the one that lost; None where there are none."""
    said = {name: frozenset(words(name)) - IMAGE - {"id"} for name in table.columns}
    for won, lost in _WON:
        columns = [[name for name, found in said.items() if found == these] for these in (won, lost)]
        if all(len(found) == 1 for found in columns):
            return columns[0][0], columns[1][0]
    return None


def of_winners(table: Table, columns: tuple[str, str]) -> Table:
    """Return one row a choice, with sides by the fixed rule."""
    counts = [name for name in table.columns if set(words(name)) in _REPEATED]
    if len(counts) == 1:
        table = _repeated(table, [_count(table, row, counts[0]) for row in range(len(table.rows))])
    kept = [
        not (is_nothing(winner) and is_nothing(loser))
        for winner, loser in zip(*(table[one] for one in columns), strict=True)
    ]
    table = _repeated(table, [int(one) for one in kept])
    called = {**table.called, **dict.fromkeys(SIDES, " or ".join(map(table.name_in_file, columns)))}
    return replace(_with_sides(table, table[columns[0]], table[columns[1]]), called=called)


def count_columns(table: Table) -> tuple[str, str] | None:
    """Find the columns with how often the left, or first, image won, and how often the right, or second."""
    found: dict[tuple[int, bool], dict[int, str]] = {}
    for name in table.columns:
        said = words(name)
        for kind, sides in enumerate(KINDS):
            for side in (0, 1):
                told = [word for word in said if word in sides[side]]
                if len(told) == 1 and {*said} - {*told} - IMAGE in _COUNTS:
                    found.setdefault((kind, len(told[0]) > 1), {}).setdefault(side, name)
    pairs = {(pair[0], pair[1]) for pair in found.values() if len(pair) == 2}
    return pairs.pop() if len(pairs) == 1 else None


def of_counts(table: Table, columns: tuple[str, str]) -> Table:
    """Return a row for every win; `table` has `left_image` and `right_image`."""
    wins = [[_count(table, row, name) for row in range(len(table.rows))] for name in columns]
    choices = [str(side) for row in zip(*wins, strict=True) for side in (0, 1) for _ in range(row[side])]
    table = _repeated(table, [left + right for left, right in zip(*wins, strict=True)])
    if side_of(words(columns[0])) is not None:
        return table.with_columns(choice=choices)
    pairs = list(zip(table[SIDES[0]], table[SIDES[1]], map(int, choices), strict=True))
    won = [(left, right)[choice] for left, right, choice in pairs]
    return _with_sides(table, won, [(right, left)[choice] for left, right, choice in pairs])


def _count(table: Table, row: int, column: str) -> int:
    cell = table.rows[row][table.columns.index(column)]
    count = 0.0 if is_nothing(cell) else number(cell)
    if count is None or count < 0 or not count.is_integer():
        raise BadInput(f"{table.at(row, column)}: {shown(repr(cell), 60)} is no number of wins; correct it")
    return int(count)


def _repeated(table: Table, times: Sequence[int]) -> Table:
    if sum(times) > _MOST:
        raise BadInput(f"{table.path}: stands for over {_MOST} choices; give a sample of them")
    return table.rows_at(place for place, count in enumerate(times) for _ in range(count))


def _with_sides(table: Table, won: Sequence[str], lost: Sequence[str]) -> Table:
    """Put half of the winners on the right: those rows whose hash comes first."""
    keys = [f"{place}\0{a}\0{b}".encode() for place, (a, b) in enumerate(zip(won, lost, strict=True))]
    order = sorted(range(len(keys)), key=lambda place: hashlib.sha256(keys[place]).digest())
    right = {*order[: len(order) // 2]}
    sides = [
        (b, a, "1") if place in right else (a, b, "0")
        for place, (a, b) in enumerate(zip(won, lost, strict=True))
    ]
    left_image, right_image, choice = (
        (list(column) for column in zip(*sides, strict=True)) if sides else ([], [], [])
    )
    return table.with_columns(
        left_image=left_image, right_image=right_image, choice=choice, **{SIDES_KNOWN: ["no"] * len(sides)}
    )
