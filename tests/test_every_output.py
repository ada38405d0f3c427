"""Every command and option that writes: nothing foreign is replaced, and no fault loses anything.

With ``CATPREF_FAULTS=all`` the faults are at every change that a quick command makes to the disk, and at some of
those of commands that take seconds; otherwise quick commands meet some.
"""

import argparse
import importlib
import os
import shutil
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from faults import KILL, KINDS, main_of, run_with_fault
from PIL import Image
from support import call, listing, refusal, scratch, small_study, use_own_cache

from catpref import command_line
from catpref._io.marks import MARK
from catpref.design.designs import make_trials
from catpref.design.trial_list import FULL, write_trial_list
from catpref.stimuli import sets
from catpref.stimuli.images import find_images

THOROUGH = os.environ.get("CATPREF_FAULTS") == "all"
THOROUGH_TOO = pytest.mark.thorough  # written as others are, and slow

COMMANDS = {
    "catpref.demo": [[]],
    "catpref.fit": [[]],
    "catpref.plan": [[]],
    "catpref.predict": [[]],
    "catpref.sessions": [["export"]],
    "catpref.simulate": [[]],
    "catpref.stimuli": [["render"], ["import"]],
    "catpref.trials": [[]],
    "experiments.adaptive": [[]],
    "experiments.fully_sampled": [[]],
    "experiments.random_sampled": [[]],
    "experiments.pavlovia": [[]],
    "experiments.screenshots": [[]],
    "experiments.study": [[]],
}
"""All modules with a command line, and their subcommands."""

WRITE = {
    "catpref.demo folder", "catpref.fit --out", "catpref.plan --out", "catpref.predict --out",
    "catpref.sessions export folder",
    "catpref.simulate --out",
    "catpref.stimuli import folder", "catpref.stimuli render folder", "catpref.trials --out",
    "experiments.pavlovia --out", "experiments.screenshots --out", "experiments.study --out",
}  # fmt: skip
"""Written by `catpref._io.outputs`."""

SESSIONS = {
    "experiments.adaptive --out", "experiments.fully_sampled --out", "experiments.random_sampled --out",
}  # fmt: skip
"""New folders of sessions; see test_recording and test_planning."""

CACHES = {
    "catpref.fit --cache-dir",
    "catpref.plan --cache-dir",
    "catpref.predict --cache-dir",
    "experiments.study --cache-dir",
}
"""Where only files named by their keys are written and removed; see test_cache."""

READ = {
    "catpref.fit --stimuli", "catpref.fit --weights", "catpref.fit sessions", "catpref.plan --like",
    "catpref.plan --stimuli", "catpref.predict --backbone",
    "catpref.predict --pairs", "catpref.predict --stimuli", "catpref.predict --weights", "catpref.predict images",
    "catpref.predict model", "catpref.sessions export --stimuli", "catpref.sessions export sessions",
    "catpref.simulate --stimuli", "catpref.simulate trials", "catpref.stimuli import source",
    "catpref.trials --stimuli", "experiments.adaptive --start-from", "experiments.adaptive --stimuli",
    "experiments.adaptive --texts", "experiments.fully_sampled --stimuli", "experiments.fully_sampled --texts",
    "experiments.fully_sampled --trials-file", "experiments.pavlovia --stimuli", "experiments.pavlovia --texts",
    "experiments.pavlovia --psychojs", "experiments.pavlovia --start-from", "experiments.pavlovia list",
    "experiments.random_sampled --stimuli", "experiments.random_sampled --texts",
    "experiments.random_sampled --trials-file", "experiments.screenshots --stimuli",
    "experiments.screenshots --texts", "experiments.study --simulate", "experiments.study --stimuli",
    "experiments.study sessions",
}  # fmt: skip


class Parsed(Exception):
    """The parser of a command is known."""


@pytest.mark.parametrize("module", COMMANDS)
def test_no_option_that_names_a_file_is_forgotten(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def parse_args(self: argparse.ArgumentParser, *_: object) -> None:
        raise Parsed(self)

    for name in ("parse_args", "parse_intermixed_args"):
        monkeypatch.setattr(command_line.Parser, name, parse_args)
    for subcommand in COMMANDS[module]:
        with pytest.raises(Parsed) as parsed:
            if module.endswith(("_sampled", "adaptive")):
                options = importlib.import_module("catpref.lab.options")
                design = "adaptive" if module.endswith("adaptive") else "random-sampled"
                options.experiment_parser(design, "x").parse_args()
            main_of(module)(subcommand)
        (parser,) = parsed.value.args
        for action in parser._actions:
            name = " ".join([module, *subcommand, (action.option_strings or [action.dest])[-1]])
            known = name in WRITE | SESSIONS | CACHES | READ
            assert known == (action.type is Path), f"{name}: which of the sets above is it in?"


def test_no_command_is_forgotten() -> None:
    root = Path(__file__).parents[1]
    found = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__main__")
        for folder in ("catpref", "experiments")
        for path in (root / folder).rglob("*.py")
        if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    assert found == {"catpref", *COMMANDS}, "the first hands over to the others"


class Case(NamedTuple):
    """A command to give twice in a folder that `prepare` made: with `first`, and with `second` to replace it."""

    module: str
    first: list[str]
    second: list[str]
    output: str
    quick: bool


FIT = ["session.csv", "--model", "utility", "--folds", "3"]
CASES = {
    "trials": Case(
        "catpref.trials",
        ["full", "--stimuli", "drawn", "--images", "8", "--out", "out.csv"],
        ["--seed", "1"],
        "out.csv",
        True,
    ),
    "simulate": Case(
        "catpref.simulate",
        ["trials.csv", "--stimuli", "drawn", "--out", "out.csv"],
        ["--seed", "1"],
        "out.csv",
        True,
    ),
    "export": Case("catpref.sessions", ["export", "session.csv", "out"], ["second.csv"], "out", True),
    "import": Case("catpref.stimuli", ["import", "cats", "out"], ["--no-crop"], "out", True),
    "predict": Case(
        "catpref.predict", ["--out", "out.csv", "session_fit/model", "cats"], ["more"], "out.csv", False
    ),
    "render": Case("catpref.stimuli", ["render", "out", "--n", "2"], ["--n", "1"], "out", False),
    "fit": Case("catpref.fit", [*FIT, "--out", "out"], ["--seed", "1"], "out", False),
    "pavlovia": Case(
        "experiments.pavlovia",
        ["trials.csv", "--stimuli", "drawn", "--out", "out"],
        ["--practice", "1"],
        "out",
        False,
    ),
    "study": Case(
        "experiments.study",
        ["session.csv", "--out", "out", "--map-size", "32"],
        ["--seed", "1"],
        "out",
        False,
    ),
}


def with_second(case: Case) -> list[str]:
    """The arguments that replace the first output."""
    if case.module == "catpref.sessions":
        return ["export", *case.second, case.first[-1]]
    return [*case.first, *case.second]


@cache
def prepared() -> Path:
    """A folder with what all cases read."""
    folder = scratch() / "every output"
    session = small_study(folder, images=12)
    table = pd.read_csv(session).assign(participant="p01", session=1)
    table.to_csv(session, index=False)
    table[:40].to_csv(folder / "second.csv", index=False)
    (folder / "thesis.txt").write_text("years of work")
    (folder / "more").mkdir()
    for number, image in enumerate(sorted((folder / "cats").iterdir())[:3]):
        shutil.copy(image, folder / "more" / f"more_{number}.png")
    sets.render(folder / "drawn", 8, 0)
    for image in folder.glob("*/*.png"):
        with Image.open(image) as picture:
            picture.resize((144, 144)).save(image)  # small ones are copied and read sooner
    write_trial_list(folder / "trials.csv", make_trials(FULL, find_images(folder / "drawn")))
    return folder


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, quick_fits: None) -> None:
    use_own_cache(monkeypatch)


@cache
def model() -> Path:
    """A fitted model, which takes a while."""
    folder = Path(shutil.copytree(prepared(), scratch() / "with a model"))
    assert call(main_of("catpref.fit"), folder / "session.csv", *FIT[1:]).code == 0
    return folder / "session_fit"


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    folder = Path(shutil.copytree(prepared(), tmp_path / "lab"))
    if request.node.callspec.params["name"] == "predict":
        shutil.copytree(model(), folder / "session_fit")
    return folder


def content(folder: Path) -> dict[str, bytes | None]:
    """All that is in a folder, but for marks, which hold times; of what tells seconds, only that it is there."""
    return {
        name: b"" if data and name.endswith(("metrics.json", "report.html", "study.json")) else data
        for name, data in listing(folder).items()
        if not name.endswith((".catpref", MARK))
    }


def foreign(folder: Path) -> dict[str, bytes | None]:
    """What was there before any output."""
    return {
        name: data for name, data in listing(folder).items() if not name.removeprefix(".").startswith("out")
    }


# ---- what is foreign stays ---------------------------------------------------------------------------------


def _spoilt_files(folder: Path, name: str) -> Iterator[str]:
    """Put something foreign in the place of an output file, each time in another way; yields what it is."""
    path, written = folder / name, (folder / name).read_bytes()
    mark = folder / f".{name}.catpref"
    for what, put in {
        "an edited file": lambda: path.write_bytes(written + b"\n"),
        "a file of others": lambda: (mark.rename(folder / "kept"), path.write_text("years of work")),
        "a recorded session": lambda: shutil.copy(folder / "session.csv", path),
        "a link": lambda: (path.unlink(), path.symlink_to("thesis.txt")),
        "a pipe": lambda: (path.unlink(), os.mkfifo(path)),
        "a folder": lambda: (path.unlink(), path.mkdir()),
        "another kind": lambda: (path.unlink(), path.write_bytes(written), mark.write_text(
            mark.read_text().replace('"kind": "', '"kind": "other ')
        )),
    }.items():  # fmt: skip
        put()
        yield what
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
        path.write_bytes(written)
        if (folder / "kept").exists():
            (folder / "kept").rename(mark)


def _spoilt_folders(folder: Path, name: str) -> Iterator[str]:
    path = folder / name
    written = max(
        (one for one in path.iterdir() if one.is_file() and one.name != MARK), key=lambda one: one.name
    )
    for what, put, remove in [
        ("a thesis", lambda: (path / "thesis.txt").write_text("x"), lambda: (path / "thesis.txt").unlink()),
        (
            "a session",
            lambda: shutil.copy(folder / "session.csv", path),
            lambda: (path / "session.csv").unlink(),
        ),
        ("a link", lambda: (path / "a").symlink_to(".."), lambda: (path / "a").unlink()),
        ("a repository", lambda: (path / ".git").mkdir(), lambda: (path / ".git").rmdir()),
        (
            "no mark",
            lambda: (path / MARK).rename(folder / "kept"),
            lambda: (folder / "kept").rename(path / MARK),
        ),
        ("an edited file", lambda: written.write_bytes(written.read_bytes() + b" "), lambda: None),
    ]:
        put()
        yield what
        remove()


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=THOROUGH_TOO) if name in ("render", "study") else name for name in CASES],
)
def test_nothing_foreign_is_replaced(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    case = CASES[name]
    done = call(main_of(case.module), *case.first)
    told = "catpref: the model was not shown" if name == "predict" else ""  # to be better than chance
    assert done.code == 0 and done.err.startswith(told) and done.err.count("\n") == bool(told)
    spoilt = _spoilt_files if Path(case.output).suffix else _spoilt_folders
    for what in spoilt(folder, case.output):
        before = {
            path: (path.lstat().st_mtime_ns, path.lstat().st_ino)
            for path in folder.rglob("*")
            if path != folder
        }
        told = refusal(main_of(case.module), *with_second(case))
        assert case.output in told and "choose another" in told, what
        after = {path: (path.lstat().st_mtime_ns, path.lstat().st_ino) for path in folder.rglob("*")}
        assert after == before, what


# ---- no fault loses anything -------------------------------------------------------------------------------


def _faults(case: Case, changes: int) -> Iterator[tuple[str, int]]:
    for kind in KINDS:
        most = (changes if case.quick else 8) if THOROUGH else 3 if kind == KILL else 1
        step = max(1, changes // most)
        for at in range(1 if most > 1 else changes // 2, changes + 1, step):
            yield kind, at


def _check_left(
    before: dict[str, bytes | None], outputs: Sequence[dict[str, bytes | None]], folder: Path, case: Case
) -> None:
    """What is foreign is untouched; the output is as it was or as it was to be, and whole."""
    assert foreign(folder) == before
    now = {name: data for name, data in content(folder).items() if name.startswith("out")}
    if Path(case.output).suffix:
        # Of several files each is whole; together they change only as far as a kill between two renames lets them.
        for name, data in now.items():
            assert any(data == output.get(name) for output in outputs), name
        assert case.output in now or all(case.output not in output for output in outputs[:1])
    else:
        assert now in outputs


@pytest.mark.slow
@pytest.mark.parametrize("replaces", [False, True], ids=["new", "replaced"])
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.quick or THOROUGH])
def test_no_fault_loses_anything(name: str, replaces: bool, folder: Path) -> None:
    case, before = CASES[name], foreign(folder)

    def outcome() -> dict[str, bytes | None]:
        return {name: data for name, data in content(folder).items() if name.startswith("out")}

    old = outcome()
    assert old == {}
    if replaces:
        assert run_with_fault(case.module, case.first, folder)[:2] == (0, "")
        old = outcome()
    aside = folder.parent / "aside"
    shutil.copytree(folder, aside)

    def start_again() -> None:
        for path in [*folder.glob("out*"), *folder.glob(".out*")]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in [*aside.glob("out*"), *aside.glob(".out*")]:
            copy = shutil.copytree if path.is_dir() else shutil.copy2
            copy(path, folder / path.name)

    code, told, changes = run_with_fault(case.module, with_second(case), folder)
    assert (code, told) == (0, "") and changes > 3
    new = outcome()
    for kind, at in _faults(case, changes):
        start_again()
        code, told, _ = run_with_fault(case.module, with_second(case), folder, kind, at)
        where = f"{kind} at change {at} of {changes}: {code} {told}"
        if kind == KILL:
            assert code in (-9, 0), where
        else:
            assert code in (0, 2) and told.count("\n") == (code == 2), where
            assert "Traceback" not in told, where
        try:
            _check_left(before, [old, new], folder, case)
            code, told, _ = run_with_fault(case.module, with_second(case), folder)
            assert code == 0, told
            assert foreign(folder) == before and outcome() == new
            assert not [
                path.name for path in folder.rglob(".*") if "-tmp-" in path.name or "-lock" in path.name
            ]
        except AssertionError as problem:
            raise AssertionError(where) from problem


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.quick or THOROUGH])
def test_a_disk_that_fills_up_loses_nothing(name: str, folder: Path) -> None:
    case, before = CASES[name], foreign(folder)
    assert run_with_fault(case.module, case.first, folder)[:2] == (0, "")
    old = content(folder)
    for largest in (0, 1, 100, 400, 5000):
        code, told, _ = run_with_fault(case.module, with_second(case), folder, largest_file=largest)
        if code != 0:
            assert (
                code == 2 and "Traceback" not in told
            )  # which has no room for more than so many bytes, either
            assert content(folder) == old and foreign(folder) == before


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    import signal
    import subprocess
    import sys
    import time

    command = [sys.executable, "-m", "catpref.stimuli", "render", "--n", "400", "out"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as parent:
        deadline = time.monotonic() + 200
        while not list(tmp_path.glob(".out*/cat_0004.png")) and time.monotonic() < deadline:
            time.sleep(0.05)
        workers = _children(parent.pid)
        assert workers
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 200
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]
