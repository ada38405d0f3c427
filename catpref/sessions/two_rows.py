"""Tables with two rows a trial, one for each image, as statistics programs like them."""

import logging
from collections.abc import Collection, Iterable
from dataclasses import replace

from catpref.errors import shown
from catpref.sessions import tidy
from catpref.sessions.cells import NO, YES, is_nothing
from catpref.sessions.table import SIDES, Table
from catpref.sessions.words import side_of, word_set, words

log = logging.getLogger(__name__)

_TRIAL = ({"trial"}, {"pair"}, {"question"})
_WHOSE = ({"session"}, {"block"}, {"run"})
_WON = ({"won"}, {"win"})
_COUNTED = word_set("id nr no number num n index")
_CHOICES = {(True, False): "0", (False, True): "1", (False, False): "", (True, True): "left+right"}


def joined(table: Table) -> Table | None:
    """Return a table with one row a trial, where two rows show the images of one; None where a table is no such.

    Such a table has one column of images and one that numbers trials or pairs (within participants, sessions and
    blocks). Another tells the side of each image, or marks the image that was chosen by 1 and 0 or true and false.
    The images are in `left_image` and `right_image` of the result; where no column tells sides, in `winner` and
    `loser`. Whatever else the two rows say is taken from the first that says it. Rows without a partner are `ragged`.
    """
    of_images = tidy.columns_of_images(table)
    number = _called(table, _TRIAL)
    marks = _marks(table)
    if len(of_images) != 1 or not number or len({*marks.values()}) > 1:
        return None
    image, images = of_images[0], table[of_images[0]]
    mark, won = next(iter(marks.items()), ("", ()))
    trials = _trials(table, images, number[:1])
    sides = _sides(table, trials)
    order = sides or [int(not one) for one in won]  # the image on the left comes first, else the chosen one
    pairs, odd = [], []
    for rows in trials if order else ():
        place = {order[row]: row for row in rows}
        whole = len(rows) == 2 and place.keys() == {0, 1}
        (pairs if whole else odd).append([place[0], place[1]] if whole else rows)
    if len(pairs) <= len(odd):
        return None
    names = SIDES if sides else ("winner", "loser")
    added = {name: [images[rows[place]] for rows in pairs] for place, name in enumerate(names)}
    called: dict[str, str] = {name: image for name in names}
    if sides and won:
        added["choice"] = [_CHOICES[won[left], won[right]] for left, right in pairs]
        called["choice"] = mark
    log.info(
        "%s: two rows a trial, told by column %s, were joined: images = %s%s",
        table.path, shown(number[0]), shown(image), f", chosen = {shown(mark)}" * bool(mark),
    )  # fmt: skip
    ragged = [(table.lines[row], "is not one of two rows of a trial") for rows in odd for row in rows]
    rows = [
        [_first(table.rows[row][place] for row in sorted(pair)) for place in range(len(table.columns))]
        for pair in pairs
    ]
    joint = replace(
        table, rows=rows, lines=[table.lines[min(pair)] for pair in pairs],
        ragged=[*table.ragged, *ragged], called={**table.called, **called},
    )  # fmt: skip
    return joint.with_columns(**added).without({image, *marks} - {*added})


def _called(table: Table, names: Collection[set[str]]) -> list[str]:
    return [name for name in table.columns if {*words(name)} - _COUNTED in names]


def _marks(table: Table) -> dict[str, tuple[bool, ...]]:
    """Return the columns that mark images as chosen, and which they mark."""
    columns = dict.fromkeys([*tidy.answer_columns(table), *_called(table, _WON)])
    cells = {
        name: ["" if is_nothing(cell) else cell.strip().lower() for cell in table[name]] for name in columns
    }
    return {
        name: tuple(cell in YES for cell in listed)
        for name, listed in cells.items()
        if not YES.isdisjoint(listed) and {*listed} <= YES | NO | {""}
    }


def _trials(table: Table, images: Iterable[str], number: Iterable[str]) -> list[list[int]]:
    """Return the rows with images of each trial."""
    whose = [*filter(None, [tidy.participant_column(table)]), *_called(table, _WHOSE)]
    trials: dict[tuple[str, ...], list[int]] = {}
    for row, (image, *key) in enumerate(
        zip(images, *(table[name] for name in [*whose, *number]), strict=True)
    ):
        if not is_nothing(image):
            trials.setdefault(tuple(key), []).append(row)
    return list(trials.values())


def _sides(table: Table, trials: Collection[list[int]]) -> list[int | None] | None:
    """Return the side of each row's image, by the one column that tells apart the two rows of most trials."""
    columns = ([side_of(words(cell)) for cell in table[name]] for name in table.columns)
    told = [
        sides
        for sides in columns
        if 2 * sum({sides[row] for row in rows} == {0, 1} for rows in trials) > len(trials)
    ]
    return told[0] if len(told) == 1 else None


def _first(cells: Iterable[str]) -> str:
    return next((cell for cell in cells if not is_nothing(cell)), "")
