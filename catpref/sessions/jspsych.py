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

from catpref.sessions.cells import is_nothing
from catpref.sessions.coding import looks_like_image
from catpref.sessions.table import SIDES, Table

_IMAGE = re.compile(r"<img\b[^<>]*?\bsrc\s*=\s*[\\\"']*([^\\\"'>]+)", re.IGNORECASE)
_KEY_CODES = {"37": "left", "39": "right", **{str(code): chr(code).lower() for code in range(48, 91)}}
_CALLED = dict(zip(SIDES, ("the first image shown", "the second image shown"), strict=True))
_SHOWN_IN = ("choices", "stimulus", "stimuli", "images")


def is_jspsych(table: Table) -> bool:
    """Return whether jsPsych wrote this table."""
    return "trial_type" in table.columns and bool({"trial_index", "time_elapsed"}.intersection(table.columns))


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
    table = table.with_columns(response=responses).without(("key_press", "button_pressed"))
    if have_images or not any(left for left, _ in images):
        return table
    columns = {side: [pair[at] for pair in images] for at, side in enumerate(SIDES)}
    return replace(table.with_columns(**columns), called={**table.called, **_CALLED})


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
