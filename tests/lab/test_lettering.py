"""Texts in other scripts than Latin: what Qt makes of them, what the window shows, and whole sessions."""

import os
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from forked import Forked
from PIL import Image
from sessions_support import Session, draw_pictures

from catpref.errors import BadInput
from catpref.lab import fonts as lab_fonts
from catpref.lab.fonts import check_fonts, has
from catpref.lab.layout import INK, LAB, QUESTION, lay_out
from catpref.lab.lettering import BASE, qt_font, start_qt, typeset
from catpref.lab.texts import fonts, load_texts, shown

TEXTS = {file.stem: file for file in sorted(Path(__file__).with_name("texts").glob("*.toml"))}
EM = 40


def ink(text: str, wrap: float = 2000) -> np.ndarray:
    """Return how opaque each pixel of a text is, without the empty edge."""
    image, _ = typeset(text, [BASE], EM, wrap, INK)
    opaque = np.asarray(image)[..., 3] / 255
    rows, columns = np.nonzero(opaque.any(1))[0], np.nonzero(opaque.any(0))[0]
    return opaque[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def differ(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape != other.shape or bool(np.abs(one - other).mean() > 0.02)


def test_arabic_letters_are_joined():
    joined, apart = ink("بيت"), ink("ب\u200cي\u200cت")  # the second with a sign that keeps letters apart
    assert joined.any(0).all() and not apart.any(0).all()
    assert differ(joined, apart)


def high(line: str) -> float:
    """Return where the highest letter of a line is, as a share of its width from the left."""
    drawn = ink(line)
    return float(np.nonzero(drawn[: len(drawn) // 10].any(0))[0].mean() / drawn.shape[1])


def test_a_line_of_most_letters_arabic_begins_at_the_right_and_ends_at_the_left():
    assert high("ابب") > 0.9 and high("Iبب") > 0.9 and high("I بب.") > 0.9
    assert high("بب!") < 0.1
    assert high("non بب!") > 0.9
    assert high("بب non بب!") < 0.1 and high("non بب non!") > 0.9


def test_hindi_has_its_conjuncts_and_its_vowel_before_the_consonant():
    assert ink("क्ष").shape[1] < ink("क्\u200cष").shape[1]
    assert stems("कि").min() < 0.25 < stems("का").min() and stems("का").max() > 0.75


def stems(text: str) -> np.ndarray:
    """Return where the vertical strokes of a text are, as shares of its width from the left."""
    drawn = ink(text)
    return np.nonzero((drawn[len(drawn) // 2 : -len(drawn) // 6] > 0.5).all(0))[0] / drawn.shape[1]


def test_lines_without_spaces_are_broken_but_not_before_a_full_stop():
    assert ink("どちらの猫がかわいいですか", wrap=5 * EM).shape[1] <= 5 * EM
    two = ink("ああああ。", wrap=4.2 * EM)
    second = np.nonzero(two[-EM // 2 :].any(0))[0]
    assert np.ptp(second) > EM  # or it would hold the full stop alone


@pytest.mark.parametrize("language", TEXTS)
def test_every_character_has_a_glyph(language):
    """Debian's packages for this are among those that the Makefile installs."""
    texts = load_texts(TEXTS[language])
    check_fonts(TEXTS[language], texts)
    start_qt()
    font = qt_font(fonts(texts, BASE).split(", "), EM)
    assert all(has(font, line) for line in shown(texts).splitlines())


def test_what_no_font_has_is_named_with_what_to_install(tmp_path, monkeypatch):
    rare = "\U00018b00"
    texts = load_texts().model_copy(update={"question": f"{rare}?"})
    with pytest.raises(
        BadInput, match=f"my.toml: no font on this computer has '{rare}' .KHITAN SMALL SCRIPT"
    ):
        check_fonts(tmp_path / "my.toml", texts)
    for sign, named in {
        "い": "'い' (HIRAGANA LETTER I); install one (on Debian fonts-noto-cjk,",
        "अ": "'अ' (DEVANAGARI LETTER A); install one (on Debian fonts-noto-core,",
        "🏽": "'🏽' (EMOJI MODIFIER FITZPATRICK TYPE-4); install one (on Debian fonts-noto-color-emoji,",
    }.items():
        monkeypatch.setattr(lab_fonts, "has", lambda _, character, lacking=sign: character != lacking)
        with pytest.raises(BadInput, match=re.escape(named)):
            check_fonts(tmp_path / "my.toml", texts.model_copy(update={"question": sign}))
    mine = texts.model_copy(update={"font": "No Such Sans"})
    with pytest.raises(BadInput, match=r"my.toml: font 'No Such Sans' is not on this computer"):
        check_fonts(tmp_path / "my.toml", mine)


SHOW = """
import sys
import time
from pathlib import Path
from PIL import Image
from catpref.lab.command import check_psychopy
check_psychopy()
from catpref.lab.screens import Screens
from catpref.lab.stage import Stage
from catpref.lab.texts import load_texts
stage = Stage(["escape"])
for file in map(Path, sys.argv[2:]):
    texts = load_texts(file)
    screens = Screens(stage.window, texts)
    for name, draw in {"page": screens.page(texts.instructions.fill(trials=1298)), "trial": screens.trial}.items():
        draw()
        stage.window.getMovieFrame(buffer="back").save(f"{sys.argv[1]}/{file.stem}_{name}.png")
        stage.window.flip()
"""


def test_the_window_shows_it_to_the_pixel(large_display, tmp_path):
    command = [sys.executable, "-c", SHOW, tmp_path, *TEXTS.values()]
    assert Forked(command, env=os.environ | {"DISPLAY": large_display}).wait(timeout=200) == 0
    unit = lay_out(1280, 1024, LAB).unit
    for language, file in TEXTS.items():
        texts = load_texts(file)
        families = fonts(texts, BASE).split(", ")
        question, _ = typeset(texts.question, families, round(QUESTION * unit), 1280, INK)
        grey = Image.new("RGB", question.size, "#808080")
        grey.paste(question, (0, 0), question)
        expected = np.asarray(grey).astype(int)
        picture = np.asarray(Image.open(tmp_path / f"{language}_trial.png").convert("RGB")).astype(int)
        left, height = 640 - question.width // 2, question.height
        rows = [picture[top : top + height, left : left + question.width] for top in range(300)]
        assert min(np.abs(shown - expected).max() for shown in rows) <= 2, language
        page = np.asarray(Image.open(tmp_path / f"{language}_page.png").convert("RGB"))
        drawn = np.argwhere((page != 128).any(2))
        assert drawn.min() > 40 and drawn.max(0)[0] < 984 and drawn.max(0)[1] < 1240, language


@pytest.mark.parametrize("language", [pytest.param("japanese", marks=pytest.mark.thorough), "arabic"])
def test_a_whole_session(language, display, tmp_path):
    stimuli = draw_pictures(tmp_path / "stimuli", 8)
    plain = ("--trials", 4, "--seed", 1, "--practice", 0, "--repeats", 0, "--catch", 0)
    given = ("--stimuli", stimuli, "--texts", TEXTS[language], *plain)
    session = Session(display, "random_sampled.py", tmp_path / "out", *given)
    session.until(lambda: bool((session.screen() > 200).any()))
    Image.fromarray(session.screen().astype(np.uint8)).save(tmp_path / "first.png")  # to be looked at
    while not (np.ptp(session.screen(), axis=2) > 30).any():  # the images bring colours
        session.press("space")
        time.sleep(0.5)
    for key in "jfjf":
        session.answer(key)
    code, _, complained = session.leave()
    assert (code, complained) == (0, "")
    assert [row["choice"] for row in session.rows()] == ["1", "0", "1", "0"]
    assert session.description()["question"] == load_texts(TEXTS[language]).question
