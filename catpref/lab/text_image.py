"""A text in a PsychoPy window, in any script: a picture that Qt draws.

PsychoPy's script of an export holds a copy of this file, where it stands in for TextStim.
"""

from psychopy.visual.image import ImageStim

from catpref.lab.lettering import typeset


class TextImage(ImageStim):
    """A text that takes what TextStim takes, and ignores what a session does not need of it.

    Parameters
    ----------
    win
        A PsychoPy window with ``units="height"``.
    text, font, color
        What it says, families of fonts to take first with commas between them, and a colour such as ``"#ffffff"``.
    pos, height, wrapWidth
        Its middle, the height of letters and the length of the longest line, in window heights.
    """

    def __init__(
        self,
        win,
        text="",
        font="",
        pos=(0, 0),
        height=0.05,
        wrapWidth=None,
        color="#ffffff",
        name="",
        depth=0,
        **_,
    ):
        super().__init__(win, units="height", pos=pos, name=name, depth=depth, interpolate=False)
        self._families = [family.strip() for family in font.split(",") if family.strip()]
        self._ink = color
        self._text, self._letters, self._wrap = text, height, wrapWidth
        self._drawn = None
        self.lines = 0.0
        """How high the lines of the text are together, in window heights."""

    def setText(self, text, log=None):
        """Set what it says."""
        self._text = text

    def setHeight(self, height, log=None):
        """Set the height of letters."""
        self._letters = height

    def setWrapWidth(self, wrap, log=None):
        """Set the length of the longest line."""
        self._wrap = wrap

    def setPos(self, newPos, operation="", log=None):
        """Set where its middle is, to the pixel, which keeps letters sharp."""
        height = self.win.size[1]
        super().setPos([round(side * height) / height for side in newPos], operation, log)

    def prepare(self):
        """Draw the text into its picture, if it has changed."""
        wanted = self._text, self._letters, self._wrap
        if wanted == self._drawn:
            return
        width, height = self.win.size
        wrap = width if self._wrap is None else self._wrap * height
        image, lines = typeset(self._text, self._families, round(self._letters * height), wrap, self._ink)
        self.image = image
        self.size = [side / height for side in image.size]
        self.lines = lines / height
        self._drawn = wanted

    def draw(self, win=None):
        """Draw the text into the window's back buffer."""
        self.prepare()
        super().draw(win)
