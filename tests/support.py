"""What several test files share: drawn faces, a session on them, and commands run as a user would."""

import atexit
import contextlib
import functools
import io
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import portalocker
import pytest
from PIL import Image
from scipy.stats import binom

from catpref.command_line import run
from catpref.design.simulated_observers import draw_weights, read_parameters, utilities
from catpref.stimuli import sets

TRAINING_FACES = 50
FACES = 70


THOROUGH = os.environ.get("CATPREF_THOROUGH") == "all"
"""Whether tests run that are marked ``thorough``, and others with more made-up sessions."""


def simulations(few: int, many: int) -> int:
    """How many made-up sessions or inputs a test tries."""
    return many if THOROUGH else few


def most(runs: int, rate: float = 0.05) -> int:
    """How many of so many runs have what happens at a rate, at most, in 99 of 100 cases."""
    return int(binom.ppf(0.99, runs, rate))


class Finished(NamedTuple):
    code: int
    out: str
    err: str


@functools.cache
def scratch() -> Path:
    """A folder for what is costly to make, gone when the tests end."""
    folder = Path(tempfile.mkdtemp(prefix="catpref-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def shared() -> Path:
    """A folder that all processes of one run of the tests share; see conftest."""
    return Path(os.environ["CATPREF_TESTS_SHARED"])


def cache_home() -> Path:
    """The tests' own cache, so that embeddings made by one serve the next."""
    return shared() / "cache"


@functools.cache
def faces() -> Path:
    """A rendered stimulus set of `FACES` faces."""
    folder = shared() / "faces"
    with portalocker.Lock(shared() / "faces.lock", timeout=400):
        if not folder.exists():
            sets.render(folder, FACES, 1)
    return folder


@functools.cache
def true_utilities() -> np.ndarray:
    """The simulated observer's utility of each face, in the order of the file names."""
    values = utilities(read_parameters(faces()), draw_weights(1))
    return np.array([values[name] for name in sorted(values)])


def all_pairs(images: int, seed: int = 0) -> np.ndarray:
    """All pairs of images, the sides drawn at random, shape (pairs, 2)."""
    pairs = np.array([(first, second) for second in range(images) for first in range(second)])
    swap = np.random.default_rng(seed).random(len(pairs)) < 0.5
    pairs[swap] = pairs[swap, ::-1]
    return pairs


def use_own_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's cache out of it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home()))


def render_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let fits draw figures but not render them, which takes half of a small fit's time."""
    pixel = io.BytesIO()
    Image.new("RGB", (1, 1)).save(pixel, "PNG")
    monkeypatch.setattr("catpref.report.page.png", lambda figure: pixel.getvalue())
    monkeypatch.setattr("catpref.report.page.write_vectors", lambda figure, path: None)


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let fits render no figures and cross-validate once."""
    render_no_figures(monkeypatch)
    monkeypatch.setattr("catpref.evaluation.analysis._MOST_REPEATS", 1)


def small_study(folder: Path, images: int = 12) -> Path:
    """Write cats/ and session.csv, an observer's answers to all pairs of a few faces."""
    folder.mkdir(exist_ok=True)
    cats = folder / "cats"
    cats.mkdir()
    names = sorted(path.name for path in faces().glob("*.png"))[:images]
    for name in names:
        shutil.copy(faces() / name, cats / name)
    pairs = all_pairs(images)
    worth = true_utilities()
    answers = np.random.default_rng(0).logistic(size=len(pairs)) < 2 * (
        worth[pairs[:, 1]] - worth[pairs[:, 0]]
    )
    table = pd.DataFrame({
        "trial": range(len(pairs)),
        "left_image": [names[left] for left in pairs[:, 0]],
        "right_image": [names[right] for right in pairs[:, 1]],
        "choice": answers.astype(int),
        "mood": "sunny",
    })  # fmt: skip
    table.to_csv(folder / "session.csv", index=False)
    (folder / "session.json").write_text('{"stimuli": "cats"}')
    return folder / "session.csv"


def call(command: Callable[[Sequence[str]], None], *arguments: object) -> Finished:
    """Run a command in this process, through the same door as ``python -m``."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["catpref", *map(str, arguments)]
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as left,
        ):
            run(command)
    finally:
        sys.argv = argv
    assert isinstance(left.value.code, int)
    return Finished(left.value.code, out.getvalue(), err.getvalue())


def refusal(command: Callable[[Sequence[str]], None], *arguments: object) -> str:
    """Run a command that must refuse its input; returns its one line."""
    done = call(command, *arguments)
    assert (done.code, done.out) == (2, ""), done
    assert done.err.startswith("catpref: ") and done.err.endswith("\n") and done.err.count("\n") == 1
    return done.err


def shell(module: str, *arguments: object, cwd: Path) -> Finished:
    """Run ``python -m module`` in a fresh process, whose cache is the tests'."""
    environment = os.environ | {
        "XDG_CACHE_HOME": str(cache_home()),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    return Finished(done.returncode, done.stdout, done.stderr)


COMMANDS_IN_TURN = """
import sys
from catpref.__main__ import main
from catpref.command_line import run
for command in sys.argv[1:]:
    sys.argv[1:] = command.split()
    try:
        run(main)
    except SystemExit as ended:
        if ended.code:
            sys.exit(f"{command}: ended with {ended.code}")
"""
"""A program of which each argument is a command of ``catpref``, so that Python starts and imports but once."""


class Malice:
    """A pickle of it touches a file as soon as it is read."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("executed"),))


class _PathsOnly(pickle.Unpickler):
    """Reads a pickle of `Malice` and of nothing else."""

    def find_class(self, module: str, name: str) -> object:
        if not module.startswith("pathlib") or name not in ("Path.touch", "PosixPath", "WindowsPath"):
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


def spring(content: bytes) -> None:
    """Read a pickle of `Malice`, so that it is seen to do what nothing of catpref's may let it do."""
    _PathsOnly(io.BytesIO(content)).load()


def listing(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder with its content, to see that nothing changed."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
