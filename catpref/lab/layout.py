"""Where things are on the screens of a session, how they look and how long they stay, in the lab and in a browser.

PsychoPy's script of an export holds a copy of this file, the JavaScript its numbers (see `catpref.pavlovia.builder`).
"""

from typing import NamedTuple

BACKGROUND, INK, SOFT, FAINT = "#808080", "#f5f5f5", "#cfcfcf", "#999999"

FIXATION = 0.5
"""Seconds from an answer to the next images."""

END_STAYS = 20.0
"""Seconds after which the last screen closes by itself."""

DOUBLE_CLICK = 0.5
"""Seconds in which a click on a new page does nothing: it may be the second half of a double click."""

# Lengths in units of text, which are the window's height unless the window is narrow.
TITLE, BODY, QUESTION, HINT = 0.06, 0.034, 0.046, 0.026  # heights of letters
QUESTION_ABOVE, HINT_BELOW = 0.1, 0.05  # distances from the square of an image
TITLE_ABOVE = 0.055  # distance from the body of a page, in the lab
PRESS = -0.38  # where a page says what to press, from the centre upwards
BAR = 0.5  # length of the bar that shows the share that is done

# Lengths in window heights.
BAR_HEIGHT = 0.008
CROSS = (0.03, 0.004)  # length and width of the bars of the fixation cross

GAP = 0.03
"""From the middle of the window to the square of an image, in window widths."""

Limits = tuple[float, float]
"""The smaller of so many window heights and so many window widths."""

BOX: Limits = (0.58, 0.43)
"""Side of the square that an image fits into, such that the question and the hints have room."""


class Text(NamedTuple):
    """The unit of text, and the longest line."""

    unit: Limits
    wrap: Limits


LAB = Text(unit=(1.0, 0.8), wrap=(1.05, 0.84))
WEB = Text(unit=(1.0, 1.25), wrap=(1.05, 0.94))
"""Larger in a narrow window, which is a phone held upright."""


class Layout(NamedTuple):
    """Lengths in a window, in pixels; `centre` is from the middle of the window to that of an image."""

    unit: float
    wrap: float
    box: float
    centre: float


def lay_out(width: float, height: float, text: Text) -> Layout:
    """Return the lengths in a window of so many pixels."""

    def length(limits: Limits) -> float:
        return min(limits[0] * height, limits[1] * width)

    return Layout(length(text.unit), length(text.wrap), length(BOX), length(BOX) / 2 + GAP * width)
