"""What a session leaves on disk: session.csv, session.json and trials.csv in a folder of its own.

An adaptive session has more files there, which are written once, at the beginning (`catpref.lab.adaptive`).

session.csv is replaced whole at every answer: written beside the old one, forced to the disk, then renamed. So it
is valid at every moment, whether the program is killed, the power fails or the disk fills up. A folder that has been
moved away is never made anew: the answer waits until it has come back, or is saved elsewhere (`catpref.lab.rescue`).
"""

import csv
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from glob import escape
from pathlib import Path
from typing import Any

from catpref._io.files import force_to_disk, make_folder, put_in_place
from catpref._io.locks import locked
from catpref._io.reading import read_bytes
from catpref.adaptive.chooser import Answer
from catpref.design.trial_list import Trial, is_adaptive, write_trial_list
from catpref.errors import BadInput

COLUMNS = (
    "participant",
    "session",
    "design",
    "block",
    "trial",
    "left_image",
    "right_image",
    "choice",
    "rt",
    "onset",
    "repeat_of",
    "catch",
    "response",
)
"""Of session.csv; in an adaptive session `chosen_by` comes last."""

SESSION, DESCRIPTION, TRIALS = "session.csv", "session.json", "trials.csv"

LARGEST = 64 * 2**20
"""Bytes of a session.csv or trials.csv; those of 100,000 trials have about 10 MiB."""

_LARGEST_DESCRIPTION = 4 * 2**20  # bytes; a sitting has about 1500

_RUNNING, _BUILDING = ".running", ".new"
_OURS = ("session.", "trials.", "prior.", "earlier.")  # begin the names of all files of a session
_NOTHING: Mapping[str, bytes] = {}
_SECONDS = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,9})?")


def columns_of(trials: Sequence[Trial]) -> tuple[str, ...]:
    """Return the columns of a session.csv."""
    return (*COLUMNS, "chosen_by") if trials and is_adaptive(trials[0].design) else COLUMNS


def running(folder: Path) -> AbstractContextManager[object]:
    """Hold a session that was begun, so that no other process runs it.

    Raises
    ------
    BadInput
        If another process runs it; the message says which, and since when.
    """
    return locked(folder / _RUNNING, folder, "run")


def check_new(folder: Path) -> None:
    """Raise BadInput unless a session could begin in `folder`: it is not there, or empty."""
    if (folder / _RUNNING).exists():
        with running(folder):  # says who runs it, if anyone does
            pass
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder}: is not empty; choose another --session or --out")


def begin(
    folder: Path,
    trials: Sequence[Trial],
    description: Mapping[str, object],
    kept: Mapping[str, bytes] = _NOTHING,
) -> None:
    """Make the folder of a session without answers, with the trial list; it appears whole or not at all.

    Parameters
    ----------
    folder
        The session's folder.
    trials
        The whole trial list.
    description
        What session.json says.
    kept
        Further files, by name.

    Raises
    ------
    BadInput
        If there is a folder that is not empty, or it cannot be written.
    """
    check_new(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise BadInput(f"{folder}: cannot be written ({problem.strerror})") from problem
    with made_whole(folder) as building:
        write_trial_list(building / TRIALS, trials)
        force_to_disk(building / TRIALS)
        describe(building, description)
        for name, content in kept.items():
            replace_content(building / name, content)
        replace_content(building / SESSION, _line(columns_of(trials)))


@contextmanager
def made_whole(folder: Path) -> Iterator[Path]:
    """Return a temporary folder that becomes `folder` at the end of the block, which may exist if it is empty.

    Raises
    ------
    BadInput
        If it cannot be written.
    """
    with locked(folder.parent / f".{folder.name}.lock", folder, "begun"):
        for left in folder.parent.glob(f".{escape(folder.name)}{_BUILDING}????????"):  # by a kill
            if all(entry.name.lstrip(".").startswith(_OURS) for entry in left.iterdir()):
                shutil.rmtree(left, ignore_errors=True)
        try:
            building = make_folder(folder.parent, f".{folder.name}{_BUILDING}")
        except OSError as problem:
            raise BadInput(f"{folder}: cannot be written ({problem.strerror})") from problem
        try:
            yield building
            building.chmod(0o755)
            with suppress(OSError):
                folder.rmdir()  # only if it is empty
            building.rename(folder)
            force_to_disk(folder.parent)
        except OSError as problem:
            raise BadInput(f"{folder}: cannot be written ({problem.strerror})") from problem
        finally:
            shutil.rmtree(building, ignore_errors=True)


def describe(folder: Path, description: Mapping[str, object]) -> None:
    """Write session.json, or replace it in one step."""
    replace_content(folder / DESCRIPTION, description_bytes(description))


def description_bytes(description: Mapping[str, object]) -> bytes:
    """Return what session.json holds."""
    return json.dumps(description, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def read_description(folder: Path) -> dict[str, Any]:
    """Read the session.json that `begin` wrote, which can be written again.

    Raises
    ------
    BadInput
        If it cannot be read, or is no JSON object.
    """
    path = folder / DESCRIPTION
    instead = "restore it, or choose another --session"
    try:
        content = read_bytes(path, _LARGEST_DESCRIPTION)
    except FileNotFoundError as problem:
        raise BadInput(f"{path}: cannot be read ({problem.strerror}); {instead}") from problem
    try:
        description = json.loads(content.decode("utf-8-sig"))
        description_bytes(description)  # nothing in it that JSON or UTF-8 knows not, such as NaN
    except RecursionError as problem:
        raise BadInput(f"{path}: cannot be read (too many brackets in each other); {instead}") from problem
    except ValueError as problem:
        raise BadInput(f"{path}: cannot be read ({problem}); {instead}") from problem
    if not isinstance(description, dict):
        raise BadInput(f"{path}: cannot be read (no JSON object); {instead}")
    return description


class Recording:
    """The session.csv of a folder that `begin` made, to go on with where it stops.

    Only the process that holds the session (see `running`) may make one.

    Parameters
    ----------
    folder
        The session's folder.
    participant, session
        As they stand in every row.
    trials
        The trials of this session, in order.
    candidates
        The images that its adaptive trials may show.
    kept
        Further files that the folder has, by name.

    Attributes
    ----------
    answers : list of Answer
        What was answered in the trials that have a row on disk.
    unsaved : bytes
        The row of an answer that could not be put there.
    seconds : float
        When the last of the answers was given, from the start of the session; 0 if there is none.

    Raises
    ------
    BadInput
        If a file cannot be read, or the rows are not those of the first of `trials`.
    """

    def __init__(
        self,
        folder: Path,
        participant: str,
        session: int,
        trials: Sequence[Trial],
        candidates: Set[str] = frozenset(),
        kept: Mapping[str, bytes] = _NOTHING,
    ) -> None:
        self.folder = folder
        self.path = folder / SESSION
        self.unsaved = b""
        self._trials = trials
        self._columns = columns_of(trials)
        self._candidates = candidates
        self._kept = kept
        self._who = [participant, str(session)]
        for leftover in folder.glob(".session.*"):  # of a kill before the rename
            leftover.unlink(missing_ok=True)
        self._list = _read(folder / TRIALS)
        self._content = _read(self.path)
        self.answers, self.seconds = self._check(self._content)

    @property
    def answered(self) -> int:
        """How many of the trials have a row on disk."""
        return len(self.answers)

    def take(self, listed: bytes, content: bytes) -> bool:
        """Replace session.csv by one with the same answers and more; return False if `content` is none.

        Parameters
        ----------
        listed, content
            A trials.csv, which must be the same, and a session.csv.

        Raises
        ------
        BadInput
            If it cannot be written.
        """
        if listed != self._list or content == self._content or not content.startswith(self._content):
            return False
        try:
            answers, seconds = self._check(content)
        except BadInput:
            return False
        replace_content(self.path, content)
        self._content, self.answers, self.seconds = content, answers, seconds
        return True

    def _check(self, content: bytes) -> tuple[list[Answer], float]:
        """Return the answers in a session.csv, and when the last was given."""
        instead = "restore it, or choose another --session"
        try:
            header, *rows = csv.reader(io.StringIO(content.decode(), newline=""), strict=True)
        except (ValueError, csv.Error) as problem:
            raise BadInput(f"{self.path}: cannot be read ({problem}); {instead}") from problem
        if tuple(header) != self._columns or len(rows) > len(self._trials):
            raise BadInput(f"{self.path}: is not as it was written; {instead}")
        answers, seconds = [], 0.0
        for number, (row, trial) in enumerate(zip(rows, self._trials, strict=False), start=2):
            problem = self._problem(row, trial)
            if problem:
                raise BadInput(
                    f"{self.path}: row {number} {problem}; restore the file, or choose another --session"
                )
            told = dict(zip(self._columns, row, strict=True))
            choice = float(told["choice"]) if told["choice"] else None
            answers.append(Answer(told["left_image"], told["right_image"], choice))
            seconds = max(seconds, float(told["onset"]) + float(told["rt"] or 0))
        if not content.endswith(b"\n"):
            raise BadInput(f"{self.path}: row {1 + len(rows)} was cut; {instead}")
        return answers, seconds

    def _problem(self, row: Sequence[str], trial: Trial) -> str | None:
        """Return what is wrong with a row.

        Of an adaptive trial, any two images that could have been chosen are right: to choose a thousand pairs again
        takes minutes, and another computer may round otherwise.
        """
        if len(row) != len(self._columns):
            return f"is not trial {trial.trial} of {TRIALS}"
        if trial.is_open:
            left, right = (row[self._columns.index(name)] for name in ("left_image", "right_image"))
            if left == right or not {left, right} <= self._candidates:
                return f"has images that trial {trial.trial} cannot have shown"
            trial = replace(trial, left_image=left, right_image=right)
        shown = self._row(trial, None, None, 0.0, "")
        for name, found, meant in zip(self._columns, row, shown, strict=True):
            if name == "choice":
                right = found in ("", "0", "1", "0.5")
            elif name == "rt":
                right = not found or (not found.startswith("-") and _SECONDS.fullmatch(found))
            elif name == "onset":
                right = _SECONDS.fullmatch(found)
            elif found != meant and name != "response":
                return f"is not trial {trial.trial} of {TRIALS}"
            else:
                right = True
            if not right:
                return f"has {found[:40]!r} as its {name}"
        return None

    def answer(
        self, trial: Trial, choice: float | None, rt: float | None, onset: float, response: str = ""
    ) -> None:
        """Put one answer on disk: when this returns, it is there; when it raises, it is kept as `unsaved`.

        Parameters
        ----------
        trial
            The trial, with its images.
        choice
            0 for the left image, 1 for the right one, 0.5 for no preference, None after a time-out.
        rt, onset
            Seconds from the onset to the answer, and from the start of the session to the onset.
        response
            The key pressed, or ``click``.

        Raises
        ------
        BadInput
            If the file cannot be written, another program has changed it, or its folder has gone.
        """
        self.unsaved = _line(self._row(trial, choice, rt, onset, response))
        self._check_place()
        content = self._content + self.unsaved
        replace_content(self.path, content)
        self._content, self.unsaved = content, b""
        self.answers.append(Answer(trial.left_image, trial.right_image, choice))

    def describe(self, description: Mapping[str, object]) -> None:
        """Replace session.json.

        Raises
        ------
        BadInput
            As `answer` does.
        """
        self._check_place()
        describe(self.folder, description)

    def contents(self, description: Mapping[str, object]) -> dict[str, bytes]:
        """Return the whole session by the names of its files, an answer that could not be saved included."""
        return {
            TRIALS: self._list,
            DESCRIPTION: description_bytes(description),
            SESSION: self._content + self.unsaved,
            **self._kept,
        }

    def _row(
        self, trial: Trial, choice: float | None, rt: float | None, onset: float, response: str
    ) -> list[str]:
        row = [
            *self._who,
            trial.design,
            str(trial.block),
            str(trial.trial),
            trial.left_image,
            trial.right_image,
        ]
        row += ["" if choice is None else f"{choice:g}", "" if rt is None else f"{rt:.6f}", f"{onset:.6f}"]
        row += [
            "" if trial.repeat_of is None else str(trial.repeat_of),
            trial.catch,
            response,
            trial.chosen_by,
        ]
        return row[: len(self._columns)]

    def _check_place(self) -> None:
        """Raise BadInput unless the folder still is this session's, with its list and its answers."""
        try:
            ours = read_bytes(self.folder / TRIALS, LARGEST) == self._list
        except FileNotFoundError as problem:
            gone = self.folder if not self.folder.exists() else self.folder / TRIALS
            raise BadInput(f"{gone}: is not there any more; put it back") from problem
        if not ours:
            raise BadInput(f"{self.folder}: is another folder than it was; put the session's own back")
        with suppress(FileNotFoundError):
            # The answer itself is there, where its folder could not be forced to the disk.
            if read_bytes(self.path, LARGEST) not in (self._content, self._content + self.unsaved):
                raise BadInput(f"{self.path}: was changed by another program; put it back as it was")


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path, LARGEST)
    except FileNotFoundError as problem:
        raise BadInput(
            f"{path}: cannot be read ({problem.strerror}); restore it, or choose another --session"
        ) from problem


def _line(cells: Sequence[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().encode()


def replace_content(path: Path, content: bytes) -> None:
    """Write a file, or replace it in one step; its folder must be there, and is not made.

    Raises
    ------
    BadInput
        If it cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            temporary.write_bytes(content)
            temporary.chmod(0o644)
            force_to_disk(temporary)
            put_in_place(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        force_to_disk(path.parent)
    except OSError as problem:
        raise BadInput(f"{path}: cannot be written ({problem.strerror})") from problem
