import numpy as np
import pytest
from scipy.special import expit
from support import all_pairs, most, simulations

from catpref.replication.chance import accuracy_interval, p_value, unrelated_choices


@pytest.mark.parametrize(("hits", "trials", "low", "high"), [
    (15, 20, 0.5313, 0.8881),
    (20, 20, 0.8389, 1.0),
    (0, 10, 0.0, 0.2775),
    (81, 263, 0.2553, 0.3662),  # Newcombe (1998), table I
    (15, 148, 0.0624, 0.1605),
])  # fmt: skip
def test_disjoint_trials_have_wilsons_interval(hits: int, trials: int, low: float, high: float) -> None:
    pairs = np.arange(2 * trials).reshape(-1, 2)
    interval = accuracy_interval(np.arange(trials) < hits, pairs)
    assert interval == pytest.approx((low, high), abs=6e-5)


def test_trials_that_share_images_leave_more_doubt() -> None:
    pairs = all_pairs(20)
    random = np.random.default_rng(0)
    quality = random.normal(size=20)  # some images are predicted well and some are not
    hits = random.random(190) < expit(1 + quality[pairs].sum(1))
    shared = accuracy_interval(hits, pairs)
    apart = accuracy_interval(hits, np.arange(380).reshape(-1, 2))
    assert shared[0] < apart[0] < hits.mean() < apart[1] < shared[1]
    assert np.ptp(shared) > 1.3 * np.ptp(apart)
    assert accuracy_interval(hits, pairs) == shared, "the seed decides"
    assert accuracy_interval(hits, pairs, seed=1) != shared


def test_the_interval_covers_the_truth_of_shared_images() -> None:
    pairs, covered = all_pairs(15), 0
    runs = simulations(30, 120)
    for seed in range(runs):
        random = np.random.default_rng(seed)
        quality = random.normal(0, 1, size=15)
        truth = 0.6751  # E[logistic(1 + the sum of two such qualities)]
        low, high = accuracy_interval(random.random(105) < expit(1 + quality[pairs].sum(1)), pairs, seed)
        covered += low <= truth <= high
    assert covered >= runs - most(runs)


def test_a_few_hits_without_a_miss_are_no_proof() -> None:
    low, high = accuracy_interval(np.ones(6), all_pairs(4))
    assert low == pytest.approx(0.6097, abs=1e-4) and high == 1


def test_a_few_repeats_of_separate_pairs_hardly_widen_the_interval() -> None:
    pairs = np.array([(i, i + 1) for i in range(0, 600, 2)])
    hits = np.random.default_rng(0).random(300) < 0.7
    low, high = accuracy_interval(hits, pairs)
    repeated = np.concatenate([pairs, pairs[:15]]), np.concatenate([hits, hits[:15]])
    wider_low, wider_high = accuracy_interval(repeated[1], repeated[0])
    assert wider_high - wider_low == pytest.approx(high - low, rel=0.15)


def test_predictions_of_the_same_trial_are_no_new_evidence() -> None:
    pairs, hit = all_pairs(20), np.random.default_rng(0).random(190) < 0.7
    once = accuracy_interval(hit, pairs)
    rows = np.tile(np.arange(190), 5)
    again = accuracy_interval(hit[rows], pairs[rows], rows)
    assert again == pytest.approx(once, abs=0.01)
    alone, rows = np.arange(100).reshape(-1, 2), np.tile(np.arange(50), 4)
    assert accuracy_interval(hit[rows], alone[rows], rows) == accuracy_interval(hit[:50], alone)


@pytest.mark.parametrize("design", ["full", "random"])
def test_by_chance_every_p_value_is_as_likely_as_any_other(design: str) -> None:
    """Predictions by utilities that have nothing to do with the observer's, who has strong ones."""
    pairs = all_pairs(25) if design == "full" else np.arange(300).reshape(-1, 2)
    images, values = int(pairs.max()) + 1, []
    runs = simulations(30, 120)
    for seed in range(runs):
        random = np.random.default_rng(seed)
        worth, other = random.normal(0, 2, (2, images))
        choices = (worth[pairs[:, 1]] - worth[pairs[:, 0]] > random.logistic(size=len(pairs))).astype(int)
        p_right = expit(other[pairs[:, 1]] - other[pairs[:, 0]])
        unrelated = unrelated_choices(pairs, choices, 199, seed)
        assert unrelated.shape == (199, len(pairs)) and unrelated.mean() == pytest.approx(
            choices.mean(), abs=0.1
        )
        values.append(p_value((p_right > 0.5).astype(int), choices, unrelated))
    assert np.mean(np.array(values) < 0.1) <= 0.2 and 0.35 < np.mean(values) < 0.65


def test_a_model_that_predicts_has_a_small_p_value_and_a_constant_one_none() -> None:
    pairs, random = all_pairs(25), np.random.default_rng(0)
    worth = random.normal(0, 2, 25)
    p = expit(worth[pairs[:, 1]] - worth[pairs[:, 0]] + 0.8)
    choices = (random.random(len(pairs)) < p).astype(int)
    unrelated = unrelated_choices(pairs, choices, 199)
    assert p_value((p > 0.5).astype(int), choices, unrelated) == 1 / 200
    assert p_value(np.ones(len(pairs), int), choices, unrelated) > 0.1, "the side bias is theirs, too"
