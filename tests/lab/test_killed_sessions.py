"""Sessions killed at random moments: nothing that was answered is lost, nothing is shown twice or left out.

`CATPREF_KILLS=60 python -m pytest -s tests/lab/test_killed_sessions.py` kills more often than by default.
"""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import chain, cycle, islice
from pathlib import Path

import numpy as np
import pytest
from adaptive_support import as_chosen, keep_made_up_priors
from forked import Forked
from PIL import Image, ImageGrab
from sessions_support import BOX, EXPERIMENTS, LEFT, MIDDLE, RIGHT, close_window, draw_pictures

from catpref.design.trial_list import ADAPTIVE, BY_LEARNING, FIXED, RANDOM, Trial, read_trial_list
from catpref.lab.adaptive import EARLIER, PRIOR
from catpref.lab.recording import COLUMNS, DESCRIPTION, SESSION, TRIALS
from catpref.sessions.session import read_sessions
from catpref.stimuli.scrambling import scramble

KILLS = int(os.environ.get("CATPREF_KILLS", "2"))
PAIRS, PART, BLOCK, SEED = 4 * KILLS, 7, 3, 4
SCRIPTS = {RANDOM: "random_sampled.py", ADAPTIVE: "adaptive.py"}
MOMENTS = ("while an answer is written", "end page", "window closed", "any moment", "break", "start")


def small(image: Image.Image) -> np.ndarray:
    return np.asarray(image.resize((16, 16), Image.Resampling.BOX)).astype(int)


def look_of(trial: Trial, stimuli: Path) -> tuple[np.ndarray, np.ndarray]:
    """The two images of a trial as they are on the screen, much reduced."""
    looks = []
    for name, side in ((trial.left_image, "left"), (trial.right_image, "right")):
        image = Image.open(stimuli / name).convert("RGB")
        image = scramble(image) if trial.catch == side else image
        scale = BOX / max(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)))
        square = Image.new("RGB", (BOX, BOX), (128, 128, 128))
        square.paste(image, ((BOX - image.width) // 2, (BOX - image.height) // 2))
        looks.append(small(square))
    return looks[0], looks[1]


class Runner:
    """One call of the experiment, and hands that press keys until it is over or killed."""

    def __init__(self, display: str, home: Path, stimuli: Path, design: str) -> None:
        self.display = display
        self.home = home
        self.environment = os.environ | {"DISPLAY": display}
        size = f"--trials {PAIRS} --repeats 1 --catch 2 --block {BLOCK} --practice 0 --seed {SEED}"
        command = [sys.executable, EXPERIMENTS / SCRIPTS[design], "--stimuli", stimuli]
        command += ["--participant", "p01", "--resume", "--trials-per-session", PART, *size.split()]
        self.process = Forked(
            [str(part) for part in command],
            env=self.environment,
            cwd=home,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.window = ""

    def press(self, rng: random.Random, enough: Callable[[], bool], look_every: float = 0.01) -> None:
        """Press keys at random until it is enough, or over."""
        while not enough() and self.process.poll() is None:
            if self.window:
                key = rng.choice(["Left", "Right", "f", "j", "space"])
                subprocess.Popen(["xdotool", "key", key], env=self.environment)
            elif windows := self.xdotool("search", "--onlyvisible", "--name", "PsychoPy").split():
                self.window = windows[0]
                self.xdotool("windowfocus", self.window)
            deadline = time.monotonic() + rng.uniform(0.05, 0.4)
            while not enough() and time.monotonic() < deadline:
                time.sleep(look_every)

    def xdotool(self, *arguments: str) -> str:
        done = subprocess.run(["xdotool", *arguments], env=self.environment, capture_output=True, text=True)
        return done.stdout

    def freeze(self) -> np.ndarray:
        """Stop the process where it is, and give what is on the screen."""
        self.process.send_signal(signal.SIGSTOP)
        return np.asarray(ImageGrab.grab(xdisplay=self.display).convert("RGB"))

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def parts(home: Path) -> list[Path]:
    """The folders of the sessions, in order."""
    folders = (home / "sessions").glob("p01_*_*")
    return sorted(folders, key=lambda folder: int(folder.name.rpartition("_")[2]))


def answers(home: Path) -> list[str]:
    """The lines of all session.csv, which must be valid."""
    contents = [(folder / SESSION).read_bytes() for folder in parts(home)]
    assert all(content.endswith(b"\n") for content in contents)
    return list(chain.from_iterable(content.decode().splitlines()[1:] for content in contents))


def looks_of(home: Path, stimuli: Path, design: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """How the trials look whose images are known: all, or those of an adaptive session so far, and the next one."""
    listed = parts(home)[0] / TRIALS
    trials = shown_trials(home, stimuli) if design == ADAPTIVE else read_trial_list(listed, stimuli)
    return [look_of(trial, stimuli) for trial in trials]


def shown_trials(home: Path, stimuli: Path) -> list[Trial]:
    """The trials that an adaptive session, never killed, would have shown to whom answers in this way."""
    rows = [dict(zip((*COLUMNS, "chosen_by"), row, strict=True)) for row in csv.reader(answers(home))]
    return as_chosen(parts(home)[0], stimuli, rows, SEED)


def half_written(home: Path) -> list[Path]:
    return [file for folder in parts(home) for file in folder.glob(f".{SESSION}.*")]


def press_until(moment: str, runner: Runner, rng: random.Random) -> None:
    """Press keys until it is time to kill."""
    home, before = runner.home, len(answers(runner.home))
    if moment == "start":
        time.sleep(rng.uniform(0, 5))
        return
    goal, wait = {
        "while an answer is written": (before + rng.randrange(3), 0.0),
        "end page": (PART * (before // PART + 1), rng.uniform(0, 0.2)),
        "break": (BLOCK * (before // BLOCK + 1), rng.uniform(0, 0.6)),
        "window closed": (before + 1 + rng.randrange(2), rng.uniform(0, 1.2)),
        "any moment": (before + rng.randrange(4), rng.uniform(0, 1.2)),
    }[moment]
    runner.press(rng, lambda: len(answers(home)) >= goal)
    if moment == "while an answer is written":
        runner.press(rng, lambda: bool(half_written(home)), look_every=0.0003)
    elif moment == "any moment":
        deadline = time.monotonic() + wait
        runner.press(rng, lambda: time.monotonic() > deadline)
    else:
        time.sleep(wait)


def pair_on(screen: np.ndarray, looks: list[tuple[np.ndarray, np.ndarray]]) -> int | None:
    """Recognise which trial is on the screen."""
    half = BOX // 2
    rows = screen[MIDDLE - half : MIDDLE + half]
    seen = [small(Image.fromarray(rows[:, x - half : x + half])) for x in (LEFT, RIGHT)]
    for number, look in enumerate(looks):
        if all(np.abs(one - other).mean() < 4 for one, other in zip(seen, look, strict=True)):
            return number
    return None


@pytest.mark.slow
@pytest.mark.parametrize("design", [RANDOM, ADAPTIVE] if "CATPREF_KILLS" in os.environ else [ADAPTIVE])
def test_killed_sessions_lose_nothing(display, tmp_path, monkeypatch, design):
    """In an adaptive session, every pair is the one that a session that was never killed would have shown."""
    stimuli = draw_pictures(tmp_path / "stimuli", 2 * PAIRS)
    if design == ADAPTIVE:
        keep_made_up_priors(monkeypatch, tmp_path, stimuli)
    designs = BY_LEARNING if design == ADAPTIVE else FIXED
    rng = random.Random(os.environ.get("CATPREF_SEED", "1"))
    before: list[str] = []
    looks: list[tuple[np.ndarray, np.ndarray]] = []
    seen: Counter[str] = Counter()
    for moment in islice(cycle(MOMENTS), KILLS):
        runner = Runner(display, tmp_path, stimuli, design)
        try:
            press_until(moment, runner, rng)
            if moment == "window closed" and runner.process.poll() is None:
                close_window(display, runner.window)
                _, complained = runner.process.communicate(timeout=200)
                assert (runner.process.returncode, complained) == (0, "")
            else:
                screen = runner.freeze()
        finally:
            runner.kill()
        seen[moment] += 1
        if not parts(tmp_path):
            seen["· before the folder was made"] += 1
            continue
        if not looks or design == ADAPTIVE:
            looks = looks_of(tmp_path, stimuli, design)
        rows = answers(tmp_path)
        assert rows[: len(before)] == before  # what was there is there
        seen["· between write and rename"] += bool(half_written(tmp_path))
        before = rows
        if moment == "window closed":
            continue
        shown = pair_on(screen, looks)
        seen["· on a page or the fixation" if shown is None else "· on a pair"] += 1
        if shown is not None:  # all before it are saved; it is, too, if it was just answered
            assert len(rows) in (shown, shown + 1)
            seen["· whose answer was not saved yet"] += len(rows) == shown
    trials = read_trial_list(parts(tmp_path)[0] / TRIALS, stimuli, designs)
    assert len(before) < len(trials), "too few pairs for so many kills"

    while len(answers(tmp_path)) < len(trials):
        runner = Runner(display, tmp_path, stimuli, design)
        goal = len(answers(tmp_path)) // PART * PART + PART
        try:
            runner.press(rng, lambda: False)
            _, complained = runner.process.communicate(timeout=200)
        finally:
            runner.kill()
        assert (runner.process.returncode, complained) == (0, "")
        assert len(answers(tmp_path)) == min(goal, len(trials))
    rows = answers(tmp_path)
    assert rows[: len(before)] == before
    if design == ADAPTIVE:
        trials = shown_trials(tmp_path, stimuli)
    assert [shown_in(row) for row in csv.reader(rows)] == [
        (trial.trial, trial.left_image, trial.right_image) for trial in trials
    ]
    assert {row[7] for row in csv.reader(rows)} == {"0", "1"}
    for number, folder in enumerate(parts(tmp_path)):
        kept = [*[EARLIER][: number and 1], PRIOR] if design == ADAPTIVE else []
        assert sorted(file.name for file in folder.iterdir()) == [*kept, SESSION, DESCRIPTION, TRIALS]
        said = json.loads((folder / DESCRIPTION).read_text())
        assert said["completed"]
        assert sum(sitting["answered"] for sitting in said["sittings"]) == said["trials"]
    read = read_sessions([folder / SESSION for folder in parts(tmp_path)])
    assert len(read.trials) + read.catch.trials == len(trials)
    print(f"\n{KILLS} ends, {len(trials)} trials in {len(parts(tmp_path))} parts, none lost: {dict(seen)}")


def shown_in(row: list[str]) -> tuple[int, str, str]:
    return int(row[4]), row[5], row[6]
