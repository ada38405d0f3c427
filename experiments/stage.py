"""The window, the keyboard and the clock of a session: shows a screen until a key is pressed."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf
from typing import NamedTuple

import numpy as np
from psychopy import event, logging, visual
from psychopy.hardware.keyboard import Keyboard

from catpref.commands import BadInput
from experiments.screens import BACKGROUND, Draw

WINDOW = (1200, 800)
"""Pixels of a window that does not fill the screen."""

SLOWEST, FASTEST = 20.0, 250.0
"""Refresh rates in Hz that a screen can have; flips that wait for no screen come at others."""

_DRAWING = 0.004
"""Seconds before the next frame at which drawing begins."""

logging.console.setLevel(logging.CRITICAL)  # PsychoPy's warnings are for its developers


class Stopped(Exception):
    """The participant pressed a stop key or closed the window."""


class Shown(NamedTuple):
    """When a screen was shown, and the key that ended it (empty after a time-out), on PsychoPy's clock."""

    onset: float
    key: str
    pressed: float


class Stage:
    """An open window with a keyboard.

    Parameters
    ----------
    stop
        The keys that stop a session at any time.
    windowed
        Leave room for other windows, instead of filling the screen.

    Raises
    ------
    BadInput
        If no window can be opened.
    """

    def __init__(self, stop: Sequence[str], windowed: bool = False) -> None:
        self._stop = stop
        self._windowed = windowed
        try:
            self.window = visual.Window(
                WINDOW,
                fullscr=not windowed,
                allowGUI=windowed,
                units="height",
                color=BACKGROUND,
                checkTiming=False,
                winType="pyglet",
            )
        except (Exception, SystemExit) as problem:  # the backends raise anything
            raise BadInput(f"no window can be opened: {problem}") from problem
        self.window.mouseVisible = windowed
        rate = self.window.getActualFrameRate(nMaxFrames=120, infoMsg="")
        self.refresh_hz = rate if rate and SLOWEST < rate < FASTEST else None
        self._frame = 1 / (self.refresh_hz or 60)
        self.window.refreshThreshold = 1.5 * self._frame
        self._keyboard = Keyboard()
        self.backend = str(self._keyboard.getBackend())

    def show(
        self,
        draw: Draw,
        keys: Sequence[str] | None = (),
        seconds: float = inf,
        meanwhile: Draw | None = None,
    ) -> Shown:
        """Show a screen until one of `keys` is pressed after its onset, or some time has passed.

        Parameters
        ----------
        draw
            Draws the screen into the back buffer.
        keys
            PsychoPy's names of the keys that end it; None for any key, stop keys included.
        seconds
            The time-out.
        meanwhile
            What to do once the screen is shown.

        Raises
        ------
        Stopped
            If a stop key was pressed or the window closed.
        """
        draw()
        onset = flipped = self.window.flip()
        if meanwhile:
            meanwhile()
        while True:
            for key, pressed in self._presses():
                if (keys is None or key in keys) and pressed > onset:
                    return Shown(onset, key, pressed)
                if key in self._stop:
                    raise Stopped
            now = self.now()
            if now >= onset + seconds - self._frame / 2:
                return Shown(onset, "", now)
            if now < flipped + self._frame - _DRAWING:
                time.sleep(0.001)
                continue
            draw()
            flipped = self.window.flip()

    def now(self) -> float:
        """Read the clock on which flips and key presses are timed, in seconds."""
        return logging.defaultClock.getTime()

    @contextmanager
    def frames_count(self) -> Iterator[None]:
        """Record the frame intervals within the block."""
        self.window.recordFrameIntervals = True
        try:
            yield
        finally:
            self.window.recordFrameIntervals = False

    def frames(self) -> dict[str, float | None]:
        """Summarise the recorded frame intervals; what was not measured is None."""
        intervals = np.array(self.window.frameIntervals)
        some = len(intervals) > 0
        return {
            "number": len(intervals),
            "dropped": self.window.nDroppedFrames if self.refresh_hz else None,
            "mean_s": float(intervals.mean()) if some else None,
            "sd_s": float(intervals.std()) if some else None,
            "max_s": float(intervals.max()) if some else None,
        }

    def describe(self) -> dict[str, object]:
        """Describe the screen, for session.json."""
        width, height = (int(side) for side in self.window.size)
        return {
            "size_px": [width, height],
            "refresh_hz": self.refresh_hz,
            "units": "height",
            "full_screen": not self._windowed,
        }

    def close(self) -> None:
        """Close the window."""
        self.window.close()

    def _presses(self) -> list[tuple[str, float]]:
        """Give the keys pressed since the last call, with the times on the clock of the flips."""
        if self.window.winHandle is None or self.window.winHandle.has_exit:
            raise Stopped
        if self.backend != "ptb":  # PsychoPy 2026's Keyboard loses presses with any other backend
            return event.getKeys(timeStamped=logging.defaultClock)
        # Keyboard gives a press twice, and a key that is up again only to those who wait for the release.
        presses = [*self._keyboard.getKeys(waitRelease=False), *self._keyboard.getKeys(waitRelease=True)]
        return sorted({(press.name, press.tDown) for press in presses}, key=lambda press: press[1])
