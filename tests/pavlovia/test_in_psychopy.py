"""The exported Python script on a screen that nobody sees, with real keys of a known length."""

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forked import Forked
from PIL import ImageGrab
from sessions_support import SCREEN, held
from test_pavlovia import PAVLOVIA

from catpref.lab.layout import WEB, lay_out
from catpref.sessions.session import read_sessions


class Script:
    """The running script, and hands that answer when they see a pair."""

    def __init__(self, display: str, folder: Path) -> None:
        self.environment = os.environ | {"DISPLAY": display}
        self.display, self.folder = display, folder
        self.process = Forked(
            [sys.executable, "two_afc.py"],
            cwd=folder,
            env=self.environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    def begin(self) -> None:
        """Go on to the first pair."""
        self.until(lambda: not self.xdotool("search", "--onlyvisible", "--name", "two_afc"))
        time.sleep(0.5)
        self.xdotool("key", "Return")  # a code has been drawn
        self.until(lambda: self.xdotool("key", "space") or time.sleep(0.3) or self.sees_pair())

    def until(self, done: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def xdotool(self, *arguments: str) -> int:
        return subprocess.run(["xdotool", *arguments], env=self.environment, capture_output=True).returncode

    def sees_pair(self) -> bool:
        """Whether there is a picture on the left of the screen: they are blue, and nothing else is."""
        length = lay_out(*SCREEN, WEB)
        x, y = round(SCREEN[0] / 2 - length.centre), SCREEN[1] // 2
        red, _, blue = ImageGrab.grab((x, y, x + 1, y + 1), xdisplay=self.display).getpixel((0, 0))
        return blue - red > 200

    def wait_for_pair(self) -> None:
        self.until(self.sees_pair)
        time.sleep(0.2)

    def until_answered(self, number: int) -> None:
        """Wait until so many answers are on the disk, and the last pair has left the screen."""
        self.until(lambda: self.answers() == number)
        self.until(lambda: not self.sees_pair())

    def files(self) -> list[Path]:
        return list((self.folder / "data").glob("*.csv"))

    def answers(self) -> int:
        """Count the answers on the disk."""
        tables = [csv.DictReader(path.open(encoding="utf-8-sig", newline="")) for path in self.files()]
        return sum(bool(row["choice"]) for table in tables for row in table)


@pytest.fixture
def script(eight_pairs, display) -> Iterator[Script]:
    export = [sys.executable, PAVLOVIA, "trials.csv", "--stimuli", "cats", "--out", "web", "--practice", "0"]
    subprocess.run(export, cwd=eight_pairs, check=True)
    running = Script(display, eight_pairs / "web")
    try:
        running.begin()
        yield running
    finally:
        running.process.kill()
        running.process.communicate()


def test_short_and_long_presses_are_one_answer_each_and_a_kill_loses_none(eight_pairs, script):
    for number, seconds in enumerate([0.001, 0.01, 0.001]):
        script.wait_for_pair()
        with held(script.display, "fj"[number % 2]):
            time.sleep(seconds)
        script.until_answered(number + 1)
    script.wait_for_pair()
    with held(script.display, "j"):  # it counts as it goes down, not as it comes up
        script.until_answered(4)
        script.wait_for_pair()
    time.sleep(0.2)
    assert script.answers() == 4
    script.process.kill()
    script.process.wait()
    trials = read_sessions(script.files(), eight_pairs / "cats").trials
    assert list(trials["choice"]) == [0, 1, 0, 1]
    assert (trials["rt"] > 0.1).all()
