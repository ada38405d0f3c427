"""The rule that outputs replace only what catpref wrote itself, apart from any command."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support import listing

from catpref._io import outputs
from catpref._io.outputs import MARK, output_file, output_files, output_folder
from catpref.errors import BadInput


def write_folder(path: Path, content: str, kind: str = "set") -> None:
    with output_folder(path, kind) as folder:
        (folder / "a.txt").write_text(content)
        (folder / "sub").mkdir()
        (folder / "sub" / f"{content}.txt").write_text(content)


def write_file(path: Path, content: str, kind: str = "list") -> None:
    with output_file(path, kind) as file:
        file.write_text(content)


def own(folder: Path) -> dict[str, bytes | None]:
    """What is in a folder, marks aside."""
    return {
        name: content for name, content in listing(folder).items() if not name.endswith((".catpref", MARK))
    }


@pytest.fixture(params=[True, False], ids=["exchange", "two renames"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the atomic exchange that Linux has, and without it."""
    if not request.param:
        monkeypatch.setattr(outputs, "_renameat2", lambda *_: False)


@pytest.mark.usefixtures("system")
def test_outputs_appear_whole_and_are_replaced_whole(tmp_path: Path) -> None:
    for content in ("first", "second"):
        write_folder(tmp_path / "new" / "out", content)
        write_file(tmp_path / "new" / "a.csv", content)
        assert own(tmp_path) == {
            "new": None,
            "new/a.csv": content.encode(),
            "new/out": None,
            "new/out/a.txt": content.encode(),
            "new/out/sub": None,
            f"new/out/sub/{content}.txt": content.encode(),
        }
    assert (tmp_path / "new" / "out").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "new" / "a.csv").stat().st_mode & 0o777 == 0o644
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"out", "a.csv", ".a.csv.catpref"}


@pytest.mark.parametrize("problem", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path: Path, problem: type[BaseException]) -> None:
    write_folder(tmp_path / "out", "first")
    write_file(tmp_path / "a.csv", "first")
    before = listing(tmp_path)
    with pytest.raises(problem), output_folder(tmp_path / "out", "set") as folder:
        (folder / "half").write_text("x")
        raise problem
    with pytest.raises(problem), output_file(tmp_path / "a.csv", "list") as file:
        file.write_text("x")
        raise problem
    with pytest.raises(problem), output_file(tmp_path / "never" / "there" / "a.csv", "list"):
        raise problem
    assert listing(tmp_path) == before


def add_file(out: Path) -> None:
    (out / "thesis.txt").write_text("years of work")


def add_file_below(out: Path) -> None:
    (out / "sub" / "thesis.txt").write_text("years of work")


def add_hidden_file(out: Path) -> None:
    (out / ".thesis").write_text("years of work")


def add_empty_folder(out: Path) -> None:
    (out / "thesis").mkdir()


def add_link(out: Path) -> None:
    (out / "thesis").symlink_to(out.parent)


def change_a_file(out: Path) -> None:
    (out / "a.txt").write_text("thesis")


def change_only_the_content(out: Path) -> None:
    status = (out / "a.txt").stat()
    (out / "a.txt").write_text("tsrif")
    os.utime(out / "a.txt", ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def put_a_link_in_place(out: Path) -> None:
    (out.parent / "thesis.txt").write_text("first")
    (out / "a.txt").unlink()
    (out / "a.txt").symlink_to(out.parent / "thesis.txt")


def put_a_folder_in_place(out: Path) -> None:
    (out / "a.txt").unlink()
    (out / "a.txt").mkdir()
    (out / "a.txt" / "thesis.txt").write_text("years of work")


def remove_mark(out: Path) -> None:
    (out / MARK).unlink()


def break_mark(out: Path) -> None:
    (out / MARK).write_text("{" * 200_000)


def empty_mark(out: Path) -> None:
    (out / MARK).write_text('{"kind": "set", "files": []}')


def mark_as_pipe(out: Path) -> None:
    (out / MARK).unlink()
    os.mkfifo(out / MARK)


SPOILERS = [
    add_file, add_file_below, add_hidden_file, add_empty_folder, add_link, change_a_file, change_only_the_content,
    put_a_link_in_place, put_a_folder_in_place, remove_mark, break_mark, empty_mark, mark_as_pipe,
]  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILERS)
def test_a_folder_with_anything_foreign_stays(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    out = tmp_path / "out"
    write_folder(out, "first")
    spoil(out)
    before = listing(tmp_path)
    with pytest.raises(BadInput, match=r"out: holds .*; choose another folder") as told:
        write_folder(out, "second")
    assert "thesis" in str(told.value) or spoil.__name__ not in ("add_file", "add_file_below", "add_link")
    assert listing(tmp_path) == before


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("spoil", [add_file, add_file_below, change_a_file])
def test_what_is_added_while_the_command_runs_stays(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    write_folder(tmp_path / "out", "first")
    with pytest.raises(BadInput, match="out: holds"), output_folder(tmp_path / "out", "set") as folder:
        (folder / "b.txt").write_text("new")
        spoil(tmp_path / "out")
        before = listing(tmp_path / "out")
    assert listing(tmp_path / "out") == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("spoil", [add_file, change_a_file])
def test_what_is_added_between_the_last_look_and_the_swap_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None]
) -> None:
    write_folder(tmp_path / "out", "first")
    looks, check = [], outputs._check_folder

    def check_folder(*arguments: object) -> None:
        check(*arguments)
        looks.append(arguments)
        if len(looks) == 2:  # at the start, before the swap
            spoil(tmp_path / "out")

    monkeypatch.setattr(outputs, "_check_folder", check_folder)
    with pytest.raises(BadInput, match="out: holds"):
        write_folder(tmp_path / "out", "second")
    assert (tmp_path / "out" / "sub" / "first.txt").exists()
    assert "thesis.txt" in listing(tmp_path / "out") or (tmp_path / "out" / "a.txt").read_text() == "thesis"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.usefixtures("system")
def test_what_comes_into_being_while_the_command_runs_stays(tmp_path: Path) -> None:
    for name in ("out", "out.csv"):
        with pytest.raises(BadInput, match=name):
            if name == "out":
                with output_folder(tmp_path / name, "set") as building:
                    (building / "a.txt").write_text("new")
                    (tmp_path / name).mkdir()
                    add_file(tmp_path / name)
            else:
                with output_file(tmp_path / name, "list") as building:
                    building.write_text("new")
                    (tmp_path / name).write_text("years of work")
    assert listing(tmp_path) == {
        "out": None,
        "out/thesis.txt": b"years of work",
        "out.csv": b"years of work",
    }


def test_a_file_of_others_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "foreign.csv").write_text("years of work")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.csv").symlink_to("foreign.csv")
    (tmp_path / "dangling.csv").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.csv")
    write_file(tmp_path / "edited.csv", "first")
    (tmp_path / "edited.csv").write_text("first, and years of work")
    write_file(tmp_path / "other.csv", "first", kind="simulated session")
    with output_files("list", tmp_path / "a.csv", tmp_path / "b.csv") as files:
        for file in files:
            file.write_text("first")
    (tmp_path / "b.csv").write_text("years of work")
    names = {path.name: path.lstat().st_mtime_ns for path in tmp_path.iterdir()}
    for name in ("foreign", "folder", "link", "dangling", "pipe", "edited", "other"):
        with pytest.raises(BadInput, match=rf"{name}.*; choose another"):
            write_file(tmp_path / name if name == "folder" else tmp_path / f"{name}.csv", "new")
    with (
        pytest.raises(BadInput, match=r"b\.csv: was changed"),
        output_files("list", tmp_path / "a.csv", tmp_path / "b.csv"),
    ):
        raise AssertionError("must be refused before the work")
    with pytest.raises(BadInput, match="/dev/null: is not an ordinary file"):
        write_file(Path("/dev/null"), "new")
    assert {path.name: path.lstat().st_mtime_ns for path in tmp_path.iterdir()} == names


def test_a_folder_is_replaced_only_by_its_own_kind(tmp_path: Path) -> None:
    write_folder(tmp_path / "out", "first", kind="fit")
    before = listing(tmp_path)
    with pytest.raises(BadInput, match="out: holds a fit, not a stimulus set"):
        write_folder(tmp_path / "out", "second", kind="stimulus set")
    assert listing(tmp_path) == before


def test_links_and_files_are_no_output_folders(tmp_path: Path) -> None:
    write_folder(tmp_path / "own", "first")
    (tmp_path / "link").symlink_to("own")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "file").write_text("x")
    before = listing(tmp_path)
    for name in ("link", "dangling", "file"):
        with pytest.raises(BadInput, match="is not a folder"):
            write_folder(tmp_path / name, "second")
    assert listing(tmp_path) == before


def test_what_is_read_is_not_replaced(tmp_path: Path) -> None:
    write_folder(tmp_path / "out", "first")
    before = listing(tmp_path)
    with (
        pytest.raises(BadInput, match=r"would be replaced whole, and .*a\.txt is in it"),
        output_folder(tmp_path / "out", "set", reads=[tmp_path / "out" / "a.txt"]),
    ):
        raise AssertionError("must be refused before the work")
    assert listing(tmp_path) == before


def test_repeating_is_no_harder_than_before(tmp_path: Path) -> None:
    """Copies, what file managers leave, removed files, and an empty folder are no obstacle."""
    write_folder(tmp_path / "out", "first")
    shutil.copytree(tmp_path / "out", tmp_path / "copy", copy_function=shutil.copyfile)
    (tmp_path / "copy" / ".DS_Store").write_text("x")
    (tmp_path / "copy" / "sub" / "first.txt").unlink()
    write_folder(tmp_path / "copy", "second")
    (tmp_path / "empty").mkdir()
    write_folder(tmp_path / "empty", "second")
    for name in ("copy", "empty"):
        assert own(tmp_path / name) == {"a.txt": b"second", "sub": None, "sub/second.txt": b"second"}
    write_file(tmp_path / "a.csv", "first")
    os.utime(tmp_path / "a.csv")
    write_file(tmp_path / "a.csv", "second")
    assert (tmp_path / "a.csv").read_text() == "second"


def test_places_are_found_however_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    for path in (Path(), Path("../in"), Path("../in/../in/./")):
        write_folder(path, "first")
        monkeypatch.chdir(tmp_path / "in")
    assert own(tmp_path) == {"in": None, "in/a.txt": b"first", "in/sub": None, "in/sub/first.txt": b"first"}
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(BadInput, match="circle"):
        write_file(tmp_path / "circle" / "a.csv", "x")
    with pytest.raises(BadInput, match="name a file or folder in it"):
        write_folder(Path("/"), "x")


# ---- several processes -------------------------------------------------------------------------------------

WRITER = """
import os, sys, time
from pathlib import Path
from catpref._io.outputs import output_file, output_folder
with output_folder(Path("out"), "set") as folder, output_file(Path("a.csv"), "list") as file:
    (folder / "half").write_text("half")
    file.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_writer_leaves_the_old_and_the_next_cleans_up(tmp_path: Path, number: int) -> None:
    write_folder(tmp_path / "out", "first")
    write_file(tmp_path / "a.csv", "first")
    before = listing(tmp_path)
    with subprocess.Popen([sys.executable, "-c", WRITER], cwd=tmp_path, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == b"writing\n"
        with pytest.raises(BadInput, match=f"out: is being written by process {writer.pid} since 20"):
            write_folder(tmp_path / "out", "second")
        with pytest.raises(BadInput, match=r"a\.csv: is being written by process"):
            write_file(tmp_path / "a.csv", "second")
        os.kill(writer.pid, number)
    left = listing(tmp_path)
    assert left.items() >= before.items() and len(left) > len(before)
    write_file(tmp_path / "elsewhere.csv", "x")
    assert own(tmp_path) == own_of(before) | {"elsewhere.csv": b"x"}, "by any command that writes there"
    write_folder(tmp_path / "out", "second")
    write_file(tmp_path / "a.csv", "second")
    assert (tmp_path / "out" / "a.txt").read_text() == (tmp_path / "a.csv").read_text() == "second"


def own_of(content: dict[str, bytes | None]) -> dict[str, bytes | None]:
    return {name: data for name, data in content.items() if not name.endswith((".catpref", MARK))}


def test_a_folder_moved_aside_by_a_killed_run_is_put_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "out", "first")
    before = listing(tmp_path)
    aside, lock = tmp_path / ".out.catpref-tmp-old-abc", tmp_path / ".out.catpref-lock"
    (tmp_path / "out").rename(aside)
    lock.write_text("process 1 since then")
    write_file(tmp_path / "a.csv", "x")
    assert (
        listing(tmp_path / "out").items()
        == {name.removeprefix("out/"): content for name, content in before.items() if name != "out"}.items()
    )
    assert "out: was put back" in capsys.readouterr().err
    assert not aside.exists() and not lock.exists()


def test_a_folder_set_aside_is_kept_where_something_foreign_is_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "out", "first")
    aside = tmp_path / ".out.catpref-tmp-abc"
    shutil.copytree(tmp_path / "out", aside)
    add_file(aside)
    write_folder(tmp_path / "out", "second")
    assert (aside / "thesis.txt").read_text() == "years of work"
    assert "is kept" in capsys.readouterr().err


def test_a_lock_that_is_a_link_empties_nothing(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / ".out.catpref-lock").symlink_to("thesis.txt")
    with pytest.raises(BadInput, match="out: cannot be written"):
        write_folder(tmp_path / "out", "first")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def _count_up(folder: str, number: int) -> int:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        try:
            write_file(Path(folder) / "count.csv", str(number))
        except BadInput as problem:
            assert "is being written by" in str(problem)
        else:
            return 1
        time.sleep(0.02)
    return 0


def test_many_writers_take_turns(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert sum(pool.starmap(_count_up, [(str(tmp_path), number) for number in range(24)])) == 24
    assert {path.name for path in tmp_path.iterdir()} == {"count.csv", ".count.csv.catpref"}
    mark = json.loads((tmp_path / ".count.csv.catpref").read_text())
    assert len(mark["files"]) <= 2, "a mark does not grow"
