"""Texts in any script, drawn by Qt, which PsychoPy brings for its dialogs.

PsychoPy's own TextStim draws one character after the other, from left to right and in one font. Qt takes each
character from a font that has it, joins and orders letters as their script demands, and breaks lines where the
script allows it. PsychoPy's script of an export holds a copy of this file, too.
"""

import sys
import unicodedata
from pathlib import Path

import matplotlib
from PIL import Image
from PyQt6 import QtCore, QtGui

BASE = "DejaVu Sans"
"""It has ← and →, and comes with matplotlib, so that it is there on a machine without any font."""

RIGHT_TO_LEFT, END = "\u2067", "\u2069"
"""Unicode's marks around a text that is written from right to left."""

_EDGE = 0.5
"""Room around the lines, in heights of letters, for ink that reaches beyond its line."""

_qt: list[QtGui.QGuiApplication] = []


def start_qt() -> None:
    """Start Qt without a window of its own, unless a dialog has started it already."""
    if QtGui.QGuiApplication.instance() is None:
        QtCore.QLoggingCategory.setFilterRules("qt.text.font.db=false")  # `check_fonts` says what fonts lack
        screen = ["-platform", "offscreen"] if sys.platform == "linux" else []
        _qt.append(QtGui.QGuiApplication([sys.argv[0], *screen]))
    if BASE not in QtGui.QFontDatabase.families():
        ours = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
        QtGui.QFontDatabase.addApplicationFont(str(ours))


def qt_font(families: list[str], height: int) -> QtGui.QFont:
    """Return a font of so many pixels, which takes what the families do not have from those of the computer."""
    font = QtGui.QFont()
    font.setFamilies([*families, BASE])
    font.setPixelSize(max(1, height))
    font.setStyleStrategy(QtGui.QFont.StyleStrategy.NoSubpixelAntialias)
    return font


def ordered(text: str) -> str:
    """Mark each line of which most letters are Arabic, Hebrew or the like as written from right to left."""
    return "\n".join(
        f"{RIGHT_TO_LEFT}{line}{END}"
        if sum(unicodedata.bidirectional(sign) in ("R", "AL") for sign in line)
        > sum(map(str.isalpha, line)) / 2
        else line
        for line in text.split("\n")
    )


def typeset(text: str, families: list[str], height: int, wrap: float, color: str) -> tuple[Image.Image, int]:
    """Draw a text on nothing, its lines centred.

    Parameters
    ----------
    text, families, color
        The text, the families of fonts to take first, and a colour such as ``"#ffffff"``.
    height, wrap
        Height of letters and length of the longest line, in pixels.

    Returns
    -------
    tuple[Image.Image, int]
        The picture, an even number of pixels wide and high, with the text in its middle; and how high the lines
        are together.
    """
    start_qt()
    option = QtGui.QTextOption(QtCore.Qt.AlignmentFlag.AlignHCenter)
    option.setWrapMode(QtGui.QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
    document = QtGui.QTextDocument()
    document.setDefaultFont(qt_font(families, height))
    document.setDefaultTextOption(option)
    document.setDocumentMargin(0)
    document.setPlainText(ordered(text))
    document.setTextWidth(wrap)
    width, lines = document.idealWidth(), document.size().height()
    document.setTextWidth(width)
    sides = [2 * round(side / 2 + _EDGE * height) for side in (width, lines)]
    picture = QtGui.QImage(sides[0], sides[1], QtGui.QImage.Format.Format_RGBA8888)
    picture.fill(0)
    painter = QtGui.QPainter(picture)
    painter.translate((sides[0] - width) / 2, (sides[1] - lines) / 2)
    paint = QtGui.QAbstractTextDocumentLayout.PaintContext()
    paint.palette.setColor(QtGui.QPalette.ColorRole.Text, QtGui.QColor(color))
    layout = document.documentLayout()
    assert layout is not None
    layout.draw(painter, paint)
    painter.end()
    pixels = picture.constBits()
    assert pixels is not None
    return Image.frombytes("RGBA", (sides[0], sides[1]), pixels.asstring(picture.sizeInBytes())), round(lines)
