import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from email.parser import BytesParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from catpref.design.designs import make_trials
from catpref.design.trial_list import RANDOM, write_trial_list
from catpref.lab.layout import WEB, lay_out
from catpref.lab.texts import ENGLISH
from catpref.pavlovia.command import main, write_images
from catpref.sessions.session import read_sessions
from catpref.stimuli.images import open_image
from catpref.stimuli.scrambling import scramble
from tests.browser import Browser, Reply, chromium
from tests.support import listing, refusal

PAVLOVIA = Path(__file__).parents[2] / "experiments" / "pavlovia.py"
QUESTION = """Who's "süßer": $5, 100 % or \\\\n <b>?"""
QUICK = 10
"""Trials of the exported session: in blocks of 4, one of them a repeat and one a catch trial."""


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """cats/, trials.csv, and the folder web/ that was exported from them, with a question that has to be quoted."""
    folder = tmp_path_factory.mktemp("study")
    cats = folder / "cats"
    (cats / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(16):
        patches = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        image = patches.resize((256, 256) if number % 3 else (200, 301))
        image.save(
            cats / ("more" if number % 2 else "") / f"süß, {number:02d}.{'png' if number % 4 else 'jpg'}"
        )
    names = sorted(path.relative_to(cats).as_posix() for path in cats.rglob("*.*g"))
    write_trial_list(folder / "trials.csv", make_trials(RANDOM, names, repeats=1, catch=1, block=4, seed=3))
    texts = ENGLISH.read_text(encoding="utf-8").replace('"Which one is cuter?"', json.dumps(QUESTION), 1)
    texts = texts.replace("# no_preference", "no_preference")
    (folder / "texts.toml").write_text(texts, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    command = [sys.executable, PAVLOVIA, "trials.csv", "--stimuli", "cats", "--out", "web", "--practice", "1"]
    done = subprocess.run(
        [*command, "--texts", "texts.toml"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("web: 10 trials, ")
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_image_is_there_and_the_manifest_says_of_what_it_was_made(study):
    manifest = {row["file"]: row for row in rows(study / "web" / "manifest.csv")}
    assert {path.name for path in (study / "web" / "images").iterdir()} == set(manifest)
    for row in manifest.values():
        assert row["sha256"] == digest(study / "web" / "images" / row["file"])
        if row["source"] != "drawn":
            source = study / "cats" / row["source"]
            assert row["source_sha256"] == digest(source)
            assert (row["sha256"] == row["source_sha256"]) == (not row["scrambled"])  # kept as they were
    catches = 0
    for trial, shown in zip(rows(study / "trials.csv"), rows(study / "web" / "trials.csv"), strict=True):
        assert {name: shown[name] for name in trial} == trial
        for side in ("left", "right"):
            made = manifest[shown[f"{side}_file"]]
            assert made["source"] == trial[f"{side}_image"]
            assert bool(made["scrambled"]) == (trial["catch"] == side)
            if made["scrambled"]:
                catches += 1
                image = np.asarray(open_image(study / "web" / "images" / made["file"]))
                assert np.array_equal(
                    image, np.asarray(scramble(open_image(study / "cats" / made["source"])))
                )
    assert catches == 1


def test_builder_opens_the_experiment_and_its_compiler_makes_the_same_scripts(study, tmp_path):
    shutil.copytree(study / "web", tmp_path / "web")
    script = """
import sys
from psychopy.experiment import Experiment
from psychopy.scripts.psyexpCompile import compileScript
experiment = Experiment.fromFile(sys.argv[1])
print([getattr(part, "name", part.getType()) for part in experiment.flow])
compileScript(sys.argv[1], outfile=sys.argv[2])
"""
    arguments = [str(tmp_path / "web" / "two_afc.psyexp"), str(tmp_path / "web" / "two_afc.js")]
    before = listing(tmp_path / "web")
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Alert" not in done.stderr + done.stdout
    assert done.stdout.splitlines()[-1] == str([
        *("welcome", "practice_intro", "practices", "practice", "practices", "start", "resume"),
        *("trials", "pause", "pair", "trials", "end"),
    ])  # fmt: skip
    assert listing(tmp_path / "web") == before
    assert (study / "web" / "index.html").read_text().count("two_afc.js") == 1


def node(*arguments: str) -> str:
    program = shutil.which("node")
    if not program:
        pytest.fail("node is missing: sudo apt install nodejs")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True).stdout


@pytest.mark.browser
def test_the_scripts_are_javascript_and_python_and_ask_the_question(study, tmp_path):
    module = study / "web" / "two_afc.js"
    shutil.copy(module, tmp_path / "two_afc.mjs")
    node("--check", str(tmp_path / "two_afc.mjs"))
    node("--check", str(study / "web" / "two_afc-legacy-browsers.js"))
    literal = re.search(r"name: 'pair_question',\s+text: (.*),\n", module.read_text(encoding="utf-8-sig"))
    assert literal and node("-p", f"JSON.stringify({literal[1]})").strip() == json.dumps(
        QUESTION, ensure_ascii=False
    )
    python = (study / "web" / "two_afc.py").read_text(encoding="utf-8-sig")
    literal = re.search(r"name='pair_question',\s+text=(.*),\n", python)
    assert literal and eval(literal[1]) == QUESTION
    assert str(study) not in python
    assert not re.search("^(from|import) catpref", python, re.MULTILINE)  # it runs where there is none


def test_the_browser_lays_out_a_window_as_python_does(study):
    rng = np.random.default_rng(0)
    windows = [(1280, 800), (390, 844), (800, 800), *rng.integers(200, 4000, (200, 2)).tolist()]
    exported = (study / "web" / "two_afc.js").read_text(encoding="utf-8-sig")
    ours = re.search(r"^const PLAN = .*?^const view = .*?^};", exported, re.MULTILINE | re.DOTALL)
    function = re.search(r"^function layOut\(\) \{.*?^\}", exported, re.MULTILINE | re.DOTALL)
    assert ours and function
    script = f"""{ours[0]}
let window;
{function[0]}
JSON.stringify({json.dumps(windows)}.map(([innerWidth, innerHeight]) => {{
  window = {{ innerWidth, innerHeight }};
  layOut();
  return [view.unit, view.wrap, view.box, view.centre];
}}))"""
    for (width, height), shown in zip(windows, json.loads(node("-p", script)), strict=True):
        assert np.allclose(np.multiply(shown, min(width, height)), lay_out(width, height, WEB), rtol=1e-12)


@pytest.mark.browser
def test_the_third_answer_in_a_browser(study):
    exported = (study / "web" / "two_afc.js").read_text(encoding="utf-8-sig")
    ours = re.search(r"^const PLAN = .*?^const view = .*?^};", exported, re.MULTILINE | re.DOTALL)
    names = ("layOut", "pairFrame", "recordAnswer")
    functions = [
        re.search(rf"^function {name}\(.*?^}}", exported, re.MULTILINE | re.DOTALL) for name in names
    ]
    assert ours and all(functions)
    script = f"""{ours[0]}
const window = {{ innerWidth: 1000, innerHeight: 1000 }}, found = [];
let press = null;
const pointer = {{ after: () => press }}, answers = {{ add: (row) => found.push(row[1]) }};
const psychoJS = {{ experiment: {{ addData: () => null }} }};
{"".join(function[0] for function in functions if function)}
layOut();
const edge = -view.box / 2, hint = edge - PLAN.layout.hint_below * view.unit;
for (const [x, y] of [[0, hint], [0, edge + 0.01], [view.centre, hint], [-view.centre, 0], [view.centre, 0]]) {{
  press = {{ x: x, y: y, time: 2 }};
  Object.assign(view, {{ onset: 1, touched: null }});
  found.push(pairFrame(true) ? view.touched.choice : null);
}}
view.touched = null;
["down", "j", "f"].forEach((key) => recordAnswer(0, key, 1));
JSON.stringify(found)"""
    assert json.loads(node("-p", script)) == [0.5, None, None, 0, 1, 0.5, 1, 0]


def test_builders_script_runs_in_psychopy_and_its_answers_are_read(study, display, tmp_path):
    shutil.copytree(study / "web", tmp_path / "web")
    environment = os.environ | {"DISPLAY": display}
    process = subprocess.Popen(
        [sys.executable, "two_afc.py"],
        cwd=tmp_path / "web",
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )

    def press(key: str) -> None:
        assert process.poll() is None, process.communicate()
        subprocess.run(["xdotool", "key", key], env=environment, check=True)

    try:
        deadline = time.monotonic() + 200
        title = ["xdotool", "search", "--onlyvisible", "--name", "two_afc"]
        while subprocess.run(title, env=environment, capture_output=True).returncode:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.2)
        time.sleep(0.5)
        press("Return")  # the dialog: a code has been drawn
        while process.poll() is None and time.monotonic() < deadline + 60:
            for key in (
                "space",
                "f",
                "space",
                "j",
                "space",
                "Down",
            ):  # whatever is on the screen, one of them goes on
                if process.poll() is None:
                    press(key)
                    time.sleep(0.3)
        assert process.wait() == 0
    finally:
        process.kill()
    (written,) = (tmp_path / "web" / "data").glob("*.csv")
    trials = check_answers(study, written)
    assert trials["onset"].is_monotonic_increasing
    assert list(trials["choice"]) == [{"f": 0, "j": 1, "down": 0.5}[key] for key in trials["pair_key.keys"]]
    assert np.allclose(trials["rt"], trials["pair_key.rt"].astype(float))
    assert {row["participant"] for row in rows(written)} <= {written.name.split("_")[0]}


def check_answers(study: Path, written: Path) -> pd.DataFrame:
    """The reader takes the file as it is, and it holds an answer to every trial of the list."""
    session = read_sessions([written], study / "cats")
    listed = [row for row in rows(study / "trials.csv") if not row["catch"]]
    assert session.excluded == 0
    assert session.catch is not None and session.catch.trials == 1
    assert list(session.trials["trial"]) == [int(row["trial"]) for row in listed]
    for name in ("left_image", "right_image"):
        assert list(session.trials[name]) == [row[name] for row in listed]
    assert session.trials["rt"].between(0, 60).all()
    return session.trials


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--jpeg-quality", "96"], "--jpeg-quality 96: must be from 1 to 95"),
        (["--stimuli", "nowhere"], "nowhere"),
        (["--out", "repository"], "repository: holds 'two_afc.psyexp', which was not written by catpref"),
        (["--out", "cats"], "cats: would be replaced whole, and cats is in it"),
        (["--texts", "missing.toml"], "missing.toml: cannot be read"),
    ],
)
def test_refuses(study, monkeypatch, arguments, message):
    monkeypatch.chdir(study)
    (study / "repository" / ".git").mkdir(parents=True, exist_ok=True)
    (study / "repository" / "two_afc.psyexp").touch()
    before = listing(study)
    given = {"--stimuli": "cats", "--out": "new"} | dict([arguments])
    assert message in refusal(main, "trials.csv", *(part for pair in given.items() for part in pair))
    assert listing(study) == before


def test_images_that_a_browser_would_show_otherwise_are_written_anew(tmp_path):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    exif[0x010F] = "a camera"
    picture.save(tmp_path / "turned.png", exif=exif)
    picture.save(tmp_path / "scanned.tiff")
    picture.convert("P").save(tmp_path / "palette.png")
    picture.resize((1500, 1125)).save(tmp_path / "large.png")
    picture.save(tmp_path / "plain.png")
    picture.save(tmp_path / "plain.jpg")
    names = ("turned.png", "scanned.tiff", "palette.png", "large.png", "plain.png", "plain.jpg")
    trials = make_trials(RANDOM, names)
    for quality in (None, 60):
        folder = tmp_path / f"{quality}"
        folder.mkdir()
        for row in write_images(trials, tmp_path, folder, quality):
            with Image.open(folder / row.file) as made:
                assert made.size == (row.width, row.height)
                assert made.mode == "RGB" and not made.getexif()
                assert made.format == ("JPEG" if quality or row.source == "plain.jpg" else "PNG")
            if not quality and row.source != "large.png":
                shown, meant = open_image(folder / row.file), open_image(tmp_path / row.source)
                assert np.array_equal(np.asarray(shown), np.asarray(meant))
            assert (row.sha256 == row.source_sha256) == (not quality and row.source.startswith("plain"))
            assert max(row.width, row.height) == (1024 if row.source == "large.png" else 40)


@pytest.mark.parametrize("name", ["cat [1].png", "=cat.png"])
def test_refuses_names_that_psychojs_would_change(tmp_path, name):
    for file in (name, "other.png"):
        Image.new("RGB", (32, 32)).save(tmp_path / file)
    write_trial_list(tmp_path / "trials.csv", make_trials(RANDOM, [name, "other.png"]))
    said = refusal(main, tmp_path / "trials.csv", "--stimuli", tmp_path, "--out", tmp_path / "web")
    assert f"trial 0: PsychoJS reads '{name}' as a list or formula; rename the image" in said
    assert not (tmp_path / "web").exists()


# ---- the page in a browser ---------------------------------------------------------------------------------

SITE = "https://run.pavlovia.org/lab/cats/"
"""Where PsychoJS believes that it runs on Pavlovia."""

CONFIGURATION = {
    "experiment": {"name": "cats", "fullpath": "lab/cats"},
    "pavlovia": {"URL": "https://pavlovia.org"},
    "gitlab": {"projectId": 1},
}
ELSEWHERE = "https://example.org/"
KINDS = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".csv": "text/csv",
    ".png": "image/png",
}


class Internet:
    """The exported folder, PsychoJS, its libraries, and Pavlovia as far as a session needs it."""

    def __init__(self, web: Path, psychojs: Path) -> None:
        self.web, self.psychojs = web, psychojs
        self.connected = True
        self.lost: set[str] = set()  # files that do not arrive
        self.asked: list[str] = []
        self.uploads: list[bytes] = []

    def __call__(self, method: str, address: str, body: bytes) -> Reply | None:
        self.asked.append(address)
        path = address.split("?")[0]
        if not self.connected or Path(path).name in self.lost:
            return None
        if path.startswith("https://pavlovia.org/api/"):
            return self._api(method, path, body)
        if path.startswith("https://cdn.jsdelivr.net/"):
            file = self.psychojs / Path(path).name
            return Reply(file.read_bytes() if file.exists() else b"", KINDS[file.suffix])
        if path == f"{SITE}config.json":
            return Reply(json.dumps(CONFIGURATION).encode())
        name = path.removeprefix(SITE).removeprefix(ELSEWHERE) or "index.html"
        file = self.web / name
        if name.startswith("lib/psychojs-"):
            ending = ".iife.js" if name.endswith(".iife.js") else Path(name).suffix
            names = sorted(self.psychojs.glob(f"psychojs-*{ending}"), key=lambda path: len(path.name))
            file = names[0]
        if not file.is_file():
            return Reply(b"", "text/plain", 404)
        return Reply(file.read_bytes(), KINDS.get(file.suffix, "image/jpeg"))

    def _api(self, method: str, path: str, body: bytes) -> Reply:
        if path.endswith("/results") and method == "POST":
            self.uploads.append(body)
        if path.endswith("/sessions"):
            experiment = {
                "status2": "RUNNING",
                "saveFormat": "CSV",
                "saveIncompleteResults": True,
                "runMode": "CREDIT",
            }
            return Reply(json.dumps({"token": "t", "status": "OPEN", "experiment": experiment}).encode())
        return Reply(b"{}")


@pytest.fixture
def internet(study, psychojs) -> Internet:
    return Internet(study / "web", psychojs)


@pytest.fixture
def browser(internet, chromium_program, tmp_path) -> Iterator[Browser]:
    with chromium(chromium_program, tmp_path, internet) as page:
        yield page


class Participant:
    """Someone at the page, who chooses by clicking, or by touching on a phone."""

    def __init__(self, browser: Browser, phone: bool) -> None:
        self.browser = browser
        self.width, self.height = (390, 844) if phone else (1280, 800)
        browser.size(self.width, self.height, phone)
        self.choose = browser.tap if phone else browser.click

    def begin(self, address: str) -> None:
        """Open the page, and press the button of its dialog when that is offered."""
        self.browser.open(address)
        self.browser.wait("!document.getElementById('dialogOK').classList.contains('disabled')")
        self.browser.pause(0.3)
        place = "document.getElementById('dialogOK').getBoundingClientRect()"
        self.browser.click(*(self.browser.run(f"{place}.{low} + 10") for low in ("x", "y")))

    def answers(self) -> list[list[float]]:
        """What the page keeps in the browser."""
        return json.loads(
            self.browser.run(
                "localStorage.getItem(Object.keys(localStorage).find((key) => key.startsWith('two_afc')))"
            )
            or "[]"
        )

    def answer(self, number: int, seconds: float = 200) -> None:
        """Go on, choosing one side and then the other, until so many answers are given."""
        end = time.monotonic() + seconds
        while (given := len(self.answers())) < number:
            assert time.monotonic() < end, self.browser.errors
            side = given % 2
            self.choose(self.width * (0.7 if side else 0.3), self.height / 2)
            self.browser.pause(0.25)
            now = self.answers()
            assert len(now) in (given, given + 1), self.browser.errors
            if len(now) > given:
                assert now[-1][:2] == [given, side]


def test_a_whole_session_by_clicks(study, internet, browser, tmp_path):
    participant = Participant(browser, phone=False)
    participant.begin(f"{ELSEWHERE}?participant=p01&session=2")
    participant.answer(QUICK)
    browser.until(
        lambda: participant.choose(640, 400) or list((tmp_path / "downloads").glob("*.csv")), "the download"
    )
    browser.pause(0.5)
    (written,) = (tmp_path / "downloads").glob("p01_two_afc_*.csv")
    trials = check_answers(study, written)
    assert trials["onset"].is_monotonic_increasing
    assert set(trials["participant"]) == {"p01"} and set(trials["session"]) == {"2"}
    assert list(trials["choice"]) == [int(number) % 2 for number in trials["trial"]]
    assert not browser.errors
    first, last = (internet.asked.index(f"{ELSEWHERE}images/{row['left_file']}") for row in block_ends(study))
    assert first < last


def block_ends(study: Path) -> list[dict[str, str]]:
    table = rows(study / "web" / "trials.csv")
    return [table[0], table[-1]]


def test_a_reload_and_a_lost_connection_lose_nothing(study, internet, browser, tmp_path):
    listed = rows(study / "web" / "trials.csv")
    internet.lost = {
        row[side] for row in listed if row["block"] == "1" for side in ("left_file", "right_file")
    }
    participant = Participant(browser, phone=True)
    address = f"{SITE}?participant=p02&session=1"
    participant.begin(address)
    participant.answer(2)
    participant.begin(address)  # in the middle of a block
    participant.answer(4)
    with pytest.raises(AssertionError):  # the break waits for the pictures
        participant.answer(5, seconds=8)
    internet.lost.clear()
    participant.answer(QUICK - 1)
    internet.connected = False
    with pytest.raises(AssertionError):  # nothing is uploaded, so that nothing is forgotten
        browser.until(lambda: participant.choose(117, 422) or not participant.answers(), "forgotten", 8)
    assert len(participant.answers()) == QUICK
    internet.connected = True
    browser.until(lambda: not participant.answers(), "the upload")
    first, last = tmp_path / "first.csv", tmp_path / "last.csv"
    first.write_bytes(content(internet.uploads[0]))  # when the page was left
    last.write_bytes(content(internet.uploads[-1]))
    trials = check_answers(study, last)
    both = read_sessions([first, last], study / "cats")
    assert len(both.trials) == len(trials) and 0 < len(read_sessions([first], study / "cats").trials) < len(
        trials
    )


def test_a_name_is_no_code(internet, browser):
    participant = Participant(browser, phone=False)
    participant.begin(f"{SITE}?participant=Anna&session=1")
    browser.wait("document.body.innerText.includes('a code such as p01')")
    browser.pause(1)
    assert not internet.uploads and not participant.answers()
    assert not browser.errors


def content(upload: bytes) -> bytes:
    """Take the CSV out of a form that was posted."""
    boundary = upload.split(b"\r\n", 1)[0][2:]
    head = b"Content-Type: multipart/form-data; boundary=" + boundary + b"\r\n\r\n"
    value = list(BytesParser().parsebytes(head + upload).walk())[2]  # after the form and the key
    payload = value.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload
