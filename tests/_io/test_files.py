import os
from pathlib import Path

import pytest

from catpref._io import files


def test_an_image_is_hashed_again_once_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    hashed: list[Path] = []

    def content_of(path: Path) -> str:
        hashed.append(path)
        return path.read_text()

    monkeypatch.setattr(files, "sha256_of", content_of)
    path.write_bytes(b"first")
    assert [files.sha256_of_image(path) for _ in range(2)] == ["first"] * 2 and len(hashed) == 1
    path.write_bytes(b"other, longer")
    assert files.sha256_of_image(path) == "other, longer"
    path.write_bytes(b"a third, long")
    os.utime(path, ns=(0, 0))  # as a second later
    assert files.sha256_of_image(path) == "a third, long"
