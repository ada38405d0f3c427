"""Whether the fonts of this computer have what a session shows."""

import unicodedata
from pathlib import Path

from PyQt6 import QtGui

from catpref.errors import BadInput
from catpref.lab.lettering import BASE, qt_font, start_qt
from catpref.lab.texts import Texts, fonts, shown


def check_fonts(path: Path, texts: Texts) -> None:
    """Check the fonts for the texts of a file.

    Raises
    ------
    BadInput
        If the computer has not the font that the file names, or no font with one of the characters.
    """
    start_qt()
    known = {family.casefold() for family in QtGui.QFontDatabase.families()}
    if texts.font and not any(family.strip().casefold() in known for family in texts.font.split(",")):
        raise BadInput(f"{path}: font '{texts.font}' is not on this computer; install it, or name another")
    font = qt_font(fonts(texts, BASE).split(", "), height=40)
    for sign in sorted(set(shown(texts)), key=lambda sign: (not sign.isalpha(), sign)):  # letters say most
        if sign.isprintable() and not has(font, sign):
            raise BadInput(
                f"{path}: no font on this computer has '{sign}' ({unicodedata.name(sign, ascii(sign))}); install "
                f"one (on Debian {_package(sign)}, elsewhere Noto for this script)"
            )


def has(font: QtGui.QFont, text: str) -> bool:
    """Return whether there is a glyph for everything in a text, in that font or another."""
    layout = QtGui.QTextLayout(text, font)
    layout.beginLayout()
    layout.createLine()
    layout.endLayout()
    # Where no font has a character, Qt takes the first one's box, which is glyph 0, or draws a box of no font.
    return all(
        0 not in run.glyphIndexes() and not run.rawFont().fontTable("cmap").isEmpty()
        for run in layout.glyphRuns()
    )


def _package(sign: str) -> str:
    if unicodedata.category(sign)[0] == "S":
        return "fonts-noto-color-emoji"
    return "fonts-noto-cjk" if unicodedata.east_asian_width(sign) in "WF" else "fonts-noto-core"
