"""One session, one runner: locks, folders that go away, full disks and clocks that are wrong, with real keys."""

import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sessions_support import Session, draw_pictures, is_shown

from catpref.design.designs import make_trials
from catpref.design.trial_list import RANDOM, read_trial_list
from catpref.errors import BadInput
from catpref.lab.recording import DESCRIPTION, SESSION, TRIALS, Recording, begin, running
from catpref.lab.rescue import RESCUED_FROM, find_rescued, save_elsewhere, take_back

TRIALS_SHOWN = make_trials(RANDOM, [f"{number}.png" for number in range(8)])
FILES = [SESSION, DESCRIPTION, TRIALS]
PLAIN = ("--trials", 4, "--seed", 1, "--practice", 0, "--repeats", 0, "--catch", 0)


@pytest.fixture(scope="module")
def stimuli(tmp_path_factory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("stimuli"), 8)


@pytest.fixture
def homes(tmp_path, monkeypatch) -> Path:
    """A home and temporary files of this test's own."""
    for name in ("HOME", "TMPDIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "TMPDIR"))
    return tmp_path


@pytest.fixture
def start(display, homes, stimuli) -> Iterator[Callable[..., Session]]:
    """Start sessions, and end those that a failed test leaves behind."""
    sessions = []

    def start(*arguments: object, **how: Any) -> Session:
        out = homes / "lab" / "out"
        out.parent.mkdir(exist_ok=True)
        sessions.append(Session(display, "random_sampled.py", out, "--stimuli", stimuli, *arguments, **how))
        return sessions[-1]

    yield start
    for session in sessions:
        if session.process.poll() is None:
            session.process.kill()
            session.process.communicate()


def wait_for_page(session: Session, key: str) -> None:
    """Answer until a page of text has come instead of the next pair."""
    deadline = time.monotonic() + 200
    session.until(session.shows_images)
    session.press(key)
    time.sleep(1.5)
    while session.shows_images():
        assert session.process.poll() is None and time.monotonic() < deadline
        session.press(key)
        time.sleep(1.5)


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_second_process_is_told_who_runs_the_session(start):
    """Also after a kill, when the clock says 2099 in one of the sittings."""
    session = start(*PLAIN)
    session.leave_page()
    session.answer("j")
    before = files(session.out)
    assert sorted(before) == [".running", *FILES]
    second = subprocess.run(
        [*session.command, "--resume"], env=session.environment, capture_output=True, text=True, timeout=200
    )
    assert (second.returncode, second.stdout, second.stderr.count("\n")) == (2, "", 1)
    assert f"{session.out}: is being run by process {session.process.pid} since 20" in second.stderr
    assert files(session.out) == before
    session.answer("f")
    session.process.send_signal(signal.SIGKILL)
    session.process.communicate()
    assert [row["choice"] for row in session.rows()] == ["1", "0"]

    said = session.description()
    said["sittings"][0]["started"] = "2099-01-01T12:00:00.000+01:00"
    (session.out / DESCRIPTION).write_text(json.dumps(said))
    again = start("--resume")
    again.leave_page()
    again.answer("j")
    code, said, complained = again.leave("Escape")
    assert (code, said) == (0, f"{again.out / SESSION}: stopped, 3 of 4 trials answered\n")
    assert (
        complained.count("\n") == 2
        and "no practice on drawn cats" in complained
        and "the last sitting was at 2099-01-01 12:00" in complained
    )
    onsets, times = ([float(row[name]) for row in again.rows()] for name in ("onset", "rt"))
    assert 0 < onsets[0] < onsets[0] + times[0] < onsets[1] < onsets[1] + times[1] < onsets[2] < 120
    assert sorted(files(again.out)) == FILES
    assert [sitting["answered"] for sitting in again.description()["sittings"]] == [2, 1]


def test_a_folder_that_goes_away_in_mid_session(start, homes, stimuli, tmp_path):
    session = start(*PLAIN)
    session.leave_page()
    session.answer("j")
    second = read_trial_list(session.out / TRIALS, stimuli)[1]
    session.until(lambda: is_shown(session.screen(), stimuli, second))  # or the first answer can still fail
    away = tmp_path / "away"
    session.out.rename(away)
    wait_for_page(session, "f")
    assert not session.out.exists()
    session.press("space")
    time.sleep(1)
    assert not session.out.exists() and not session.shows_images()
    session.out.mkdir()  # another folder of its name is not the session's
    session.press("space")
    time.sleep(1)
    assert not list(session.out.iterdir()) and not session.shows_images()
    session.out.rmdir()
    away.rename(session.out)
    session.until(lambda: session.press("space", after=0.2) > 0 and len(session.rows()) == 2)

    session.until(session.shows_images)
    session.out.rename(away)
    wait_for_page(session, "j")
    Image.fromarray(session.screen().astype(np.uint8)).save(tmp_path / "unsaved.png")  # to be looked at
    session.press("Escape")
    rescued = session.out.with_name("out_rescued1")
    session.until(rescued.exists)
    time.sleep(1)
    Image.fromarray(session.screen().astype(np.uint8)).save(tmp_path / "elsewhere.png")
    time.sleep(2)
    page = session.screen()  # stays until a key is pressed, and says where the answers are
    assert page[5, 5].tolist() == [128, 128, 128] and (page > 200).sum() > 2500
    assert (page[:, :20] == 128).all() and (page[:, -20:] == 128).all()  # a long path is not cut off
    code, said, complained = session.leave()
    assert (code, said, complained.count("\n")) == (2, "", 1)
    assert f"{session.out}: is not there any more" in complained
    assert f"All 3 answers are saved in {rescued};" in complained
    assert not session.out.exists() and sorted(files(rescued)) == FILES
    assert (rescued / SESSION).read_bytes().startswith((away / SESSION).read_bytes())

    lost = subprocess.run(
        [*session.command, "--resume"], env=session.environment, capture_output=True, text=True, timeout=200
    )
    assert (lost.returncode, lost.stderr.count("\n")) == (2, 1)
    assert f"{rescued}: holds the answers of {session.out}, which is not there any more" in lost.stderr
    away.rename(session.out)
    again = start("--resume")
    assert len(again.rows()) == 3 and RESCUED_FROM not in again.description()
    again.leave_page()
    again.answer("f")
    again.until(lambda: again.description()["completed"])
    code, said, complained = again.leave()
    assert code == 0 and complained.count("\n") == 1 and "no practice on drawn cats" in complained
    assert f"took the answers that had been saved in {rescued}" in said
    assert [row["choice"] for row in again.rows()] == ["1", "0", "1", "0"]
    assert [sitting["answered"] for sitting in again.description()["sittings"]] == [3, 1]


def test_the_answer_on_the_screen_when_every_disk_is_full_survives_escape(start):
    session = start(*PLAIN)
    session.leave_page()
    session.answer("j")
    room = resource.prlimit(session.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(session.process.pid, resource.RLIMIT_FSIZE, (20, room[1]))
    wait_for_page(session, "f")
    session.press("Escape")  # nothing can be written anywhere: it stays on the screen
    time.sleep(1)
    assert session.process.poll() is None and not session.shows_images()
    assert not list(session.out.parent.glob("*rescued*"))
    resource.prlimit(session.process.pid, resource.RLIMIT_FSIZE, room)
    session.press("Escape")
    rescued = session.out.with_name("out_rescued1")
    session.until(rescued.exists)
    assert session.leave()[0] == 2
    assert len((rescued / SESSION).read_text().splitlines()) == 3
    assert sorted(files(session.out)) == FILES and len(session.rows()) == 1
    said = json.loads((rescued / DESCRIPTION).read_text())
    assert said["sittings"][0]["answered"] == 2 and said["sittings"][0]["ended"]


CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <sys/time.h>
static long ahead(void) { return access(getenv("CLOCK_IS_WRONG"), F_OK) ? 0 : 2300000000L; }
int clock_gettime(clockid_t clock, struct timespec *time) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, time);
    if (clock == CLOCK_REALTIME) time->tv_sec += ahead();
    return result;
}
int gettimeofday(struct timeval *time, void *zone) {
    int (*real)(struct timeval *, void *) = dlsym(RTLD_NEXT, "gettimeofday");
    int result = real(time, zone);
    time->tv_sec += ahead();
    return result;
}
"""


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler to make a clock that is wrong")
def test_a_clock_that_is_set_to_2099_in_mid_session(start, tmp_path, monkeypatch):
    (tmp_path / "clock.c").write_text(CLOCK)
    build = ["cc", "-shared", "-fPIC", "-o", tmp_path / "clock.so", tmp_path / "clock.c", "-ldl"]
    subprocess.run(build, check=True)
    wrong = tmp_path / "wrong"
    monkeypatch.setenv("LD_PRELOAD", str(tmp_path / "clock.so"))
    monkeypatch.setenv("CLOCK_IS_WRONG", str(wrong))
    session = start(*PLAIN, process=subprocess.Popen)
    monkeypatch.delenv("LD_PRELOAD")
    session.environment.pop("LD_PRELOAD")
    session.leave_page()
    session.answer("j")
    session.until(session.shows_images)
    wrong.touch()
    time.sleep(0.5)
    session.answer("f")
    session.answer("j")
    wrong.unlink()
    session.until(session.shows_images)
    session.answer("f")
    wrong.touch()
    session.until(lambda: session.description()["completed"])
    code, _, complained = session.leave()
    assert code == 0
    onsets, times = (np.array([float(row[name]) for row in session.rows()]) for name in ("onset", "rt"))
    assert (times > 0).all() and times.max() < 30
    assert (np.diff(onsets) > 0).all() and onsets[0] > 0 and onsets[-1] < 120
    moved = session.description()["sittings"][0].get("clock_moved_s")
    assert complained == "" or (moved and f"clock moved by {moved:.0f} s in this sitting" in complained)


@pytest.fixture
def folder(homes) -> Path:
    """A session with one answer."""
    trials = TRIALS_SHOWN
    made = homes / "lab" / "p01_1"
    description = dict(
        participant="p01", session=1, design=RANDOM, question="?", stimuli="cats", part=1, first_trial=0,
        trials=4, trials_per_session=None, sittings=[],
        list=dict(images=8, trials=4, repeats=0, catch=0, block=100, seed=0),
    )  # fmt: skip
    begin(made, trials, description)
    Recording(made, "p01", 1, trials).answer(trials[0], 1, 0.5, 1.0, "j")
    return made


def more(folder: Path, rows: int = 1) -> dict[str, bytes]:
    """What its files hold after more answers."""
    contents = files(folder)
    trials = list(csv.reader(contents[TRIALS].decode().splitlines()))[2:]
    for number in range(rows):
        _, _, _, left, right, *_ = trials[number % len(trials)]
        contents[SESSION] += f"p01,1,{RANDOM},0,{1 + number},{left},{right},0,0.5,{2 + number},,,f\n".encode()
    said = json.loads(contents[DESCRIPTION]) | {RESCUED_FROM: str(folder.absolute()), "sittings": []}
    return contents | {DESCRIPTION: json.dumps(said).encode()}


def recording_in(folder: Path) -> Recording:
    return Recording(folder, "p01", 1, TRIALS_SHOWN)


def test_only_one_process_holds_a_session(folder):
    with running(folder):
        with pytest.raises(BadInput, match=f"is being run by process {os.getpid()} since"), running(folder):
            pass
        with pytest.raises(BadInput, match="is being run by"):
            begin(folder, [], {})
    assert sorted(files(folder)) == FILES
    (folder / ".running").write_text("process 1 since long ago")  # what a kill leaves
    with running(folder):
        pass
    assert sorted(files(folder)) == FILES


def test_answers_go_where_there_is_room_and_come_back(folder, homes, monkeypatch):
    contents = more(folder)
    recording = recording_in(folder)
    assert take_back(recording, {}) is None
    beside = save_elsewhere(folder, contents)
    assert beside == folder.with_name("p01_1_rescued1") and files(beside) == contents
    assert save_elsewhere(folder, contents).name == "p01_1_rescued2"
    assert [rescued.name for rescued in find_rescued(folder)] == ["p01_1_rescued1", "p01_1_rescued2"]
    assert find_rescued(folder.with_name("p01_11")) == find_rescued(folder.with_name("p01")) == []
    said = {"sittings": [1], "participant": "p01"}
    assert take_back(recording, said) == folder.with_name("p01_1_rescued2")
    assert (folder / SESSION).read_bytes() == contents[SESSION]
    assert (recording.answered, recording.seconds, said) == (2, 2.5, {"sittings": [], "participant": "p01"})
    assert json.loads((folder / DESCRIPTION).read_text()) == said
    assert take_back(recording, said) is None
    away = homes / "away"
    folder.parent.rename(away)
    assert save_elsewhere(folder, contents) == homes / "HOME" / "p01_1_rescued1"
    assert not folder.parent.exists()
    shutil.rmtree(homes / "HOME")
    assert save_elsewhere(folder, contents) == homes / "TMPDIR" / "p01_1_rescued1"
    shutil.rmtree(homes / "TMPDIR")
    with pytest.raises(BadInput, match=r"nor can anything be written in .*lab.*HOME.*TMPDIR"):
        save_elsewhere(folder, contents)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (DESCRIPTION, b"[" * 200_000),
        (DESCRIPTION, b"{}"),
        (DESCRIPTION, b'{"rescued_from": 3}'),
        (TRIALS, b"another list"),
        (SESSION, b"other answers"),
        (SESSION, None),
    ],
)
def test_what_only_looks_like_rescued_answers_is_left_alone(folder, name, content):
    rescued = save_elsewhere(folder, more(folder))
    if content is None:  # the answer before once more
        content = (folder / SESSION).read_bytes()
        content += content.splitlines(keepends=True)[-1]
    (rescued / name).write_bytes(content)
    before = files(folder)
    assert take_back(recording_in(folder), {}) is None
    assert files(folder) == before


def test_a_disk_that_fills_up_while_answers_are_saved_elsewhere(folder, homes):
    contents = more(folder, rows=5000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(BadInput, match="nor can anything be written in"):
            save_elsewhere(folder, contents)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    for place in (folder.parent, homes / "HOME", homes / "TMPDIR"):
        assert not [path for path in place.iterdir() if path != folder]
