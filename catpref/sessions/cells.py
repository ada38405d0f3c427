"""What the cells of a session's table say, in the spellings of PsychoPy, spreadsheets, BIDS, R and pandas."""

import math
import re
from typing import Any

from catpref.errors import BadInput

_NOTHING = {"", "none", "--", "undefined", "null", "na", "n/a", "nan"}
"""What PsychoPy, PsychoJS, BIDS, R and pandas write for no value."""

YES, NO = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no"}
"""How columns that mark rows say so, in lower case."""

NO_PREFERENCE = 0.5
"""The choice that stands for a third answer, where a session offers one."""


def without_quotes(cell: str) -> str:
    """Take a cell out of the list or quotes that PsychoPy or a spreadsheet may have written it in."""
    return cell.strip("[]'\" ")


def is_nothing(cell: str) -> bool:
    """Return whether a cell stands for no value."""
    return without_quotes(cell).lower() in _NOTHING


def number(cell: str) -> float | None:
    """Read a decimal number, with a point or comma, in scientific notation or not; None if it is none."""
    text = without_quotes(cell)
    if not re.fullmatch(r"[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]{1,3})?", text):
        return None
    return float(text.replace(",", "."))


def choice(cell: str) -> float | None:
    """Read a choice: 0 = left, 1 = right, 0.5 = no preference, None = no answer."""
    value = number(cell)
    if cell.strip() and (value not in (0, NO_PREFERENCE, 1) or cell.strip().startswith(("-", "+"))):
        raise BadInput("is not a choice; use 0 (left), 1 (right), empty (no answer), 0.5 (no preference)")
    return NO_PREFERENCE if value == NO_PREFERENCE else None if value is None else int(value)


def scrambled_side(cell: str) -> str:
    """Read which side of a catch trial was scrambled; empty for a real trial."""
    side = "" if is_nothing(cell) else without_quotes(cell).lower()
    if side not in ("", "left", "right"):
        raise BadInput("is no side; name the scrambled one, left or right, and leave real trials empty")
    return side


def seconds(cell: str) -> float | None:
    """Read a time."""
    value = number(cell)
    if not is_nothing(cell) and (value is None or math.isinf(value)):
        raise BadInput("is not a time in seconds; correct or empty it")
    return value


def label(cell: str) -> str | None:
    """Read a text without the blanks around it."""
    return None if is_nothing(cell) else cell.strip()


def whole_numbers(column: list[Any]) -> list[Any]:
    """Turn '3', '3.0' and '' into whole numbers and None, if the column has nothing else."""
    values: dict[str, int] = {}
    for cell in {*column} - {None}:
        value = None if is_nothing(cell) else number(cell)
        if value is not None and value.is_integer() and 0 <= value < 1e15:
            values[cell] = int(value)
        elif not is_nothing(cell):
            return column
    return [values.get(cell) for cell in column]
