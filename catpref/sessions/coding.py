"""Which side the cells of a column with answers name: keys, words, numbers, or the image that was chosen.

A coding is taken only where it can be told from the column: 0 and 1, or 1 and 2, but not a lone 1; of two letters,
one under each hand. What names no side is kept as it is written, so that it can be shown.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal
from urllib.parse import unquote

from catpref.errors import BadInput, shown
from catpref.sessions.cells import NO_PREFERENCE, is_nothing, number, without_quotes
from catpref.sessions.table import SIDES, Table
from catpref.sessions.words import IMAGE, KINDS, side_of, word_set, words
from catpref.stimuli.images import SUFFIXES

_HANDS = ({*"qwertasdfgzxcv", "lshift", "lctrl", "lalt"}, {*"yuiophjklnm", "rshift", "rctrl", "ralt"})
_AROUND = IMAGE | word_set("arrow button btn key side digit shift ctrl control alt the choice chose chosen")
_PAD = re.compile(r"(?:num|numpad|kp|np)_?(\d)")
_NO_HANDS = ({"l", "r"}, {"f", "m"})  # more likely the initials of left and right, female and male
_PAD_PAIRS = ({"4", "6"}, {"1", "3"}, {"7", "9"})

Kind = Literal["keys", "clicks", "values"]

Named = tuple[int | str | None, ...]
"""What each of a cell's items names: 0 = left, 1 = right; the item where it is no side; None for nothing."""


def items_of(cell: str) -> list[str]:
    """Take apart a list as PsychoPy and PsychoJS write it; no value is an empty text, which keeps its place."""
    if number(cell) is not None:  # perhaps with a decimal comma
        return [without_quotes(cell)]
    items = (without_quotes(item) for item in without_quotes(cell).split(","))
    return ["" if is_nothing(item) else item for item in items]


def looks_like_image(cell: str) -> bool:
    """Return whether a cell is the name of an image file."""
    return cell.strip().lower().endswith(tuple(SUFFIXES))


def named(
    table: Table,
    column: str,
    kind: Kind = "values",
    coding: Mapping[str, str] | None = None,
    lone: bool = False,
) -> list[Named]:
    """Return what the cells of a column name.

    Parameters
    ----------
    table
        With the columns `left_image` and `right_image`.
    column
        The one with answers.
    kind
        What the cells are: keys, of which l and r, a and b are letters, and no sides; names of what was clicked, of
        which others than the two images may be; or anything else.
    coding
        What stands for ``left``, ``right`` and ``none``, where the user said so.
    lone
        Whether 1 is known to be the right, although no other number occurs.

    Raises
    ------
    BadInput
        If a cell could be the image on one side and the word for the other.
    """
    items = {cell: items_of(cell) for cell in set(table[column])}
    seen = {item for listed in items.values() for item in listed if item}
    if coding is not None:
        meaning, none = _told(seen, coding)
    elif kind == "clicks":
        named_so = {one: side_of(words(one)) for one in seen if not looks_like_image(one)}
        meaning, none = named_so | _columns_of(table, seen), None
    else:
        columns = _columns_of(table, seen) if kind == "values" else {}
        meaning, none = meaning_of(seen, kind, columns, lone), None
    cells = list(zip(table[column], *(table[side] for side in SIDES), strict=True))
    numbers = {item for item in seen if item.isdigit()}
    are_images = kind == "values" and all(
        chosen_image(item, pair) is not None
        for cell, *pair in cells
        for item in numbers.intersection(items[cell])
    )
    found: list[Named] = []
    for row, (cell, *pair) in enumerate(cells):
        sides: list[int | str | None] = []
        for item in items[cell]:
            side = meaning.get(item)
            by_image = chosen_image(item, pair) if item and kind != "keys" and coding is None else None
            if item in numbers and not (are_images and (side is not None or not numbers <= {"0", "1", "2"})):
                by_image = None  # of images called 1 and 2, the number may be that of a side
            if None not in (by_image, side) and by_image != side and item not in pair:
                raise _ambiguous(table.at(row, column), item)
            side = side if by_image is None else by_image
            unknown = None if not item or kind == "clicks" or _bare(item) == none else item
            sides.append(unknown if side is None else side)
        found.append(tuple(sides))
    return found


def _ambiguous(place: str, item: str) -> BadInput:
    return BadInput(
        f"{place}: {shown(repr(item), 60)} is the image on one side and may stand for the other; name what it means "
        "with choices=left=VALUE,right=VALUE"
    )


def chosen_image(item: str, pair: Sequence[str]) -> int | None:
    """Return the side of the image that was chosen, by its path or else by its name; None if it is neither."""
    if pair[0] == pair[1]:
        return None
    if item in pair:
        return pair.index(item)
    stems = [_stem(name) for name in pair]
    return stems.index(_stem(item)) if stems[0] != stems[1] and _stem(item) in stems else None


@lru_cache(2**16)
def _stem(name: str) -> str:
    last = unquote(name.strip()).replace("\\", "/").rpartition("/")[2]
    return (last.rpartition(".")[0] if looks_like_image(last) else last).casefold()


def _columns_of(table: Table, seen: set[str]) -> dict[str, int]:
    """Return the sides of values that are what the file calls the columns of images."""
    columns = {table.name_in_file(side).lower(): place for place, side in enumerate(SIDES)}
    return {item: columns[item.lower()] for item in seen if item.lower() in columns}


def _told(seen: set[str], coding: Mapping[str, str]) -> tuple[dict[str, int], str | None]:
    """Return what values mean as the user said."""
    sides = {_bare(coding[side]): place for place, side in enumerate(("left", "right"))}
    meaning = {item: sides[_bare(item)] for item in seen if _bare(item) in sides}
    return meaning, _bare(coding["none"]) if "none" in coding else None


def meaning_of(
    seen: set[str], kind: Kind, columns: Mapping[str, int] | None = None, lone: bool = False
) -> dict[str, int]:
    """Return which side each of a column's values stands for; those without a side are left out.

    `columns` has the sides of values that are names of columns.
    """
    meaning = dict(columns or {})
    bare = {item: _bare(item) for item in seen - meaning.keys() if not looks_like_image(item)}
    of_letters = {"f": 0, "j": 1}
    for item, token in bare.items():
        is_word = len(token) > 1 or token != _code(item)
        side = side_of([token]) if len(token) > 1 or (is_word and kind != "keys") else of_letters.get(token)
        if side is not None:
            meaning[item] = side
    letters = {token for token in bare.values() if len(token) == 1 and token.isalpha()}
    if kind == "values" and not letters <= of_letters.keys():  # f may be female, or false
        meaning = {item: side for item, side in meaning.items() if bare.get(item) not in of_letters}
    meaning |= _pad(seen)
    if any(bare.get(item) not in of_letters for item in meaning):
        return meaning
    tokens = set(bare.values())
    for left, right in () if kind == "keys" else (KINDS[0], KINDS[1], KINDS[4]):
        if tokens & left and tokens & right:
            return {item: int(token in right) for item, token in bare.items() if token in left | right}
    hands = [tokens & hand for hand in _HANDS]
    if all(len(hand) == 1 for hand in hands) and letters not in _NO_HANDS:
        return {item: int(token in hands[1]) for item, token in bare.items() if token in hands[0] | hands[1]}
    return meaning or _digits(bare, lone)


def _pad(seen: set[str]) -> dict[str, int]:
    """Return the sides of keys of the number pad, where two of one row, left and right of its middle, were used."""
    pad = {item: found[1] for item in seen if (found := _PAD.fullmatch(item.lower()))}
    digits = set(pad.values())
    if digits not in _PAD_PAIRS and not (digits and digits <= _PAD_PAIRS[0]):
        return {}
    return {item: int(digit in "369") for item, digit in pad.items()}


def _digits(bare: Mapping[str, str], lone: bool) -> dict[str, int]:
    """Return the sides of 0 and 1, or of 1 and 2; none where there are others, or a 1 alone may be either."""
    numbers = {item: value for item, token in bare.items() if (value := number(token)) is not None}
    if lone:
        numbers = {item: value for item, value in numbers.items() if value != NO_PREFERENCE}
    values = {*numbers.values()}
    if values and values <= {1, 2} and 2 in values:
        first = 1
    elif values and values <= {0, 1} and (0 in values or lone):
        first = 0
    else:
        return {}
    return {item: int(value != first) for item, value in numbers.items() if item.strip()[0] not in "+-"}


@lru_cache(2**16)
def _bare(item: str) -> str:
    """Return the one word of an item that is not such as image, key or arrow: of ``Image A``, a; else the item."""
    code, value = _code(item), number(item)
    if value is not None:
        return code if code[:1] in "+-" else f"{value:g}"
    said = [word for word in words(item) if word not in _AROUND]
    return said[0] if len(said) == 1 else code


def _code(item: str) -> str:
    """Return an item in lower case; of a browser's code of a key, such as ``KeyF``, the key."""
    item = item.strip()
    return re.sub(r"^(?:Key|Digit)(?=[A-Z0-9]$)", "", item).lower()
