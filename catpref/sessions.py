"""session.csv in all its dialects, read into one validated table.

A session is a CSV with a header and one row a trial: `left_image`, `right_image`, `choice` (0 = left,
1 = right, empty = no answer) and any further column. PsychoPy and Pavlovia write *wide* CSVs instead: rows of
other routines in between, the answer as a key in a column such as `key_resp.keys`, and image paths as the
experiment saw them. All may have a byte-order mark, any line ends, and commas, semicolons or tabs between
their cells.
"""

import csv
import io
import json
import math
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from catpref.commands import BadInput
from catpref.stimuli import image_path

SIDES = ("left_image", "right_image")


class Catch(NamedTuple):
    """How the participant did where one side showed a scrambled image, so that attention alone finds the face."""

    trials: int
    """Catch trials that were answered."""

    passed: int
    """Those of them in which the face was chosen, not the scrambled image."""


@dataclass(frozen=True)
class Session:
    """The answered trials of one or more session files, checked.

    Attributes
    ----------
    trials
        One row an answered trial, index 0 … n − 1. Always there: `left_image`, `right_image` (str, relative
        to `stimuli`; one name a file, even where the session spells it in two ways), `choice` (int; 0 = left,
        1 = right), `source` (str, the session file) and `row` (int, its line there; the header is line 1).
        Where the files have them: `participant`, `session`, `design` (str or None), `rt`, `onset` (seconds,
        NaN = unknown), `block`, `trial`, `repeat_of` (nullable integers, or str where one is not a whole
        number), and every other named column, as text.
    stimuli
        The stimulus folder.
    excluded
        How many trials had no answer; they are not among `trials`.
    catch
        The answered catch trials, which are not among `trials` either; None where there are none.
    noise_ceiling
        The best accuracy to expect, if the session's own JSON knows it (a simulated observer's does).
    """

    trials: pd.DataFrame
    stimuli: Path
    excluded: int
    catch: Catch | None
    noise_ceiling: float | None

    @property
    def images(self) -> list[str]:
        """Every image shown in an answered trial, once, sorted."""
        return sorted({*self.trials["left_image"], *self.trials["right_image"]})

    @property
    def participants(self) -> int | None:
        """The number of different participant codes, or None where a trial does not say whose it is."""
        codes = set(self.trials["participant"]) if "participant" in self.trials else {None}
        return len(codes) if all(isinstance(code, str) for code in codes) else None


def read_sessions(paths: Sequence[Path], stimuli: Path | None = None) -> Session:
    """Read one or more session files, of one participant or several, into one table.

    Parameters
    ----------
    paths
        The CSV files.
    stimuli
        The stimulus folder. By default each file's own: the one that the JSON beside it names under
        ``"stimuli"`` (`NAME.json` for `NAME.csv`, else `session.json`; relative to the JSON's folder), else
        the folder of the CSV.

    Raises
    ------
    BadInput
        If a file is missing or is not a session; if a choice is not 0, 1 or empty; if an image is missing or
        outside the stimulus folder; if a trial shows one image on both sides; if no trial is answered; or if
        the files do not share one stimulus folder.
    """
    tables = [_read_table(path) for path in paths]
    folder = _stimulus_folder(paths, stimuli)
    names: dict[Path, str] = {}
    answered, caught = [], []
    for table in tables:
        frame = _trials(table, folder, names).dropna(subset=["choice"])
        real, catch = _set_catch_trials_aside(table, frame)
        answered.append(real)
        caught += catch
    trials = pd.concat([frame for frame in answered if len(frame)] or answered, ignore_index=True)
    if trials.empty:
        raise BadInput(f"{', '.join(map(str, paths))}: no trial has an answer (0 or 1 in column choice)")
    trials["choice"] = trials["choice"].astype(int)
    for name in {"block", "trial", "repeat_of"}.intersection(trials.columns):
        trials[name] = _whole_numbers(list(trials[name]))
    ceilings = [_noise_ceiling(path) for path in paths]
    known = [ceiling for ceiling in ceilings if ceiling is not None]
    pooled = np.average(known, weights=[len(frame) for frame in answered]) if known == ceilings else None
    excluded = sum(len(table.rows) for table in tables) - len(trials) - len(caught)
    catch = Catch(len(caught), sum(caught)) if caught else None
    return Session(trials, folder, excluded, catch, None if pooled is None else float(pooled))


def read_pairs(path: Path, stimuli: Path | None = None) -> tuple[pd.DataFrame, Path]:
    """Read a list of pairs, answered or not, to predict the choices.

    Parameters
    ----------
    path
        A CSV with at least the columns `left_image` and `right_image`, in any dialect of a session.
    stimuli
        The stimulus folder; by default found as in `read_sessions`.

    Returns
    -------
    pairs
        The file's rows and columns as text, so that they can be written back as they were. (Of a wide CSV:
        the rows that show a pair, with image names relative to the stimulus folder.)
    folder
        The stimulus folder.

    Raises
    ------
    BadInput
        As `read_sessions`, except that a choice is neither needed nor looked at.
    """
    table = _read_table(path)
    folder = _stimulus_folder([path], stimuli)
    found = _find_images(table, folder)
    pairs = table.frame()
    for side in SIDES:
        pairs[side] = [found[name][0] for name in pairs[side]]
    return pairs, folder


def check_both_sides_chosen(session: Session) -> None:
    """Refuse a session in which only one side was ever chosen: it says nothing about the images.

    Raises
    ------
    BadInput
        If all choices are the same.
    """
    chosen = set(session.trials["choice"])
    if len(chosen) == 1:
        side = ("left", "right")[chosen.pop()]
        sources = ", ".join(session.trials["source"].unique())
        raise BadInput(f"{sources}: only the {side} side was ever chosen, so there is nothing to learn from")


# ---- from bytes to cells -----------------------------------------------------------------------------------

_LARGEST_FILE = 64 * 2**20  # bytes; a wide CSV of 20,000 trials has about 20 MiB
_LONGEST_HEADER = 2**16
_SEPARATORS = ",;\t"
_WIDE_ENDINGS = (".keys", ".thisN", ".thisTrialN", ".thisRepN")


@dataclass(frozen=True)
class _Table:
    """A CSV's cells, and the line on which each row starts."""

    path: Path
    columns: list[str]
    rows: list[list[str]]
    lines: list[int]
    wide: bool

    def __getitem__(self, column: str) -> list[str]:
        place = self.columns.index(column)
        return [row[place] for row in self.rows]

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=pd.Index(self.columns), dtype=object)

    def at(self, row: int, column: str) -> str:
        return f"{self.path}: row {self.lines[row]}, column {column}"


def _read_text(path: Path) -> str:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise BadInput(f"{path}: is a folder; name the file in it")
        if not stat.S_ISREG(status.st_mode):
            raise BadInput(f"{path}: is not an ordinary file; save it to one first")
        if status.st_size > _LARGEST_FILE:
            raise BadInput(f"{path}: has over {_LARGEST_FILE // 2**20} MiB; give the CSV of the choices")
        data = path.read_bytes()
    except FileNotFoundError as problem:
        raise BadInput(f"{path}: no such file; check the path") from problem
    except (OSError, ValueError) as problem:
        if isinstance(problem, BadInput):
            raise
        raise BadInput(f"{path}: cannot be read ({problem})") from problem
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = len(problem.object[: problem.start + 1].splitlines())
        raise BadInput(f"{path}: row {line} is not UTF-8 text; save it as CSV in UTF-8") from problem
    if "\0" in text:
        line = len(data[: data.index(0) + 1].splitlines())
        raise BadInput(f"{path}: row {line} has a NUL byte, so it is no text; save it as CSV in UTF-8")
    return text


def _read_table(path: Path) -> _Table:
    text = _read_text(path)
    first = re.search(r"[^\r\n]+", text)
    if first is None:
        raise BadInput(f"{path}: is empty; a session has the columns left_image, right_image and choice")
    header = first.group()
    if len(header) > _LONGEST_HEADER:
        raise BadInput(f"{path}: the header is too long; give the CSV of the choices")
    separator = max(_SEPARATORS, key=lambda candidate: _fitness(header, candidate))
    wide = any(name.strip(' "').endswith(_WIDE_ENDINGS) for name in header.split(separator))
    rows = _rows(path, text, separator)
    _, columns = next(rows, (1, []))
    table = _Table(path, [name.strip() for name in columns], [], [], wide)
    for side in SIDES:
        _require(table, side)
    for line, cells in rows:
        if len(cells) != len(columns):
            raise BadInput(f"{path}: row {line} has {len(cells)} cells, but the header has {len(columns)}")
        table.lines.append(line)
        table.rows.append(cells)
    table = _without_repeated_columns(table)
    if wide:
        table = _only_trials(table)
    if not table.rows:
        raise BadInput(f"{path}: has a header but no trials")
    return table


def _rows(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Give every row that is not blank, with the line on which it starts."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as problem:
        raise BadInput(f"{path}: row {line} cannot be read as CSV ({problem}); check its quotes") from problem


def _fitness(header: str, separator: str) -> tuple[int, int]:
    """Say how well a separator takes a header apart: required columns found, then columns in all."""
    names = [name.strip(' "') for name in header.split(separator)]
    return len(set(SIDES).intersection(names)), len(names)


def _require(table: _Table, column: str) -> None:
    if column not in table.columns:
        found = ", ".join(name for name in table.columns if name)
        found = found if len(found) <= 300 else found[:300] + "…"
        raise BadInput(f"{table.path}: the header has no column {column}; it has: {found or 'no names'}")


def _without_repeated_columns(table: _Table) -> _Table:
    """Refuse a name that stands for two columns, unless both say the same, as in some of PsychoPy's."""
    first: dict[str, int] = {}
    keep: list[int] = []
    for place, name in enumerate(table.columns):
        if not name or first.setdefault(name, place) == place:
            keep.append(place)
        elif not table.wide or any(row[place] != row[first[name]] for row in table.rows):
            raise BadInput(f"{table.path}: the header has two columns {name[:100]}; rename or remove one")
    rows = [[row[place] for place in keep] for row in table.rows]
    return replace(table, columns=[table.columns[place] for place in keep], rows=rows)


def _only_trials(table: _Table) -> _Table:
    """Leave out the rows of routines that show no images: instructions, breaks, the end."""
    pairs = zip(table["left_image"], table["right_image"], strict=True)
    shows = [not _NOTHING.issuperset(_plain(name) for name in pair) for pair in pairs]
    rows, lines = list(compress(table.rows, shows)), list(compress(table.lines, shows))
    return replace(table, rows=rows, lines=lines)


# ---- from cells to trials ----------------------------------------------------------------------------------

# What PsychoPy, PsychoJS, R and pandas write for no value.
_NOTHING = {"", "none", "--", "undefined", "null", "na", "nan"}
_KEYS = {"left": 0, "f": 0, "right": 1, "j": 1}
_PREFIXES = ("resources", "html", "stimuli")  # folders in which an experiment keeps its copy of the set


def _plain(cell: str) -> str:
    """Take a key or number out of the list that PsychoPy may have written it in."""
    return cell.strip("[]'\" ").lower()


def _trials(table: _Table, folder: Path, names: dict[Path, str]) -> pd.DataFrame:
    """Check a table and type its columns; `names` remembers what each image file is called."""
    frame = table.frame().loc[:, [bool(name) for name in table.columns]].copy()
    found = _find_images(table, folder)
    for side in SIDES:
        images = [found[name] for name in frame[side]]
        frame[side] = [names.setdefault(file, str(PurePosixPath(name))) for name, file in images]
    answer = _answer_column(table)
    choices = [_choice(table, index, answer, cell) for index, cell in enumerate(table[answer])]
    frame["choice"] = pd.Series(choices, dtype="Int64")
    key_time = answer.removesuffix(".keys") + ".rt"
    if "rt" not in frame and key_time in frame:
        frame["rt"] = frame[key_time]
    for name in {"rt", "onset"}.intersection(frame.columns):
        frame[name] = [_seconds(table, index, name, cell) for index, cell in enumerate(frame[name])]
    for name in {"participant", "session", "design"}.intersection(frame.columns):
        frame[name] = [None if cell.strip() in ("", "None") else cell for cell in frame[name]]
    frame["source"] = str(table.path)
    frame["row"] = table.lines
    return frame


def _set_catch_trials_aside(table: _Table, frame: pd.DataFrame) -> tuple[pd.DataFrame, list[bool]]:
    """Split answered trials into the real ones, and whether each catch trial was passed."""
    if "catch" not in frame:
        return frame, []
    faces = [_other_side(table, index, frame.loc[index, "catch"]) for index in frame.index]
    answers = zip(faces, frame["choice"], strict=True)
    passed = [bool(choice == face) for face, choice in answers if face is not None]
    return frame.loc[[face is None for face in faces]].drop(columns="catch"), passed


def _other_side(table: _Table, index: int, scrambled: Any) -> int | None:
    """Give the side of a catch trial's face, 0 or 1, or None for a real trial."""
    side = _plain(scrambled)
    if side in _NOTHING:
        return None
    if side not in ("left", "right"):
        raise BadInput(
            f"{table.at(index, 'catch')}: {side[:40]!r} is no side; name the scrambled one, left or right, and"
            " leave real trials empty"
        )
    return 1 if side == "left" else 0


def _answer_column(table: _Table) -> str:
    keys = [name for name in table.columns if name.endswith(".keys")]
    if "choice" in table.columns or not keys:
        _require(table, "choice")
        return "choice"
    used = [name for name in keys if any(_plain(cell) in {*_KEYS, "0", "1"} for cell in table[name])]
    if len(used) != 1:
        problem = "more than one of the columns" if used else "none of the columns"
        raise BadInput(
            f"{table.path}: {problem} {', '.join(used or keys)} has answers (left, right, F, J);"
            " add a column choice with 0 = left, 1 = right"
        )
    return used[0]


def _choice(table: _Table, index: int, column: str, cell: str) -> int | None:
    text = _plain(cell) if table.wide else cell.strip()
    if number := re.fullmatch(r"([01])(?:[.,]0*)?", text):
        return int(number[1])
    if not text:
        return None
    if table.wide and (text in _KEYS or text in _NOTHING):
        return _KEYS.get(text)
    keys = ", or a key: left, right, F, J" if table.wide else ""
    use = f"use 0 (left), 1 (right), empty (no answer){keys}"
    raise BadInput(f"{table.at(index, column)}: {cell[:40]!r} is not a choice; {use}")


def _seconds(table: _Table, index: int, column: str, cell: str) -> float:
    text = _plain(cell).replace(",", ".")
    if text in _NOTHING:
        return math.nan
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise BadInput(
            f"{table.at(index, column)}: {cell[:40]!r} is not a time in seconds; correct or empty it"
        )
    return seconds


def _whole_numbers(column: list[Any]) -> pd.Series:
    """Turn '3', '3.0' and '' into nullable integers, if the column has nothing else."""
    texts = [_plain(cell) if isinstance(cell, str) else "" for cell in column]
    if not all(text in _NOTHING or re.fullmatch(r"[0-9]{1,15}([.,]0*)?", text) for text in texts):
        return pd.Series(column, dtype=object)
    numbers = [None if text in _NOTHING else int(re.split("[.,]", text)[0]) for text in texts]
    return pd.Series(numbers, dtype="Int64")


def _find_images(table: _Table, folder: Path) -> dict[str, tuple[str, Path]]:
    """Look up every image once: its name in the table -> its name in the stimulus folder, and the file."""
    found: dict[str, tuple[str, Path]] = {}
    for index, pair in enumerate(zip(table["left_image"], table["right_image"], strict=True)):
        for side, name in zip(SIDES, pair, strict=True):
            if name not in found:
                try:
                    found[name] = _find_image(folder, name, table.wide)
                except BadInput as problem:
                    raise BadInput(f"{table.at(index, side)}: {problem}; check it, or --stimuli") from problem
        left, right = pair
        if found[left][1] == found[right][1]:
            raise BadInput(
                f"{table.at(index, 'right_image')}: {right[:100]!r} is the left image too; correct the row"
            )
    return found


def _find_image(folder: Path, name: str, wide: bool) -> tuple[str, Path]:
    try:
        return name, image_path(folder, name)
    except BadInput:
        for shorter in _without_prefixes(name, folder.resolve().name) if wide else ():
            with suppress(BadInput):
                return shorter, image_path(folder, shorter)
        raise


def _without_prefixes(name: str, folder: str) -> Iterator[str]:
    """Take off, one by one, the folders through which the experiment reached the set."""
    path = PurePosixPath(name.replace("\\", "/"))
    yield str(path)
    while len(path.parts) > 1 and path.parts[0] in (*_PREFIXES, folder):
        path = PurePosixPath(*path.parts[1:])
        yield str(path)


# ---- the stimulus folder and the JSON beside a session -----------------------------------------------------


def _stimulus_folder(paths: Sequence[Path], stimuli: Path | None) -> Path:
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise BadInput(f"{path}: is given twice")
        seen.add(path.resolve())
    if stimuli is not None:
        if not _is_folder(stimuli):
            raise BadInput(f"{stimuli}: is not a folder; --stimuli names the stimulus folder")
        return stimuli
    folders = [_named_folder(path) for path in paths]
    for path, folder in zip(paths, folders, strict=True):
        if folder.resolve() != folders[0].resolve():
            others = f"{folders[0]} that of {paths[0]}"
            raise BadInput(f"{path}: its stimulus folder is {folder}, but {others}; give one with --stimuli")
    return folders[0]


def _named_folder(path: Path) -> Path:
    for beside in (path.with_suffix(".json"), path.with_name("session.json")):
        named = _read_json(beside).get("stimuli")
        if named is None:
            continue
        if not isinstance(named, str) or not _is_folder(beside.parent / named):
            raise BadInput(
                f"{beside}: its stimulus folder {str(named)[:200]!r} is not there; give it with --stimuli"
            )
        return beside.parent / named
    return path.parent


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # such as a name that is too long
        return False


def _noise_ceiling(path: Path) -> float | None:
    beside = path.with_suffix(".json")
    ceiling = _read_json(beside).get("noise_ceiling")
    if ceiling is None:
        return None
    if not isinstance(ceiling, float | int) or not 0.5 <= ceiling <= 1:
        raise BadInput(f"{beside}: noise_ceiling is {str(ceiling)[:40]}, not an accuracy from 0.5 to 1")
    return float(ceiling)


def _read_json(path: Path) -> dict[str, Any]:
    """Read a session's JSON; no file is as good as one that says nothing."""
    if not path.exists():
        return {}
    text = _read_text(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise BadInput(f"{path}: is not JSON ({problem}); correct it or move it away") from problem
    if not isinstance(content, dict):
        raise BadInput(f'{path}: must hold a JSON object, such as {{"stimuli": "cats"}}')
    return content
