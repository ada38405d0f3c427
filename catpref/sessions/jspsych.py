"""The CSV and JSON files of jsPsych, on Pavlovia, JATOS, Cognition or a server of one's own.

A row, or a JSON object, is a trial of any plugin. It shows two images if there are columns for them
(`catpref.sessions.tidy`), or else if its ``choices`` or its ``stimulus`` are a list of two, or HTML with two
``<img>``. A button's ``response`` is its place among the ``choices``, and what that button shows if they are known;
a keyboard's is the key, before version 7 as a code in ``key_press``. ``rt`` is in milliseconds.
https://www.jspsych.org/latest/overview/data/
"""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from catpref.errors import BadInput
from catpref.sessions.cells import is_nothing
from catpref.sessions.coding import looks_like_image
from catpref.sessions.table import SIDES, Table, read_text

_IMAGE = re.compile(r"<img\b[^<>]*?\bsrc\s*=\s*[\\\"']*([^\\\"'>]+)", re.IGNORECASE)
_KEY_CODES = {"37": "left", "39": "right", **{str(code): chr(code).lower() for code in range(48, 91)}}
_MOST_CELLS = 2**23
_SHOWN_IN = ("choices", "stimulus", "stimuli", "images")


def is_jspsych(table: Table) -> bool:
    """Return whether jsPsych wrote this table."""
    return "trial_type" in table.columns and bool({"trial_index", "time_elapsed"}.intersection(table.columns))


def read_json(path: Path) -> Table:
    """Read a JSON file with a list of objects, or such lists in lines, as a table; `row` counts the objects.

    Raises
    ------
    BadInput
        If the file cannot be read, or holds anything else.
    """
    text = read_text(path).strip()
    try:
        try:
            parts = [json.loads(text)]
        except json.JSONDecodeError:  # JATOS puts a participant's list into each line
            parts = [json.loads(line) for line in text.splitlines() if line.strip()]
        trials = [trial for part in parts for trial in _trials(part)]
    except (ValueError, RecursionError) as problem:
        raise BadInput(f"{path}: is not JSON that can be read; give the CSV of the choices") from problem
    if not trials:
        raise BadInput(f"{path}: holds no list of trials, as jsPsych writes it; give the CSV of the choices")
    columns = list(dict.fromkeys(name for trial in trials for name in trial))
    if len(columns) * len(trials) > _MOST_CELLS:
        raise BadInput(f"{path}: has over {_MOST_CELLS} cells; give the CSV of the choices")
    rows = [[_cell(trial.get(name)) for name in columns] for trial in trials]
    return Table(path, columns, rows, list(range(1, len(rows) + 1)))


def _trials(part: Any) -> list[dict[str, Any]]:
    if isinstance(part, dict):
        return next(
            (_trials(part[name]) for name in ("trials", "data") if isinstance(part.get(name), list)), [part]
        )
    if not isinstance(part, list):
        return []
    return [trial for one in part for trial in ([one] if isinstance(one, dict) else _trials(one))]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def with_items(table: Table, have_images: bool) -> Table:
    """Return the table with the column `response` as it was shown, and, unless there are, columns with images.

    A response that is the place of a button becomes what the button shows, ``left`` or ``right`` where that is not
    known; a code of a key becomes the key.
    """
    images, responses = [], []
    for cells in table.rows:
        row = dict(zip(table.columns, cells, strict=True))
        lists = [_images(row.get(name, "")) for name in _SHOWN_IN]
        images.append(next((pair for pair in lists if len(pair) == 2), ["", ""]))
        responses.append(_response(row, images[-1][0] != ""))
    answered = table.with_columns(response=responses)
    if not have_images and any(left for left, _ in images):
        answered = answered.with_columns(
            **{side: [pair[at] for pair in images] for at, side in enumerate(SIDES)}
        )
    gone = [place for place, name in enumerate(answered.columns) if name in ("key_press", "button_pressed")]
    columns, *rows = (
        [cell for place, cell in enumerate(cells) if place not in gone]
        for cells in (answered.columns, *answered.rows)
    )
    return replace(answered, columns=columns, rows=rows)


def _images(cell: str) -> list[str]:
    """Return the images that a cell shows: of HTML, or of a list, which may be JSON or have commas alone."""
    found = [name.strip() for name in _IMAGE.findall(cell)]
    listed = found or [item for item in _list(cell) if looks_like_image(item)]
    return listed if found or len(listed) == len(_list(cell)) else []


def _list(cell: str) -> list[str]:
    try:
        listed = json.loads(cell)
    except (ValueError, RecursionError):
        listed = next(csv.reader([cell.strip().strip("[]")], skipinitialspace=True), [])
    return [str(item).strip(" '\"") for item in listed] if isinstance(listed, list) else []


def _response(row: dict[str, str], of_images: bool) -> str:
    given = next(
        (
            row[name].strip()
            for name in ("response", "button_pressed", "key_press")
            if not is_nothing(row.get(name, ""))
        ),
        "",
    )
    if "button" not in row["trial_type"] and is_nothing(row.get("button_pressed", "")):
        by_code = is_nothing(row.get("response", "")) and not is_nothing(row.get("key_press", ""))
        return _KEY_CODES.get(given, given) if by_code else given
    labels = _list(row.get("choices", ""))
    if not re.fullmatch(r"\d+", given) or int(given) >= max(len(labels), 2):
        return given
    if not labels:
        return ("left", "right")[int(given)]
    label = labels[int(given)]
    return next(iter(_images(label)), label)
