import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forked import Forked
from PIL import Image
from sessions_support import BOX, EXPERIMENTS, MIDDLE, SCREEN, Session, draw_pictures, is_shown

from catpref.design.designs import list_trials, make_trials
from catpref.design.trial_list import FULL, RANDOM, read_trial_list, write_trial_list
from catpref.lab.recording import COLUMNS
from catpref.lab.texts import ENGLISH
from catpref.sessions.session import read_sessions
from catpref.stimuli.images import find_images

SIDE = {"Left": 0, "f": 0, "Right": 1, "j": 1, "click left": 0, "click right": 1}
PLAIN = ("--practice", 0, "--repeats", 0, "--catch", 0)
BETWEEN = (SCREEN[0] // 2, MIDDLE)


@pytest.fixture(scope="module")
def stimuli(tmp_path_factory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("stimuli"))


@pytest.fixture
def start(display, tmp_path) -> Iterator[Callable[..., Session]]:
    """Start sessions, and end those that a failed test leaves behind."""
    sessions = []

    def start(script: str, *arguments: object, out: Path = tmp_path / "out", **how: Any) -> Session:
        sessions.append(Session(display, script, out, *arguments, **how))
        return sessions[-1]

    yield start
    for session in sessions:
        if session.process.poll() is None:
            session.process.kill()
            session.process.communicate()


def next_trial() -> None:
    """Let the fixation pass, and a moment more."""
    time.sleep(0.65)


def test_a_session_of_20_trials(start, stimuli):
    session = start(
        "random_sampled.py", "--stimuli", stimuli, "--trials", 17, "--repeats", 2, "--catch", 1, "--block", 8,
        "--seed", 5, "--practice", 1, "--photodiode", process=subprocess.Popen,
    )  # fmt: skip
    size = session.xdotool("getwindowgeometry", session.window)
    assert "Geometry: 640x512" in size
    keys = ["Left", "Right", "f", "click right", "Right", "j", "click left", "f", "j", "Left"] * 2
    session.press("Left")  # no answer: the instructions are still there
    next_trial()
    session.press("Left")
    session.leave_page()
    session.press("f")  # practice, no answer either
    session.until(lambda: not session.shows_images())
    time.sleep(0.3)
    session.leave_page()
    pressed = []
    for number, key in enumerate(keys):
        if number in (8, 16):
            time.sleep(0.3)
            session.press("Right")  # no answer: this is a break
            assert session.screen()[510, 2].tolist() == [0, 0, 0]
            next_trial()
            session.press("Right")
            session.leave_page()
        if number == 3:
            time.sleep(0.2)
            session.press("Left")  # no answer: too early, this is the fixation
            session.press("click left")
        next_trial()
        if number == 6:
            assert session.screen()[510, 2].tolist() == [255, 255, 255]  # the photodiode's patch
            session.click(*BETWEEN)  # no answer: beside the images
        assert len(session.rows()) == number
        pressed.append(session.answer(key))
    session.until(lambda: session.description()["completed"])
    time.sleep(0.6)
    session.click(*BETWEEN)
    code, said, complained = session.end()
    assert (code, complained) == (0, "")
    assert said == f"{session.out / 'session.csv'}: 20 of 20 trials answered\n"

    rows = session.rows()
    assert tuple(rows[0]) == COLUMNS
    assert [int(row["choice"]) for row in rows] == [SIDE[key] for key in keys]
    assert [row["response"] for row in rows] == [key.lower().split()[0] for key in keys]
    assert [int(row["trial"]) for row in rows] == list(range(20))
    assert [int(row["block"]) for row in rows] == [0] * 8 + [1] * 8 + [2] * 4
    assert {(row["participant"], row["session"], row["design"]) for row in rows} == {("p01", "1", RANDOM)}
    trials = read_trial_list(session.out / "trials.csv", stimuli)
    assert trials == list_trials(stimuli, RANDOM, trials=17, repeats=2, block=8, seed=5, catch=1)
    for row, trial in zip(rows, trials, strict=True):
        assert (row["left_image"], row["right_image"]) == (trial.left_image, trial.right_image)
        assert row["repeat_of"] == ("" if trial.repeat_of is None else str(trial.repeat_of))
        assert row["catch"] == trial.catch

    description = session.description()
    sitting = description["sittings"][0]
    started = datetime.fromisoformat(sitting["started"]).timestamp()
    onsets, times = (np.array([float(row[name]) for row in rows]) for name in ("onset", "rt"))
    late = started + onsets + times - np.array(pressed)
    assert late.min() > -0.01  # the key was not pressed before it was sent
    assert np.median(late) < 0.2
    assert late.max() < 2
    assert times.min() > 0.05
    gaps = onsets[1:] - (onsets + times)[:-1]
    assert gaps.min() > 0.5 - 1 / 60
    assert np.median(gaps) < 0.5 + 2 / 60 + 0.15  # two frames, and a busy machine's share
    within = np.delete(gaps, [7, 15])  # without the breaks
    said_late = sitting["onsets_late"]
    assert within.max() - 0.5 - 1e-5 < said_late["max_s"] < 3
    assert abs(said_late["median_s"] - (np.median(within) - 0.5)) < 0.01
    assert said_late["over_two_frames"] >= (within - 0.5 > 2 / 50).sum()

    assert description["completed"] is True
    assert description["stimuli"] == str(stimuli.resolve())
    assert description["list"] == dict(images=34, trials=17, repeats=2, catch=1, block=8, seed=5)
    assert (description["participant"], description["session"], description["design"]) == ("p01", 1, RANDOM)
    assert (sitting["first_trial"], sitting["answered"], sitting["fixation_s"]) == (0, 20, 0.5)
    assert sitting["keyboard"] == "ptb", "install libjack-jackd2-0"
    assert sitting["screen"]["size_px"] == list(SCREEN)
    assert sitting["screen"]["image_px"] == BOX
    assert set(sitting["versions"]) == {"python", "psychopy", "catpref"}
    assert sitting["frames"]["number"] > 20 * 3
    assert sitting["frames"]["max_s"] >= sitting["frames"]["mean_s"] > 0
    assert datetime.fromisoformat(sitting["ended"]).timestamp() > started + onsets[-1]

    read = read_sessions([session.out / "session.csv"])
    assert read.stimuli.resolve() == stimuli.resolve()


def test_a_third_answer_by_key_and_by_click(start, stimuli, tmp_path):
    text = ENGLISH.read_text(encoding="utf-8").replace("# no_preference", "no_preference")
    (tmp_path / "texts.toml").write_text(text, encoding="utf-8")
    size = ("--trials", 6, "--seed", 2, "--texts", tmp_path / "texts.toml")
    session = start("random_sampled.py", "--stimuli", stimuli, *size, *PLAIN)
    session.press("space")
    next_trial()
    session.click(320, 350)  # no answer: above the hint, between the images
    for number, key in enumerate(["Down", "f", None, "Right", "Down", "f"]):
        next_trial()
        if key is None:
            session.click(320, 419)
            session.until(lambda number=number: len(session.rows()) == number + 1)
        else:
            session.answer(key)
    assert session.leave("Left")[0] == 0
    rows = session.rows()
    assert [row["choice"] for row in rows] == ["0.5", "0", "0.5", "1", "0.5", "0"]
    assert [row["response"] for row in rows] == ["down", "f", "click", "right", "down", "f"]
    trials = read_sessions([session.out / "session.csv"]).trials
    assert trials["choice"].tolist() == [0.5, 0, 0.5, 1, 0.5, 0]


def test_parts_of_a_list_on_several_days_catch_trials_and_time_outs(start, stimuli, tmp_path):
    """The second call shows what the first left, in a folder of its own; catch trials show a scrambled image."""
    given = tmp_path / "given.csv"
    names = find_images(stimuli)
    made = make_trials(RANDOM, names[:10], seed=2, catch=2)
    write_trial_list(given, made)
    arguments = ("--stimuli", stimuli, "--trials-file", given, "--practice", 0)
    home = tmp_path / "sessions"
    first = start(
        "random_sampled.py", *arguments, "--trials-per-session", 5, out=home / f"p01_{RANDOM}_1", cwd=tmp_path
    )
    first.press("space")
    for trial in made[:5]:
        first.until(lambda trial=trial: is_shown(first.screen(), stimuli, trial))
        first.answer("j")
    code, said, _ = first.leave("Left")
    assert code == 0
    assert "5 of 5 trials answered" in said and "trials of the list that are left: 2;" in said

    second = start(
        "random_sampled.py", *arguments, "--timeout", 0.4, out=home / f"p01_{RANDOM}_2", cwd=tmp_path
    )
    second.until(lambda: second.press("space", after=0.2) > 0 and second.description()["completed"])
    assert second.leave("Left")[0] == 0
    rows = first.rows() + second.rows()
    assert [int(row["trial"]) for row in rows] == list(range(7))
    assert [row["left_image"] for row in rows] == [trial.left_image for trial in made]
    assert [row["session"] for row in rows] == ["1"] * 5 + ["2"] * 2
    assert [(row["choice"], row["rt"], row["response"]) for row in rows[5:]] == [("", "", "")] * 2
    onsets = [float(row["onset"]) for row in rows[5:]]
    assert 0.9 - 1 / 60 < onsets[1] - onsets[0] < 1.5
    assert (first.out / "trials.csv").read_bytes() == (second.out / "trials.csv").read_bytes()
    described = second.description()
    assert (described["part"], described["first_trial"], described["trials"]) == (2, 5, 2)
    assert described["sittings"][0]["timeout_s"] == 0.4


def test_escape_keeps_what_was_answered(start, stimuli, tmp_path):
    names = find_images(stimuli)[:6]
    given = tmp_path / "given.csv"
    write_trial_list(given, make_trials(FULL, names, seed=2))
    arguments = ("--stimuli", stimuli, "--trials-file", given, "--practice", 0, "--windowed")
    session = start("fully_sampled.py", *arguments)
    session.press("Return")
    for key in ("j", "Left", "Right"):
        next_trial()
        session.answer(key)
    code, said, complained = session.leave("Escape")
    assert (code, complained) == (0, "")
    assert "stopped, 3 of 15 trials answered" in said
    assert [row["choice"] for row in session.rows()] == ["1", "0", "1"]
    description = session.description()
    assert description["completed"] is False
    assert description["sittings"][0]["ended"] is not None
    assert set(description["list"].values()) == {None}
    assert (session.out / "trials.csv").read_bytes() == given.read_bytes()


def test_a_full_disk_is_said_on_the_screen_and_room_makes_it_go_on(start, stimuli):
    """The limit on a file's size stands for the disk's end: the same error, where no disk can be filled."""
    session = start("random_sampled.py", "--stimuli", stimuli, "--trials", 4, "--seed", 1, *PLAIN)
    session.press("space")
    next_trial()
    session.answer("j")
    next_trial()
    trial = session.screen()
    room = resource.prlimit(session.process.pid, resource.RLIMIT_FSIZE)
    full = (session.out / "session.csv").stat().st_size + 20
    resource.prlimit(session.process.pid, resource.RLIMIT_FSIZE, (full, room[1]))
    before = (session.out / "session.csv").read_bytes()
    session.press("f")
    time.sleep(0.5)
    page = session.screen()
    session.press("space")  # still full
    time.sleep(0.5)
    assert (session.screen() == page).all()
    assert (page != trial).any() and (page[150:350, 30:300] != 128).any()
    assert (session.out / "session.csv").read_bytes() == before
    assert sorted(file.name for file in session.out.iterdir()) == [
        ".running",
        "session.csv",
        "session.json",
        "trials.csv",
    ]
    resource.prlimit(session.process.pid, resource.RLIMIT_FSIZE, room)
    session.press("space")
    for key in ("j", "j"):
        next_trial()
        session.answer(key)
    session.until(lambda: session.description()["completed"])
    assert session.leave()[0] == 0
    assert [row["choice"] for row in session.rows()] == ["1", "0", "1", "1"]


STAGE_SCRIPT = """
import sys, time
from catpref.lab.stage import Stage, Stopped

def say(*words):
    print(*words, flush=True)
    sys.stdin.readline()

stage = Stage(["escape"])
nothing = lambda: None
say("pressed before the onset")
say("it is", stage.show(nothing, ["f", "j"], seconds=0.3).response or "ignored")
shown = stage.show(nothing, ["f", "j"], seconds=9, meanwhile=lambda: say("pressed and released while busy"))
say("it is", shown.response, 0 < shown.at - shown.onset < 5)
say("stop before the onset")
try:
    stage.show(nothing, ["f"], seconds=9)
except Stopped:
    say("it is stopped")
"""


def test_early_keys_are_ignored_and_quick_keys_are_not(display):
    environment = os.environ | {"DISPLAY": display}
    stage = Forked(
        [sys.executable, "-c", STAGE_SCRIPT],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert stage.stdin and stage.stdout
    for expected, key in [
        ("pressed before the onset", "j"),
        ("it is ignored", ""),
        ("pressed and released while busy", "f"),
        ("it is f True", ""),
        ("stop before the onset", "Escape"),
        ("it is stopped", ""),
    ]:
        assert stage.stdout.readline().strip() == expected
        if key:
            subprocess.run(["xdotool", "key", key], env=environment, check=True)
            time.sleep(0.2)
        stage.stdin.write("\n")
        stage.stdin.flush()
    stage.communicate(timeout=200)
    assert stage.returncode == 0


def test_the_dialog_asks_for_a_code_and_whether_to_go_on(display, stimuli, tmp_path):
    environment = os.environ | {"DISPLAY": display}

    def xdotool(*arguments: str) -> str:
        return subprocess.run(["xdotool", *arguments], env=environment, capture_output=True, text=True).stdout

    def focus(title: str) -> None:
        window, deadline = "", time.monotonic() + 200
        while not window:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
            window = xdotool("search", "--onlyvisible", "--name", title).strip()
        xdotool("windowfocus", "--sync", window.split()[0])

    def sittings() -> int:
        return len(json.loads(described.read_text())["sittings"]) if described.exists() else 0

    def wait_until_begun(number: int) -> None:
        focus("PsychoPy")
        while sittings() < number and process.poll() is None:
            time.sleep(0.05)
        time.sleep(0.3)

    described = tmp_path / "sessions" / f"p07_{RANDOM}_2" / "session.json"
    command = [sys.executable, EXPERIMENTS / "random_sampled.py", "--stimuli", stimuli, "--trials", 4, *PLAIN]
    command = [str(part) for part in command]
    pipes = dict(env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process = Forked(command, **pipes)
    try:
        focus("Whose session")
        xdotool("type", "Anna M")
        xdotool("key", "Return")
        focus("participant 'Anna M'")
        xdotool("key", "ctrl+a")
        xdotool("type", "p07")
        xdotool("key", "Tab", "ctrl+a")
        xdotool("type", "2")
        xdotool("key", "Return")
        wait_until_begun(1)
        xdotool("key", "space")
        next_trial()
        xdotool("key", "j")
        next_trial()
        xdotool("key", "Escape")
        said, complained = process.communicate(timeout=200)
        assert (process.returncode, complained) == (0, "")
        assert "stopped, 1 of 4" in said

        process = Forked(command, **pipes)
        focus("Whose session")
        xdotool("type", "p07")
        xdotool("key", "Return")
        focus("Go on?")
        xdotool("key", "Return")
        wait_until_begun(2)
        xdotool("key", "Escape")
        said, complained = process.communicate(timeout=200)
    finally:
        process.kill()
    assert (process.returncode, complained) == (0, "")
    assert "stopped, 1 of 4" in said
    description = json.loads(described.read_text())
    assert (description["participant"], description["session"]) == ("p07", 2)
    assert [sitting["answered"] for sitting in description["sittings"]] == [1, 0]


def test_screenshots_show_images_pixel_by_pixel_and_no_text_at_the_edge(large_display, stimuli, tmp_path):
    command = [sys.executable, "-m", "experiments.screenshots", "--stimuli", stimuli, "--out", tmp_path]
    assert Forked(command, env=os.environ | {"DISPLAY": large_display}).wait(timeout=200) == 0
    pictures = {file.stem: np.asarray(Image.open(file).convert("RGB")) for file in tmp_path.glob("*.png")}
    assert set(pictures) == {
        *("instructions", "practice", "practice_trial", "begin", "fixation", "trial", "catch", "break"),
        *("progress", "resume", "unsaved", "stopped", "part_end", "end"),
    }
    grey = 128
    for name, picture in pictures.items():
        assert picture.shape == (1024, 1280, 3)
        drawn = np.argwhere((picture != grey).any(2))
        assert len(drawn) > 100, name
        assert drawn.min(0)[0] > 40 and drawn.max(0)[0] < 1024 - 40, name
        assert drawn.min(0)[1] > 40 and drawn.max(0)[1] < 1280 - 40, name
    names = find_images(stimuli)
    box = 550
    left, right = (Image.open(stimuli / name).convert("RGB") for name in (names[0], names[-1]))
    trial = pictures["trial"].astype(int)
    for image, centre in ((left, 640 - 38 - box // 2), (right, 640 + 38 + box // 2)):
        scale = box / max(image.size)
        size = round(image.width * scale), round(image.height * scale)
        expected = np.asarray(image.resize(size, Image.Resampling.LANCZOS)).astype(int)
        x, y = centre - size[0] // 2, 512 - size[1] // 2
        assert np.abs(trial[y : y + size[1], x : x + size[0]] - expected).max() <= 1
        around = trial[y - 1 : y + size[1] + 1, x - 1 : x + size[0] + 1]
        assert (around[[0, -1]] == grey).all() and (around[:, [0, -1]] == grey).all()


def test_scripts_start_quickly_from_anywhere_and_complain_in_one_line(stimuli, tmp_path):
    for script, arguments, code in [
        ("random_sampled.py", ["--help"], 0),
        ("fully_sampled.py", ["--stimuli", stimuli, "--participant", "p01"], 2),
    ]:
        began = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        command = [sys.executable, EXPERIMENTS / script, *arguments]
        answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert answer.returncode == code
        assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - began < 3
        assert (answer.stderr.count("\n"), "example:" in answer.stdout) == (
            (0, True) if code == 0 else (1, False)
        )
    assert not list(tmp_path.iterdir())
