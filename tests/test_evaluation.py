import numpy as np
import pytest
from scipy.special import expit
from support import all_pairs

from catpref.evaluation import accuracy_interval, calibration_error, noise_ceiling, reliability, score

DISJOINT = np.arange(40).reshape(-1, 2)


def test_scores_are_those_worked_out_by_hand() -> None:
    p_right = np.array([0.9, 0.8, 0.3, 0.4])
    choices = np.array([1, 0, 0, 1])
    scores = score(p_right, choices, DISJOINT[:4], np.zeros(4))
    assert scores.accuracy == 0.5
    assert scores.log_loss == pytest.approx(-np.log([0.9, 0.2, 0.7, 0.4]).mean())
    assert scores.brier == pytest.approx((0.01 + 0.64 + 0.09 + 0.36) / 4)
    assert scores.ece == pytest.approx((0.1 + 0.8 + 0.3 + 0.6) / 4)
    assert scores.auc == pytest.approx(3 / 4)
    assert not scores.collapsed


def test_half_a_prediction_is_half_a_hit_and_certainty_is_finite() -> None:
    scores = score(np.array([0.5, 0.5, 1.0, 0.0]), np.array([0, 1, 1, 1]), DISJOINT[:4], np.zeros(4))
    assert scores.accuracy == 0.5
    assert np.isfinite(scores.log_loss) and scores.log_loss > 5


def test_held_out_trials_of_one_side_have_no_auc() -> None:
    for choice in (0, 1):
        scores = score(np.array([0.4, 0.6]), np.full(2, choice), DISJOINT[:2], np.zeros(2))
        assert scores.auc is None and scores.accuracy == 0.5 and scores.brier == pytest.approx(0.26)


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
    quality = random.normal(size=20)  # some images are foreseen well and some are not
    hits = random.random(190) < expit(1 + quality[pairs].sum(1))
    shared = accuracy_interval(hits, pairs)
    apart = accuracy_interval(hits, np.arange(380).reshape(-1, 2))
    assert shared[0] < apart[0] < hits.mean() < apart[1] < shared[1]
    assert np.ptp(shared) > 1.3 * np.ptp(apart)
    assert accuracy_interval(hits, pairs) == shared, "the seed decides"
    assert accuracy_interval(hits, pairs, seed=1) != shared


def test_the_interval_covers_the_truth_of_shared_images() -> None:
    pairs, covered = all_pairs(15), 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        quality = random.normal(0, 1, size=15)
        truth = 0.6751  # E[logistic(1 + the sum of two such qualities)]
        low, high = accuracy_interval(random.random(105) < expit(1 + quality[pairs].sum(1)), pairs, seed)
        covered += low <= truth <= high
    assert covered >= 53


def test_a_few_hits_without_a_miss_are_no_proof() -> None:
    low, high = accuracy_interval(np.ones(6), all_pairs(4))
    assert low == pytest.approx(0.6097, abs=1e-4) and high == 1


def test_reliability_bins_are_tenths() -> None:
    p_right = np.array([0.0, 0.05, 0.1, 0.99, 1.0])
    bins = reliability(p_right, np.array([0, 1, 1, 1, 0]))
    np.testing.assert_allclose(bins, [(0.025, 0.5, 2), (0.1, 1, 1), (0.995, 0.5, 2)])
    assert calibration_error(p_right, np.array([0, 1, 1, 1, 0])) == pytest.approx(
        (2 * 0.475 + 0.9 + 2 * 0.495) / 5
    )


def test_honest_probabilities_are_calibrated() -> None:
    random = np.random.default_rng(0)
    p_right = random.random(20000)
    assert calibration_error(p_right, random.random(20000) < p_right) < 0.02
    assert calibration_error(p_right, random.random(20000) < expit(2 * (p_right - 0.5))) > 0.1


def test_a_model_that_says_the_same_in_most_folds_is_collapsed() -> None:
    folds = np.repeat([0, 1, 2], 4)
    choices = np.tile([0, 1], 6)

    def collapsed(p_right: list[float]) -> bool:
        return score(np.array(p_right), choices, DISJOINT[:12], folds).collapsed

    mixed = [0.2, 0.8, 0.3, 0.7]
    assert collapsed([0.6, 0.7, 0.8, 0.9] * 3)
    assert collapsed([0.5] * 12)
    assert collapsed([0.1] * 4 + [0.9] * 4 + mixed)
    assert not collapsed([0.1] * 4 + mixed * 2)


def repeated_session(p_chosen: float, repeats: int) -> tuple[np.ndarray, np.ndarray]:
    """An observer who takes the second image of each pair with one probability, shown twice, sides swapped."""
    random = np.random.default_rng(0)
    pairs = np.arange(2 * repeats).reshape(-1, 2)
    first = random.random(repeats) < p_chosen
    again = random.random(repeats) < p_chosen
    return np.concatenate([pairs, pairs[:, ::-1]]), np.concatenate([first, ~again]).astype(int)


@pytest.mark.parametrize("p_chosen", [0.6, 0.75, 0.9, 1.0])
def test_repeats_tell_the_noise_ceiling(p_chosen: float) -> None:
    ceiling = noise_ceiling(*repeated_session(p_chosen, 20000))
    assert ceiling.accuracy == pytest.approx(p_chosen, abs=0.02)
    assert ceiling.method == "self-agreement on 20000 repeated trials (upper bound)"


def test_repeats_are_counted_by_pair_whatever_their_sides() -> None:
    pairs = np.array([(0, 1), (1, 0), (0, 1), *[(2 * k, 2 * k + 1) for k in range(1, 10) for _ in range(2)]])
    choices = np.array([0, 1, 1, *[0] * 18])
    ceiling = noise_ceiling(pairs, choices)
    assert ceiling.method is not None and "10 repeated" in ceiling.method
    assert ceiling.accuracy == 1, "the third showing of the first pair does not count"
    contrary = np.where(np.arange(21) % 2, choices, 1 - choices)
    assert noise_ceiling(pairs, contrary).accuracy == pytest.approx(0.5)


@pytest.mark.parametrize(("noise", "side_bias"), [(1.0, 0.0), (0.4, 0.0), (1.0, 1.5)])
def test_a_fully_sampled_session_tells_its_ceiling_by_bradley_terry(noise: float, side_bias: float) -> None:
    pairs = all_pairs(50)
    errors = []
    for seed in range(3):
        random = np.random.default_rng(seed)
        worth = random.normal(0, 1.5, size=50) / noise
        p_right = expit(worth[pairs[:, 1]] - worth[pairs[:, 0]] + side_bias)
        ceiling = noise_ceiling(pairs, (random.random(len(pairs)) < p_right).astype(int))
        assert ceiling.method == "Bradley–Terry model of these images"
        assert ceiling.accuracy is not None
        errors.append(ceiling.accuracy - np.maximum(p_right, 1 - p_right).mean())
    assert np.abs(errors).max() < 0.03 and abs(np.mean(errors)) < 0.015


def test_what_is_not_known_is_not_made_up() -> None:
    ceiling = noise_ceiling(DISJOINT, np.tile([0, 1], 10))
    assert (ceiling.accuracy, ceiling.method) == (None, None)


def test_what_a_simulation_says_of_itself_counts_first() -> None:
    ceiling = noise_ceiling(*repeated_session(0.9, 100), known=0.8)
    assert (ceiling.accuracy, ceiling.method) == (0.8, "known (simulated observer)")


def test_two_people_who_disagree_are_not_one_who_wavers() -> None:
    pairs = np.array([(i, i + 1) for i in range(0, 60, 2)])
    choices = np.concatenate([np.zeros(30, int), np.ones(30, int)])
    twice = np.concatenate([pairs, pairs])
    assert noise_ceiling(twice, choices).accuracy == pytest.approx(0.5)
    assert noise_ceiling(twice, choices, observers=np.repeat(["p1", "p2"], 30)).accuracy is None


def test_a_few_repeats_of_separate_pairs_hardly_widen_the_interval() -> None:
    pairs = np.array([(i, i + 1) for i in range(0, 600, 2)])
    hits = np.random.default_rng(0).random(300) < 0.7
    low, high = accuracy_interval(hits, pairs)
    repeated = np.concatenate([pairs, pairs[:15]]), np.concatenate([hits, hits[:15]])
    wider_low, wider_high = accuracy_interval(repeated[1], repeated[0])
    assert wider_high - wider_low == pytest.approx(high - low, rel=0.15)
