"""Texts in other scripts than Latin, in PsychoPy's script of an export and in a browser."""

from pathlib import Path

import pytest
from sessions_support import draw_pictures

from catpref.design.designs import make_trials
from catpref.design.trial_list import RANDOM, write_trial_list
from catpref.lab.lettering import END, RIGHT_TO_LEFT
from catpref.lab.texts import load_texts
from catpref.pavlovia.command import main
from catpref.stimuli.images import find_images
from tests.browser import chromium
from tests.pavlovia.test_pavlovia import ELSEWHERE, Internet, Participant, libraries  # noqa: F401

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


def test_the_page_breaks_and_orders_lines(export, libraries, tmp_path):  # noqa: F811
    """A whole session on a phone, on whose screen the lines of the instructions do not fit."""
    language, web = export
    internet = Internet(web, *libraries)
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
