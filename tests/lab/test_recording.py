import csv
import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from catpref.design.designs import make_trials
from catpref.design.trial_list import RANDOM, Trial
from catpref.errors import BadInput
from catpref.lab.recording import COLUMNS, Recording, begin, describe, read_description
from catpref.sessions.participants import check_participant

TRIALS = make_trials(RANDOM, [f"süß,{number}.png" for number in range(40)], repeats=1, catch=2)


@pytest.fixture
def folder(tmp_path) -> Path:
    begin(tmp_path / "out", TRIALS, {"note": "süß"})
    return tmp_path / "out"


def record(folder: Path, trials: list[Trial] = TRIALS) -> Recording:
    return Recording(folder, "p01", 1, trials)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "session.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_session_begins_whole(folder):
    assert sorted(file.name for file in folder.iterdir()) == ["session.csv", "session.json", "trials.csv"]
    assert folder.stat().st_mode & 0o777 == 0o755
    assert read_description(folder) == {"note": "süß"}
    assert (folder / "session.csv").read_text() == ",".join(COLUMNS) + "\n"
    assert list(folder.parent.iterdir()) == [folder]
    with pytest.raises(BadInput, match="is not empty"):
        begin(folder, TRIALS, {})


def test_a_session_that_cannot_begin_leaves_nothing(tmp_path):
    with full_disk(100), pytest.raises(BadInput, match="cannot be written"):
        begin(tmp_path / "new" / "out", TRIALS, {})
    assert not list((tmp_path / "new").iterdir())


def test_answers_and_what_goes_on_with_them(folder):
    recording = record(folder)
    recording.answer(TRIALS[0], 1, 0.5, 1.0, "j")
    recording.answer(TRIALS[1], None, None, 2.5)
    again = record(folder)
    assert again.answered == 2
    again.answer(TRIALS[2], 0, 0.25, 4.0, "click")
    found = rows(folder)
    assert [row["left_image"] for row in found] == [trial.left_image for trial in TRIALS[:3]]
    assert [(row["choice"], row["rt"], row["onset"], row["response"]) for row in found] == [
        ("1", "0.500000", "1.000000", "j"),
        ("", "", "2.500000", ""),
        ("0", "0.250000", "4.000000", "click"),
    ]


def test_a_full_disk_leaves_whole_rows_and_room_makes_it_go_on(folder):
    recording = record(folder)
    recording.answer(TRIALS[0], 1, 0.5, 1.0)
    before = (folder / "session.csv").read_bytes()
    with full_disk(len(before) + 20):
        for _ in range(2):
            with pytest.raises(BadInput, match="cannot be written"):
                recording.answer(TRIALS[1], 0, 0.5, 2.0)
        with pytest.raises(BadInput, match="cannot be written"):
            describe(folder, {"note": "x" * 1000})
    assert (folder / "session.csv").read_bytes() == before
    assert read_description(folder) == {"note": "süß"}
    assert len(list(folder.iterdir())) == 3
    recording.answer(TRIALS[1], 0, 0.25, 2.0)
    assert [(row["choice"], row["rt"]) for row in rows(folder)] == [("1", "0.500000"), ("0", "0.250000")]


def test_what_a_kill_left_of_a_beginning_is_removed(tmp_path):
    script = """
import os, signal, sys
from pathlib import Path
from catpref.lab.recording import begin
from test_recording import TRIALS
Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
begin(Path(sys.argv[1]), TRIALS, {})
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "out")], env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    mine = tmp_path / ".out.new12345678"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    begin(tmp_path / "out", TRIALS, {})
    assert sorted(tmp_path.iterdir()) == [mine, tmp_path / "out"]


POWER_OFF = """
import os, signal, sys
from pathlib import Path
from catpref.lab.recording import Recording
from tests_trials import TRIALS

moment = sys.argv[2]
recording = Recording(Path(sys.argv[1]), "p01", 1, TRIALS)
recording.answer(TRIALS[recording.answered], 1, 0.5, 1.0)

def power_off(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if moment == "writing":
    Path.write_bytes = lambda self, data: (self.open("wb").write(data[:40]), power_off())
elif moment == "rename":
    Path.replace = power_off
recording.answer(TRIALS[recording.answered], 0, 0.5, 2.0)
power_off()
"""


@pytest.mark.parametrize(("moment", "answered"), [("writing", 1), ("rename", 1), ("afterwards", 2)])
def test_power_off_while_an_answer_is_written(folder, moment, answered):
    """The process is killed between writing and renaming, say: the rows before are there, and it goes on."""
    script = POWER_OFF.replace("from tests_trials", "from test_recording")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    command = [sys.executable, "-c", script, str(folder), moment]
    killed = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [row["choice"] for row in rows(folder)] == ["1", "0"][:answered]
    recording = record(folder)
    assert recording.answered == answered
    assert sorted(file.name for file in folder.iterdir()) == ["session.csv", "session.json", "trials.csv"]
    recording.answer(TRIALS[answered], 0, 0.5, 3.0)
    assert len(rows(folder)) == answered + 1


def test_a_file_that_another_program_changed_is_not_written_over(folder):
    recording = record(folder)
    recording.answer(TRIALS[0], 1, 0.5, 1.0)
    other = record(folder)
    other.answer(TRIALS[1], 1, 0.5, 2.0)
    before = (folder / "session.csv").read_bytes()
    with pytest.raises(BadInput, match="was changed by another program"):
        recording.answer(TRIALS[1], 0, 0.5, 2.0)
    assert (folder / "session.csv").read_bytes() == before
    (folder / "session.csv").unlink()
    other.answer(TRIALS[2], 0, 0.5, 3.0)
    assert [row["choice"] for row in rows(folder)] == ["1", "1", "0"]


def test_a_folder_that_has_gone_is_not_made_anew(folder):
    recording = record(folder)
    recording.answer(TRIALS[0], 1, 0.5, 1.0)
    away = folder.with_name("away")
    folder.rename(away)
    for _ in range(2):
        with pytest.raises(BadInput, match="out: is not there any more; put it back"):
            recording.answer(TRIALS[1], 0, 0.5, 2.0)
        with pytest.raises(BadInput, match="out: is not there any more; put it back"):
            recording.describe({})
    assert not folder.exists() and recording.answered == 1
    begin(folder, TRIALS[1:], {})
    with pytest.raises(BadInput, match="is another folder than it was"):
        recording.answer(TRIALS[1], 0, 0.5, 2.0)
    assert len(rows(folder)) == 0
    folder.rename(folder.with_name("other"))
    shutil.copytree(away, folder)  # it comes back as a copy
    (folder / "trials.csv").unlink()
    with pytest.raises(BadInput, match=r"trials\.csv: is not there any more; put it back"):
        recording.answer(TRIALS[1], 0, 0.5, 2.0)
    shutil.copy(away / "trials.csv", folder)
    assert recording.unsaved.endswith(b",0,0.500000,2.000000,,,\n")
    recording.answer(TRIALS[1], 0, 0.5, 2.0)
    assert (recording.unsaved, recording.answered, recording.seconds) == (b"", 2, 0.0)
    assert [row["choice"] for row in rows(folder)] == ["1", "0"]
    assert record(folder).seconds == 2.5


@pytest.mark.parametrize("call", ["mkstemp", "write_bytes", "chmod", "fsync", "replace", "unlink", "open"])
def test_each_step_of_saving_can_fail(folder, monkeypatch, call):
    """After each failure the file is the old or the new one, whole, and the next attempt succeeds."""
    recording = record(folder)
    recording.answer(TRIALS[0], 1, 0.5, 1.0)
    before = (folder / "session.csv").read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    owner = {"mkstemp": tempfile, "fsync": os, "open": os}.get(call, Path)
    with monkeypatch.context() as patch:
        patch.setattr(owner, call, fail)
        with pytest.raises(BadInput, match=r"Input/output error"):
            recording.answer(TRIALS[1], 0, 0.5, 2.0)
    assert (folder / "session.csv").read_bytes() in (before, before + recording.unsaved)
    recording.answer(TRIALS[1], 0, 0.5, 2.0)
    assert [row["choice"] for row in rows(folder)] == ["1", "0"]
    record(folder)
    assert len(list(folder.iterdir())) == 3


def test_rows_that_do_not_belong_to_the_list(folder):
    recording = record(folder)
    for trial in TRIALS[:3]:
        recording.answer(trial, 1, 0.5, 1.0)
    good = (folder / "session.csv").read_text()
    others = [replace(TRIALS[0], left_image="other.png"), *TRIALS[1:]]
    for trials, text, complaint in [
        (others, good, "row 2 is not trial 0"),
        (TRIALS[:2], good, "is not as it was written"),
        (TRIALS, good[:-3], "row 4 is not trial 2"),
        (TRIALS, good.replace("response", "key"), "is not as it was written"),
        (TRIALS, "", "cannot be read"),
        (TRIALS, '"', "cannot be read"),
    ]:
        (folder / "session.csv").write_text(text)
        with pytest.raises(BadInput, match=complaint):
            record(folder, trials)


def test_participant_codes():
    for code in ("p01_b-2", "7", "VP0042", "sub-03", "A", "550e8400-e29b-41d4-a716-446655440000"):
        assert check_participant(code) == code
    for code in (
        "",
        "Anna Müller",
        "Anna",
        "anna1@lab.org",
        "../x1",
        "p01\n",
        "p01" * 14,
        "10.0.0.1",
        "p٣",
        "AB",
        "19870312",
    ):
        with pytest.raises(BadInput, match="participant"):
            check_participant(code)
