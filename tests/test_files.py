import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import listing

from catpref.commands import BadInput
from catpref.files import check_replaceable, replacing_file, replacing_folder

MARKER = "marker.json"


def write_folder(path: Path, content: str) -> None:
    with replacing_folder(path, MARKER) as folder:
        (folder / MARKER).write_text(content)
        (folder / content).mkdir()


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.csv"
    with replacing_file(path) as temporary:
        temporary.write_text("first")
        assert not path.exists() and temporary.parent == path.parent and temporary.suffix == ".csv"
    assert listing(tmp_path) == {"new": None, "new/a.csv": b"first"}
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("problem", [RuntimeError, KeyboardInterrupt])
def test_a_file_is_left_alone_by_a_failure(tmp_path: Path, problem: type[BaseException]) -> None:
    (tmp_path / "a.csv").write_text("old")
    with pytest.raises(problem), replacing_file(tmp_path / "a.csv") as temporary:
        temporary.write_text("half")
        raise problem
    assert listing(tmp_path) == {"a.csv": b"old"}


@pytest.mark.parametrize("name", ["folder", "file/x.csv", "x" * 300, "folder/.."])
def test_a_place_that_cannot_be_written_is_bad_input(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    before = listing(tmp_path)
    with pytest.raises(BadInput, match="cannot be written"), replacing_file(tmp_path / name) as temporary:
        temporary.write_text("new")
    assert listing(tmp_path) == before


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write_folder(tmp_path / "out", "first")
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755
    (tmp_path / "out" / "extra").write_text("x")
    write_folder(tmp_path / "out", "second")
    assert listing(tmp_path) == {"out": None, f"out/{MARKER}": b"second", "out/second": None}


def test_an_empty_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_folder(tmp_path / "out", "first")
    assert (tmp_path / "out" / MARKER).exists()


@pytest.mark.parametrize("problem", [RuntimeError, KeyboardInterrupt])
def test_a_folder_is_left_alone_by_a_failure(tmp_path: Path, problem: type[BaseException]) -> None:
    write_folder(tmp_path / "out", "first")
    before = listing(tmp_path)
    with pytest.raises(problem), replacing_folder(tmp_path / "out", MARKER) as folder:
        (folder / "half").write_text("x")
        raise problem
    assert listing(tmp_path) == before


@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize("problem", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_the_old_folder_is_back_after_a_failure_between_the_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int, problem: BaseException
) -> None:
    write_folder(tmp_path / "out", "first")
    before = listing(tmp_path)
    rename, renames = Path.replace, []

    def replace(self: Path, target: Path) -> Path:
        renames.append(self)
        if len(renames) == failing:
            raise problem
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises((BadInput, KeyboardInterrupt)):
        write_folder(tmp_path / "out", "second")
    assert listing(tmp_path) == before


def test_a_folder_of_others_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("photos")
    (tmp_path / "dangling").symlink_to("nowhere")
    before = listing(tmp_path)
    for name in ("photos", "file", "link", "dangling"):
        with pytest.raises(BadInput, match="choose another folder"):
            write_folder(tmp_path / name, "new")
        with pytest.raises(BadInput):
            check_replaceable(tmp_path / name, MARKER)
    assert listing(tmp_path) == before


WRITER = f"""
import sys, time
from pathlib import Path
from catpref.files import replacing_file, replacing_folder
with replacing_folder(Path("out"), "{MARKER}") as folder, replacing_file(Path("a.csv")) as file:
    (folder / "{MARKER}").write_text("half")
    file.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_writer_leaves_the_old(tmp_path: Path, number: int) -> None:
    write_folder(tmp_path / "out", "first")
    (tmp_path / "a.csv").write_text("old")
    with subprocess.Popen([sys.executable, "-c", WRITER], cwd=tmp_path, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == b"writing\n"
        os.kill(writer.pid, number)
    assert (tmp_path / "out" / MARKER).read_text() == "first"
    assert (tmp_path / "a.csv").read_text() == "old"
