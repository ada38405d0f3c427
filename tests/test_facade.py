"""`import catpref` as in a notebook: its examples run, it says what the command says, and it is there at once."""

import doctest
import json
import shutil
import subprocess
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import cache_home, call, faces, hurry, small_study, use_own_cache

import catpref
from catpref import fit, learning, taste
from catpref.evaluation.analysis import Analysis
from catpref.models import interface, store


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, quick_fits: None) -> None:
    use_own_cache(monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_study(tmp_path_factory.mktemp("facade") / "lab").parent


@pytest.fixture(scope="module")
def learned(folder: Path) -> catpref.Taste:
    session = catpref.read_session(str(folder / "session.csv"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        hurry(monkeypatch)
        return catpref.learn(session, model="utility", folds=3, cache=cache_home() / "catpref")


def test_the_examples_of_every_public_name_run(
    folder: Path, learned: catpref.Taste, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    found = [
        example
        for module in (taste, learning)
        for example in doctest.DocTestFinder().find(
            module, globs={"catpref": catpref, "pd": pd, "taste": learned}
        )
        if example.examples
    ]
    ran = {example.name.removeprefix("catpref.taste.").removeprefix("catpref.learning.") for example in found}
    public = {name for name in vars(catpref.Taste) if not name.startswith("_")} - {"write"}
    assert ran == {"read_session", "learn", "load", *(f"Taste.{name}" for name in public)}
    runner = doctest.DocTestRunner()
    # Loading and saving come in an order of their own: what is loaded must have been saved.
    for example in sorted(found, key=lambda example: example.name.endswith(".load")):
        runner.run(example)
    assert runner.summarize(verbose=False).failed == 0


def test_python_and_the_command_find_the_same(folder: Path, learned: catpref.Taste, tmp_path: Path) -> None:
    done = call(
        fit.main, folder / "session.csv", "--model", "utility", "--folds", "3", "--out", tmp_path / "fit"
    )
    assert done.code == 0 and done.err == ""
    assert str(learned) in done.out
    metrics = json.loads((tmp_path / "fit" / "metrics.json").read_text())
    scores = learned.scores.set_index("model")
    for entry in [*metrics["results"], *metrics["baselines"].values()]:
        assert entry["accuracy"] == scores.loc[entry["model"], "accuracy"]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "fit" / "ranking.csv"), learned.ranking)


def test_paths_lists_and_tables_are_the_same_session(folder: Path) -> None:
    path = folder / "session.csv"
    by_path = catpref.read_session(path)
    table = pd.read_csv(path)
    by_table = catpref.read_session(table, stimuli=str(folder / "cats"))
    halves = catpref.read_session([table[:30], table[30:]], stimuli=folder / "cats")
    columns = ["left_image", "right_image", "choice"]
    for other in (catpref.read_session(str(path)), catpref.read_session([path]), by_table, halves):
        pd.testing.assert_frame_equal(other.trials[columns], by_path.trials[columns])
    with pytest.raises(catpref.BadInput, match="stimuli="):
        catpref.read_session(table)


def test_a_loaded_taste_predicts_what_was_saved(folder: Path, learned: catpref.Taste, tmp_path: Path) -> None:
    learned.save(tmp_path / "taste")
    loaded = catpref.load(str(tmp_path / "taste"), cache=None)
    pd.testing.assert_frame_equal(loaded.scores, learned.scores, check_dtype=False)
    pairs = learned.analysis.session.trials[["left_image", "right_image"]] if learned.analysis else None
    assert pairs is not None
    ours = learned.predict(pairs)["p_right"]
    theirs = loaded.predict(pairs, stimuli=folder / "cats")["p_right"]
    np.testing.assert_allclose(theirs, ours, atol=1e-3)  # directions are kept as float16
    with pytest.raises(catpref.BadInput, match="loaded taste"):
        loaded.report(tmp_path / "report")


def test_a_folder_is_ranked_a_batch_at_a_time(
    folder: Path, learned: catpref.Taste, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in sorted(faces().glob("*.png"))[8:19]:  # known ones, and new ones
        shutil.copy(path, tmp_path / path.name)
    whole = learned.rank(tmp_path)
    embed, made = interface.embed, []
    held = []

    def count(paths: Sequence[Path], *options: Any) -> np.ndarray:
        embeddings = embed(paths, *options)
        made.append(weakref.ref(embeddings))
        alive = (one() for one in made)
        held.append(sum(len(one) for one in alive if one is not None))
        return embeddings

    monkeypatch.setattr(interface, "embed", count)
    monkeypatch.setattr(store, "AT_ONCE", 4)
    pd.testing.assert_frame_equal(learned.rank(tmp_path), whole, check_exact=True)
    assert len(made) == 3 and max(held) <= 4, "a batch is let go before the next one comes"


def test_a_notebook_shows_headline_table_and_faces(
    learned: catpref.Taste, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Not shown to be better than chance" in learned._repr_html_()
    monkeypatch.setattr(Analysis, "better_than_chance", True)
    shown = learned._repr_html_()
    assert "% of held-out choices (chance 50%" in shown
    assert "utility" in shown and shown.count("<img") == 12


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"folds": 1}, "folds=1"),
        ({"map_size": 7, "model": "study_cnn"}, "map_size=7"),
        ({"model": "oracle"}, "model=oracle"),
        ({"split": "cats"}, "split=cats"),
        ({"embedding": "grid9"}, "embedding=grid9"),
        ({"device": "abacus"}, "device=abacus"),
        ({"backbone": "abacus"}, "backbone=abacus"),
        ({"weights": "nowhere.pth", "backbone": "vgg"}, "weights=nowhere.pth"),
    ],
)
def test_bad_arguments_are_named_as_python_does(folder: Path, arguments: dict, told: str) -> None:
    with pytest.raises(catpref.BadInput) as refused:
        catpref.learn(folder / "session.csv", **arguments)
    assert told in str(refused.value) and "--" not in str(refused.value)


def test_import_is_quick_since_it_loads_nothing_but_python() -> None:
    code = "import sys; before = set(sys.modules); import catpref; print(*set(sys.modules) - before)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split()
    ours = {"catpref", "catpref._io", "catpref._io.startup", "catpref.errors", "catpref.version"}
    assert {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names} == ours
    assert len(loaded) < 60, loaded
    assert {"learn", "load", "read_session"} <= set(dir(catpref))
    with pytest.raises(AttributeError):
        _ = catpref.nonsense
