import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from faults import main_of
from support import call, faces, hurry, use_own_cache

from benchmarks import images


@pytest.mark.thorough
def test_a_few_images_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_own_cache(monkeypatch)
    hurry(monkeypatch)

    def inside(folder: Path, module: str, *arguments: object, stand_in: bool = False) -> dict[str, Any]:
        with monkeypatch.context() as there, images.stand_in() if stand_in else nullcontext():
            there.chdir(folder)
            done = call(main_of(module), *arguments)
        assert done.code == 0, done
        return {"seconds": 1.0, "cpu_seconds": 1.0, "peak_rss_gib": 1.0}

    monkeypatch.setattr(images, "render", lambda folder, n, seed: shutil.copytree(faces(), folder))
    monkeypatch.setattr(images, "_command", inside)
    done = call(images.main, "--small", "--json", "--folder", tmp_path)
    assert done.code == 0, done
    entries = [json.loads(line) for line in done.out.splitlines()]
    named = {(entry["what"], entry["images"]): entry for entry in entries if entry["what"] != "growth"}
    for count in (20, 40):
        assert named["import", count]["imported"] == count, "none is a near-duplicate of another"
        assert named["duplicates", count]["pairs"] == 0
        assert named["rank", count]["kept_files"] <= 3
        assert ("embed and rank", count) in named
    assert ("fit", 40) in named and named["network", 2]["ms_an_image"] > 1
    growth = {entry["of"] for entry in entries if entry["what"] == "growth"}
    assert growth == {"import", "embed and rank", "rank", "duplicates"}
    assert list(tmp_path.iterdir()) == []


def test_a_commands_memory_is_its_own(tmp_path: Path) -> None:
    """A process that is started counts the memory of the one that starts it; here that has torch in it."""
    entry = images._command(tmp_path, "catpref.trials", "--help")
    assert 0.01 < entry["peak_rss_gib"] < 0.3 and entry["cpu_seconds"] > 0
