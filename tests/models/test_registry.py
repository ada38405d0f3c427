"""A model is a file and a line: one that is added here is evaluated and reported like the others."""

from pathlib import Path

import numpy as np
import pytest
from support import cache_home, small_study

import catpref
from catpref.models import registry
from catpref.models.interface import Data, Model


class Constant:
    """Says the same of every trial."""

    def p_right(self, trials: np.ndarray) -> np.ndarray:
        return np.full(len(trials), 0.25)


@pytest.mark.usefixtures("quick_fits")
def test_one_line_adds_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def fit(data: Data, train: np.ndarray, test: np.ndarray | None) -> Constant:
        assert test is not None and not {*train} & {*test}
        seen.append(len(train))
        return Constant()

    monkeypatch.setitem(registry.MODELS, "constant", Model("constant", "a constant", fit))
    assert "constant" in registry.choosable()
    session = small_study(tmp_path / "lab")
    taste = catpref.learn(session, model="constant", folds=3, map_size=32, cache=cache_home() / "catpref")
    result = taste.scores.set_index("model").loc["constant"]
    choices = np.concatenate([result.held_out["choice"] for result in taste.analysis.results])  # type: ignore
    assert result["accuracy"] == pytest.approx(1 - choices.mean())
    assert result["n_train"] == round(np.mean(seen))
    assert taste.report(tmp_path / "out").read_text().count("a constant") >= 1
    assert "ridge" not in taste.scores["model"].tolist(), "no model needs embeddings"


def test_names_are_those_of_the_registry() -> None:
    assert all(model.name == name for name, model in registry.MODELS.items())
    assert set(registry.DEFAULT) <= set(registry.choosable())
