"""The window, the keyboard, the mouse and the clock of a session: shows a screen until there is a response."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf
from typing import Any, NamedTuple

import numpy as np
from psychopy import event, logging, visual
from psychopy.hardware.keyboard import Keyboard
from pyglet.window import mouse

from catpref.errors import BadInput
from catpref.lab.layout import BACKGROUND
from catpref.lab.screens import Area, Draw

WINDOW = (1200, 800)
"""Pixels of a window that does not fill the screen."""

SLOWEST, FASTEST = 20.0, 250.0
"""Refresh rates in Hz that a screen can have; flips that wait for no screen come at others."""

_Click = tuple[float, float, float]
"""Pixels from the centre of the window, rightwards and upwards, and the time."""

ANYWHERE = Area(-inf, -inf, inf, inf)

_DRAWING = 0.004
"""Seconds before the next frame at which drawing begins."""

_SAME_PRESS = 0.001
"""Seconds: a stop key that goes up again is reported a second time, and stops nothing more."""

logging.console.setLevel(logging.CRITICAL)  # PsychoPy's warnings are for its developers


class Stopped(Exception):
    """The participant pressed a stop key or closed the window."""


class Shown(NamedTuple):
    """When a screen was shown, and the response that ended it, on the clock of `Stage.now`.

    `response` is the key's name, or the area's that was clicked, or empty after a time-out.
    """

    onset: float
    response: str
    at: float


class Stage:
    """An open window with a keyboard and a mouse; a touch is a click.

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
        rate = self.window.getActualFrameRate(nMaxFrames=120, infoMsg="")
        self.refresh_hz = float(rate) if rate and SLOWEST < rate < FASTEST else None
        self.frame = 1 / (self.refresh_hz or 60)
        """Seconds a frame; where the screen's rate cannot be measured, those of 60 Hz."""
        self.window.refreshThreshold = 1.5 * self.frame
        self._keyboard = Keyboard()
        self.backend = str(self._keyboard.getBackend())
        self._stopped = -inf
        self._clicks: list[_Click] = []
        self._show_pointer(windowed)
        handle: Any = self.window.winHandle
        handle.push_handlers(on_mouse_press=self._on_press, on_mouse_motion=self._on_motion)

    def show(
        self,
        draw: Draw,
        keys: Sequence[str] | None = (),
        areas: Mapping[str, Area] | None = None,
        until: float = inf,
        seconds: float = inf,
        meanwhile: Draw | None = None,
        ready: Callable[[], bool] = lambda: True,
        clicks_after: float = 0.0,
    ) -> Shown:
        """Show a screen until there is a response after its onset, or some time has passed.

        Parameters
        ----------
        draw
            Draws the screen into the back buffer.
        keys
            PsychoPy's names of the keys that end it; None for any key, stop keys included.
        areas
            Where a click ends it, by name.
        until
            When it ends, on the clock of `now`.
        seconds
            How long after its onset it ends.
        meanwhile, ready
            What to do, once, while the screen is shown, when it is ready to be done; the screen stays until then.
        clicks_after
            Seconds from the onset in which clicks do nothing, so that a double click does not skip the screen.

        Raises
        ------
        Stopped
            If a stop key was pressed or the window closed.
        """
        self._new_clicks()  # those of the screen before
        draw()
        onset = flipped = self._flip()
        ends = min(until, onset + seconds) - self.frame / 2
        while True:
            if meanwhile and ready():
                meanwhile()
                meanwhile = None
            clicks = self._new_clicks()
            response = self._key_in(keys, onset) or _area_in(areas or {}, clicks, onset + clicks_after)
            now = self.now()
            if response or (now >= ends and not meanwhile):
                return Shown(onset, *(response or ("", now)))
            if now < flipped + self.frame - _DRAWING:
                time.sleep(0.001)
                continue
            draw()
            flipped = self._flip()

    def _key_in(self, keys: Sequence[str] | None, after: float) -> tuple[str, float] | None:
        """Return the first new press of one of the keys, and its time; stop at a stop key."""
        for key, pressed in self._presses():
            if (keys is None or key in keys) and pressed > after:
                self._show_pointer(self._windowed)
                return key, pressed
            if key in self._stop and pressed > self._stopped + _SAME_PRESS:
                self._stopped = pressed
                raise Stopped
        return None

    def now(self) -> float:
        """Read the clock on which flips and responses are timed, in seconds, which nobody can set.

        PsychoPy's own is, on Linux, the clock of the day, which can be wrong, or put right in mid-session.
        """
        return time.monotonic()

    @property
    def closed(self) -> bool:
        """Whether the window was closed."""
        return self.window.winHandle is None or self.window.winHandle.has_exit

    def _flip(self) -> float:
        """Show what was drawn, and return when."""
        return self._on_our_clock(self.window.flip())

    def _on_our_clock(self, at: float) -> float:
        """Convert a recent time on PsychoPy's clock."""
        return at + self.now() - logging.defaultClock.getTime()

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
            "full_screen": not self._windowed,
        }

    def close(self) -> None:
        """Close the window."""
        self.window.close()

    def _presses(self) -> list[tuple[str, float]]:
        """Return the keys pressed since the last call, with their times."""
        if self.backend != "ptb":  # PsychoPy 2026's Keyboard loses presses with any other backend
            stamped = event.getKeys(timeStamped=logging.defaultClock)
            return [(name, self._on_our_clock(at)) for name, at in stamped]
        # Keyboard gives a press twice, and a key that is up again only to those who wait for the release.
        presses = [*self._keyboard.getKeys(waitRelease=False), *self._keyboard.getKeys(waitRelease=True)]
        stamped = sorted({(press.name, press.tDown) for press in presses}, key=lambda press: press[1])
        return [(name, self._on_our_clock(at)) for name, at in stamped]

    def _new_clicks(self) -> list[_Click]:
        """Return the clicks since the last call."""
        if self.closed:
            raise Stopped
        handle: Any = self.window.winHandle
        handle.dispatch_events()
        clicks, self._clicks = self._clicks, []
        return clicks

    def _on_press(self, x: int, y: int, button: int, _modifiers: int) -> None:
        if button == mouse.LEFT:
            handle: Any = self.window.winHandle  # its pixels can be larger than the window's
            (width, height), (across, up) = self.window.size, (x / handle.width, y / handle.height)
            self._clicks.append((width * (across - 0.5), height * (up - 0.5), self.now()))

    def _on_motion(self, *_: int) -> None:
        self._show_pointer(True)

    def _show_pointer(self, visible: bool) -> None:
        """Show the mouse pointer once the mouse moves, hide it from those who press keys."""
        if self.window.mouseVisible != visible:
            self.window.mouseVisible = visible


def _area_in(areas: Mapping[str, Area], clicks: Sequence[_Click], after: float) -> tuple[str, float] | None:
    """Return the first area that was clicked, and when."""
    for x, y, pressed in clicks:
        for name, area in areas.items():
            if area.holds(x, y) and pressed > after:
                return name, pressed
    return None
