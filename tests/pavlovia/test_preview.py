import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import pytest
from test_pavlovia import PAVLOVIA, Participant

from catpref.pavlovia.command import main
from catpref.sessions.session import read_sessions
from tests.browser import chromium
from tests.support import listing, refusal


@pytest.fixture
def no_psychojs(tmp_path) -> Path:
    """What passes for PsychoJS where no page is run."""
    folder = tmp_path / "psychojs"
    folder.mkdir()
    for ending in ("js", "css"):
        (folder / f"psychojs-1.0.0.{ending}").write_text(ending)
    return folder


@contextmanager
def previewing(
    study: Path, psychojs: Path, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running command, and the address that it says; it ends as after Ctrl-C, and without a complaint."""
    plain = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "PSYCHOJS_DIR")}
    process = subprocess.Popen(
        [*(sys.executable, PAVLOVIA, "trials.csv", "--stimuli", "cats", "--out", "web", "--practice", "0"),
         *("--preview", "--psychojs", psychojs)],
        cwd=study, env=plain | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    try:
        address = next(found[0] for line in process.stdout if (found := re.search(r"http://\S+", line)))
        yield process, address
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0 and process.communicate()[1] == ""
    finally:
        process.kill()


def test_a_session_of_keys_leaves_a_csv_that_fit_reads(eight_pairs, psychojs, chromium_program, tmp_path):
    with (
        previewing(eight_pairs, psychojs) as (process, address),
        chromium(chromium_program, tmp_path, lambda *_: None, "https://*") as browser,
    ):
        exported = listing(eight_pairs / "web")
        participant = Participant(browser, phone=False)
        participant.begin(address)
        while (given := len(participant.answers())) < 8:
            for key in ("space", "fj"[given % 2]):
                browser.press(key)
            browser.pause(0.25)
        browser.until(lambda: browser.press("space") or (eight_pairs / "data").is_dir(), "the CSV")
        assert process.stdout
        path, command = Path(process.stdout.readline().strip()), process.stdout.readline()
        assert not browser.errors
        assert not list(tmp_path.glob("downloads/*"))
        assert listing(eight_pairs / "web") == exported
    assert [path] == list((eight_pairs / "data").iterdir())
    assert command == f'fit it: catpref fit "{path}" --stimuli "cats"\n'
    trials = read_sessions([path], eight_pairs / "cats").trials
    assert len(trials) == 8 and set(trials["choice"]) == {0, 1}
    assert list(trials["choice"]) == [{"f": 0, "j": 1}[key] for key in trials["pair_key.keys"]]


def test_only_the_preview_is_served_and_only_its_page_leaves_a_csv(eight_pairs, no_psychojs, tmp_path):
    (tmp_path / "browser").write_text('#!/bin/sh\necho "$1" > opened\n')
    (tmp_path / "browser").chmod(0o755)
    with previewing(eight_pairs, no_psychojs, BROWSER=f"'{tmp_path / 'browser'}' %s") as (_, address):
        host = address.removeprefix("http://").strip("/")

        def ask(method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
            connection = HTTPConnection(host, timeout=60)
            connection.request(method, path, body, {"Host": host} | headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

        status, page = ask("GET", "/?participant=p01")
        (named,) = set(re.findall(r"lib/psychojs-[\w.]+(?=\.css)", page.decode()))
        assert status == 200 and b"<script>" in page
        assert ask("GET", f"/{named}.js") == (200, b"js") and ask("GET", f"/{named}.css") == (200, b"css")
        assert ask("GET", "/images/0000.png") == (200, (eight_pairs / "web/images/0000.png").read_bytes())
        outside = ["trials.csv", f"{eight_pairs}/trials.csv", f"/{eight_pairs}/trials.csv"]
        outside += [f"/{way}/trials.csv" for way in ("..", "%2e%2e", "images/../..", "lib/../..", "..%5c..")]
        for path in [*map(quote, outside[:3]), *outside[3:], "/images", "/nothing"]:
            assert ask("GET", path) == (404, b""), path
        for elsewhere in ({"Host": "example.org"}, {"Origin": "http://example.org"}):
            assert ask("GET", "/", **elsewhere) == (403, b"")
        opened = eight_pairs / "opened"
        while not opened.exists() or opened.read_text() != f"{address}\n":  # the browser is told the address
            time.sleep(0.1)
        before = listing(eight_pairs)
        for path, headers in {
            "/data/../web/trials.csv": {}, "/data/%2e%2e%2ftrials.csv": {}, "/data/.hidden.csv": {}, "/data/x.py": {},
            "/x.csv": {}, "/data/y.csv": {"Origin": "http://example.org"}, "/data/z.csv": {"Host": "example.org"},
            "/data/w.csv": {"Content-Length": str(10**9)},
        }.items():  # fmt: skip
            assert ask("POST", path, b"a,b\n", **headers) == (403, b""), path
        assert listing(eight_pairs) == before
        for content in (b"first", b"second"):
            assert ask("POST", "/data/p01.csv", content, Origin=f"http://{host}") == (201, b"")
    assert {path.name: path.read_bytes() for path in (eight_pairs / "data").iterdir()} == {
        "p01.csv": b"first",
        "p01_2.csv": b"second",
    }


def test_without_psychojs_it_says_where_to_get_it_and_exports_nothing(eight_pairs, monkeypatch):
    monkeypatch.chdir(eight_pairs)
    monkeypatch.delenv("PSYCHOJS_DIR", raising=False)
    arguments = ("trials.csv", "--stimuli", "cats", "--out", "web", "--preview")
    assert "--preview: needs PsychoJS; save psychojs-VERSION.js and" in refusal(main, *arguments)
    said = refusal(main, *arguments, "--psychojs", "cats")
    assert "cats: holds no PsychoJS; " in said and "github.com/psychopy/psychojs" in said
    assert not (eight_pairs / "web").exists()
