"""What a file is, whatever its name: text in one of several encodings, a workbook, JSON, or nothing that is read."""

import io
import json
import logging
import re
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from catpref._io.reading import read_bytes
from catpref.errors import BadInput, is_out_of_memory, shown

log = logging.getLogger(__name__)

Rows = Iterator[tuple[int, list[str]]]
"""The rows of a table that are not blank, the header first, each with its number in the file."""

_LARGEST_FILE = 64 * 2**20  # bytes; a wide CSV of 20,000 trials has about 20 MiB
_MOST_CELLS = 2**23  # a wide CSV of 20,000 trials and 400 columns
_LARGEST_WORKBOOK = 2**29  # bytes when unpacked
_ZIP, _OLD_WORKBOOK = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_PICKLE = re.compile(rb"\x80[\x02-\x05]")


def read_file(path: Path) -> bytes:
    """Return the content of a file.

    Raises
    ------
    BadInput
        If it is missing, not an ordinary file, or larger than 64 MiB.
    """
    try:
        return read_bytes(path, _LARGEST_FILE)
    except FileNotFoundError as problem:
        raise BadInput(f"{path}: no such file; check the path") from problem


def check_size(path: Path, rows: int, columns: int) -> None:
    """Refuse a table that has more cells than any session."""
    if rows * columns > _MOST_CELLS:
        raise BadInput(f"{path}: has over {_MOST_CELLS} cells; give the CSV of the choices")


def refuse_archives(path: Path, data: bytes) -> None:
    """Refuse what PsychoPy and Excel write beside the tables that can be read.

    Raises
    ------
    BadInput
        If the file is a pickle, such as PsychoPy's ``.psydat``, or a workbook of Excel before 2007.
    """
    if path.suffix.lower() == ".psydat" or _PICKLE.match(data):
        raise BadInput(
            f"{path}: is a Python pickle, which may run programs when it is opened; give the CSV that PsychoPy "
            f"saved beside it ({path.stem}.csv)"
        )
    if data.startswith(_OLD_WORKBOOK):
        raise BadInput(f"{path}: is a workbook of an old Excel; save it as .xlsx or as CSV in UTF-8")


def text_of(path: Path, data: bytes) -> str:
    """Decode UTF-8, UTF-16 (with a byte-order mark or clearly of that kind), or else Windows-1252.

    Raises
    ------
    BadInput
        If it is not such text.
    """
    encoding = "utf-8-sig"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif len(data) > 3 and data[0] and data[2] and not (data[1] or data[3]):
        encoding = "utf-16-le"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as problem:
        before = problem.object[: problem.start].decode(encoding, errors="ignore")
        kind = "UTF-16" if encoding.startswith("utf-16") else "UTF-8"
        complaint = f"{path}: row {_line(before)} is not {kind} text; save it as CSV in UTF-8"
        if kind == "UTF-16" or data.startswith(b"\xef\xbb\xbf") or b"\0" in data:
            raise BadInput(complaint) from problem
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError:
            raise BadInput(complaint) from problem
        log.info("%s: is not UTF-8, so it was read as Windows-1252 (Western European)", path)
    if "\0" in text:
        line = _line(text[: text.index("\0")])
        raise BadInput(f"{path}: row {line} has a NUL byte, so it is no text; save it as CSV in UTF-8")
    return text


def _line(before: str) -> int:
    return 1 + len(re.findall("\r\n|\r|\n", before))


def is_json(path: Path, text: str) -> bool:
    """Return whether a text is JSON: by its name, or since it begins with a list of objects."""
    return path.suffix.lower() in (".json", ".jsonl") or bool(re.match(r"\s*\[[\s\[]*\{", text))


def json_rows(path: Path, text: str) -> Rows:
    """Return the rows of a list of objects in JSON, such as jsPsych writes, or of a list a line, as JATOS does.

    Texts stand as they are, null is empty, and lists and objects are JSON. The header has number 0.

    Raises
    ------
    BadInput
        If the text is not JSON, or holds anything but such objects.
    """
    trials: list[Any] = []
    place, blank = 0, re.compile(r"[\s,]*")
    try:
        while (place := blank.match(text, place).end()) < len(text):  # type: ignore[reportOptionalMemberAccess]
            found, place = json.JSONDecoder().raw_decode(text, place)
            trials += _objects(found)
    except (ValueError, RecursionError) as problem:
        raise BadInput(
            f"{path}: is not JSON ({shown(str(problem))}); give the CSV of the choices"
        ) from problem
    if not trials or not all(isinstance(trial, dict) for trial in trials):
        raise BadInput(f"{path}: is JSON, but no list of trials; give the CSV of the choices")
    columns = list(dict.fromkeys(name for trial in trials for name in trial))
    check_size(path, len(trials), len(columns))
    yield 0, [_json_cell(name) for name in columns]
    for number, trial in enumerate(trials, start=1):
        yield number, [_json_cell(trial.get(name)) for name in columns]


def _objects(found: Any) -> list[Any]:
    """Return the objects in lists within each other, or in what an object has under ``trials`` or ``data``."""
    if isinstance(found, dict):
        lists = (found[name] for name in ("trials", "data") if isinstance(found.get(name), list))
        return next(map(_objects, lists), [found])
    return [one for part in found for one in _objects(part)] if isinstance(found, list) else [found]


def _json_cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode(errors="replace").decode()  # half a character, which no table could hold


def is_workbook(data: bytes) -> bool:
    """Return whether a file is a workbook (``.xlsx``), or at least a ZIP archive as it is one."""
    return data.startswith(_ZIP)


def workbook_rows(path: Path, data: bytes, expected: Collection[str]) -> Rows:
    """Return the rows of the sheet that has `expected` columns, or of the only sheet.

    Raises
    ------
    BadInput
        If openpyxl is not installed, the workbook cannot be read, or several sheets may be meant.
    """
    try:
        import openpyxl  # PsychoPy brings it
    except ImportError as problem:
        raise BadInput(
            f"{path}: a workbook takes openpyxl; install it with pip install openpyxl, or save the sheet as CSV"
        ) from problem
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _LARGEST_WORKBOOK:
                raise BadInput(f"{path}: is too large when unpacked; save the sheet of the choices as CSV")
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        sheets = {sheet.title: rows for sheet in book.worksheets if (rows := _sheet_rows(path, sheet))}
    except BadInput:
        raise
    except Exception as problem:  # openpyxl raises anything on a damaged file
        if is_out_of_memory(problem):
            raise MemoryError(f"{path}: {problem}") from problem
        raise BadInput(f"{path}: is no workbook that can be read; save it as CSV in UTF-8") from problem
    with_columns = [name for name, rows in sheets.items() if {*expected} <= {*rows[0][1]}]
    chosen = with_columns or list(sheets)
    if len(chosen) > 1:
        raise BadInput(
            f"{path}: has several sheets ({shown(', '.join(chosen), 200)}); save that of the choices as CSV in UTF-8"
        )
    yield from (row for name in chosen for row in sheets[name])


def _sheet_rows(path: Path, sheet: Any) -> list[tuple[int, list[str]]]:
    """Return the rows of a sheet that are not blank, as wide as its header."""
    sheet.reset_dimensions()  # what the file claims them to be
    rows: list[tuple[int, list[str]]] = []
    for number, values in enumerate(sheet.iter_rows(values_only=True), start=1):
        cells = ["" if value is None else str(value) for value in values]
        while cells and not cells[-1].strip():
            cells.pop()
        if not cells:
            continue
        width = len(rows[0][1]) if rows else len(cells)
        rows.append((number, cells + [""] * (width - len(cells))))
        check_size(path, len(rows), width)
    return rows
