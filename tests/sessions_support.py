"""Running experiments on a screen that nobody sees, with real keys and clicks."""

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from forked import Forked
from PIL import Image, ImageGrab
from Xlib import XK, X
from Xlib.display import Display
from Xlib.ext import xtest
from Xlib.protocol.event import ClientMessage

from catpref.design.trial_list import Trial
from catpref.stimuli.scrambling import scramble

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
SCREEN = 640, 512
"""Pixels of the screen; the fixture `display` is one."""

LEFT, RIGHT, MIDDLE, BOX = 163, 477, 256, 276
"""Where the images' middles are on it, from its left and its upper edge, and the square that they fit into."""

CLICKS = {"click left": (LEFT, MIDDLE), "click right": (RIGHT, MIDDLE)}


def draw_pictures(folder: Path, number: int = 40) -> Path:
    """Draw different pictures, half of them in a subfolder, not all of them square."""
    (folder / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in range(number):
        patches = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        size = (256, 256) if name % 3 else (200, 301)
        patches.resize(size).save(folder / ("more" if name % 2 else "") / f"süß {name:02d}.png")
    return folder


def is_shown(screen: np.ndarray, stimuli: Path, trial: Trial) -> bool:
    """Whether a screen shows the two images of a trial, pixel by pixel; of a catch trial, one scrambled."""
    for name, side, x in ((trial.left_image, "left", LEFT), (trial.right_image, "right", RIGHT)):
        image = Image.open(stimuli / name).convert("RGB")
        image = scramble(image) if trial.catch == side else image
        scale = BOX / max(image.size)
        width, height = round(image.width * scale), round(image.height * scale)
        expected = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS)).astype(int)
        y, x = MIDDLE - height // 2, x - width // 2
        if np.abs(screen[y : y + height, x : x + width] - expected).max() > 1:
            return False
    return True


def close_window(display: str, window: str) -> None:
    """Do what a window's close button does; Xvfb has no window manager that draws one."""
    connection = Display(display)
    target = connection.create_resource_object("window", int(window))
    protocols, delete = (connection.intern_atom(name) for name in ("WM_PROTOCOLS", "WM_DELETE_WINDOW"))
    assert delete in target.get_wm_protocols()
    message = ClientMessage(window=target, client_type=protocols, data=(32, [delete, 0, 0, 0, 0]))
    target.send_event(message)
    connection.sync()
    connection.close()


@contextmanager
def held(display: str, key: str) -> Iterator[None]:
    """Hold a key down; no process has to be started to let it go, so that a press can be as short as a box's."""
    connection = Display(display)
    code = connection.keysym_to_keycode(XK.string_to_keysym(key))
    xtest.fake_input(connection, X.KeyPress, code)
    connection.sync()
    yield
    xtest.fake_input(connection, X.KeyRelease, code)
    connection.sync()
    connection.close()


class Session:
    """A running experiment, its window and its files; in a process started anew where `process` is ``Popen``."""

    def __init__(
        self,
        display: str,
        script: str,
        out: Path,
        *arguments: object,
        cwd: Path | None = None,
        process: type[subprocess.Popen] = Forked,
    ) -> None:
        self.environment = os.environ | {"DISPLAY": display}
        self.out = out
        where = ["--out", out] if cwd is None else []
        self.command = [
            *(sys.executable, str(EXPERIMENTS / script), "--participant", "p01"),
            *map(str, [*where, *arguments]),
        ]
        sittings = self.sittings()
        self.process = process(
            self.command,
            env=self.environment,
            cwd=cwd or out.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.until(lambda: self.sittings() > sittings, seconds=200)
        self.window = self.xdotool("search", "--onlyvisible", "--name", "PsychoPy").split()[0]
        self.xdotool("windowfocus", "--sync", self.window)
        time.sleep(0.3)

    def xdotool(self, *arguments: str) -> str:
        command = ["xdotool", *arguments]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True
        ).stdout

    def sittings(self) -> int:
        return len(self.description()["sittings"]) if (self.out / "session.json").exists() else 0

    def click(self, x: int, y: int) -> float:
        """Click somewhere, and say when, in seconds of the day's clock."""
        self.xdotool("mousemove", str(x), str(y))
        clicked = time.time()
        self.xdotool("click", "1")
        return clicked

    def screen(self) -> np.ndarray:
        """Give what is seen, shape (height, width, 3)."""
        picture = ImageGrab.grab(xdisplay=self.environment["DISPLAY"])
        return np.asarray(picture.convert("RGB")).astype(int)

    def leave(self, key: str = "space") -> tuple[int, str, str]:
        """Press a key until the last page is left, and say how the process ended."""
        deadline = time.monotonic() + 200
        while self.process.poll() is None and time.monotonic() < deadline:
            self.press(key)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.5)
        return self.end()

    def press(self, key: str, after: float = 0) -> float:
        """Press a key (or click an image), and say when, in seconds of the day's clock."""
        time.sleep(after)
        if key in CLICKS:
            return self.click(*CLICKS[key])
        pressed = time.time()
        self.xdotool("key", key)
        return pressed

    def shows_images(self) -> bool:
        """Tell whether a pair is seen: images bring colours onto the screen."""
        return bool((np.ptp(self.screen(), axis=2) > 30).sum() > 10_000)

    def leave_page(self) -> None:
        """Press the space bar until the next pair is there, however late the page was."""
        deadline = time.monotonic() + 200
        while not self.shows_images():
            assert self.process.poll() is None and time.monotonic() < deadline
            self.press("space")
            time.sleep(0.5)

    def answer(self, key: str) -> float:
        """Press a key and wait until one more answer is on disk; again if the images were late to come."""
        answers, pressed = len(self.rows()) + 1, 0.0
        deadline = time.monotonic() + 200
        while len(self.rows()) < answers:
            assert time.monotonic() < deadline
            pressed = self.press(key)
            with suppress(TimeoutError):
                self.until(lambda: len(self.rows()) == answers, seconds=2)
        return pressed

    def rows(self) -> list[dict[str, str]]:
        with (self.out / "session.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def description(self) -> dict:
        return json.loads((self.out / "session.json").read_text(encoding="utf-8"))

    def until(self, done: Callable[[], bool], seconds: float = 200) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert self.process.poll() is None, (self.process.returncode, self.process.communicate())
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.02)

    def end(self) -> tuple[int, str, str]:
        said, complained = self.process.communicate(timeout=200)
        return self.process.returncode, said, complained
