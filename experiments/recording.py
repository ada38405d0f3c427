"""What a session leaves on disk: session.csv, a row an answer, and session.json beside it."""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

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
)
SESSION, DESCRIPTION, TRIALS = "session.csv", "session.json", "trials.csv"


def check_new(folder: Path, trials_file: Path | None = None) -> None:
    """Raise BadInput where a folder holds an earlier session. A `trials_file` may lie there already."""
    for name in (SESSION, DESCRIPTION, TRIALS):
        there = folder / name
        if there.exists() and not (trials_file and there.samefile(trials_file)):
            raise BadInput(f"{there}: exists already and is kept; choose another --session or --out")


class Recording:
    """A session being written, such that a kill at any moment leaves a valid session.csv.

    Parameters
    ----------
    folder
        Where the files go; made if need be.
    participant, session
        As they stand in every row.
    trials
        The trial list, a copy of which is put beside the session.

    Raises
    ------
    BadInput
        If the folder holds a session already, or cannot be written to.
    """

    def __init__(self, folder: Path, participant: str, session: int, trials: Sequence[Trial]) -> None:
        self.folder = folder
        self.path = folder / SESSION
        self.answered = 0
        self._who = (participant, session)
        self._size = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        except FileExistsError as problem:
            raise BadInput(f"{self.path}: exists already; choose another --session or --out") from problem
        except OSError as problem:
            raise BadInput(f"{self.path}: cannot be written ({problem.strerror})") from problem
        self._append(COLUMNS)
        if not (folder / TRIALS).exists():
            write_trials(folder / TRIALS, trials)

    def describe(self, description: Mapping[str, object]) -> None:
        """Write session.json, or replace it in one step."""
        with replacing_file(self.folder / DESCRIPTION) as temporary:
            temporary.write_text(
                json.dumps(description, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
            )

    def answer(self, trial: Trial, choice: int, rt: float, onset: float) -> None:
        """Put one answer on disk: when this returns, it is there.

        Parameters
        ----------
        trial
            The trial.
        choice
            0 for the left image, 1 for the right one.
        rt, onset
            Seconds from the onset to the answer, and from the start of the session to the onset.
        """
        self._append(
            (
                *self._who,
                trial.design,
                trial.block,
                trial.trial,
                trial.left_image,
                trial.right_image,
                choice,
                f"{rt:.6f}",
                f"{onset:.6f}",
                trial.repeat_of,
            )
        )
        self.answered += 1

    def close(self) -> None:
        """Close session.csv."""
        os.close(self._file)

    def _append(self, row: Sequence[object]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(row)
        data = line.getvalue().encode()
        try:
            if os.write(self._file, data) < len(data):
                raise OSError(0, "the disk is full")
            os.fsync(self._file)
        except OSError as problem:
            os.ftruncate(self._file, self._size)  # no half row stays behind
            raise BadInput(f"{self.path}: cannot be written ({problem.strerror})") from problem
        self._size += len(data)
