"""The screens of a session, drawn with PsychoPy: calm, grey, and in proportion to any window."""

from collections.abc import Callable
from typing import NamedTuple

from PIL import Image, ImageOps
from psychopy import visual
from psychopy.visual.rect import Rect

from catpref.lab import layout
from catpref.lab.layout import FAINT, INK, SOFT
from catpref.lab.lettering import BASE
from catpref.lab.text_image import TextImage
from catpref.lab.texts import Page, Texts, fonts

DARK, LIGHT = "#000000", "#ffffff"

PATCH = 0.08
"""Side of the photodiode's patch, in window heights."""

Draw = Callable[[], None]


class Area(NamedTuple):
    """A rectangle of the window, in pixels from its centre, upwards."""

    left: float
    bottom: float
    right: float
    top: float

    def holds(self, x: float, y: float) -> bool:
        """Return whether a point is in it."""
        return self.left <= x <= self.right and self.bottom <= y <= self.top


def largest_box(width: int, height: int) -> int:
    """Return how large two images, the question and the hints can be in a window: the images' side in pixels."""
    return 2 * round(layout.lay_out(width, height, layout.LAB).box / 2)


class Screens:
    """Draws each screen into the back buffer; the caller flips.

    Parameters
    ----------
    window
        A PsychoPy window with ``units="height"``.
    texts
        What to say.
    box
        Side in pixels, even, of the square that each image fits into; by default as large as the window allows.
    photodiode
        Draw a patch in the lower left corner: white while a pair is shown, else black.
    """

    def __init__(
        self, window: visual.Window, texts: Texts, box: int | None = None, photodiode: bool = False
    ) -> None:
        self.texts = texts
        self._window = window
        width, height = (int(side) for side in window.size)
        lengths = layout.lay_out(width, height, layout.LAB)
        self._unit, self._wrap = lengths.unit / height, lengths.wrap / height
        self.box = box or largest_box(width, height)
        """Side of the square, in pixels, that each image fits into."""
        self._centre = self.box // 2 + round(layout.GAP * width)
        edge = self.box / 2 / height / self._unit
        self._question = self._text(edge + layout.QUESTION_ABOVE, layout.QUESTION, INK)
        self._question.setText(texts.question)
        hints = [(texts.hints.left, -1), (texts.hints.right, 1)]
        if texts.hints.no_preference:
            hints.append((texts.hints.no_preference, 0))
        self._hints = [self._text(-edge - layout.HINT_BELOW, layout.HINT, SOFT) for _ in hints]
        for hint, (text, side) in zip(self._hints, hints, strict=True):
            hint.setText(text)
            hint.setPos((side * self._centre / height, hint.pos[1]))
        self._title = self._text(0.0, layout.TITLE, INK)
        self._body = self._text(0.0, layout.BODY, INK)
        self._press = self._text(layout.PRESS, layout.HINT, SOFT)
        self._images = [visual.ImageStim(window, units="pix", interpolate=False) for _ in range(2)]
        self._cross = [
            Rect(window, size=size, fillColor=INK, lineWidth=0) for size in (layout.CROSS, layout.CROSS[::-1])
        ]
        self._track, self._done = (
            Rect(window, height=layout.BAR_HEIGHT, fillColor=color, lineWidth=0) for color in (FAINT, INK)
        )
        corner = ((PATCH - width / height) / 2, (PATCH - 1) / 2)
        self._patches = {
            color: Rect(window, width=PATCH, height=PATCH, pos=corner, fillColor=color, lineWidth=0)
            for color in ((DARK, LIGHT) if photodiode else ())
        }

        # The first drawing takes a third of a second, in which no one should be waiting.
        blank = Image.new("RGB", (self.box, self.box))
        self.place(blank, blank)
        self.trial()
        self.fixation()
        window.clearBuffer()

    def fit(self, image: Image.Image) -> Image.Image:
        """Resize an image to the size at which it is shown, so that a pixel is a pixel."""
        return ImageOps.contain(image, (self.box, self.box), Image.Resampling.LANCZOS)

    def place(self, left: Image.Image, right: Image.Image) -> None:
        """Hand the images of the next trial, resized by `fit`, to the graphics card."""
        for stimulus, image, side in zip(self._images, (left, right), (-1, 1), strict=True):
            stimulus.image = image
            stimulus.size = image.size
            odd_width, odd_height = image.width % 2, image.height % 2  # whole pixels keep images sharp
            stimulus.pos = (side * self._centre + odd_width / 2, odd_height / 2)

    def areas(self) -> tuple[Area, Area]:
        """Return where the two placed images are."""
        areas = []
        for stimulus in self._images:
            (x, y), (width, height) = stimulus.pos, stimulus.size
            areas.append(Area(x - width / 2, y - height / 2, x + width / 2, y + height / 2))
        return areas[0], areas[1]

    def third_area(self) -> Area:
        """Return where a click is the third answer: around its hint."""
        top, reach = -self.box / 2, self._centre / 2
        return Area(
            -reach, top - 2 * layout.HINT_BELOW * self._unit * int(self._window.size[1]), reach, top - 1
        )

    def trial(self) -> None:
        """Draw the two placed images, the question and the keys."""
        for part in (self._question, *self._hints, *self._images):
            part.draw()
        self._patch(LIGHT)

    def fixation(self) -> None:
        """Draw a small cross where the eyes should be when the images come."""
        for bar in self._cross:
            bar.draw()
        self._patch(DARK)

    def page(self, page: Page, share: float | None = None) -> Draw:
        """Prepare a screen of text, with a bar for the share that is done, and give what draws it."""
        parts: list = [self._title, self._body, self._press]
        for part, text in zip(parts, (page.title, page.body.strip(), page.hint.strip()), strict=True):
            part.setText(text)
            part.prepare()
        title, height = self._title.lines, self._body.lines
        self._title.setPos((0, (height + title) / 2 + layout.TITLE_ABOVE * self._unit))
        if share is not None:
            length, y = layout.BAR * self._unit, -height / 2 - 0.07 * self._unit
            self._track.width, self._track.pos = length, (0, y)
            self._done.width, self._done.pos = share * length, ((share - 1) * length / 2, y)
            parts += [self._track, self._done]

        def draw() -> None:
            for part in parts:
                part.draw()
            self._patch(DARK)

        return draw

    def _patch(self, color: str) -> None:
        if self._patches:
            self._patches[color].draw()

    def _text(self, y: float, size: float, color: str) -> TextImage:
        text = TextImage(
            self._window,
            font=fonts(self.texts, BASE),
            height=size * self._unit,
            wrapWidth=self._wrap,
            color=color,
        )
        text.setPos((0, y * self._unit))
        return text
