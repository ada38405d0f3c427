"""Presses as button boxes send them, and as people do: each one counts once, when the key goes down."""

import os
import subprocess
import sys
import time

import pytest
from forked import Forked
from sessions_support import held

STAGE = """
import sys
import psychopy.hardware.keyboard
from psychopy import event

if sys.argv[1] == "event":  # as where psychtoolbox is not installed
    psychopy.hardware.keyboard.havePTB, psychopy.hardware.keyboard.event = False, event

from catpref.lab.stage import Stage

stage = Stage(["escape"])
print(stage.backend, flush=True)
while True:
    shown = stage.show(lambda: None, ["f", "j"], seconds=20, meanwhile=lambda: print("shown", flush=True))
    print(shown.onset, shown.response or "nothing", shown.at, flush=True)
"""


@pytest.mark.parametrize("backend", ["ptb", "event"])
def test_short_and_long_presses_count_once_as_they_go_down(display, backend):
    process = Forked(
        [sys.executable, "-c", STAGE, backend],
        env=os.environ | {"DISPLAY": display},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout and process.stdout.readline() == f"{backend}\n"
        for number, seconds in enumerate([0.0, 0.001, 0.01, None, 0.001, 0.01, None, 0.0]):
            assert process.stdout.readline() == "shown\n"
            time.sleep(0.1 + 0.0031 * number)  # at other moments of the frame
            key, answer, began = "fj"[number % 2], "", time.monotonic()
            with held(display, key):
                went_down = time.monotonic()
                if seconds is None:
                    answer = process.stdout.readline()
                else:
                    time.sleep(seconds)
            onset, response, at = (answer or process.stdout.readline()).split()
            assert response == key
            assert float(onset) < began < float(at) < went_down + 1
    finally:
        process.kill()
        process.communicate()
