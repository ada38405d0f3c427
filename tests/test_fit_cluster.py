"""Fits that others compute are the fits that this process computes, to the last bit."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engines_support import Scrambled
from support import call, hurry, refusal, small_study, use_own_cache

from catpref import learning
from catpref.fit import main

QUICK = ("--folds", "2")
TIMES = {"seconds", "fit_seconds"}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    use_own_cache(monkeypatch)
    hurry(monkeypatch)


@pytest.fixture
def session(tmp_path: Path) -> Path:
    return small_study(tmp_path)


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_times(each) for name, each in value.items() if name not in TIMES}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def results(folder: Path) -> dict[str, Any]:
    """What a fit wrote, by file, times left out."""
    found: dict[str, Any] = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*.*")
        if path.suffix in (".csv", ".safetensors") or path.name == "model.json"
    }
    return found | {"metrics": without_times(json.loads((folder / "metrics.json").read_text()))}


def fit(session: Path, out: str, *more: object) -> dict[str, Any]:
    folder = session.parent / out
    done = call(main, session, "--out", folder, *QUICK, *more)
    assert (done.code, done.err) == (0, "")
    return results(folder)


def test_tasks_done_elsewhere_in_any_order_change_no_bit(
    session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Scrambled()

    @contextlib.contextmanager
    def connected(asked: str) -> Iterator[Scrambled]:
        assert asked == "local:2"
        yield engine

    here = fit(session, "here")
    monkeypatch.setattr(learning, "connected", connected)
    there = fit(session, "there", "--cluster", "local:2")
    assert set(here) >= {"metrics", "ranking.csv", "predictions.csv", "model/siamese_cnn.safetensors"}
    assert there == here
    assert engine.done.count("_fit") > 4 and "_learn" in engine.done


def test_no_scheduler_is_one_line_and_nothing_is_written(session: Path) -> None:
    said = refusal(main, session, "--out", session.parent / "out", "--cluster", "tcp://nowhere")
    assert "--cluster tcp://nowhere: is neither local" in said
    assert not (session.parent / "out").exists()


@pytest.mark.skipif(os.environ.get("CATPREF_FAULTS") != "all", reason="takes a minute; CATPREF_FAULTS=all")
@pytest.mark.slow
def test_a_fit_by_two_processes_is_the_fit(session: Path, tmp_path: Path) -> None:
    """Embeddings included: the cache is empty."""
    here = fit(session, "here", "--cache-dir", tmp_path / "cache")
    there = fit(session, "there", "--cache-dir", tmp_path / "another", "--cluster", "local:2")
    assert there == here
