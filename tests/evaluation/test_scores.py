import numpy as np
import pytest
from scipy.special import expit
from support import all_pairs

from catpref.evaluation.noise_ceiling import noise_ceiling
from catpref.evaluation.scores import (
    accuracy_interval,
    calibration_error,
    reliability,
    resampled,
    score,
    unrelated_choices,
)

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


def test_folds_of_few_trials_do_not_count_as_collapsed_unless_all_are() -> None:
    folds = np.repeat([0, 1, 2, 3], [12, 2, 2, 2])
    pairs, choices = np.arange(36).reshape(-1, 2), np.tile([0, 1], 9)
    p_right = np.array([0.3, 0.7] * 6 + [0.8] * 6)
    assert not score(p_right, choices, pairs, folds).collapsed
    assert score(p_right[12:], choices[12:], pairs[12:], folds[12:]).collapsed
    assert score(np.where(folds == 0, 0.9, p_right), choices, pairs, folds).collapsed


def test_predictions_of_the_same_trial_are_no_new_evidence() -> None:
    pairs, hit = all_pairs(20), np.random.default_rng(0).random(190) < 0.7
    once = accuracy_interval(hit, pairs)
    rows = np.tile(np.arange(190), 5)
    again = accuracy_interval(hit[rows], pairs[rows], rows)
    assert again == pytest.approx(once, abs=0.01)
    alone, rows = np.arange(100).reshape(-1, 2), np.tile(np.arange(50), 4)
    assert accuracy_interval(hit[rows], alone[rows], rows) == accuracy_interval(hit[:50], alone)


def test_images_are_resampled_with_their_trials() -> None:
    pairs = all_pairs(6)
    for weights in resampled(pairs, 20):
        gone = [image for image in range(6) if not weights[(pairs == image).any(1)].any()]
        assert all(not weights[(pairs == image).any(1)].any() for image in gone)
        assert weights.any()
    assert np.mean([weights.mean() for weights in resampled(all_pairs(30), 400)]) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("design", ["full", "random"])
def test_by_chance_every_p_value_is_as_likely_as_any_other(design: str) -> None:
    """Predictions by utilities that have nothing to do with the observer's, who has strong ones."""
    pairs = all_pairs(25) if design == "full" else np.arange(300).reshape(-1, 2)
    images, values = int(pairs.max()) + 1, []
    for seed in range(60):
        random = np.random.default_rng(seed)
        worth, other = random.normal(0, 2, (2, images))
        choices = (worth[pairs[:, 1]] - worth[pairs[:, 0]] > random.logistic(size=len(pairs))).astype(int)
        p_right = expit(other[pairs[:, 1]] - other[pairs[:, 0]])
        unrelated = unrelated_choices(pairs, choices, 199, seed)
        assert unrelated.shape == (199, len(pairs)) and unrelated.mean() == pytest.approx(
            choices.mean(), abs=0.1
        )
        p_value = score(p_right, choices, pairs, np.zeros(len(pairs)), unrelated=unrelated).p_value
        assert p_value is not None
        values.append(p_value)
    assert np.mean(np.array(values) < 0.1) <= 0.2 and 0.35 < np.mean(values) < 0.65


def test_a_model_that_predicts_has_a_small_p_value_and_a_constant_one_none() -> None:
    pairs, random = all_pairs(25), np.random.default_rng(0)
    worth = random.normal(0, 2, 25)
    p = expit(worth[pairs[:, 1]] - worth[pairs[:, 0]] + 0.8)
    choices = (random.random(len(pairs)) < p).astype(int)
    unrelated = unrelated_choices(pairs, choices, 199)
    folds = np.zeros(len(pairs))
    assert score(p, choices, pairs, folds, unrelated=unrelated).p_value == 1 / 200
    always_right = score(np.full(len(pairs), 0.7), choices, pairs, folds, unrelated=unrelated).p_value
    assert always_right is not None and always_right > 0.1, "the side bias is theirs, too"
    assert score(np.full(len(pairs), 0.5), choices, pairs, folds, unrelated=unrelated).p_value == 1
