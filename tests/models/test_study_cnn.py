import numpy as np
import pytest
import torch
from support import all_pairs
from torch import nn

from catpref.errors import BadInput
from catpref.models import study_cnn


def names_of(network: nn.Sequential) -> list[str]:
    return [type(layer).__name__ for layer in network]


def test_the_architecture_is_the_studys() -> None:
    network = study_cnn.build(512)
    dense = ["Linear", "ReLU", "Dropout"]
    assert names_of(network) == ["Conv2d", "MaxPool2d"] * 3 + ["Flatten"] + dense * 3 + ["Linear"]
    convolutions = [layer for layer in network if isinstance(layer, nn.Conv2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in convolutions] == [
        (1, 32),
        (32, 64),
        (64, 128),
    ]
    assert all(layer.kernel_size == (3, 3) and layer.padding == (0, 0) for layer in convolutions)
    assert all(layer.kernel_size == 2 for layer in network if isinstance(layer, nn.MaxPool2d))
    assert all(layer.p == 0.2 for layer in network if isinstance(layer, nn.Dropout))
    units = [(layer.in_features, layer.out_features) for layer in network if isinstance(layer, nn.Linear)]
    assert units == [
        (128 * 62 * 62, 128),
        (128, 64),
        (64, 32),
        (32, 2),
    ]  # 512 > 510 > 255 > 253 > 126 > 124 > 62


@pytest.mark.parametrize(("size", "side"), [(32, 2), (45, 3), (64, 6), (512, 62)])
def test_the_parameters_are_counted_by_hand(size: int, side: int) -> None:
    convolutions = (9 * 1 * 32 + 32) + (9 * 32 * 64 + 64) + (9 * 64 * 128 + 128)
    dense = (128 * side**2 * 128 + 128) + (128 * 64 + 64) + (64 * 32 + 32) + (32 * 2 + 2)
    assert sum(parameter.numel() for parameter in study_cnn.build(size).parameters()) == convolutions + dense


def test_the_shapes_fit_at_every_size() -> None:
    for size in (32, 33, 47, 64):
        assert study_cnn.build(size)(torch.zeros(3, 1, size, size)).shape == (3, 2)


def test_the_operations_are_counted_by_hand() -> None:
    assert study_cnn.operations(32) == 2 * 9 * (32 * 30**2 + 32 * 64 * 13**2 + 64 * 128 * 4**2)


def planted(trials: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Maps that are bright on the left or on the right, and choices of the brighter side."""
    random = np.random.default_rng(seed)
    choices = random.integers(0, 2, trials)
    maps = random.random((trials, 32, 32), dtype=np.float32) * 0.3
    for each, choice in zip(maps, choices, strict=True):
        each[:, 16 * choice : 16 * (choice + 1)] += 0.4
    return maps, choices


def test_what_can_be_learned_is_learned() -> None:
    maps, choices = planted(300, 0)
    model = study_cnn.fit(maps, choices, planted(100, 1))
    new, wanted = planted(100, 2)
    assert ((model.p_right(new) > 0.5) == wanted).mean() > 0.95
    assert len(model.history) == study_cnn.EPOCHS
    first, last = model.history[0], model.history[-1]
    assert last.loss < first.loss and last.accuracy > 0.95
    assert last.test_accuracy is not None and last.test_accuracy > 0.95
    assert last.test_loss is not None and last.test_loss < 0.3


def test_a_symmetric_map_does_not_tell_the_side() -> None:
    # A noise-free observer of 40 images; maps that say how far apart two images are, and not which is which.
    random = np.random.default_rng(0)
    looks = random.random((40, 32, 32), dtype=np.float32)
    worth = looks[:, :8, :8].mean((1, 2))
    pairs = all_pairs(40)
    choices = (worth[pairs[:, 1]] > worth[pairs[:, 0]]).astype(int)
    maps = np.square(looks[pairs[:, 1]] - looks[pairs[:, 0]])
    train, test = (pairs < 24).all(1), (pairs >= 24).all(1)
    model = study_cnn.fit(maps[train], choices[train])
    accuracy = ((model.p_right(maps[test]) > 0.5) == choices[test]).mean()
    assert abs(accuracy - 0.5) < 3 * 0.5 / np.sqrt(test.sum())


def test_the_seed_decides_and_others_draws_do_not() -> None:
    maps, choices = planted(40, 0)
    torch.manual_seed(1)
    first = study_cnn.fit(maps, choices, seed=3)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.rand(1) == after, "training leaves the generator alone"
    again, other = study_cnn.fit(maps, choices, seed=3), study_cnn.fit(maps, choices, seed=4)
    np.testing.assert_array_equal(first.p_right(maps), again.p_right(maps))
    assert first.history == again.history
    assert first.history != other.history


def test_the_held_out_trials_change_nothing() -> None:
    maps, choices = planted(40, 0)
    alone, followed = study_cnn.fit(maps, choices), study_cnn.fit(maps, choices, planted(10, 1))
    np.testing.assert_array_equal(alone.p_right(maps), followed.p_right(maps))
    assert alone.history[0].test_loss is None and followed.history[0].test_loss is not None


def test_what_is_saved_is_restored() -> None:
    maps, choices = planted(40, 0)
    model = study_cnn.fit(maps, choices)
    restored = study_cnn.restore(model.tensors(), 32, "cpu")
    np.testing.assert_array_equal(restored.p_right(maps), model.p_right(maps))
    p_right = model.p_right(maps)
    assert p_right.shape == (40,) and ((p_right > 0) & (p_right < 1)).all()
    np.testing.assert_allclose(model.p_right(maps[:1]), p_right[:1], atol=1e-6)


@pytest.mark.parametrize("size", [1, 31, 2049])
def test_maps_of_no_use_are_bad_input(size: int) -> None:
    with pytest.raises(BadInput, match=f"map_size={size}"):
        study_cnn.fit(np.zeros((2, size, size), np.float32), np.array([0, 1]))
