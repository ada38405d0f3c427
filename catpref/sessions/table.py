"""The cells of a table, whatever its encoding, line ends and separator, and whichever program wrote it."""

import csv
import io
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from catpref.errors import BadInput, shown
from catpref.sessions.cells import is_nothing, without_quotes
from catpref.sessions.file_kinds import (
    Rows,
    check_size,
    is_json,
    is_workbook,
    json_rows,
    read_file,
    refuse_archives,
    text_of,
    workbook_rows,
)

_LONGEST_HEADER = 2**16
_SEPARATORS = ",;\t|"
_SEPARATOR_LINE = re.compile(r"""(?i)\s*"?sep=([^\w\s"']|\t)[^\r\n]*""")

SIDES = ("left_image", "right_image")


@dataclass(frozen=True)
class Table:
    """Named columns of text, and the line of the file on which each row starts.

    `ragged` has the lines of rows with more or fewer cells than the header, and what is wrong with each; `called`
    what the file calls columns that have another name here.
    """

    path: Path
    columns: list[str]
    rows: list[list[str]]
    lines: list[int]
    ragged: list[tuple[int, str]] = field(default_factory=list)
    called: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, column: str) -> list[str]:
        place = self.columns.index(column)
        return [row[place] for row in self.rows]

    def frame(self) -> pd.DataFrame:
        """Return the cells as text."""
        return pd.DataFrame(self.rows, columns=pd.Index(self.columns), dtype=object)

    def at(self, row: int, column: str) -> str:
        """Return where a cell is, for a complaint."""
        return f"{self.path}: row {self.lines[row]}, column {shown(self.name_in_file(column))}"

    def name_in_file(self, column: str) -> str:
        """Return what the file calls a column."""
        return self.called.get(column, column)

    def renamed(self, names: Mapping[str, str]) -> "Table":
        """Call columns otherwise: `names` has the old name -> the new one."""
        called = {new: self.name_in_file(old) for old, new in names.items()}
        columns = [names.get(name, name) for name in self.columns]
        return replace(self, columns=columns, called={**self.called, **called})

    def rows_at(self, places: Iterable[int]) -> "Table":
        """Keep the rows at some places, in this order."""
        places = list(places)
        rows, lines = ([listed[place] for place in places] for listed in (self.rows, self.lines))
        return replace(self, rows=rows, lines=lines)

    def without(self, columns: Collection[str]) -> "Table":
        """Leave columns out."""
        return self.columns_at([place for place, name in enumerate(self.columns) if name not in columns])

    def columns_at(self, places: Sequence[int]) -> "Table":
        """Keep the columns at some places, in this order."""
        rows = [[row[place] for place in places] for row in self.rows]
        return replace(self, columns=[self.columns[place] for place in places], rows=rows)

    def with_columns(self, **columns: Sequence[str]) -> "Table":
        """Replace columns, or add them at the end."""
        kept = [place for place, name in enumerate(self.columns) if name not in columns]
        rows = [
            [*(row[place] for place in kept), *added]
            for row, added in zip(self.rows, zip(*columns.values(), strict=True), strict=True)
        ]
        return replace(self, columns=[*(self.columns[place] for place in kept), *columns], rows=rows)


def table_of(frame: pd.DataFrame) -> Table:
    """Return the cells of a data frame as a file would have them; its first row is in line 2."""
    text = frame.astype(object).where(frame.notna(), "")
    rows = [[str(cell) for cell in row] for row in text.itertuples(index=False, name=None)]
    return Table(Path("DataFrame"), list(map(str, frame.columns)), rows, list(range(2, len(rows) + 2)))


def free_name(name: str, taken: Collection[str]) -> str:
    """Return a name for a column of a file that is called as one of catpref's own."""
    name = f"{name}_in_file"
    while name in taken:
        name += "_"
    return name


def read_table(path: Path, expected: Collection[str]) -> Table:
    """Read a CSV or TSV file, a workbook or a list in JSON.

    The first row that is not blank is the header, unless it is a line ``sep=;``, by which Excel tells the separator;
    further blank rows are left out.

    Parameters
    ----------
    path
        The file.
    expected
        Columns that it may have. They tell the separator, where the header has several of ``,;|`` and tab, and the
        sheet of a workbook.

    Raises
    ------
    BadInput
        If the file is missing, not an ordinary file, larger than 64 MiB, or of another kind; is empty or has too many
        cells; its quotes are broken; or most rows have more or fewer cells than the header.
    """
    rows = _rows(path, expected)
    _, columns = next(rows, (1, []))
    table = Table(path, [name.strip() for name in columns], [], [], [])
    for line, cells in rows:
        check_size(path, len(table.rows) + 1, len(columns))
        cells = _as_wide_as(table.columns, cells)
        if len(cells) == len(columns):
            table.lines.append(line)
            table.rows.append(cells)
        else:
            table.ragged.append((line, f"has {len(cells)} cells, but the header has {len(columns)}"))
    if len(table.ragged) > len(table.rows):
        line, wrong = table.ragged[0]
        raise BadInput(f"{path}: row {line} {wrong}; the first row must name every column")
    return _without_copies(table)


def _rows(path: Path, expected: Collection[str]) -> Rows:
    data = read_file(path)
    refuse_archives(path, data)
    if is_workbook(data):
        return workbook_rows(path, data, expected)
    text = text_of(path, data)
    return json_rows(path, text) if is_json(path, text) else _csv_rows(path, text, expected)


def _csv_rows(path: Path, text: str, expected: Collection[str]) -> Rows:
    """Return every row that is not blank, the header first, with the line on which it starts."""
    told = _SEPARATOR_LINE.match(text)
    first = re.compile(r"[^\r\n]+").search(text, told.end() if told else 0)
    if first is None:
        raise BadInput(f"{path}: is empty; a session has the columns left_image, right_image and choice")
    header = first.group()
    if len(header) > _LONGEST_HEADER:
        raise BadInput(f"{path}: the header is too long; give the CSV of the choices")

    def fitness(separator: str) -> tuple[int, int]:
        names = [without_quotes(name) for name in header.split(separator)]
        return len(set(expected).intersection(names)), len(names)

    separator = told[1] if told else max(_SEPARATORS, key=fitness)
    reader = csv.reader(
        io.StringIO(text[first.start() :], newline=""),
        delimiter=separator,
        skipinitialspace=f"{separator} " in header,
        strict=True,
    )
    before = len(re.findall("\r\n|\r|\n", text[: first.start()]))
    line = 1 + before
    try:
        for cells in reader:
            if any(cells):
                yield line, cells
            line = reader.line_num + 1 + before
    except csv.Error as problem:
        raise BadInput(f"{path}: row {line} cannot be read as CSV ({problem}); check its quotes") from problem


def _as_wide_as(columns: Sequence[str], cells: list[str]) -> list[str]:
    """Add or remove empty cells at the end of a row, where the header has no name for them."""
    width = len(columns)
    if not any(columns[len(cells) :]):
        cells = cells + [""] * (width - len(cells))
    return cells if any(cell.strip() for cell in cells[width:]) else cells[:width]


def _without_copies(table: Table) -> Table:
    """Keep one of the columns that have the same name; no two may differ, unless one has no value at all."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(table.columns):
        places.setdefault(name or f"unnamed {place}", []).append(place)
    keep: list[int] = []
    for same in places.values():
        if same[1:]:
            same = [place for place in same if any(not is_nothing(row[place]) for row in table.rows)] or same[
                :1
            ]
        first, *others = same
        if any(row[place] != row[first] for place in others for row in table.rows):
            name = shown(table.columns[first])
            raise BadInput(f"{table.path}: the header has two columns {name}; rename or remove one")
        keep.append(first)
    return table if len(keep) == len(table.columns) else table.columns_at(sorted(keep))
