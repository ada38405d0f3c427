"""What a session leaves on disk: session.csv, session.json and trials.csv in a folder of its own.

session.csv is replaced whole at every answer: written beside the old one, forced to the disk, then renamed. So it
is valid at every moment, whether the program is killed, the power fails or the disk fills up.
"""

import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from catpref.commands import BadInput
from catpref.files import replacing_file
from catpref.trials import Trial, write_trials

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
SESSION, DESCRIPTION, TRIALS = "session.csv", "session.json", "trials.csv"


def check_new(folder: Path) -> None:
    """Raise BadInput unless a session could begin in `folder`: it is not there, or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder}: is not empty; choose another --session or --out")


def begin(folder: Path, trials: Sequence[Trial], description: Mapping[str, object]) -> None:
    """Make the folder of a session without answers, with the trial list; it appears whole or not at all.

    Raises
    ------
    BadInput
        If there is a folder that is not empty, or it cannot be written.
    """
    check_new(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as problem:
        raise BadInput(f"{folder}: cannot be written ({problem.strerror})") from problem
    try:
        write_trials(building / TRIALS, trials)
        describe(building, description)
        _replace(building / SESSION, _line(COLUMNS))
        building.chmod(0o755)
        with suppress(OSError):
            folder.rmdir()  # only if it is empty
        building.rename(folder)
        _force_to_disk(folder.parent)
    except OSError as problem:
        raise BadInput(f"{folder}: cannot be written ({problem.strerror})") from problem
    finally:
        shutil.rmtree(building, ignore_errors=True)


def describe(folder: Path, description: Mapping[str, object]) -> None:
    """Write session.json, or replace it in one step."""
    _replace(folder / DESCRIPTION, json.dumps(description, indent=2, ensure_ascii=False).encode() + b"\n")


def read_description(folder: Path) -> dict[str, Any]:
    """Read the session.json that `begin` wrote.

    Raises
    ------
    BadInput
        If it cannot be read.
    """
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if not isinstance(description, dict):
            raise ValueError("no JSON object")
        return description
    except (OSError, ValueError) as problem:
        raise BadInput(
            f"{folder / DESCRIPTION}: cannot be read ({problem}); restore it, or choose another --session"
        ) from problem


class Recording:
    """The session.csv of a folder that `begin` made, to go on with where it stops.

    Parameters
    ----------
    folder
        The session's folder.
    participant, session
        As they stand in every row.
    trials
        The trials of this session, in order.

    Attributes
    ----------
    answered : int
        How many of the trials have a row.

    Raises
    ------
    BadInput
        If the file cannot be read, or its rows are not the first of `trials`.
    """

    def __init__(self, folder: Path, participant: str, session: int, trials: Sequence[Trial]) -> None:
        self.path = folder / SESSION
        self._who = [participant, str(session)]
        for leftover in folder.glob(".session.*"):  # of a kill before the rename
            leftover.unlink(missing_ok=True)
        self._stamp = self._look()
        try:
            self._content = self.path.read_bytes()
            header, *rows = csv.reader(io.StringIO(self._content.decode(), newline=""), strict=True)
        except (OSError, ValueError, csv.Error) as problem:
            raise BadInput(
                f"{self.path}: cannot be read ({problem}); restore it, or choose another --session"
            ) from problem
        if tuple(header) != COLUMNS or len(rows) > len(trials):
            raise BadInput(f"{self.path}: is not as it was written; restore it, or choose another --session")
        for number, (row, trial) in enumerate(zip(rows, trials, strict=False), start=2):
            shown = [*self._who, *_cells(trial)]
            if len(row) != len(COLUMNS) or row[: len(shown)] != shown:
                raise BadInput(
                    f"{self.path}: row {number} is not trial {trial.trial} of {TRIALS}; restore the file, or "
                    "choose another --session"
                )
        self.answered = len(rows)

    def answer(
        self, trial: Trial, choice: int | None, rt: float | None, onset: float, response: str = ""
    ) -> None:
        """Put one answer on disk: when this returns, it is there; when it raises, the others still are.

        Parameters
        ----------
        trial
            The trial.
        choice
            0 for the left image, 1 for the right one, None after a time-out.
        rt, onset
            Seconds from the onset to the answer, and from the start of the session to the onset.
        response
            The key pressed, or ``click``.

        Raises
        ------
        BadInput
            If the file cannot be written, or another program has changed it.
        """
        row = [*self._who, *_cells(trial)]
        row += ["" if choice is None else str(choice), "" if rt is None else f"{rt:.6f}", f"{onset:.6f}"]
        row += ["" if trial.repeat_of is None else str(trial.repeat_of), trial.catch, response]
        if self._look() not in (None, self._stamp):
            raise BadInput(f"{self.path}: was changed by another program; put it back as it was")
        content = self._content + _line(row)
        _replace(self.path, content)
        self._content, self._stamp = content, self._look()
        self.answered += 1

    def _look(self) -> tuple[int, int] | None:
        """Give what tells this version of the file from others."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns


def _cells(trial: Trial) -> list[str]:
    """Give what a row says of its trial before the answer."""
    return [trial.design, str(trial.block), str(trial.trial), trial.left_image, trial.right_image]


def _line(cells: Sequence[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().encode()


def _replace(path: Path, content: bytes) -> None:
    with replacing_file(path) as temporary:
        temporary.write_bytes(content)
    _force_to_disk(path.parent)


def _force_to_disk(folder: Path) -> None:
    """Make a rename last, should the power fail now; Windows cannot, for want of opening a folder."""
    if os.name == "posix":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
