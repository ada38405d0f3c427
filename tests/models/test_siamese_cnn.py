import functools

import numpy as np
import pytest
import torch
from scipy.special import expit
from support import all_pairs

from catpref.models import siamese_cnn, utility
from catpref.models.siamese_cnn import SiameseCNN
from catpref.perception.embeddings import Layout

GRID, CHANNELS, IMAGES, SHOWN = 4, 6, 60, 40
LAYOUT = Layout(CHANNELS, GRID, 0)


def planted(seed: int = 0, side_bias: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings, pairs, choices and the noise-free choices of an observer who likes the first channel's top."""
    random = np.random.default_rng(seed)
    looks = random.normal(size=(IMAGES, CHANNELS, GRID, GRID)).astype(np.float32)
    worth = looks[:, 0, :2].mean((1, 2)) * 8
    pairs = all_pairs(IMAGES)
    difference = worth[pairs[:, 1]] - worth[pairs[:, 0]]
    choices = (random.random(len(pairs)) < expit(difference + side_bias)).astype(int)
    return looks.reshape(IMAGES, -1), pairs, choices, (difference > 0).astype(int)


def standards_of(looks: np.ndarray, pairs: np.ndarray, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    start = utility.fit(looks, pairs, choices)
    return start.centre, start.scale


def trained(seed: int = 0, mirror: bool = True, side_bias: float = 0.0) -> SiameseCNN:
    looks, pairs, choices, _ = planted(side_bias=side_bias)
    train = (pairs < SHOWN).all(1)
    standards = standards_of(looks, pairs[train], choices[train])
    new = (pairs >= SHOWN).all(1)
    test = pairs[new], choices[new]
    return siamese_cnn.fit(looks, pairs[train], choices[train], standards, LAYOUT, test, seed, mirror=mirror)


@functools.cache
def model() -> SiameseCNN:
    return trained()


def test_choices_between_new_images_are_predicted() -> None:
    looks, pairs, _, better = planted()
    new = (pairs >= SHOWN).all(1)
    hits = (model().p_right(looks, pairs[new]) > 0.5) == better[new]
    assert hits.mean() > 0.8
    assert len(model().history) == model().epochs + 1
    assert all(epoch.test_accuracy is not None and epoch.test_accuracy > 0.6 for epoch in model().history)


def test_swapping_the_sides_swaps_the_probabilities() -> None:
    looks, pairs, _, _ = planted()
    biased = trained(side_bias=1.0)
    there = biased.p_right(looks, pairs, side_bias=False)
    back = biased.p_right(looks, pairs[:, ::-1], side_bias=False)
    np.testing.assert_allclose(there + back, 1, atol=1e-6)
    assert np.abs(there - 0.5).max() > 0.1
    assert 0.6 < biased.side_bias < 1.4
    assert (biased.p_right(looks, pairs) > there).all()


def test_the_trunk_learns_what_no_line_can(monkeypatch: pytest.MonkeyPatch) -> None:
    # An observer who likes faces where the brightest cell is bright: the mean says little of the maximum.
    monkeypatch.setattr(siamese_cnn, "EPOCHS", 20)
    random = np.random.default_rng(0)
    looks = random.normal(size=(300, 2, GRID, GRID)).astype(np.float32)
    worth = 3 * np.abs(looks[:, 0]).max((1, 2))
    pairs = random.permutation(300).reshape(-1, 2)
    pairs = np.concatenate([pairs, *(random.permutation(300).reshape(-1, 2) for _ in range(11))])
    choices = (worth[pairs[:, 1]] > worth[pairs[:, 0]]).astype(int)
    flat = looks.reshape(300, -1)
    train, test = (pairs < 200).all(1), (pairs >= 200).all(1)
    standards = standards_of(flat, pairs[train], choices[train])
    followed = pairs[test], choices[test]
    seen = Layout(2, GRID, 0)
    history = siamese_cnn.fit(flat, pairs[train], choices[train], standards, seen, followed).history
    assert len(history) > 1, "the inner folds found that training helps"
    first, last = history[0].test_accuracy, history[-1].test_accuracy
    assert first is not None and last is not None and last > first + 0.1


def test_a_mirror_image_is_as_good_where_it_is_asked_for() -> None:
    components = torch.randn(5, 3, GRID, GRID)
    network = siamese_cnn._Network(3, Layout(3, GRID, 4), mirror=True)
    torch.nn.init.normal_(network.trunk[-1].weight)  # type: ignore[arg-type]
    flipped = components.flip(3)
    assert not torch.allclose(network.trunk(components), network.trunk(flipped))
    averages = torch.randn(5, 4)
    seen = [torch.cat([each.flatten(1), averages], dim=1) for each in (components, flipped)]
    both, mirrored = (network.look(each) - network.shortcut(each)[:, 0] for each in seen)
    torch.testing.assert_close(both, mirrored)
    assert not trained(mirror=False).networks[0].mirror


def test_what_is_saved_is_restored() -> None:
    looks, pairs, _, _ = planted()
    restored = siamese_cnn.restore(model().tensors(), model().layout)
    np.testing.assert_allclose(restored.p_right(looks, pairs), model().p_right(looks, pairs), atol=1e-6)
    with pytest.raises(ValueError, match="mixing is missing"):
        siamese_cnn.restore({"centre": model().centre}, model().layout)


def test_the_seed_decides() -> None:
    looks, pairs, _, _ = planted()
    np.testing.assert_array_equal(trained().p_right(looks, pairs), model().p_right(looks, pairs))


def test_too_few_images_to_leave_any_out_train_no_trunk() -> None:
    looks, pairs, choices, _ = planted()
    few = (pairs < 4).all(1)
    standards = standards_of(looks, pairs[few], choices[few])
    tiny = siamese_cnn.fit(looks, pairs[few], choices[few], standards, LAYOUT)
    assert tiny.epochs == 0 and tiny.gain == 1.0
    assert np.isfinite(tiny.p_right(looks, pairs)).all()


def test_passes_that_do_not_help_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, pairs, choices, _ = planted()
    train = (pairs < SHOWN).all(1)
    standards = standards_of(looks, pairs[train], choices[train])
    losses = iter([0.70, 0.68, 0.69, 0.69, 0.10])  # the last is never asked for
    monkeypatch.setattr(siamese_cnn, "fit_gain", lambda *_: (1.0, next(losses)))
    threads = torch.get_num_threads()
    stopped = siamese_cnn.fit(looks, pairs[train], choices[train], standards, LAYOUT)
    assert stopped.epochs == 1 and next(losses) == 0.10
    assert torch.get_num_threads() == threads, "what comes after has all threads again"
