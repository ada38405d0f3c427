"""Texts in other scripts than Latin, in PsychoPy's script of an export and in a browser."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from forked import Forked
from PIL import Image, ImageGrab
from sessions_support import draw_pictures

from catpref.design.designs import make_trials
from catpref.design.trial_list import RANDOM, write_trial_list
from catpref.lab.layout import BACKGROUND, INK
from catpref.lab.lettering import END, RIGHT_TO_LEFT, typeset
from catpref.lab.texts import fonts, load_texts
from catpref.pavlovia.command import main
from catpref.stimuli.images import find_images
from tests.browser import chromium
from tests.pavlovia.test_pavlovia import ELSEWHERE, Internet, Participant, node

TEXTS = Path(__file__).parents[1] / "lab" / "texts"


@pytest.fixture(scope="module", params=["japanese", "arabic"])
def export(request, tmp_path_factory) -> tuple[str, Path]:
    """A language, and a session that was exported in it, on a computer whose fonts are never asked for."""
    folder = tmp_path_factory.mktemp(request.param)
    cats = draw_pictures(folder / "cats", 8)
    write_trial_list(folder / "trials.csv", make_trials(RANDOM, find_images(cats)))
    given = [folder / "trials.csv", "--stimuli", cats, "--out", folder / "web", "--practice", 0]
    main([str(part) for part in [*given, "--texts", TEXTS / f"{request.param}.toml"]])
    return request.param, folder / "web"


@pytest.mark.browser
def test_lines_are_broken_where_the_script_allows_it(export):
    _, web = export
    written = (web / "two_afc.js").read_text(encoding="utf-8-sig")
    ours = re.search(r"^const kind = .*?(?=^// PsychoJS would)", written, re.MULTILINE | re.DOTALL)
    assert ours

    def lines(text: str, width: int) -> list[str]:
        """Break a text where a letter is as wide as another."""
        script = f"{ours[0]} JSON.stringify(lines({json.dumps(text)}, {width}, (text) => text.length))"
        return json.loads(node("-p", script))

    assert lines("You will see (two) pictures, don't you?", 15) == [
        "You will see",
        "(two) pictures,",
        "don't you?",
    ]
    assert lines("ボタンを「押して」もう一度。", 6) == ["ボタンを", "「押して」", "もう一度。"]
    assert lines("请选择左边或者右边的图片。", 6) == ["请选择左边", "或者右边的", "图片。"]
    assert lines("F أو J للصورة اليسرى", 9) == [
        "\u2067F أو J\u2069",
        "\u2067للصورة\u2069",
        "\u2067اليسرى\u2069",
    ]
    assert (
        lines("שלום!", 9) == ["\u2067שלום!\u2069"]
        and lines("J or →", 9) == ["J or →"]
        and lines("", 9) == [""]
    )


def test_psychojs_dialog_is_written_in_order(export, psychojs, tmp_path):
    language, web = export
    with chromium("chromium", tmp_path, Internet(web, psychojs)) as browser:
        Participant(browser, phone=False).begin(f"{ELSEWHERE}?participant=Anna&session=1")
        code = load_texts(TEXTS / f"{language}.toml").web.code
        expected = f"{RIGHT_TO_LEFT}{code}{END}" if language == "arabic" else code
        browser.wait(f"document.body.innerText.includes({json.dumps(expected)})")
        assert not browser.errors


def test_psychopys_script_shows_the_question_as_the_lab_does(export, large_display, tmp_path):
    language, web = export
    shutil.copytree(web, tmp_path / "web")
    environment = os.environ | {"DISPLAY": large_display}
    process = Forked([sys.executable, "two_afc.py"], cwd=tmp_path / "web", env=environment)
    texts = load_texts(TEXTS / f"{language}.toml")
    image, _ = typeset(
        texts.question, fonts(texts, "Arial, DejaVu Sans").split(", "), round(0.06 * 1024), 1075, INK
    )
    grey = Image.new("RGB", image.size, BACKGROUND)
    grey.paste(image, (0, 0), image)
    expected = np.asarray(grey).astype(int)
    left, deadline = 640 - image.width // 2, time.monotonic() + 120
    title = ["xdotool", "search", "--onlyvisible", "--name", "two_afc"]
    try:
        while subprocess.run(title, env=environment, capture_output=True).returncode:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.2)
        time.sleep(0.5)
        subprocess.run(["xdotool", "key", "Return"], env=environment, check=True)  # the dialog
        while True:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(1)
            screen = ImageGrab.grab(xdisplay=large_display).convert("RGB")
            shown = np.asarray(screen).astype(int)[:, left : left + image.width]
            rows = [np.abs(shown[top : top + image.height] - expected).max() for top in range(100, 500)]
            if min(rows) <= 2:
                break
        screen.save(tmp_path / f"{language}.png")  # to be looked at
    finally:
        process.kill()
        process.wait()


def test_the_page_breaks_and_orders_lines(export, psychojs, tmp_path):
    """A whole session on a phone, on whose screen the lines of the instructions do not fit."""
    language, web = export
    internet = Internet(web, psychojs)
    with chromium("chromium", tmp_path, internet) as browser:
        browser.send("Page.addScriptToEvaluateOnNewDocument", source=RECORD)
        participant = Participant(browser, phone=True)
        participant.begin(f"{ELSEWHERE}?participant=p01&session=1")
        body = load_texts(TEXTS / f"{language}.toml").instructions.fill(trials=4).body
        first, last = body.splitlines()[0], body.splitlines()[-1]
        browser.wait(f"drawn.some(([text]) => text.includes({last!r}))")
        browser.pause(1)
        drawn = browser.run("drawn")
        browser.picture(tmp_path / f"{language}.png")  # to be looked at
        participant.answer(4)
        assert not browser.errors
    lines = [text.strip(RIGHT_TO_LEFT + END) for text, _ in drawn]
    end = len(lines) - lines[::-1].index(last)
    start = end - lines[:end][::-1].index(first) - 1
    assert end - start > len(body.split("\n"))
    assert "".join("".join(lines[start:end]).split()) == "".join(body.split())
    for line, (text, width) in zip(lines[start:end], drawn[start:end], strict=True):
        assert width < 390
        if language == "arabic":
            assert text == f"{RIGHT_TO_LEFT}{line}{END}" or not line
        else:
            assert text == line and not line.startswith(tuple("、。」っ")) and not line.endswith("「")


RECORD = """
window.drawn = [];
const fill = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
  drawn.push([text, this.measureText(text).width]);
  fill.call(this, text, x, y);
};
"""
