import os
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from catpref.design.designs import make_trials
from catpref.design.trial_list import RANDOM, write_trial_list


@pytest.fixture
def eight_pairs(tmp_path) -> Path:
    """cats/, blue pictures, and trials.csv, a list of 8 pairs of them, in a folder whose name has a space."""
    folder = tmp_path / "my study"
    (folder / "cats").mkdir(parents=True)
    names = [f"{number:02d}.png" for number in range(16)]
    for number, name in enumerate(names):
        Image.new("RGB", (64, 64), (number, 0, 255)).save(folder / "cats" / name)
    write_trial_list(folder / "trials.csv", make_trials(RANDOM, names))
    return folder


@pytest.fixture(scope="session")
def psychojs(tmp_path_factory) -> Path:
    """A folder with PsychoJS, and the library with which it downloads."""
    named = os.environ.get("PSYCHOJS_DIR")
    if not named:
        pytest.skip(
            "PSYCHOJS_DIR is not set: build PsychoJS (github.com/psychopy/psychojs, npm install, npm run build:js, "
            "npm run build:css) and name its folder with psychojs-*.js and psychojs-*.css"
        )
    folder = tmp_path_factory.mktemp("psychojs")
    for file in Path(named).glob("psychojs-*.*"):
        shutil.copy(file, folder)
    there = sorted(Path(named).glob("preloadjs*.js"))
    if not there:
        subprocess.run(
            ["npm", "pack", "--silent", "preloadjs@1.0.1"], cwd=folder, check=True, capture_output=True
        )
        shutil.unpack_archive(next(folder.glob("*.tgz")), folder)
        there = [folder / "package" / "lib" / "preloadjs.min.js"]
    shutil.copy(there[0], folder / "preloadjs.min.js")
    return folder


@pytest.fixture(scope="session")
def chromium_program() -> str:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program:
        pytest.fail("Chromium is missing: sudo apt install chromium")
    return program
