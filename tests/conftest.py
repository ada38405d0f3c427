import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def display() -> Iterator[str]:
    """A screen of 1280 × 1024 that nobody sees, with a keyboard that xdotool can press."""
    for program in ("Xvfb", "xdotool"):
        if not shutil.which(program):
            pytest.fail(f"{program} is missing: sudo apt install xvfb xdotool")
    reader, writer = os.pipe()
    screen = [
        "Xvfb",
        "-displayfd",
        str(writer),
        "-screen",
        "0",
        "1280x1024x24",
        "-nolisten",
        "tcp",
        "-noreset",
    ]
    server = subprocess.Popen(screen, pass_fds=[writer], stderr=subprocess.DEVNULL)
    os.close(writer)
    with os.fdopen(reader) as answer:
        number = answer.readline().strip()  # Xvfb takes a free number and says which
    if not number:
        pytest.fail("Xvfb did not start")
    yield f":{number}"
    server.terminate()
    server.wait()
