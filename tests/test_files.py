from pathlib import Path

import pytest
from support import listing

from catpref.commands import BadInput
from catpref.files import replacing_file


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
