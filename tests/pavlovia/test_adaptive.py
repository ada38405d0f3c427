"""Adaptive sessions in a browser: JavaScript chooses as Python does; a reload or a lost network changes nothing."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from adaptive_support import as_chosen, keep_made_up_priors
from PIL import Image

from catpref.adaptive.chooser import Answer, choose, learn_from, share_gained
from catpref.adaptive.prior import FILE, Prior, read_prior, write_prior
from catpref.adaptive.schedule import make_schedule
from catpref.design.trial_list import ADAPTIVE, BY_ANSWERS, BY_LEARNING, RANKING, Trial, read_trial_list
from catpref.pavlovia import command
from catpref.sessions.session import read_sessions
from tests.browser import chromium
from tests.pavlovia.test_pavlovia import ELSEWHERE, SITE, Internet, Participant, content, node, rows
from tests.support import listing, refusal

SEED = 3
ADAPTIVE_JS = Path(command.__file__).with_name("adaptive.js")


def made_up_prior(names: Sequence[str], dimensions: int, seed: int, mean: float = 0.0) -> Prior:
    """A prior whose leading directions say most."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(len(names), dimensions)) / np.sqrt(np.arange(1, dimensions + 1))
    means = mean * rng.normal(size=len(names))
    return Prior(
        tuple(names), features.astype(np.float16).astype(float), means.astype(np.float32).astype(float), 0.25
    )


def simulated(prior: Prior, schedule: Sequence[Trial], seed: int) -> list[Answer]:
    """Answer a whole session, without a preference in some trials, and not at all in others."""
    rng = np.random.default_rng(seed)
    taste = prior.mean + prior.features @ rng.normal(size=prior.features.shape[1])
    answers: list[Answer] = []
    for _ in schedule:
        posterior = learn_from(prior, schedule, answers)
        shown = choose(prior, posterior, schedule, answers, SEED)
        left, right = prior.indices([shown.left_image, shown.right_image])
        p_right = 1 / (1 + math.exp(taste[left] - taste[right]))
        kind, choice = rng.random(), float(rng.random() < p_right)
        choice = None if kind < 0.05 else 0.5 if kind < 0.1 else choice
        answers.append(Answer(shown.left_image, shown.right_image, choice))
    return answers


def in_node(prior: Prior, schedule: Sequence[Trial], answers: Sequence[Answer], folder: Path) -> dict:
    """What JavaScript chooses before each of these answers, and the posterior after all of them."""
    write_prior(folder / FILE, prior)
    trials = [
        {"design": one.design, "chosen_by": one.chosen_by, "catch": one.catch}
        | ({} if one.is_open else {"left_image": one.left_image, "right_image": one.right_image})
        for one in schedule
    ]
    given = [
        {"left_image": one.left_image, "right_image": one.right_image, "choice": one.choice}
        for one in answers
    ]
    (folder / "given.json").write_text(json.dumps({"trials": trials, "answers": given}), encoding="utf-8")
    (folder / "run.js").write_text(
        ADAPTIVE_JS.read_text(encoding="utf-8")
        + f"""
const fs = require("fs"), read = (name) => fs.readFileSync(`{folder}/${{name}}`);
const file = read("{FILE}"), {{ trials, answers }} = JSON.parse(read("given.json"));
const content = file.buffer.slice(file.byteOffset, file.byteOffset + file.length);
const session = begin(content, trials, {SEED}, null);
const chosen = trials.map((trial, number) =>
  trial.chosen_by === "adaptive" ? finish(choosing(session, answers.slice(0, number))).pair : null);
const posterior = finish(learningFrom(session, answers));
const enough = finish(choosing(begin(content, trials, {SEED}, 1e-9), answers.slice(0, -1)));
console.log(JSON.stringify({{
  chosen, enough, images: session.prior.images, features: Array.from(session.prior.features),
  weights: Array.from(posterior.weights), side_bias: posterior.side_bias, scale: posterior.scale,
  covariance: Array.from(posterior.covariance), gained: shareGained(session, posterior),
}}));
""",
        encoding="utf-8",
    )
    return json.loads(node(str(folder / "run.js")))


@pytest.mark.browser
@pytest.mark.parametrize(
    ("design", "mean", "dimensions"), [(ADAPTIVE, 0.0, 24), (ADAPTIVE, 1.0, 24), (RANKING, 0.3, 9)]
)
def test_javascript_and_python_show_the_same_pairs(tmp_path, design, mean, dimensions):
    names = [f"süß/{number:03d}.png" for number in range(30 if design == RANKING else 400)]
    prior = made_up_prior(names, dimensions, SEED, mean)
    schedule = make_schedule(
        names, 186, repeats=0 if design == RANKING else 10, catch=4, seed=SEED, design=design
    )
    assert len(schedule) >= 190
    answers = simulated(prior, schedule, SEED)
    found = in_node(prior, schedule, answers, tmp_path)
    expected = [
        [shown.left_image, shown.right_image] if trial.is_open else None
        for trial, shown in zip(schedule, answers, strict=True)
    ]
    assert found["chosen"] == expected
    posterior = learn_from(prior, schedule, answers)
    assert tuple(found["images"]) == prior.images
    assert np.array_equal(found["features"], prior.features.ravel())
    assert found["scale"] == pytest.approx(posterior.scale, abs=1e-9)
    for name in ("weights", "side_bias", "covariance"):
        assert np.allclose(found[name], np.ravel(getattr(posterior, name)), rtol=0, atol=1e-9), name
    assert found["gained"] == pytest.approx(share_gained(prior, posterior, schedule), abs=1e-9)
    before = share_gained(prior, learn_from(prior, schedule, answers[:-1]), schedule)
    assert found["enough"] == {"pair": None, "gained": pytest.approx(before, abs=1e-9)}


@pytest.mark.browser
def test_every_number_of_sixteen_bits_is_read():
    bits = np.arange(2**16, dtype=np.uint16)
    halves = bits.view(np.float16)
    finite = np.isfinite(halves)
    ask = "JSON.stringify(Array.from({ length: 65536 }, (_, bits) => half(bits)))"
    read = json.loads(node("-p", f"{ADAPTIVE_JS.read_text(encoding='utf-8')}\n{ask}"))
    assert np.array_equal(np.array(read)[finite], halves[finite])


CHOOSING_JS = ADAPTIVE_JS.with_name("choosing_in_browser.js")


@pytest.mark.browser
@pytest.mark.parametrize(
    ("minutes", "given"), [(1, [(24, False), (48, False), (64, True)]), (None, [(999, False)])]
)
def test_minutes_end_a_session_over_reloads_and_without_the_pauses_between(minutes, given):
    """The page is opened three times, and answers come 24, 24 and 16 s after; the breaks show how much that is."""
    script = f"""
let now = 0;
const performance = {{ now: () => now }}, fetch = () => new Promise(() => null), found = [], view = {{ body: "" }};
const PLAN = {{ adaptive: {{ minutes: {json.dumps(minutes)}, until: null }}, texts: {{ pause_body: "" }} }};
const list = {{ trials: Array.from({{ length: 99 }}, () => ({{}})) }}, answers = {{ rows: [] }};
const loop = {{ getCurrentTrial: () => ({{}}) }}, keepFrom = () => null;
const recordAnswer = (trial, key, keyTime, ...more) => answers.rows.push([trial, 0, 1, 0].concat(more));
{CHOOSING_JS.read_text(encoding="utf-8")}
let before = 0;
for (const [seconds] of {json.dumps(given)}) {{
  now += 1e6;
  Object.assign(chooser, {{ over: false, began: null }});
  setUpChoosing();
  now += 1000 * (seconds - before);
  before = seconds;
  recordNext(loop, answers.rows.length, "f", 1);
  progressFrame();
  found.push([answers.rows[answers.rows.length - 1][5], chooser.over, view.share]);
}}
chooser.over = false;
setUpChoosing();
JSON.stringify([found, chooser.over])"""
    found, over = json.loads(node("-p", script))
    for (seconds, ended, share), expected in zip(found, given, strict=True):
        assert (seconds, ended) == (pytest.approx(expected[0]), expected[1])
        assert share == pytest.approx(min(1, expected[0] / 60) if minutes else 1 / 99)
    assert over == given[-1][1]


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """cats/, and the adaptive session web/ that was exported of them."""
    folder = tmp_path_factory.mktemp("adaptive")
    rng = np.random.default_rng(0)
    (folder / "cats").mkdir()
    for number in range(40):
        patches = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        patches.resize((200, 256)).save(folder / "cats" / f"süß, {number:02d}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        keep_made_up_priors(patch, tmp_path_factory.mktemp("cache"))
        asked = "--trials 20 --repeats 1 --catch 1 --block 8 --practice 0 --until 1"
        command.main(f"--adaptive --stimuli cats --out web --seed {SEED} {asked}".split())
    return folder


def test_everything_that_may_be_shown_is_there(study):
    prior = read_prior(study / "web" / FILE)
    images = json.loads((study / "web" / "images.json").read_text(encoding="utf-8"))
    assert [image["image"] for image in images] == list(prior.images)
    for image in images:
        assert (study / "web" / "images" / image["file"]).stat().st_size == image["bytes"]
    sources = {row["file"]: row["source"] for row in rows(study / "web" / "manifest.csv")}
    assert all(sources[image["file"]] == image["image"] for image in images)
    listed = rows(study / "web" / "trials.csv")
    assert len(listed) == 22
    for row in listed:
        is_open = row["chosen_by"] == BY_ANSWERS
        assert is_open == (not row["left_image"]) == (not row["left_file"])
        for side in ("left", "right"):
            assert is_open or sources[row[f"{side}_file"]] == row[f"{side}_image"]


def test_in_psychopy_it_refuses_in_one_line(study, display):
    done = subprocess.run(
        [sys.executable, "two_afc.py"],
        cwd=study / "web", env=os.environ | {"DISPLAY": display}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("in the lab, run python experiments/adaptive.py")
    assert not (study / "web" / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trials.csv", "--adaptive"], "trials.csv: --adaptive makes its own list; leave one of the two out"),
        (["trials.csv", "--rank"], "--rank: is for adaptive sessions; add --adaptive, or leave it out"),
        (
            ["trials.csv", "--minutes", "5"],
            "--minutes: is for adaptive sessions; add --adaptive, or leave it out",
        ),
        (["trials.csv", "--seed", "0"], "--seed: is for adaptive sessions; add --adaptive, or leave it out"),
        ([], "no TRIALS.csv is named; make one with python -m catpref.trials, or choose --adaptive"),
        (["--adaptive", "--until", "2"], "'2' is not a share above 0"),
        (["--adaptive", "--trials", "9999"], "40 images are too few for --trials 9999"),
    ],
)
def test_refuses(study, monkeypatch, arguments, message):
    monkeypatch.chdir(study)
    before = listing(study)
    assert message in refusal(command.main, *arguments, "--stimuli", "cats", "--out", "new")
    assert listing(study) == before


# ---- the page in a browser ---------------------------------------------------------------------------------


def check_pairs(study: Path, written: Path, answered: int) -> None:
    """Each pair is the one that Python chooses after the answers before it, and the reader takes all."""
    shown = [row for row in rows(written) if row["choice"]]
    assert [int(row["trial"]) for row in shown] == list(range(answered))
    expected = as_chosen(study / "web", study / "cats", shown, SEED)
    for row, trial in zip(shown, expected, strict=False):
        for name in ("left_image", "right_image", "chosen_by", "catch"):
            assert row[name] == getattr(trial, name), (trial, name)
    session = read_sessions([written], study / "cats")
    given = [row for row in shown if not row["catch"]]
    assert session.excluded == 0
    for name in ("left_image", "right_image", "chosen_by"):
        assert list(session.trials[name]) == [row[name] or None for row in given], name


SMALL = 400, 300
"""The window: a larger one takes minutes to draw where there is no graphics card."""

NO_WORKER = "delete window.Worker;"


@pytest.mark.parametrize("script", ["", NO_WORKER])
def test_a_whole_adaptive_session_by_clicks(study, psychojs, chromium_program, tmp_path, script):
    internet = Internet(study / "web", psychojs)
    with chromium(chromium_program, tmp_path, internet) as browser:
        browser.send("Page.addScriptToEvaluateOnNewDocument", source=script)
        participant = Participant(browser, phone=False)
        participant.width, participant.height = SMALL
        browser.size(*SMALL)
        participant.begin(f"{ELSEWHERE}?participant=p01&session=1")
        participant.answer(2)
        browser.pause(1.5)
        browser.picture(tmp_path / "pair.png")  # to be looked at
        participant.answer(8)
        browser.pause(1.5)
        browser.picture(tmp_path / "break.png")
        participant.answer(22)
        browser.until(
            lambda: participant.choose(200, 150) or list((tmp_path / "downloads").glob("*.csv")),
            "the download",
        )
        browser.pause(0.5)
        assert not browser.errors
    (written,) = (tmp_path / "downloads").glob("*.csv")
    check_pairs(study, written, 22)


def test_minutes_end_a_session_in_a_browser(study, psychojs, chromium_program, tmp_path):
    web = shutil.copytree(study / "web", tmp_path / "web")
    script = (web / "two_afc.js").read_text(encoding="utf-8-sig")
    assert script.count('"minutes": null') == 1
    script = script.replace('"minutes": null', '"minutes": 0.0001')
    (web / "two_afc.js").write_text(script, encoding="utf-8")
    with chromium(chromium_program, tmp_path, Internet(web, psychojs)) as browser:
        participant = Participant(browser, phone=False)
        participant.width, participant.height = SMALL
        browser.size(*SMALL)
        participant.begin(f"{ELSEWHERE}?participant=p01&session=1")
        participant.answer(1)
        browser.until(
            lambda: participant.choose(200, 150) or list((tmp_path / "downloads").glob("*.csv")),
            "the download",
        )
        assert not browser.errors
    (written,) = (tmp_path / "downloads").glob("*.csv")
    check_pairs(study, written, 1)


def test_reloads_and_a_lost_connection_lose_nothing_until_enough_is_known(
    study, psychojs, chromium_program, tmp_path
):
    web = shutil.copytree(study / "web", tmp_path / "web")
    until, answered = end_of_session(web, study / "cats")
    script = (web / "two_afc.js").read_text(encoding="utf-8-sig")
    assert script.count('"until": 1.0') == 1
    script = script.replace('"until": 1.0', f'"until": {until!r}')
    (web / "two_afc.js").write_text(re.sub('"ahead": [0-9]+', '"ahead": 0', script), encoding="utf-8")
    internet = Internet(web, psychojs)
    internet.lost = {FILE}
    with chromium(chromium_program, tmp_path, internet) as browser:
        participant = Participant(browser, phone=True)
        participant.width, participant.height = SMALL
        browser.size(*SMALL, phone=True)
        address = f"{SITE}?participant=p02&session=1"
        participant.begin(address)
        with pytest.raises(AssertionError):  # without the prior there is no pair
            participant.answer(1, seconds=6)
        internet.lost = set()
        participant.answer(2)
        for number in (4, 6, 9):
            participant.begin(address)
            participant.answer(number)
        internet.connected = False
        with pytest.raises(AssertionError):  # the cross stays until there are pictures
            while True:
                participant.answer(len(participant.answers()) + 1, seconds=14)
        assert len(participant.answers()) < answered
        browser.picture(tmp_path / "waiting.png")  # to be looked at
        internet.connected = True
        participant.answer(answered - 1)
        browser.pause(3)  # the last pair comes
        internet.connected = False
        participant.answer(answered)
        with pytest.raises(AssertionError):  # nothing is uploaded, so that nothing is forgotten
            browser.until(lambda: participant.choose(200, 150) or not participant.answers(), "forgotten", 6)
        assert len(participant.answers()) == answered
        internet.connected = True
        browser.until(lambda: not participant.answers(), "the upload")
        assert not browser.errors
    (tmp_path / "last.csv").write_bytes(content(internet.uploads[-1]))
    check_pairs(study, tmp_path / "last.csv", answered)


def end_of_session(web: Path, stimuli: Path) -> tuple[float, int]:
    """After how many answers to a left and a right image in turn a session is over, and with what --until."""
    prior = read_prior(web / FILE)
    schedule = read_trial_list(web / "trials.csv", stimuli, BY_LEARNING)
    answers: list[Answer] = []
    shares: dict[int, float] = {}
    for trial in schedule:
        posterior = learn_from(prior, schedule, answers)
        if trial.is_open:
            shares[trial.trial] = share_gained(prior, posterior, schedule)
        shown = choose(prior, posterior, schedule, answers, SEED)
        answers.append(Answer(shown.left_image, shown.right_image, float(trial.trial % 2)))
    last = max((number for number in shares if number >= 12), key=shares.__getitem__)
    assert all(shares[last] > share for number, share in shares.items() if number < last)
    return shares[last] - 1e-9, last
