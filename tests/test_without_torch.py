"""A stimulus computer has no torch: sets, lists, sessions and exports need none, and a fit says what to install."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from sessions_support import Session
from support import COMMANDS_IN_TURN, Finished, small_study

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OF_FITS = PROJECT["optional-dependencies"]["fit"]
ABSENT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""

TRY_EACH = """
import sys
for name in sys.argv[1:]:
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    print(name)
"""
"""A program that says which of its arguments can be imported."""


def modules(requirements: list[str]) -> list[str]:
    """What is imported of some distributions."""
    names = [re.split("[=>]", one)[0] for one in requirements]
    return [{"scikit-learn": "sklearn"}.get(name, name).replace("-", "_") for name in names]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cats/ and session.csv, in a folder whose Python has nothing of what only fits need."""
    folder = small_study(tmp_path_factory.mktemp("without") / "torch").parent
    (folder / "sitecustomize.py").write_text(ABSENT.format(absent=modules(OF_FITS)), encoding="utf-8")
    return folder


def python(place: Path, *line: object, **environment: str) -> Finished:
    done = subprocess.run(
        [sys.executable, *map(str, line)], cwd=place, capture_output=True, encoding="utf-8",
        env=os.environ | {"PYTHONPATH": f"{place}{os.pathsep}{ROOT}"} | environment,
    )  # fmt: skip
    return Finished(done.returncode, done.stdout, done.stderr)


def test_what_only_fits_need_is_absent_here(place: Path) -> None:
    assert {"torch", "torchvision", "lpips", "sklearn", "ndf"} <= set(modules(OF_FITS))
    done = python(place, "-c", TRY_EACH, *modules(OF_FITS))
    assert done == (0, "", "")


def test_what_sessions_install_asks_for_no_torch() -> None:
    """Neither by itself nor by way of what it installs."""
    asked, seen = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["experiment"]], set()
    while asked:
        required = Requirement(asked.pop())
        if required.name not in seen and (required.marker is None or required.marker.evaluate({"extra": ""})):
            seen.add(required.name)
            asked += requires(required.name) or []
    assert "psychopy" in seen and len(seen) > 50
    assert not {"torch", "torchvision", "lpips", "scikit-learn"} & seen


def test_sets_lists_simulations_and_exports_need_no_torch(place: Path) -> None:
    commands = [
        "stimuli render --n 12 --seed 1 drawn",
        "stimuli import --no-crop cats crops",
        "trials full --stimuli drawn --out trials.csv --images 12",
        "simulate trials.csv --stimuli drawn --out simulated.csv",
        "sessions export simulated.csv bids --stimuli drawn",
    ]
    experiments = ROOT / "experiments"
    for line in [
        ["-c", COMMANDS_IN_TURN, *commands],
        [experiments / "random_sampled.py", "--help"],
        [experiments / "adaptive.py", "--help"],
        ["-c", "import catpref.lab.planning, catpref.lab.choosing"],  # what an adaptive session goes on with
        [experiments / "pavlovia.py", "trials.csv", "--stimuli", "drawn", "--out", "web"],
    ]:
        done = python(place, *line)
        assert (done.code, done.err) == (0, ""), (line, done)


@pytest.mark.parametrize("command", ["fit session.csv", "predict fit/model cats", "demo demo"])
def test_a_fit_without_torch_is_one_line_that_says_what_to_install(place: Path, command: str) -> None:
    for door in ("catpref", f"catpref.{command.split()[0]}"):
        arguments = command.split() if door == "catpref" else command.split()[1:]
        done = python(place, "-m", door, *arguments)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done
        assert done.err.endswith(' is not installed; pip install "catpref[fit]"\n')


def test_python_says_what_to_install(place: Path) -> None:
    done = python(place, "-c", "import catpref; catpref.learn")
    assert done.err.endswith(' is not installed; pip install "catpref[fit]"\n')


def test_a_session_runs_without_torch(
    place: Path, display: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{place}{os.pathsep}{ROOT}")
    options = ["--trials", "2", "--practice", "0", "--repeats", "0", "--catch", "0"]
    options += ["--stimuli", str(place / "cats")]
    session = Session(display, "random_sampled.py", tmp_path / "out", *options, process=subprocess.Popen)
    session.press("space")
    session.answer("f")
    session.answer("j")
    assert session.leave()[0] == 0
    assert session.description()["completed"] and len(session.rows()) == 2
