import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from forked import Forked

SCRIPT = """
import json, sys
from psychopy.monitors import Monitor, calibTools
calibTools.monitorFolder = sys.argv[1]
measured = Monitor("lab", width=60.0, distance=57.0, autoLog=False)
measured.setSizePix([1280, 1024])
measured.save()
Monitor("bare", autoLog=False).save()

from catpref.errors import BadInput
from catpref.lab.monitor import load_monitor
found = load_monitor("lab")
said = {"lab": [found.width_cm, found.distance_cm, found.size_px, found.pixels(10), found.angle(100)]}
for name in ("bare", "none"):
    try:
        load_monitor(name)
    except BadInput as problem:
        said[name] = str(problem)

from catpref.lab import two_afc
from catpref.lab.stage import Stage
stage = Stage(["escape"])
said["box"] = two_afc._box(stage, two_afc.Settings(monitor=found, degrees=10))
said["default"] = two_afc._box(stage, two_afc.Settings(monitor=found))
for name, settings in {
    "large": two_afc.Settings(monitor=found, degrees=60),
    "other": two_afc.Settings(monitor=type(found)("lab", 60, 57, (1920, 1080)), degrees=10),
}.items():
    try:
        two_afc._box(stage, settings)
    except BadInput as problem:
        said[name] = str(problem)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(large_display, tmp_path_factory) -> dict:
    """What a process says that measures angles on the screen that nobody sees."""
    folder: Path = tmp_path_factory.mktemp("monitors")
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    environment = os.environ | {"DISPLAY": large_display}
    process = Forked(command, env=environment, stdout=subprocess.PIPE, text=True)
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0
    return json.loads(said.splitlines()[-1])


def test_degrees_of_visual_angle(said):
    """At 57 cm a degree is about a centimetre: 10 degrees are 9.974 cm, 21.33 pixels each."""
    width, distance, size, pixels, angle = said["lab"]
    assert (width, distance, size) == (60.0, 57.0, [1280, 1024])
    assert pixels == pytest.approx(9.9738 * 1280 / 60, rel=1e-4)
    assert angle == pytest.approx(4.7091, rel=1e-4)
    assert said["box"] == 212
    assert said["default"] == 550


def test_profiles_that_do_not_do(said):
    assert "there are: bare, lab" in said["none"]
    assert "--monitor bare: the profile needs" in said["bare"]
    assert "there is room for 550, which are 25.5 degrees" in said["large"]
    assert "the profile says 1920 × 1080 pixels, the screen has 1280 × 1024" in said["other"]
