"""Sessions that are damaged, edited by hand or sent by a stranger: one line, and nothing is changed.

`CATPREF_FUZZ=100000 python -m pytest -m slow tests/test_hostile_sessions.py` looks for more of them.
"""

import json
import os
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sessions_support import draw_pictures

from catpref.design.trial_list import FULL
from catpref.errors import BadInput
from catpref.lab.options import experiment_parser
from catpref.lab.planning import plan_session
from catpref.lab.recording import DESCRIPTION, SESSION, TRIALS, Recording, begin
from catpref.sessions.description import pooled_noise_ceiling, stimulus_folder

QUESTION = "Which one is cuter?"
NUL = "a\0b"


class Begun:
    """A session with four answers, in two sittings, that can be put back as it was."""

    def __init__(self, home: Path) -> None:
        self.stimuli = draw_pictures(home / "stimuli", 5)
        self.folder = home / "out"
        with self.plan(new=True) as plan:
            sitting = {"started": "2026-05-04T09:30:00.000+02:00", "ended": None, "answered": 2}
            plan.description["sittings"] = [sitting | {"first_trial": 0}, sitting | {"first_trial": 2}]
            plan.description["completed"] = False
            begin(self.folder, plan.whole, plan.description)
            recording = Recording(self.folder, "p01", 1, plan.trials)
            for number, trial in enumerate(plan.trials[:4]):
                recording.answer(trial, 1, 0.5, float(number), "j")
        self.good = {file.name: file.read_bytes() for file in self.folder.iterdir()}
        self.description = json.loads(self.good[DESCRIPTION])

    def plan(self, new: bool = False):
        size = ["--images", "5", "--seed", "1"] if new else []
        arguments = ["--stimuli", str(self.stimuli), "--out", str(self.folder), *size]
        options = experiment_parser(FULL, "script").parse_args(arguments)
        return plan_session(options, FULL, QUESTION, "p01", None)

    def restore(self) -> None:
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        for name, content in self.good.items():
            (self.folder / name).write_bytes(content)

    def refused(self) -> str:
        """Say how it is refused; nothing may be changed by that."""
        before = self.content()
        with pytest.raises(BadInput) as problem, self.plan():
            pass
        assert self.content() == before
        return str(problem.value)

    def content(self) -> dict[str, bytes | None]:
        return {
            file.name: file.read_bytes() if file.is_file() and not file.is_symlink() else None
            for file in self.folder.iterdir()
        }


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Begun:
    return Begun(tmp_path_factory.mktemp("hostile"))


@pytest.fixture
def begun(session: Begun) -> Begun:
    session.restore()
    return session


def test_an_unharmed_session_is_gone_on_with(begun):
    with begun.plan() as plan:
        assert (plan.answered, plan.seconds) == (4, 3.5)
        assert (begun.folder / ".running").exists()
    assert set(begun.content()) == {DESCRIPTION, SESSION, TRIALS}


def nested(levels: int) -> Any:
    """A list in a list, and so on."""
    value: list = []
    for _ in range(levels):
        value = [value]
    return value


VALUES: dict[str, tuple[str, object]] = {
    "sittings null": ("sittings", None),
    "sittings a number": ("sittings", 3),
    "sittings of null": ("sittings", [None]),
    "sittings of lists": ("sittings", [[]]),
    "sitting without its first trial": ("sittings", [{"started": None}]),
    "first trial of a sitting a word": ("sittings", [{"first_trial": "0"}]),
    "time without a zone": ("sittings", [{"first_trial": 0, "started": "2026-05-04T09:30:00"}]),
    "time a number": ("sittings", [{"first_trial": 0, "started": 1777000000}]),
    "time a word": ("sittings", [{"first_trial": 0, "started": "yesterday"}]),
    "time of no month": ("sittings", [{"first_trial": 0, "started": "2026-13-04T09:30:00+02:00"}]),
    "end without a zone": ("sittings", [{"first_trial": 0, "ended": "2026-05-04"}]),
    "list null": ("list", None),
    "list a list": ("list", ["images"]),
    "list empty": ("list", {}),
    "list a number": ("list", 5),
    "images a word": ("list.images", "five"),
    "images of a fraction": ("list.images", 5.5),
    "images negative": ("list.images", -5),
    "images without end": ("list.images", 10**40),
    "seed a list": ("list.seed", [1]),
    "repeats true": ("list.repeats", True),
    "first trial a word": ("first_trial", "0"),
    "first trial null": ("first_trial", None),
    "first trial negative": ("first_trial", -1),
    "first trial beyond the list": ("first_trial", 5),
    "trials a word": ("trials", "ten"),
    "trials none": ("trials", 0),
    "trials fewer than answers": ("trials", 2),
    "trials more than there are": ("trials", 11),
    "trials a fraction": ("trials", 10.0),
    "trials true": ("trials", True),
    "part null": ("part", None),
    "part a list": ("part", [1]),
    "part none": ("part", 0),
    "trials per session a word": ("trials_per_session", "all"),
    "trials per session none": ("trials_per_session", 0),
    "session a list": ("session", [1]),
    "session a word": ("session", "1"),
    "session null": ("session", None),
    "session negative": ("session", -1),
    "participant a list": ("participant", ["p01"]),
    "participant another": ("participant", "p02"),
    "design null": ("design", None),
    "question an object": ("question", {}),
    "stimuli null": ("stimuli", None),
    "stimuli a list": ("stimuli", ["cats"]),
    "stimuli with a NUL": ("stimuli", NUL),
    "stimuli without end": ("stimuli", "a" * 100_000),
    "whole list null": ("whole_list", None),
    "whole list a list": ("whole_list", []),
    "whole list empty": ("whole_list", {}),
    "whole list of other trials": ("whole_list.sha256", "0" * 64),
    "whole list longer": ("whole_list.trials", 11),
    "a note nested deeply": ("note", nested(3000)),
    "half of a character": ("note", "\ud83d"),
    "not a number": ("note", float("nan")),
    "infinite": ("note", float("inf")),
}


@pytest.mark.parametrize("kind", VALUES)
def test_descriptions_with_a_wrong_value(begun, kind):
    where, value = VALUES[kind]
    description: dict[str, Any] = json.loads(begun.good[DESCRIPTION])
    inside = description
    *path, name = where.split(".")
    for step in path:
        inside = inside[step]
    inside[name] = value
    if kind == "a note nested deeply":
        inside[name] = None
        text = json.dumps(description).replace('"note": null', f'"note": {3000 * "["}{3000 * "]"}')
    else:
        text = json.dumps(description)
    (begun.folder / DESCRIPTION).write_text(text)
    said = begun.refused()
    assert len(said.splitlines()) == 1 and len(said) < 1200
    assert said.startswith((str(begun.folder), "--stimuli"))


@pytest.mark.parametrize(
    "name", json.loads('["list", "part", "first_trial", "trials", "session", "stimuli"]')
)
def test_descriptions_that_lack_something(begun, name):
    description = {key: value for key, value in begun.description.items() if key != name}
    (begun.folder / DESCRIPTION).write_text(json.dumps(description))
    assert str(begun.folder / DESCRIPTION) in begun.refused()


def cut(content: bytes) -> bytes:
    return content[: content.index(b"\n", len(content) // 2) + 1]


def backwards(content: bytes) -> bytes:
    header, *rows = content.splitlines()
    return b"\n".join([header, *reversed(rows), b""])


def in_row(number: int, old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        lines = content.split(b"\n")
        assert old in lines[number]
        lines[number] = lines[number].replace(old, new, 1)
        return b"\n".join(lines)

    return change


CONTENTS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "json: nothing": (DESCRIPTION, lambda _: b""),
    "json: null": (DESCRIPTION, lambda _: b"null"),
    "json: a list": (DESCRIPTION, lambda _: b"[]"),
    "json: a text": (DESCRIPTION, lambda _: b'"session"'),
    "json: cut": (DESCRIPTION, cut),
    "json: 200,000 brackets": (DESCRIPTION, lambda _: 200_000 * b"[" + 200_000 * b"]"),
    "json: 200,000 braces": (DESCRIPTION, lambda _: 200_000 * b'{"a":'),
    "json: 10,000 digits": (DESCRIPTION, lambda old: old.replace(b'"part": 1', b'"part": ' + 10_000 * b"1")),
    "json: UTF-16": (DESCRIPTION, lambda old: old.decode().encode("utf-16")),
    "json: Latin-1": (DESCRIPTION, lambda old: old.replace(b"cuter", b"s\xfc\xdfer")),
    "json: zeros": (DESCRIPTION, lambda old: bytes(len(old))),
    "json: without end": (DESCRIPTION, lambda old: old + 5 * 2**20 * b" "),
    "trials: nothing": (TRIALS, lambda _: b""),
    "trials: cut at a line": (TRIALS, cut),
    "trials: cut within a line": (TRIALS, lambda old: old[:-9]),
    "trials: without its last line": (TRIALS, lambda old: old[: old.rindex(b"\n", 0, -1) + 1]),
    "trials: a header only": (TRIALS, lambda old: old[: old.index(b"\n") + 1]),
    "trials: one more": (TRIALS, lambda old: old + old[old.rindex(b"\n", 0, -1) + 1 :].replace(b"9", b"10", 1)),
    "trials: zeros": (TRIALS, lambda old: bytes(len(old))),
    "trials: a NUL": (TRIALS, in_row(2, b".png", b"\0.png")),
    "trials: an image from elsewhere": (TRIALS, in_row(2, b"s\xc3\xbc", b"../../s\xc3\xbc")),
    "trials: an image that is not there": (TRIALS, in_row(2, b".png", b".jpg")),
    "trials: a name that is too long": (TRIALS, in_row(2, b".png", 5000 * b"a" + b".png")),
    "trials: a cell that is too long": (TRIALS, in_row(2, b".png", 500_000 * b"a" + b".png")),
    "trials: numbers that are words": (TRIALS, in_row(2, b"1", b"one")),
    "trials: a quote that never ends": (TRIALS, in_row(2, b"fully", b'"fully')),
    "trials: UTF-16": (TRIALS, lambda old: old.decode().encode("utf-16")),
    "trials: rows the other way round": (TRIALS, backwards),
    "trials: without end": (TRIALS, lambda old: old + 65 * 2**20 * b"\n"),
    "csv: nothing": (SESSION, lambda _: b""),
    "csv: zeros": (SESSION, lambda old: bytes(len(old))),
    "csv: without its last line end": (SESSION, lambda old: old[:-1]),
    "csv: cut within a line": (SESSION, lambda old: old[:-5]),
    "csv: a blank line": (SESSION, lambda old: old + b"\n"),
    "csv: a choice of 2": (SESSION, in_row(3, b",1,0.5", b",2,0.5")),
    "csv: a choice that is a word": (SESSION, in_row(3, b",1,0.5", b",left,0.5")),
    "csv: a time that is a word": (SESSION, in_row(3, b"0.500000", b"fast")),
    "csv: a time that is not a number": (SESSION, in_row(3, b"0.500000", b"nan")),
    "csv: a negative time": (SESSION, in_row(3, b"0.500000", b"-0.5")),
    "csv: an infinite onset": (SESSION, in_row(3, b"2.000000", b"inf")),
    "csv: no onset": (SESSION, in_row(3, b"2.000000", b"")),
    "csv: an onset without end": (SESSION, in_row(3, b"2.000000", 5000 * b"2")),
    "csv: another participant": (SESSION, in_row(3, b"p01", b"p02")),
    "csv: a cell more": (SESSION, in_row(3, b"p01", b"p01,p01")),
    "csv: another header": (SESSION, in_row(0, b"choice", b"Choice")),
    "csv: a quote that never ends": (SESSION, in_row(3, b"fully", b'"fully')),
    "csv: a NUL": (SESSION, in_row(3, b",j", b",\0j\0,")),
    "csv: Latin-1": (SESSION, lambda old: old.decode().encode("latin-1")),
    "csv: more rows than trials": (SESSION, lambda old: old + 9 * old[old.rindex(b"\n", 0, -1) + 1 :]),
    "csv: a row twice": (SESSION, lambda old: old + old[old.rindex(b"\n", 0, -1) + 1 :]),
}  # fmt: skip


@pytest.mark.parametrize("kind", CONTENTS)
def test_files_that_are_damaged(begun, kind):
    name, change = CONTENTS[kind]
    (begun.folder / name).write_bytes(change(begun.good[name]))
    said = begun.refused()
    assert len(said.splitlines()) == 1 and len(said) < 1200
    assert str(begun.folder) in said


@pytest.mark.parametrize("name", [DESCRIPTION, SESSION, TRIALS])
@pytest.mark.parametrize(
    "kind", ["none", "pipe", "link to a device", "link to nothing", "link to itself", "folder"]
)
def test_what_is_no_file(begun, name, kind):
    file = begun.folder / name
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "link to a device":
        file.symlink_to("/dev/zero")
    elif kind == "link to nothing":
        file.symlink_to("/nowhere/at/all")
    elif kind == "link to itself":
        file.symlink_to(file)
    assert str(begun.folder) in begun.refused()


def test_a_list_of_an_earlier_catpref_that_was_cut(begun):
    """It did not say how long its list was, but with what numbers it was made."""
    description = dict(begun.description)
    del description["whole_list"]
    (begun.folder / DESCRIPTION).write_text(json.dumps(description))
    with begun.plan() as plan:
        assert plan.answered == 4
    (begun.folder / TRIALS).write_bytes(cut(begun.good[TRIALS]))
    assert "trials.csv: has 5 trials, session.json says 10; restore it" in begun.refused()
    description["list"] = dict.fromkeys(description["list"])  # made with --trials-file
    (begun.folder / DESCRIPTION).write_text(json.dumps(description))
    assert "trials.csv: has 5 trials, session.json says 10; restore it" in begun.refused()


def test_what_fit_reads_beside_a_session(begun):
    csv = begun.folder / SESSION
    for kind, (where, value) in VALUES.items():
        if where == "stimuli" and value is not None:
            (begun.folder / DESCRIPTION).write_text(json.dumps({"stimuli": value}))
            with pytest.raises(
                BadInput, match=r"session\.json: (its stimulus folder|stimuli must be)"
            ) as problem:
                stimulus_folder([csv], None)
            assert len(str(problem.value)) < 1000, kind
    for kind, (name, change) in CONTENTS.items():
        if name == DESCRIPTION and kind != "json: without end":
            (begun.folder / DESCRIPTION).write_bytes(change(begun.good[DESCRIPTION]))
            with pytest.raises(BadInput, match=r"session\.json: "):
                stimulus_folder([csv], None)
    for text in ("true", "NaN", '"high"', "[]", "{}", "0.2", "1e999", "-1", "1" * 400):
        (begun.folder / DESCRIPTION).write_text(f'{{"noise_ceiling": {text}}}')
        with pytest.raises(BadInput, match=r"noise_ceiling must be an accuracy"):
            pooled_noise_ceiling([csv], [str(csv)])
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        (begun.folder / DESCRIPTION).unlink()
        make(begun.folder / DESCRIPTION)
        with pytest.raises(BadInput, match=r"session\.json: "):
            stimulus_folder([csv], None)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=4), inside, max_size=3),
    max_leaves=6,
)


def paths(value: Any, before: tuple = ()) -> list[tuple]:
    """The ways to every value within a value."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way for step, inside in steps for way in [(*before, step), *paths(inside, (*before, step))]]


def put(value: Any, way: tuple, new: Any) -> None:
    *steps, last = way
    for step in steps:
        value = value[step]
    value[last] = new


def damage(content: bytes, rng: random.Random) -> bytes:
    """Change some bytes as editors, disks and strangers do."""
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        start, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
        match rng.randrange(6):
            case 0:
                content = content[:start]
            case 1:
                content = content[:start] + content[end:]
            case 2:
                content = content[:start] + rng.randbytes(rng.randrange(1, 5)) + content[start:]
            case 3:
                content = content[:end] + content[start:]
            case 4:
                new = rng.choice(
                    [b",", b"\n", b'"', b"\r", b"\0", b"[", b"}", b"-", b"9", b"NaN", b"null", b"\xff"]
                )
                content = content[:start] + new + content[start + 1 :]
            case 5:
                lines = content.split(b"\n")
                rng.shuffle(lines)
                content = b"\n".join(lines)
    return content


def survives(begun: Begun) -> None:
    """Go on with a session, or be told in one line why not; either way its answers stay as they are."""
    before = (begun.folder / SESSION).read_bytes()
    try:
        with begun.plan() as plan:
            assert 0 <= plan.answered <= len(plan.trials)
            assert plan.seconds >= 0
    except BadInput as problem:
        assert len(" ".join(str(problem).split())) < 3000
    assert (begun.folder / SESSION).read_bytes() == before
    assert set(begun.content()) == {DESCRIPTION, SESSION, TRIALS}
    with suppress(BadInput):
        stimulus_folder([begun.folder / SESSION], None)
    with suppress(BadInput):
        pooled_noise_ceiling([begun.folder / SESSION], [str(begun.folder / SESSION)])


def fuzz_descriptions(session: Begun, examples: int) -> None:
    ways = paths(session.description)

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(st.tuples(st.sampled_from(ways), JUNK), min_size=1, max_size=3))
    def fuzz(changes) -> None:
        description = json.loads(session.good[DESCRIPTION])
        for way, junk in changes:
            with suppress(LookupError, TypeError):  # an earlier change took away what this one is in
                put(description, way, junk)
        (session.folder / DESCRIPTION).write_text(json.dumps(description))
        survives(session)

    session.restore()
    fuzz()


def fuzz_bytes(session: Begun, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.sampled_from([DESCRIPTION, SESSION, TRIALS]), st.integers(0, 2**32))
    def fuzz(name, seed) -> None:
        session.restore()
        (session.folder / name).write_bytes(damage(session.good[name], random.Random(seed)))
        survives(session)

    fuzz()


def test_fuzzed_sessions(session):
    fuzz_descriptions(session, 20)
    fuzz_bytes(session, 20)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.skipif("CATPREF_FUZZ" not in os.environ, reason="CATPREF_FUZZ says how many sessions to fuzz")
def test_many_fuzzed_sessions(session):
    examples = int(os.environ["CATPREF_FUZZ"]) // 2
    fuzz_descriptions(session, examples)
    fuzz_bytes(session, examples)
