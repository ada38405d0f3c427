import numpy as np
import pytest

from benchmarks import network

PEOPLE, IMAGES, NEW, TRIALS = 3, 200, 60, 2500


@pytest.mark.parametrize("taste", ["linear", "inverted U"])
def test_the_network_learns_what_no_line_can_and_harms_no_line(
    taste: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "_STEPS", 30)
    random = np.random.default_rng(0)
    coordinates = random.normal(size=(IMAGES, 4)) / 2
    left = random.integers(0, IMAGES, TRIALS)
    pairs = np.column_stack([left, (left + random.integers(1, IMAGES, TRIALS)) % IMAGES])
    real = network._Trials(random.integers(0, PEOPLE, TRIALS), pairs, np.zeros(TRIALS))
    answered = network._populations(real, coordinates)[taste]
    train, test = (np.flatnonzero(which.all(1)) for which in (pairs >= NEW, pairs < NEW))
    row = network._compare(answered, train, test, coordinates, len(train), seeds=1)
    if taste == "linear":
        assert abs(row["log_loss_difference"]) < 0.02
        assert row["accuracy_linear"] > 0.6
    else:
        assert row["log_loss_difference"] < -0.1 and row["accuracy_difference"] > 0.1


def test_swapping_the_sides_turns_the_probability_around() -> None:
    random = np.random.default_rng(0)
    pairs, who = random.integers(0, 30, (200, 2)), random.integers(0, 3, 200)
    trials = network._Trials(who, pairs, random.integers(0, 2, 200).astype(float))
    swapped = network._Trials(who, pairs[:, ::-1], trials.choices)
    *_, (utilities, _) = network._train(random.normal(size=(30, 4)), 3, trials, seed=0)
    there, back = (network._differences(utilities, each) for each in (trials, swapped))
    np.testing.assert_allclose(there, -back)
    assert np.abs(there).max() > 0.1
