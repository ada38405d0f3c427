import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from catpref._io import cache

KEY = cache.key_of("a", "b")
ARRAY = np.arange(1000, dtype=np.float16)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert cache.read(tmp_path, KEY, np.float16) is None
    cache.write(tmp_path, KEY, ARRAY)
    kept = cache.read(tmp_path, KEY, np.float16)
    assert kept is not None and kept.dtype == np.float16
    np.testing.assert_array_equal(kept, ARRAY)
    assert cache.read(tmp_path, cache.key_of("a", "c"), np.float16) is None
    cache.write(tmp_path, KEY, ARRAY + 1)
    np.testing.assert_array_equal(cache.read(tmp_path, KEY, np.float16), ARRAY + 1)
    assert len(files(tmp_path)) == 1


def test_keys_differ_where_any_part_does() -> None:
    keys = {cache.key_of(*parts) for parts in [("a", "b"), ("ab", ""), ("b", "a"), ("a",), ("a", "b", "")]}
    assert len(keys) == 5


def test_damage_anywhere_is_noticed(tmp_path: Path) -> None:
    cache.write(tmp_path, KEY, ARRAY)
    (file,) = files(tmp_path)
    whole = file.read_bytes()
    damaged = [whole[:length] for length in (0, 1, 31, 32, 33, len(whole) - 1)] + [whole + b"\0"]
    for place in (0, 31, 32, len(whole) - 1):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        damaged.append(bytes(flipped))
    for content in damaged:
        file.write_bytes(content)
        assert cache.read(tmp_path, KEY, np.float16) is None
    cache.write(tmp_path, KEY, ARRAY)
    assert file.read_bytes() == whole


def test_the_folder_follows_the_xdg_specification(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.default_folder() == tmp_path / "catpref"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.default_folder() == tmp_path / "home" / ".cache" / "catpref"


def test_a_cache_that_cannot_be_written_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("x")
    for key in (KEY, cache.key_of("c")):
        cache.write(tmp_path / "file", key, ARRAY)
    (record,) = caplog.records
    assert "cache cannot be written (Not a directory)" in record.getMessage()
    assert "--no-cache" in record.getMessage() and record.levelname == "WARNING"
    assert cache.read(tmp_path / "file", KEY, np.float16) is None
    assert files(tmp_path) == [tmp_path / "file"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        cache.write(tmp_path, KEY, ARRAY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert files(tmp_path) == []
    assert "free some space" in caplog.text
    cache.write(tmp_path, KEY, ARRAY)
    assert len(files(tmp_path)) == 1, "once there is space, it is used"


def test_an_entry_of_the_wrong_length_is_none(tmp_path: Path) -> None:
    for array in (ARRAY[:-1], ARRAY[:1], ARRAY[:0], ARRAY.view(np.uint8)[:-1]):
        cache.write(tmp_path, KEY, array)
        assert cache.read(tmp_path, KEY, np.float16, lambda length: length == len(ARRAY)) is None
    assert cache.read(tmp_path, KEY, np.float16) is None, "half a number"


WRITER = """
import sys
from pathlib import Path
import numpy as np
from catpref._io import cache
print("writing", flush=True)
for number in range(10**9):
    cache.write(Path(sys.argv[1]), cache.key_of(str(number % 20)), np.full(100_000, number % 20, np.float16))
"""


def test_killed_and_competing_writers_leave_no_broken_entry(tmp_path: Path) -> None:
    for attempt in range(3):
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
            for _ in range(2)
        ]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        deadline = time.monotonic() + 200
        while not list(tmp_path.glob("??/*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.03 * attempt)  # at another moment each time
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
            writer.communicate()
        found = 0
        for number in range(20):
            key = cache.key_of(str(number))
            there = (tmp_path / key[:2] / key).exists()
            kept = cache.read(tmp_path, key, np.float16)
            assert (kept is not None) == there
            found += there
            assert kept is None or (len(kept) == 100_000 and (kept == number).all())
        assert found


def test_only_what_is_the_caches_own_is_removed(tmp_path: Path) -> None:
    """Somebody may name a folder of theirs with --cache-dir."""
    cache.write(tmp_path, KEY, ARRAY)
    left = tmp_path / KEY[:2] / ".catpref-of-a-killed-run"
    theirs = [
        tmp_path / "ab" / "thesis.txt",
        tmp_path / "ab" / ".thesis",
        tmp_path / KEY[:2] / KEY[:63],
        tmp_path / "c",
    ]
    for path in (left, *theirs):
        path.parent.mkdir(exist_ok=True)
        path.write_text("years of work")
        os.utime(path, (0, 0))
    cache.prune(tmp_path, limit=0)
    assert sorted(files(tmp_path)) == sorted(theirs)
