"""The whole way on this system; on Linux with what Windows lacks taken away (``on_windows``)."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from support import COMMANDS_IN_TURN, Finished, call, listing

import catpref
from catpref._io.files import portable_name
from catpref.command_line import Parser
from catpref.stimuli.photographs import _file_names

ROOT = Path(__file__).parents[1]
PATHS = [str(ROOT)] + [str(ROOT / "tests" / "on_windows")] * (sys.platform == "linux")
ROOMS = Path(catpref.__file__).parent
MODULES = [
    ".".join(path.relative_to(ROOMS.parent).with_suffix("").parts)
    for path in sorted(ROOMS.rglob("*.py"))
    if not re.search(r"(?m)^ *(from|import) psychopy", path.read_text(encoding="utf-8"))
]


def python(place: Path, *line: str) -> Finished:
    """Run Python as on Windows, without a shell that would expand anything."""
    done = subprocess.run(
        [sys.executable, *line], cwd=place, capture_output=True, encoding="utf-8",
        env=os.environ | {"PYTHONPATH": os.pathsep.join(PATHS), "XDG_CACHE_HOME": str(place)},
    )  # fmt: skip
    return Finished(done.returncode, done.stdout, done.stderr)


def test_the_whole_way(tmp_path: Path) -> None:
    """Every module is imported, and commands run beside all of them."""
    assert len(MODULES) > 90
    imports = f"import importlib\nfor name in {MODULES}: importlib.import_module(name)\n"
    done = python(
        tmp_path, "-c", imports + COMMANDS_IN_TURN,
        "stimuli render --n 12 --seed 1 cats",
        "stimuli import --no-crop cats crops",
        "trials full --stimuli cats --images 12 --out trials.csv",
        "simulate trials.csv --stimuli cats --out sessions/p01.csv",
        "simulate trials.csv --stimuli cats --out sessions/p01.csv --seed 2",  # over the first
        "fit sessions/p*1.csv --out fit --model utility --folds 3",
        "predict fit/model crops cats/cat_000?.png --out ranking.csv",
        "sessions export sessions/p*1.csv bids --stimuli cats",
        "sessions export sessions/p*1.csv bids --stimuli cats",  # a folder over the first
    )  # fmt: skip
    assert done.code == 0 and done.err.count("\n") == 1, done  # a warning of the prediction's
    assert len((tmp_path / "ranking.csv").read_bytes().split(b"\n")) == 1 + 12 + 9 + 1
    left = [name for name in listing(tmp_path) if "lock" in name or "-tmp-" in name]
    assert not left
    for name in listing(tmp_path):
        assert name == name.removesuffix(".csv") or b"\r" not in (tmp_path / name).read_bytes(), name


def test_a_pattern_stands_for_its_files_and_a_name_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(arguments: Sequence[str]) -> None:
        parser = Parser("x", "x", "x")
        parser.add_argument("sessions")
        parser.add_argument("--stimuli")
        options = parser.parse_args(arguments)
        print(*[path.name for path in options.sessions], options.stimuli)

    monkeypatch.chdir(tmp_path)
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    for name in ("b.csv", "a.csv", "[a].csv"):
        Path(name).touch()
    assert (
        call(command, "*.csv", "z*.csv", "--stimuli", "~/cats").out
        == f"[a].csv a.csv b.csv z*.csv {tmp_path / 'cats'}\n"
    )
    assert call(command, "[a].csv", "~/[ab].csv").out == "[a].csv a.csv b.csv None\n"
    assert (
        call(command, "a.csv", "--stimuli", "~no-such-user/cats").out
        == f"a.csv {Path('~no-such-user/cats')}\n"
    )


@pytest.mark.parametrize(
    ("name", "portable"),
    [
        ("cat_0001.png", "cat_0001.png"), ("Süße Katze.jpg", "Süße Katze.jpg"), ("console.png", "console.png"),
        ("CON", "CON_"), ("nul.tar.gz", "nul_.tar.gz"), ("com1.csv", "com1_.csv"), ("LPT³", "LPT³_"),
        ("12:30?.jpg", "12_30_.jpg"), ("cats.", "cats_"), ("cats ", "cats_"), ("a\\b|c", "a_b_c"),
    ],
)  # fmt: skip
def test_names_that_windows_has_not_are_changed(name: str, portable: str) -> None:
    assert portable_name(name) == portable
    assert portable_name(portable) == portable


def test_stimuli_have_names_that_every_system_tells_apart() -> None:
    sources = ["aux.png", "aux_.png", "AUX.jpg", "my cats./a.png", "my cats_/A.jpg", "b.png"]
    assert _file_names(sources) == [
        *("aux_.jpg", "aux__2.jpg", "AUX__3.jpg", "my cats_/a.jpg", "my cats_/A_2.jpg", "b.jpg"),
    ]  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="Windows itself is not asked")
def test_an_output_of_a_reserved_name_is_refused_on_windows(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    done = python(tmp_path, "-m", "catpref.trials", "full", "--stimuli", "cats", "--out", "nul.csv")
    assert done == (2, "", "catpref: nul.csv: Windows has no file or folder of this name; choose another\n")
    assert listing(tmp_path) == {"cats": None}
