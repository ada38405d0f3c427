"""The cells of a CSV or TSV file, whatever its encoding, line ends and separator."""

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from catpref._io.reading import read_bytes
from catpref.errors import BadInput, shown
from catpref.sessions.cells import without_quotes

_LARGEST_FILE = 64 * 2**20  # bytes; a wide CSV of 20,000 trials has about 20 MiB
_LONGEST_HEADER = 2**16
_MOST_CELLS = 2**23  # a wide CSV of 20,000 trials and 400 columns
_SEPARATORS = ",;\t"

SIDES = ("left_image", "right_image")


@dataclass(frozen=True)
class Table:
    """Named columns of text, and the line of the file on which each row starts."""

    path: Path
    columns: list[str]
    rows: list[list[str]]
    lines: list[int]

    def __getitem__(self, column: str) -> list[str]:
        place = self.columns.index(column)
        return [row[place] for row in self.rows]

    def frame(self) -> pd.DataFrame:
        """Return the cells as text."""
        return pd.DataFrame(self.rows, columns=pd.Index(self.columns), dtype=object)

    def at(self, row: int, column: str) -> str:
        """Return where a cell is, for a complaint."""
        return f"{self.path}: row {self.lines[row]}, column {shown(column)}"

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


def read_text(path: Path) -> str:
    """Read a file of text in UTF-8, or in UTF-16 with a byte-order mark.

    Raises
    ------
    BadInput
        If it is missing, not an ordinary file, larger than 64 MiB, or not such text.
    """
    try:
        data = read_bytes(path, _LARGEST_FILE)
    except FileNotFoundError as problem:
        raise BadInput(f"{path}: no such file; check the path") from problem
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as problem:
        before = problem.object[: problem.start].decode(encoding, errors="ignore")
        line = 1 + len(re.findall("\r\n|\r|\n", before))
        kind = "UTF-16" if encoding == "utf-16" else "UTF-8"
        raise BadInput(f"{path}: row {line} is not {kind} text; save it as CSV in UTF-8") from problem
    if "\0" in text:
        line = 1 + len(re.findall("\r\n|\r|\n", text[: text.index("\0")]))
        raise BadInput(f"{path}: row {line} has a NUL byte, so it is no text; save it as CSV in UTF-8")
    return text


def read_table(path: Path, expected: Collection[str]) -> Table:
    """Read a CSV or TSV file: its first row that is not blank is the header, further blank rows are left out.

    Parameters
    ----------
    path
        The file.
    expected
        Columns that it may have. They tell the separator, where the header has several of ``,;`` and tab.

    Raises
    ------
    BadInput
        If the file cannot be read as text, is empty or too large, its quotes are broken, or a row has more or
        fewer cells than the header.
    """
    text = read_text(path)
    first = re.search(r"[^\r\n]+", text)
    if first is None:
        raise BadInput(f"{path}: is empty; a session has the columns left_image, right_image and choice")
    header = first.group()
    if len(header) > _LONGEST_HEADER:
        raise BadInput(f"{path}: the header is too long; give the CSV of the choices")

    def fitness(separator: str) -> tuple[int, int]:
        names = [without_quotes(name) for name in header.split(separator)]
        return len(set(expected).intersection(names)), len(names)

    rows = _rows(path, text, max(_SEPARATORS, key=fitness))
    _, columns = next(rows, (1, []))
    table = Table(path, [name.strip() for name in columns], [], [])
    for line, cells in rows:
        if len(cells) != len(columns):
            raise BadInput(f"{path}: row {line} has {len(cells)} cells, but the header has {len(columns)}")
        if (len(table.rows) + 1) * len(columns) > _MOST_CELLS:
            raise BadInput(f"{path}: has over {_MOST_CELLS} cells; give the CSV of the choices")
        table.lines.append(line)
        table.rows.append(cells)
    return _without_copies(table)


def _rows(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Return every row that is not blank, with the line on which it starts."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as problem:
        raise BadInput(f"{path}: row {line} cannot be read as CSV ({problem}); check its quotes") from problem


def _without_copies(table: Table) -> Table:
    """Keep one of the columns that have the same name and the same cells; no two may differ."""
    places: dict[str, int] = {}
    keep: list[int] = []
    for place, name in enumerate(table.columns):
        if not name or places.setdefault(name, place) == place:
            keep.append(place)
        elif any(row[place] != row[places[name]] for row in table.rows):
            raise BadInput(f"{table.path}: the header has two columns {shown(name)}; rename or remove one")
    if len(keep) == len(table.columns):
        return table
    rows = [[row[place] for place in keep] for row in table.rows]
    return replace(table, columns=[table.columns[place] for place in keep], rows=rows)
