import csv
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catpref.commands import BadInput
from catpref.participants import check_participant
from catpref.sessions import read_sessions
from catpref.stimuli import find_images
from catpref.trials import FULL, RANDOM, make_trials, read_trials, write_trials
from experiments.command import experiment
from experiments.loading import load_ahead
from experiments.recording import COLUMNS, Recording

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
SIDE = {"Left": 0, "f": 0, "Right": 1, "j": 1}


@pytest.fixture(scope="module")
def stimuli(tmp_path_factory) -> Path:
    """Forty different pictures, half of them in a subfolder, not all of them square."""
    folder = tmp_path_factory.mktemp("stimuli")
    (folder / "more").mkdir()
    rng = np.random.default_rng(0)
    for number in range(40):
        patches = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        size = (256, 256) if number % 3 else (200, 301)
        patches.resize(size).save(folder / ("more" if number % 2 else "") / f"süß {number:02d}.png")
    return folder


class Session:
    """A running experiment, its window and its files."""

    def __init__(self, display: str, script: str, out: Path, *arguments: object) -> None:
        self.environment = os.environ | {"DISPLAY": display}
        self.out = out
        command = [sys.executable, EXPERIMENTS / script, "--participant", "p01", "--out", out, *arguments]
        self.process = subprocess.Popen(
            [str(part) for part in command],
            env=self.environment,
            cwd=out.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.until(lambda: (out / "session.json").exists())
        self.window = self.xdotool("search", "--onlyvisible", "--name", "PsychoPy").split()[0]
        self.xdotool("windowfocus", "--sync", self.window)
        time.sleep(0.3)

    def xdotool(self, *arguments: str) -> str:
        command = ["xdotool", *arguments]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True
        ).stdout

    def press(self, key: str) -> float:
        """Press a key, and say when, in seconds of the day's clock."""
        pressed = time.time()
        self.xdotool("key", key)
        return pressed

    def answer(self, key: str) -> float:
        """Press a key and wait until one more answer is on disk; again if the images were late to come."""
        answers, pressed = len(self.rows()) + 1, 0.0
        while len(self.rows()) < answers:
            pressed = self.press(key)
            with suppress(TimeoutError):
                self.until(lambda: len(self.rows()) == answers, seconds=2)
        return pressed

    def rows(self) -> list[dict[str, str]]:
        with (self.out / "session.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def description(self) -> dict:
        return json.loads((self.out / "session.json").read_text(encoding="utf-8"))

    def until(self, done: Callable[[], bool], seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert self.process.poll() is None, self.process.communicate()
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.02)

    def end(self) -> tuple[int, str, str]:
        said, complained = self.process.communicate(timeout=30)
        return self.process.returncode, said, complained


@pytest.fixture
def start(display, tmp_path) -> Iterator[Callable[..., Session]]:
    """Start sessions, and end those that a failed test leaves behind."""
    sessions = []

    def start(script: str, *arguments: object) -> Session:
        sessions.append(Session(display, script, tmp_path / "out", *arguments))
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
        "random_sampled.py", "--stimuli", stimuli, "--trials", 18, "--repeats", 2, "--block", 8, "--seed", 5
    )
    size = session.xdotool("getwindowgeometry", session.window)
    assert "Geometry: 1280x1024" in size
    keys = ["Left", "Right", "f", "j", "Right", "j", "Left", "f", "j", "Left"] * 2
    session.press("Left")  # no answer: the instructions are still there
    next_trial()
    session.press("Left")
    session.press("space")
    pressed = []
    for number, key in enumerate(keys):
        if number in (8, 16):
            time.sleep(0.3)
            session.press("Right")  # no answer: this is a break
            next_trial()
            session.press("Right")
            session.press("space")
        if number == 3:
            time.sleep(0.2)
            session.press("Left")  # no answer: too early, this is the fixation
        next_trial()
        assert len(session.rows()) == number
        pressed.append(session.answer(key))
    session.until(lambda: session.description()["ended"] is not None)
    time.sleep(0.3)
    session.press("space")
    code, said, complained = session.end()
    assert (code, complained) == (0, "")
    assert said == f"{session.out / 'session.csv'}: 20 of 20 trials answered\n"

    rows = session.rows()
    assert tuple(rows[0]) == COLUMNS
    assert [int(row["choice"]) for row in rows] == [SIDE[key] for key in keys]
    assert [int(row["trial"]) for row in rows] == list(range(20))
    assert [int(row["block"]) for row in rows] == [0] * 8 + [1] * 8 + [2] * 4
    assert {(row["participant"], row["session"], row["design"]) for row in rows} == {("p01", "1", RANDOM)}
    trials = read_trials(session.out / "trials.csv", stimuli)
    assert trials == make_trials_of(session)
    for row, trial in zip(rows, trials, strict=True):
        assert (row["left_image"], row["right_image"]) == (trial.left_image, trial.right_image)
        assert row["repeat_of"] == ("" if trial.repeat_of is None else str(trial.repeat_of))

    description = session.description()
    started = datetime.fromisoformat(description["started"]).timestamp()
    onsets, times = (np.array([float(row[name]) for row in rows]) for name in ("onset", "rt"))
    late = started + onsets + times - np.array(pressed)
    assert late.min() > -0.01  # the key was not pressed before it was sent
    assert np.median(late) < 0.1
    assert late.max() < 0.5
    assert times.min() > 0.05
    gaps = onsets[1:] - (onsets + times)[:-1]
    assert gaps.min() > 0.5 - 1 / 60
    assert np.median(gaps) < 0.5 + 2 / 60 + 0.03  # two frames, and a slow machine's share

    assert description["completed"] is True
    assert description["stimuli"] == str(stimuli.resolve())
    assert description["seed"] == 5
    assert description["design"] == RANDOM
    assert description["keyboard"] == "ptb", "install libjack-jackd2-0"
    assert description["screen"]["size_px"] == [1280, 1024]
    assert set(description["versions"]) == {"python", "psychopy", "catpref"}
    assert description["frames"]["number"] > 20 * 5
    assert description["frames"]["max_s"] >= description["frames"]["mean_s"] > 0
    assert datetime.fromisoformat(description["ended"]).timestamp() > started + onsets[-1]

    read = read_sessions([session.out / "session.csv"])
    assert len(read.trials) == 20
    assert read.stimuli.resolve() == stimuli.resolve()


def make_trials_of(session: Session) -> list:
    from catpref.trials import list_trials

    folder = Path(session.description()["stimuli"])
    return list_trials(folder, RANDOM, trials=18, repeats=2, block=8, seed=5)


STAGE_SCRIPT = """
import sys, time
from experiments.stage import Stage, Stopped

def say(*words):
    print(*words, flush=True)
    sys.stdin.readline()

stage = Stage(["escape"])
nothing = lambda: None
say("pressed before the onset")
say("it is", stage.show(nothing, ["f", "j"], seconds=0.3).key or "ignored")
shown = stage.show(nothing, ["f", "j"], seconds=9, meanwhile=lambda: say("pressed and released while busy"))
say("it is", shown.key, 0 < shown.pressed - shown.onset < 5)
say("stop before the onset")
try:
    stage.show(nothing, ["f"], seconds=9)
except Stopped:
    say("it is stopped")
"""


def test_early_keys_are_ignored_and_quick_keys_are_not(display):
    environment = os.environ | {"DISPLAY": display}
    stage = subprocess.Popen(
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
    stage.communicate(timeout=30)
    assert stage.returncode == 0


def test_escape_keeps_what_was_answered(start, stimuli, tmp_path):
    names = find_images(stimuli)[:6]
    given = tmp_path / "given.csv"
    write_trials(given, make_trials(FULL, names, seed=2))
    session = start("fully_sampled.py", "--stimuli", stimuli, "--trials-file", given, "--windowed")
    session.press("Return")
    for key in ("j", "Left", "Right"):
        next_trial()
        session.answer(key)
    next_trial()
    session.press("Escape")
    code, said, complained = session.end()
    assert (code, complained) == (0, "")
    assert "stopped, 3 of 15 trials answered" in said
    assert [row["choice"] for row in session.rows()] == ["1", "0", "1"]
    description = session.description()
    assert description["completed"] is False
    assert description["ended"] is not None
    assert description["seed"] is None
    assert (session.out / "trials.csv").read_bytes() == given.read_bytes()


def test_a_killed_session_keeps_every_answer_and_is_not_overwritten(start, stimuli):
    arguments = ("--stimuli", stimuli, "--trials", 10, "--seed", 1)
    session = start("random_sampled.py", *arguments)
    session.press("space")
    for key in ("Left", "Right", "j"):
        next_trial()
        session.answer(key)
    session.process.send_signal(signal.SIGKILL)
    assert session.end()[0] == -signal.SIGKILL
    assert [row["choice"] for row in session.rows()] == ["0", "1", "1"]
    assert session.description()["completed"] is False
    assert session.description()["ended"] is None
    assert len(read_sessions([session.out / "session.csv"]).trials) == 3

    before = {file: file.read_bytes() for file in session.out.iterdir()}
    script = EXPERIMENTS / "random_sampled.py"
    again = subprocess.run(
        [sys.executable, script, "--participant", "p01", "--out", session.out, *map(str, arguments)],
        env=session.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 2
    assert re.fullmatch(r"catpref: .*session\.csv: exists already.*\n", again.stderr)
    assert {file: file.read_bytes() for file in session.out.iterdir()} == before


def test_the_dialog_asks_for_a_code(display, stimuli, tmp_path):
    environment = os.environ | {"DISPLAY": display}

    def xdotool(*arguments: str) -> str:
        return subprocess.run(["xdotool", *arguments], env=environment, capture_output=True, text=True).stdout

    def focus(title: str) -> None:
        window, deadline = "", time.monotonic() + 30
        while not window:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
            window = xdotool("search", "--onlyvisible", "--name", title).strip()
        xdotool("windowfocus", "--sync", window.split()[0])

    command = [sys.executable, EXPERIMENTS / "random_sampled.py", "--stimuli", stimuli, "--trials", "4"]
    process = subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
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
        focus("PsychoPy")
        described = tmp_path / "sessions" / f"p07_{RANDOM}_2" / "session.json"
        while not described.exists() and process.poll() is None:
            time.sleep(0.05)
        time.sleep(0.3)
        xdotool("key", "Escape")
        said, complained = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, complained) == (0, "")
    assert "stopped, 0 of 4" in said
    description = json.loads(described.read_text())
    assert (description["participant"], description["session"]) == ("p07", 2)


def test_screenshots_show_images_pixel_by_pixel_and_no_text_at_the_edge(display, stimuli, tmp_path):
    command = [sys.executable, "-m", "experiments.screenshots", "--stimuli", stimuli, "--out", tmp_path]
    subprocess.run(command, env=os.environ | {"DISPLAY": display}, check=True, capture_output=True)
    pictures = {file.stem: np.asarray(Image.open(file).convert("RGB")) for file in tmp_path.iterdir()}
    assert set(pictures) == {"instructions", "fixation", "trial", "break", "end", "stopped"}
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


def test_images_come_in_order_and_only_a_few_are_held(stimuli):
    trials = make_trials(RANDOM, find_images(stimuli), seed=3)
    loaded = []

    def fit(image: Image.Image) -> Image.Image:
        loaded.append(image)
        return image

    for number, (trial, (left, right)) in enumerate(
        zip(trials, load_ahead(trials, stimuli, fit), strict=True)
    ):
        assert left.tobytes() == Image.open(stimuli / trial.left_image).tobytes()
        assert right.tobytes() == Image.open(stimuli / trial.right_image).tobytes()
        assert len(loaded) <= 2 * (number + 3)
        time.sleep(0.01)


@pytest.fixture
def no_window(monkeypatch):
    """No display: whoever tries to open a window is told so."""
    monkeypatch.delenv("DISPLAY", raising=False)


def test_bad_input_is_found_before_a_window_opens(no_window, stimuli, tmp_path):
    given = tmp_path / "given.csv"
    full = make_trials(FULL, find_images(stimuli)[:5])
    write_trials(given, full)
    broken = tmp_path / "broken"
    broken.mkdir()
    for number in range(5):
        (broken / f"{number}.png").write_bytes((stimuli / full[0].left_image).read_bytes()[:-500])
    broken_list = tmp_path / "broken.csv"
    write_trials(broken_list, make_trials(FULL, find_images(broken)))
    old = tmp_path / "old"
    old.mkdir()
    (old / "session.json").write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    for design, folder, arguments, complaint in [
        (RANDOM, tmp_path / "nowhere", [], "no such stimulus folder"),
        (RANDOM, stimuli, [], "holds 40 of the 2000 images"),
        (FULL, stimuli, [], "ask for --images 40"),
        (FULL, stimuli, ["--images", "4"], "too few"),
        (FULL, stimuli, ["--images", "6", "--participant", "Anna Müller"], "no name or address"),
        (FULL, stimuli, ["--images", "6", "--participant", "../p01"], "no name or address"),
        (FULL, stimuli, ["--images", "6", "--out", str(old)], "session.json: exists already"),
        (FULL, stimuli, ["--trials-file", str(tmp_path / "none.csv")], "none.csv: cannot be read"),
        (FULL, stimuli, ["--trials-file", str(given), "--images", "5"], "leave --images out"),
        (FULL, stimuli, ["--trials-file", str(given), "--seed", "1"], "leave --seed out"),
        (RANDOM, stimuli, ["--trials-file", str(given)], "the design is fully-sampled"),
        (FULL, broken, ["--trials-file", str(broken_list)], "damaged"),
        (FULL, stimuli, ["--images", "6"], "no window can be opened"),
    ]:
        out = [] if "--out" in arguments else ["--out", str(tmp_path / "new")]
        who = [] if "--participant" in arguments else ["--participant", "p01"]
        with pytest.raises(BadInput, match=re.escape(complaint)):
            experiment(design, "script")(["--stimuli", str(folder), *out, *who, *arguments])
        assert sorted(tmp_path.rglob("*")) == before


def test_scripts_start_quickly_from_anywhere_and_complain_in_one_line(stimuli, tmp_path):
    for script, arguments, code in [
        ("random_sampled.py", ["--help"], 0),
        ("fully_sampled.py", ["--stimuli", stimuli, "--participant", "p01"], 2),
    ]:
        began = time.monotonic()
        command = [sys.executable, EXPERIMENTS / script, *arguments]
        answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert answer.returncode == code
        assert time.monotonic() - began < 6
        assert (answer.stderr.count("\n"), "example:" in answer.stdout) == (
            (0, True) if code == 0 else (1, False)
        )
    assert not list(tmp_path.iterdir())


def test_participant_codes():
    assert check_participant("p01_b-2") == "p01_b-2"
    for code in ("", "Anna Müller", "anna@lab.org", "../x", "p01\n", "a" * 41, "10.0.0.1"):
        with pytest.raises(BadInput):
            check_participant(code)


def test_a_full_disk_leaves_whole_rows_and_room_makes_it_go_on(tmp_path):
    trials = make_trials(RANDOM, [f"cat,{number}.png" for number in range(40)])
    recording = Recording(tmp_path / "out", "p01", 1, trials)
    recording.answer(trials[0], 1, 0.5, 1.0)
    size = recording.path.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, limits[1]))
        with pytest.raises(BadInput, match="cannot be written"):
            recording.answer(trials[1], 0, 0.5, 2.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert recording.path.stat().st_size == size
    recording.answer(trials[1], 0, 0.25, 2.0)
    recording.close()
    with recording.path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["left_image"], row["choice"], row["rt"]) for row in rows] == [
        (trials[0].left_image, "1", "0.500000"),
        (trials[1].left_image, "0", "0.250000"),
    ]
    with pytest.raises(BadInput, match="exists already"):
        Recording(tmp_path / "out", "p01", 1, [replace(trials[0], block=0)])
