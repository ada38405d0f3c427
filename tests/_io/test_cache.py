import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from catpref._io import cache

KEY = cache.key_of("a", "b")
ARRAY = np.arange(1000, dtype=np.float16)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Let each test know of a folder what a process that starts does: nothing."""
    cache._stores.clear()
    yield
    cache._stores.clear()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def keep(folder: Path, key: str = KEY, array: np.ndarray = ARRAY) -> None:
    cache.write(folder, key, array)


def read(folder: Path, key: str = KEY) -> np.ndarray | None:
    """Read as a process does that starts now."""
    cache._stores.clear()
    return cache.read(folder, key, np.float16)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read(tmp_path) is None
    with cache.opened(tmp_path) as kept:
        kept.write(KEY, ARRAY)
        for key in "cd":
            kept.write(cache.key_of(key), np.full(7, ord(key), np.float64))
        for again in (kept.read(KEY, np.float16), kept.read(KEY, np.float16)):
            assert again is not None and again.flags.writeable
            np.testing.assert_array_equal(again, ARRAY)
            again[:] = 0  # is its reader's alone
        assert files(tmp_path) == [], "gathered first"
    assert len(files(tmp_path)) == 1, "all in one file"
    found = read(tmp_path)
    assert found is not None and found.dtype == np.float16 and found.flags.writeable
    np.testing.assert_array_equal(found, ARRAY)
    with cache.opened(tmp_path) as kept:
        np.testing.assert_array_equal(kept.read(cache.key_of("d"), np.float64), np.full(7, 100.0))
        assert kept.read(cache.key_of("a", "c"), np.float16) is None
    keep(tmp_path, array=ARRAY + 1)
    np.testing.assert_array_equal(read(tmp_path), ARRAY + 1)


def test_many_arrays_make_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_CHUNK", 10 * ARRAY.nbytes)
    with cache.opened(tmp_path) as kept:
        for number in range(95):
            kept.write(cache.key_of(str(number)), ARRAY + number)
    assert len(files(tmp_path)) == 10
    assert sum(path.stat().st_size for path in files(tmp_path)) < 95 * ARRAY.nbytes + 95 * 100
    for number in (0, 9, 10, 94):
        np.testing.assert_array_equal(read(tmp_path, cache.key_of(str(number))), ARRAY + number)


def test_what_is_computed_slowly_is_written_from_time_to_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cache.opened(tmp_path) as kept:
        kept.write(KEY, ARRAY)
        monkeypatch.setattr(cache, "_OFTEN", 0.0)
        kept.write(cache.key_of("c"), ARRAY)
        assert len(files(tmp_path)) == 1


def test_blocks_inside_each_other_write_together(tmp_path: Path) -> None:
    with cache.opened(tmp_path) as kept:
        kept.write(KEY, ARRAY)
        keep(tmp_path, cache.key_of("c"))
        assert files(tmp_path) == []
    assert len(files(tmp_path)) == 1


def test_nothing_is_kept_without_a_folder() -> None:
    with cache.opened(None) as kept:
        kept.write(KEY, ARRAY)
        assert kept.read(KEY, np.float16) is None and not kept.keeps


def test_what_another_process_wrote_is_found(tmp_path: Path) -> None:
    with cache.opened(tmp_path / "there") as kept:
        kept.write(KEY, ARRAY)
    with cache.opened(tmp_path / "here") as kept:
        assert kept.read(KEY, np.float16) is None
    shutil.copytree(tmp_path / "there", tmp_path / "here", dirs_exist_ok=True)
    with cache.opened(tmp_path / "here") as kept:
        np.testing.assert_array_equal(kept.read(KEY, np.float16), ARRAY)
    shutil.rmtree(tmp_path / "here")
    with cache.opened(tmp_path / "here") as kept:
        assert kept.read(KEY, np.float16) is None
        kept.write(KEY, ARRAY)
    np.testing.assert_array_equal(read(tmp_path / "here"), ARRAY)


def test_keys_differ_where_any_part_does() -> None:
    keys = {cache.key_of(*parts) for parts in [("a", "b"), ("ab", ""), ("b", "a"), ("a",), ("a", "b", "")]}
    assert len(keys) == 5


def test_damage_anywhere_is_noticed(tmp_path: Path) -> None:
    keep(tmp_path)
    (file,) = files(tmp_path)
    whole = file.read_bytes()
    head = len(whole) - ARRAY.nbytes
    damaged = [whole[:length] for length in (0, 1, 31, 47, 48, 49, head, len(whole) - 1)]
    for place in (0, 31, 40, 47, 48, 90, head - 1, head, len(whole) - 1):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        damaged.append(bytes(flipped))
    for content in damaged:
        file.write_bytes(content)
        assert read(tmp_path) is None
    keep(tmp_path)  # what is damaged is made again, and the newer one counts
    np.testing.assert_array_equal(read(tmp_path), ARRAY)
    file.write_bytes(whole)
    keep(tmp_path, array=ARRAY + 1)
    np.testing.assert_array_equal(read(tmp_path), ARRAY + 1)


def test_damage_of_one_array_spares_the_others(tmp_path: Path) -> None:
    keys = [cache.key_of(str(number)) for number in range(5)]
    with cache.opened(tmp_path) as kept:
        for key in keys:
            kept.write(key, ARRAY)
    (file,) = files(tmp_path)
    content = bytearray(file.read_bytes())
    content[-2 * ARRAY.nbytes - 1] ^= 1
    file.write_bytes(content)
    assert [read(tmp_path, key) is None for key in keys] == [False, False, True, False, False]
    with cache.opened(tmp_path) as kept:
        assert kept.read(keys[2], np.float16) is None
        kept.write(keys[2], ARRAY)
        assert kept.read(keys[2], np.float16) is not None
    assert all(read(tmp_path, key) is not None for key in keys)


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
        keep(tmp_path / "file", key)
    (record,) = caplog.records
    assert "cache cannot be written (File exists)" in record.getMessage()
    assert "--no-cache" in record.getMessage() and record.levelname == "WARNING"
    assert read(tmp_path / "file") is None
    assert files(tmp_path) == [tmp_path / "file"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        keep(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert files(tmp_path) == []
    assert "free some space" in caplog.text
    keep(tmp_path)
    assert len(files(tmp_path)) == 1, "once there is space, it is used"


def test_an_array_of_the_wrong_length_is_none(tmp_path: Path) -> None:
    for array in (ARRAY[:-1], ARRAY[:1], ARRAY[:0], ARRAY.view(np.uint8)[:-1]):
        keep(tmp_path, array=array)
        with cache.opened(tmp_path) as kept:
            assert kept.read(KEY, np.float16, lambda length: length == len(ARRAY)) is None
    assert read(tmp_path) is None, "half a number"


WRITER = """
import sys
from pathlib import Path
import numpy as np
from catpref._io import cache
cache._CHUNK = 500_000
print("writing", flush=True)
with cache.opened(Path(sys.argv[1])) as kept:
    for number in range(10**9):
        kept.write(cache.key_of(str(number % 20)), np.full(100_000, number % 20, np.float16))
"""


def test_killed_and_competing_writers_leave_no_broken_array(tmp_path: Path) -> None:
    for attempt in range(3):
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
            for _ in range(2)
        ]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        deadline = time.monotonic() + 200
        while not list(tmp_path.glob("*.arrays")) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.03 * attempt)  # at another moment each time
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
            writer.communicate()
        for path in tmp_path.glob("[!.]*.arrays"):  # hidden ones are those that were being written
            assert len(cache._read_table(path)) == 3, "whole, or not there"
        found = 0
        cache._stores.clear()
        with cache.opened(tmp_path) as kept:
            for number in range(20):
                array = kept.read(cache.key_of(str(number)), np.float16)
                found += array is not None
                assert array is None or (len(array) == 100_000 and (array == number).all())
        assert found >= 3


def used_at(folder: Path, moment: float) -> None:
    """Date what was not dated yet."""
    for path in folder.glob("*.arrays"):
        if path.stat().st_mtime > 1e9:
            os.utime(path, (moment, moment))


def test_what_was_used_longest_ago_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [cache.key_of(str(number)) for number in range(4)]
    for moment, key in enumerate(keys[:3]):
        keep(tmp_path, key)
        used_at(tmp_path, moment)
    assert read(tmp_path, keys[0]) is not None, "used now"
    one = files(tmp_path)[0].stat().st_size
    monkeypatch.setattr(cache, "LIMIT", 3 * one)
    keep(tmp_path, keys[3])
    assert [read(tmp_path, key) is not None for key in keys] == [True, False, True, True]
    monkeypatch.setattr(cache, "LIMIT", 0)
    keep(tmp_path, cache.key_of("too much"))
    assert [read(tmp_path, key) is not None for key in keys] == [True, False, True, True]


def test_a_run_that_needs_more_than_fits_keeps_what_came_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the second look at a folder that does not fit would find nothing: its beginning went for its end."""
    keys = [cache.key_of(str(number)) for number in range(10)]
    monkeypatch.setattr(cache, "_CHUNK", 1)
    keep(tmp_path, cache.key_of("of an earlier run"))
    used_at(tmp_path, 0)
    monkeypatch.setattr(cache, "LIMIT", 4 * files(tmp_path)[0].stat().st_size)
    for there in ([False] * 10, [True] * 4 + [False] * 6):
        with cache.opened(tmp_path) as kept:
            for key, expected in zip(keys, there, strict=True):
                assert (kept.read(key, np.float16) is not None) == expected
                if not expected:
                    kept.write(key, ARRAY)
        assert len(files(tmp_path)) == 4
    assert read(tmp_path, cache.key_of("of an earlier run")) is None


def test_half_of_a_small_disk_stays_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=4 * ARRAY.nbytes))
    monkeypatch.setattr(cache, "_CHUNK", 1)
    with cache.opened(tmp_path) as kept:
        for number in range(10):
            kept.write(cache.key_of(str(number)), ARRAY)
    assert ARRAY.nbytes < sum(path.stat().st_size for path in files(tmp_path)) < 4 * ARRAY.nbytes


def test_only_what_is_the_caches_own_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody may name a folder of theirs with --cache-dir."""
    keep(tmp_path)
    old = [  # as catpref 0.2 kept them
        tmp_path / KEY[:2] / ".catpref-of-a-killed-run",
        tmp_path / KEY[:2] / KEY,
        tmp_path / "ff" / f"ff{KEY[2:]}",
        tmp_path / ".0000000000000000-00000000.arrays",  # of a killed run
    ]
    theirs = [
        tmp_path / "ab" / "thesis.txt",
        tmp_path / "ab" / ".thesis",
        tmp_path / KEY[:2] / KEY[:63],
        tmp_path / "c",
        tmp_path / "0.arrays",
        tmp_path / "thesis.arrays",
        tmp_path / "ac" / KEY,
    ]
    (tmp_path / "aa").mkdir()
    for path in (*old, *theirs):
        path.parent.mkdir(exist_ok=True)
        path.write_text("years of work")
        os.utime(path, (0, 0))
    used_at(tmp_path, 0)
    monkeypatch.setattr(cache, "LIMIT", 2 * ARRAY.nbytes)
    keep(tmp_path, cache.key_of("c"))
    (new,) = tmp_path.glob("*-*.arrays")
    assert sorted(files(tmp_path)) == sorted([*theirs, new])
    assert not (tmp_path / "ff").exists() and (tmp_path / "aa").exists()
