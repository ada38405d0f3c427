"""Sessions killed at random moments: nothing that was answered is lost, nothing is shown twice or left out.

`CATPREF_KILLS=60 python -m pytest tests/test_killed_sessions.py` kills more often than the tests do by default.
"""

import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageGrab
from sessions_support import EXPERIMENTS, draw_pictures

from catpref.scrambling import scramble
from catpref.sessions import read_sessions
from catpref.trials import Trial, read_trials
from experiments.recording import SESSION

KILLS = int(os.environ.get("CATPREF_KILLS", "2"))
PAIRS = 3 * KILLS
FIT = 550


def small(image: Image.Image) -> np.ndarray:
    return np.asarray(image.resize((16, 16), Image.Resampling.BOX)).astype(int)


def look_of(trial: Trial, stimuli: Path) -> tuple[np.ndarray, np.ndarray]:
    """The two images of a trial as they are on the screen, much reduced."""
    looks = []
    for name, side in ((trial.left_image, "left"), (trial.right_image, "right")):
        image = Image.open(stimuli / name).convert("RGB")
        image = scramble(image) if trial.catch == side else image
        scale = FIT / max(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)))
        square = Image.new("RGB", (FIT, FIT), (128, 128, 128))
        square.paste(image, ((FIT - image.width) // 2, (FIT - image.height) // 2))
        looks.append(small(square))
    return looks[0], looks[1]


class Runner:
    """One call of the experiment, and hands that press keys until it is over or killed."""

    def __init__(self, display: str, home: Path, stimuli: Path) -> None:
        self.display = display
        self.out = home / "out"
        self.environment = os.environ | {"DISPLAY": display}
        size = f"--trials {PAIRS} --repeats 1 --catch 2 --block 5 --practice 0 --seed 4"
        command = [sys.executable, EXPERIMENTS / "random_sampled.py", "--stimuli", stimuli, "--out", self.out]
        command += ["--participant", "p01", "--resume", *size.split()]
        self.process = subprocess.Popen(
            [str(part) for part in command], env=self.environment, stderr=subprocess.PIPE, text=True
        )

    def press(self, rng: random.Random, answers: float, seconds: float) -> None:
        """Press keys at random until there are so many more answers, and some time longer."""
        focused, enough, deadline = False, self.count_rows() + answers, time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            if focused:
                self.xdotool("key", rng.choice(["Left", "Right", "f", "j", "space"]))
            elif windows := self.xdotool("search", "--onlyvisible", "--name", "PsychoPy").split():
                self.xdotool("windowfocus", windows[0])
                focused = True
            if self.count_rows() < enough:
                deadline = time.monotonic() + seconds
            time.sleep(max(0, min(rng.uniform(0.02, 0.5), deadline - time.monotonic())))

    def count_rows(self) -> int:
        return len(rows_of(self.out)) - 1 if self.out.exists() else 0

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


def rows_of(out: Path) -> list[str]:
    """The lines of a session.csv that must be valid."""
    content = (out / SESSION).read_bytes()
    assert content.endswith(b"\n")
    return content.decode().splitlines()


def pair_on(screen: np.ndarray, looks: list[tuple[np.ndarray, np.ndarray]]) -> int | None:
    """Recognise which trial is on the screen."""
    seen = [
        small(Image.fromarray(screen[512 - FIT // 2 : 512 + FIT // 2, x - FIT // 2 : x + FIT // 2]))
        for x in (327, 953)
    ]
    for number, look in enumerate(looks):
        if all(np.abs(one - other).mean() < 4 for one, other in zip(seen, look, strict=True)):
            return number
    return None


def test_killed_sessions_lose_nothing(display, tmp_path):
    stimuli = draw_pictures(tmp_path / "stimuli", 2 * PAIRS)
    rng = random.Random(os.environ.get("CATPREF_SEED", "1"))
    before: list[str] = []
    looks: list[tuple[np.ndarray, np.ndarray]] = []
    killed = {"before the first trial": 0, "fixation or page": 0, "pair": 0}
    for number in range(KILLS):
        runner = Runner(display, tmp_path, stimuli)
        try:
            if number % 4 == 1:  # at any moment of the start
                time.sleep(rng.uniform(0, 4))
            else:
                runner.press(rng, answers=rng.randrange(4), seconds=rng.uniform(0, 1))
            screen = runner.freeze()
        finally:
            runner.kill()
        if not runner.out.exists():
            killed["before the first trial"] += 1
            continue
        trials = read_trials(runner.out / "trials.csv", stimuli)
        looks = looks or [look_of(trial, stimuli) for trial in trials]
        rows = rows_of(runner.out)
        assert rows[: len(before)] == before  # what was there is there
        before = rows
        answered = len(rows) - 1
        if answered:
            read_sessions([runner.out / SESSION])
        shown = pair_on(screen, looks)
        killed["fixation or page" if shown is None else "pair"] += 1
        if shown is not None:  # all before it are saved; it is, too, if it was just answered
            assert answered in (shown, shown + 1)
        if answered == len(trials):
            break

    runner = Runner(display, tmp_path, stimuli)
    try:
        runner.press(rng, answers=math.inf, seconds=1)
        _, complained = runner.process.communicate(timeout=10)
    finally:
        runner.kill()
    assert runner.process.returncode == 0 or "every trial is answered" in complained
    rows = rows_of(runner.out)
    assert rows[: len(before)] == before
    cells = [row.split(",") for row in rows[1:]]
    assert [int(cell[4]) for cell in cells] == list(range(len(trials)))
    assert [(cell[5], cell[6]) for cell in cells] == [
        (trial.left_image, trial.right_image) for trial in trials
    ]
    assert {cell[7] for cell in cells} == {"0", "1"}
    assert sorted(file.name for file in runner.out.iterdir()) == ["session.csv", "session.json", "trials.csv"]
    print(killed)
