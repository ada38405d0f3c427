import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import THOROUGH, hurry

HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder of what is costly to make, `support.shared`, before xdist starts processes that share it."""
    if not hasattr(config, "workerinput"):
        folder = os.environ["CATPREF_TESTS_SHARED"] = tempfile.mkdtemp(prefix="catpref-tests-shared-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


PORTABLE = ("design", "sessions", "stimuli", "test_portable.py", "test_without_torch.py")
"""Rooms and files of tests that run on every system; on Linux they are tried as on Windows (``on_windows``)."""


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out, on other systems, tests that may ask for what only Linux has when they are imported."""
    place = collection_path.relative_to(HERE).parts if collection_path.is_relative_to(HERE) else ()
    return True if place and sys.platform != "linux" and place[0] not in PORTABLE else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is portable, and what needs the screen or a browser, so that ``-m "not screen"`` leaves it out.

    What costs much and guards what others guard in part is only run when asked for.
    """
    for item in items:
        if item.get_closest_marker("thorough") and not THOROUGH:
            item.add_marker(pytest.mark.skip("CATPREF_THOROUGH=all"))
        if item.path.relative_to(HERE).parts[0] in PORTABLE and not item.get_closest_marker("posix"):
            item.add_marker("portable")
        for fixture, marker in {"display": "screen", "large_display": "screen", "browser": "browser"}.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)


@pytest.fixture(scope="session")
def display() -> Iterator[str]:
    """A screen of 640 × 512: on a larger one, drawing without a graphics card takes most of a session's time."""
    yield from screen(640, 512)


@pytest.fixture(scope="session")
def large_display() -> Iterator[str]:
    """A screen of 1280 × 1024, for what is looked at to the pixel."""
    yield from screen(1280, 1024)


def screen(width: int, height: int) -> Iterator[str]:
    """Start a screen that nobody sees, with a keyboard that xdotool can press."""
    for program in ("Xvfb", "xdotool"):
        if not shutil.which(program):
            pytest.fail(f"{program} is missing: sudo apt install xvfb xdotool")
    reader, writer = os.pipe()
    command = f"Xvfb -displayfd {writer} -screen 0 {width}x{height}x24 -nolisten tcp -noreset"
    server = subprocess.Popen(command.split(), pass_fds=[writer], stderr=subprocess.DEVNULL)
    os.close(writer)
    with os.fdopen(reader) as answer:
        number = answer.readline().strip()  # Xvfb takes a free number and says which
    if not number:
        pytest.fail("Xvfb did not start")
    yield f":{number}"
    server.terminate()
    server.wait()


@pytest.fixture
def quick_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit in half the time, where neither how figures look nor how sure scores are is the point."""
    hurry(monkeypatch)
