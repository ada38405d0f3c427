import dataclasses
from pathlib import Path

import numpy as np
import pytest
from support import all_pairs, cache_home, faces, true_utilities

from catpref.design.simulated_observers import read_parameters
from catpref.evaluation.attribution import contributions, shares
from catpref.models import utility
from catpref.models.utility import Utility
from catpref.perception.backbones import load_backbone
from catpref.perception.embeddings import DEFAULT, blocks, embed
from catpref.stimuli import catface

TYPICAL = {name: (low + high) / 2 for name, (low, high) in catface.PARAMETERS.items()}
FACES = 40


@pytest.fixture(scope="module")
def embeddings() -> np.ndarray:
    paths = sorted(faces().glob("*.png"))[:FACES]
    return embed(paths, load_backbone(), cache_folder=cache_home() / "catpref")


def fitted(embeddings: np.ndarray, worth: np.ndarray) -> Utility:
    pairs = all_pairs(FACES)
    noise = np.random.default_rng(0).logistic(size=len(pairs))
    choices = (worth[pairs[:, 1]] - worth[pairs[:, 0]] > noise).astype(int)
    return utility.fit(embeddings, pairs, choices, blocks(load_backbone(), DEFAULT))


@pytest.fixture(scope="module")
def model(embeddings: np.ndarray) -> Utility:
    return fitted(embeddings, 2 * true_utilities()[:FACES])


def test_the_contributions_add_up_to_the_utility(model: Utility, embeddings: np.ndarray) -> None:
    brought = contributions(model, embeddings, DEFAULT)
    assert brought.shape == (FACES, 8, 8)
    carried = dataclasses.replace(model, known=model.known + 1, gain=1.0).utilities(embeddings)[0]
    np.testing.assert_allclose(brought.sum((1, 2)), carried, atol=1e-3)
    assert shares(brought).sum() == pytest.approx(1)
    assert not shares(np.zeros((5, 8, 8))).any()


@pytest.mark.parametrize(("parameter", "rows", "columns"), [
    ("eye_size", slice(4, 6), slice(2, 6)),
    ("ear_size", slice(0, 3), slice(0, 8)),
    ("muzzle_size", slice(5, 8), slice(2, 6)),
])  # fmt: skip
def test_what_one_parameter_changes_is_found_in_its_place(
    embeddings: np.ndarray, tmp_path: Path, parameter: str, rows: slice, columns: slice
) -> None:
    """An observer who looks at one thing only; then two faces that differ in nothing else."""
    values = read_parameters(faces()).sort_index()[parameter].to_numpy()[:FACES]
    model = fitted(embeddings, 2 * (values - values.mean()) / values.std())
    assert shares(contributions(model, embeddings, DEFAULT))[rows, columns].sum() > 0.75
    low, high = catface.PARAMETERS[parameter]
    few, much = (catface.draw(TYPICAL | {parameter: low + part * (high - low)}) for part in (0.1, 0.9))
    few.save(tmp_path / "few.png")
    much.save(tmp_path / "much.png")
    both = embed([tmp_path / "few.png", tmp_path / "much.png"], load_backbone())
    brought = contributions(model, both, DEFAULT)
    change = brought[1] - brought[0]
    assert change.sum() > 1.5
    assert change[rows, columns].sum() > 0.75 * change.sum()
    assert np.abs(change[rows, columns]).sum() > 0.75 * np.abs(change).sum()
