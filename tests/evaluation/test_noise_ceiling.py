import numpy as np
import pytest
from scipy.special import expit
from support import all_pairs, most, simulations

from catpref.evaluation.noise_ceiling import noise_ceiling, taste_ceiling
from catpref.models import psychometric

DISJOINT = np.arange(400).reshape(-1, 2)


def ceiling_of(
    pairs: np.ndarray, seed: int, spread: float, side_bias: float = 0.0, lapse: float = 0.0
) -> tuple[float | None, tuple[float, float] | None, float]:
    """The ceiling found, its interval, and the true one."""
    random = np.random.default_rng((seed, 1))
    worth = random.normal(0, spread, size=int(pairs.max()) + 1)
    p_right = lapse / 2 + (1 - lapse) * expit(worth[pairs[:, 1]] - worth[pairs[:, 0]] + side_bias)
    choices = (random.random(len(pairs)) < p_right).astype(int)
    found = noise_ceiling(None, psychometric.fit(pairs, choices))
    return found.accuracy, found.ci95, float(np.maximum(p_right, 1 - p_right).mean())


@pytest.mark.parametrize(
    ("spread", "side_bias", "lapse"), [(1.5, 0.0, 0.0), (1.0, 2.0, 0.0), (1.5, 0.5, 0.1)]
)
def test_a_fully_sampled_session_tells_its_ceiling(spread: float, side_bias: float, lapse: float) -> None:
    pairs, errors, inside = all_pairs(50), [], 0
    runs = simulations(2, 16)
    for seed in range(runs):
        found, interval, truth = ceiling_of(pairs, seed, spread, side_bias, lapse)
        assert found is not None and interval is not None
        errors.append(found - truth)
        inside += interval[0] <= truth <= interval[1]
    assert np.abs(errors).max() < 0.035 and abs(np.mean(errors)) < 0.015
    assert inside >= runs - most(runs)


def test_repeats_of_pairs_narrow_it() -> None:
    repeated = np.concatenate([DISJOINT, DISJOINT[:50, ::-1]])
    inside, widths = 0, np.zeros(2)
    runs = simulations(2, 16)
    for seed in range(runs):
        for place, pairs in enumerate((DISJOINT, repeated)):
            _, interval, truth = ceiling_of(pairs, seed, 1.5)
            assert interval is not None
            inside += interval[0] <= truth <= interval[1]
            widths[place] += interval[1] - interval[0]
    assert inside >= 2 * runs - most(2 * runs) and widths[1] < 0.9 * widths[0]


def test_what_is_not_known_is_not_made_up() -> None:
    observer = psychometric.fit(DISJOINT[:20], np.tile([0, 1], 10))
    found = noise_ceiling(None, observer)
    assert found.accuracy is None and found.ci95 is not None
    assert found.method == f"not known better than {found.ci95[0]:.2f} to {found.ci95[1]:.2f}"
    assert noise_ceiling(0.8, observer).accuracy == 0.8, "a simulated observer knows"


def test_a_ceiling_that_may_be_chance_has_no_number() -> None:
    """None is below 0.5: on average, numbers for someone who chooses at random were 0.03 too high."""
    choices = np.random.default_rng(0).integers(2, size=1225)
    found = noise_ceiling(None, psychometric.fit(all_pairs(50), choices))
    assert found.accuracy is None and found.ci95 is not None
    assert found.ci95[0] == 0.5 and found.ci95[1] < 0.6


def test_what_a_simulated_observer_knows_is_of_taste_where_they_prefer_no_side() -> None:
    pairs = all_pairs(30)
    for side_bias in (0.0, 2.0):
        random = np.random.default_rng(1)
        worth = random.normal(0, 1.5, size=30)
        p_right = expit(worth[pairs[:, 1]] - worth[pairs[:, 0]] + side_bias)
        observer = psychometric.fit(pairs, (random.random(len(pairs)) < p_right).astype(int))
        found = taste_ceiling(0.8, observer)
        assert (found.accuracy == 0.8) == (side_bias == 0)
        assert found.ci95 == (None if side_bias == 0 else observer.taste_ceiling_ci95)
