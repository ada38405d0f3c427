"""What the user says of a file's columns and values: ``left=imgL,right=imgR,choice=resp`` and ``left=1,right=2``."""

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from catpref.errors import BadInput, shown
from catpref.sessions.cells import number
from catpref.sessions.file_kinds import read_file, text_of
from catpref.sessions.table import SIDES, Table, free_name

NAMES = {"left": SIDES[0], "right": SIDES[1], "choice": "choice", "rt": "rt", "participant": "participant"}
"""What may be named, and what catpref calls the column."""

_VALUES = ("left", "right", "none")

AsPython = str | Path | Mapping[str, object]
"""Columns or values as a function takes them: text, a TOML file, or a dictionary."""


@dataclass(frozen=True)
class Asked:
    """What the user said: `columns` by what they are, and the values that stand for `left`, `right` and `none`."""

    columns: Mapping[str, str]
    choices: Mapping[str, str] | None

    def renamed(self, table: Table) -> Table:
        """Call the images', times' and participants' columns as catpref does; the answers' keeps its name.

        Raises
        ------
        BadInput
            If there is no such column.
        """
        for what, column in self.columns.items():
            if column not in table.columns:
                raise BadInput(f"{table.path}: columns={what}={shown(column)}: no such column; {has(table)}")
        own = {column: NAMES[what] for what, column in self.columns.items() if what != "choice"}
        others = {name: free_name(name, table.columns) for name in {*own.values()} - {*own}}
        return table.renamed({**others, **own})


NOTHING = Asked({}, None)


def asked(columns: AsPython | None, choices: AsPython | None) -> Asked:
    """Read what the user said of the columns of files.

    Parameters
    ----------
    columns
        ``"left=imgL,right=imgR,choice=resp"`` with any of left, right, choice, rt and participant; the same as a
        dictionary; or a TOML file with tables ``[columns]`` and ``[choices]``.
    choices
        ``"left=1,right=2"``, if need be with ``none=0``, or the same as a dictionary.

    Raises
    ------
    BadInput
        If it cannot be understood, or the file cannot be read.
    """
    is_file = isinstance(columns, Path) or (isinstance(columns, str) and columns.lower().endswith(".toml"))
    if is_file:
        tables = _of_file(Path(str(columns)))
        columns, choices = tables.get("columns"), choices or tables.get("choices")
    named = _entries("columns", columns, tuple(NAMES))
    values = _entries("choices", choices, _VALUES)
    if values and not {"left", "right"} <= values.keys():
        raise BadInput("choices=: needs what stands for both sides, such as choices=left=1,right=2")
    if len({*values.values()}) < len(values) or len({*named.values()}) < len(named):
        raise BadInput(f"{'choices' if values else 'columns'}=: names one twice")
    return Asked(named, values or None)


def _of_file(path: Path) -> dict[str, Mapping[str, object]]:
    try:
        tables = tomllib.loads(text_of(path, read_file(path)))
    except tomllib.TOMLDecodeError as problem:
        raise BadInput(f"{path}: is no TOML ({problem}); write tables [columns] and [choices]") from problem
    for name, entries in tables.items():
        if name not in ("columns", "choices") or not isinstance(entries, dict):
            raise BadInput(f"{path}: {shown(name)} is no table [columns] or [choices]; correct it")
    return tables


def _entries(argument: str, said: object, known: tuple[str, ...]) -> dict[str, str]:
    if said is None:
        return {}
    if isinstance(said, Mapping):
        found = {str(name): str(value).strip() for name, value in said.items()}
    else:  # a column's name may hold a comma
        parts = re.split(rf"(?:^|,)\s*({'|'.join(known)})=", str(said))
        found = (
            dict(zip(parts[1::2], map(str.strip, parts[2::2]), strict=True)) if not parts[0].strip() else {}
        )
    if not found or not found.keys() <= {*known} or not all(found.values()):
        example = "left=imgL,right=imgR,choice=resp" if argument == "columns" else "left=1,right=2"
        raise BadInput(
            f"{argument}={shown(str(said))}: is not understood; name {', '.join(known)}, as in {argument}={example}"
        )
    return found


def has(table: Table) -> str:
    """Return which columns a table has, for a complaint."""
    return "it has: " + (
        shown(", ".join(filter(None, map(table.name_in_file, table.columns))), 300) or "no names"
    )


def option(argument: str, **named: str | None) -> str:
    """Return an argument as it may be typed, with its values as far as known: ``choices=left=1,right=2``."""
    text = ",".join(f"{name}={value or 'COLUMN'}" for name, value in named.items())
    is_plain = re.fullmatch(r"[\w.,=-]*", text)
    return f"{argument}={text if is_plain else repr(text)}"


def naming_sides(values: Collection[str]) -> str:
    """Return how to say which of a column's values stand for the sides, as far as it can be guessed."""
    values = sorted(values)
    none = {"none": values[0]} if len(values) == 3 and number(values[0]) in (0, -1) else {}
    left, right = values[-2:] if len(values) in (2, 2 + len(none)) else ("VALUE", "VALUE")
    if len(values) == 3 and [number(value) for value in values] == [1, 2, 3]:
        left, right = values[:2]  # a stray 3; other values are left out
    said = shown(", ".join(map(repr, values)), 80)
    return f"of {said}, name what stands for a side: {option('choices', left=left, right=right, **none)}"
