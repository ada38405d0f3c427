import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support import all_pairs, cache_home, faces, simulations, true_utilities

from catpref.design.simulated_observers import read_parameters
from catpref.evaluation.attribution import (
    RELIABLE,
    _contributions_of,
    _learn,
    agreement,
    contributions,
    shares,
)
from catpref.models import utility
from catpref.models.interface import Data, Images
from catpref.models.learned import learn
from catpref.models.utility import Utility
from catpref.perception.backbones import load_backbone
from catpref.perception.embeddings import DEFAULT, blocks, embed, layout
from catpref.stimuli import catface

TYPICAL = {name: (low + high) / 2 for name, (low, high) in catface.PARAMETERS.items()}
FACES = 40
GRID = "grid8"  # all of which has a place
LAYOUT = layout(load_backbone(), GRID)


@pytest.fixture(scope="module")
def embeddings() -> np.ndarray:
    paths = sorted(faces().glob("*.png"))[:FACES]
    return embed(paths, load_backbone(), GRID, cache_folder=cache_home() / "catpref")


def fitted(embeddings: np.ndarray, worth: np.ndarray) -> Utility:
    pairs = all_pairs(FACES)
    noise = np.random.default_rng(0).logistic(size=len(pairs))
    choices = (worth[pairs[:, 1]] - worth[pairs[:, 0]] > noise).astype(int)
    return utility.fit(embeddings, pairs, choices, blocks(load_backbone(), GRID))


@pytest.fixture(scope="module")
def model(embeddings: np.ndarray) -> Utility:
    return fitted(embeddings, 2 * true_utilities()[:FACES])


def test_the_contributions_add_up_to_the_utility(model: Utility, embeddings: np.ndarray) -> None:
    brought = contributions(model, embeddings, LAYOUT)
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
    assert shares(contributions(model, embeddings, LAYOUT))[rows, columns].sum() > 0.75
    low, high = catface.PARAMETERS[parameter]
    few, much = (catface.draw(TYPICAL | {parameter: low + part * (high - low)}) for part in (0.1, 0.9))
    few.save(tmp_path / "few.png")
    much.save(tmp_path / "much.png")
    both = embed([tmp_path / "few.png", tmp_path / "much.png"], load_backbone(), GRID)
    brought = contributions(model, both, LAYOUT)
    change = brought[1] - brought[0]
    assert change.sum() > 1.5
    assert change[rows, columns].sum() > 0.75 * change.sum()
    assert np.abs(change[rows, columns]).sum() > 0.75 * np.abs(change).sum()


@pytest.fixture(scope="module")
def session() -> Callable[..., Data]:
    """Return the session of an observer with given utilities, on images that are embedded once."""
    paths = sorted(faces().glob("*.png"))[:FACES]
    images = Images(paths, load_backbone(), DEFAULT, None, None, cache_home() / "catpref")
    pairs = all_pairs(FACES)
    kernels = Data(images, pairs, np.zeros(0)).kernels

    def answered(worth: np.ndarray, seed: int, pairs: np.ndarray = pairs) -> Data:
        noise = np.random.default_rng(seed).logistic(size=len(pairs))
        data = Data(images, pairs, (worth[pairs[:, 1]] - worth[pairs[:, 0]] > noise).astype(int), seed=seed)
        if len(pairs) == len(kernels.pairs):
            data.__dict__["kernels"] = kernels
        return data

    return answered


def test_contributions_are_those_of_the_utility(session: Callable[..., Data]) -> None:
    data = session(true_utilities()[:FACES], 0)
    learned = learn(data.kernels, data.choices, np.arange(300))
    ours = _contributions_of([_learn(data, np.arange(300))], data)[0]
    theirs = contributions(utility.project(learned, data.embeddings), data.embeddings, data.images.layout)
    np.testing.assert_allclose(ours, theirs.reshape(FACES, -1), atol=1e-4)


def test_halves_agree_where_a_taste_is_in_the_images(session: Callable[..., Data]) -> None:
    found = [
        agreement(session(1.25 * true_utilities()[:FACES], seed)) or 0.0 for seed in range(simulations(2, 8))
    ]
    assert np.mean(found) > RELIABLE, found


@pytest.mark.parametrize("sd", [0.0, 1.5], ids=["a coin-flipper", "a taste unrelated to the images"])
def test_halves_do_not_agree_where_none_is(session: Callable[..., Data], sd: float) -> None:
    worth = np.random.default_rng(9).normal(size=(simulations(4, 16), FACES)) * sd
    found = [agreement(session(each, seed)) or 0.0 for seed, each in enumerate(worth)]
    assert np.mean(found) < RELIABLE / 2, found


def test_a_session_too_short_to_be_halved_tells_nothing(session: Callable[..., Data]) -> None:
    assert agreement(session(np.zeros(FACES), 0, all_pairs(5))) is None
