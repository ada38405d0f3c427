import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from catpref.evaluation.sampling import Sampling
from catpref.evaluation.scores import Scores, areas, calibration_error, holm, lines, reliability
from catpref.evaluation.scores import score as score_with

DISJOINT = np.arange(40).reshape(-1, 2)
SAMPLING = Sampling(np.array([0.5, 0.9]), np.full(2, 0.05), np.full(2, 0.05))


def score(p_right: np.ndarray, choices: np.ndarray, pairs: np.ndarray, folds: np.ndarray) -> Scores:
    """Scores of predictions that have no side bias, each of a trial of its own."""
    return score_with(p_right, p_right, choices, pairs, folds, np.arange(len(pairs)), SAMPLING)


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


def test_folds_of_few_trials_do_not_count_as_collapsed_unless_all_are() -> None:
    folds = np.repeat([0, 1, 2, 3], [12, 2, 2, 2])
    pairs, choices = np.arange(36).reshape(-1, 2), np.tile([0, 1], 9)
    p_right = np.array([0.3, 0.7] * 6 + [0.8] * 6)
    assert not score(p_right, choices, pairs, folds).collapsed
    assert score(p_right[12:], choices[12:], pairs[12:], folds[12:]).collapsed
    assert score(np.where(folds == 0, 0.9, p_right), choices, pairs, folds).collapsed


def test_accuracy_is_of_taste_with_the_side_biased_figure_beside_it() -> None:
    random = np.random.default_rng(0)
    pairs, choices = np.arange(2000).reshape(-1, 2), (random.random(1000) < 0.73).astype(int)
    taste, everything = random.random(1000), np.arange(1000)
    scores = score_with(np.full(1000, 0.73), taste, choices, pairs, everything % 5, everything, SAMPLING)
    assert scores.accuracy == pytest.approx(0.5, abs=0.05)
    assert scores.accuracy_with_side_bias == pytest.approx(0.73, abs=0.04)
    flat = score_with(taste, np.full(1000, 0.5), choices, pairs, everything % 5, everything, SAMPLING)
    assert flat.calibration.slope is None and flat.auc == 0.5, "no line through one point"


def test_a_side_bias_that_each_fold_estimates_for_itself_is_neither_in_auc_nor_in_slope() -> None:
    """Where more right choices are held out, fewer are left to learn from: P(right) goes against the choices."""
    random = np.random.default_rng(0)
    folds, pairs = np.arange(1000) % 5, np.arange(2000).reshape(-1, 2)
    rate = np.linspace(0.65, 0.8, 5)[folds]
    learned_bias = logit(rate[::-1])
    for carried in (False, True):
        taste = random.normal(0, 2.0 if carried else 0.1, 1000)
        choices = (random.random(1000) < expit(carried * taste + logit(rate))).astype(int)
        p_right = expit(taste + learned_bias)
        found = score_with(p_right, expit(taste), choices, pairs, folds, np.arange(1000), SAMPLING)
        pooled, auc = roc_auc_score(choices, p_right), found.auc_ci95
        line = found.calibration
        assert auc is not None and line.slope is not None and line.slope_ci95 is not None
        assert auc[0] < 0.5 < auc[1] if not carried else (auc[0] + auc[1]) / 2 > pooled + 0.01
        assert line.slope_ci95[0] < carried < line.slope_ci95[1]
        assert carried or pooled < 0.45


def test_calibration_is_that_of_the_observer_who_answered() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 1.5, 4000)
    choices = (random.random(4000) < expit(0.5 * logits + 0.3)).astype(int)
    pairs = np.arange(8000).reshape(-1, 2)
    found = score(expit(logits), choices, pairs, np.arange(4000) % 5)
    line = found.calibration
    assert line.slope == pytest.approx(0.5, abs=0.06) and line.intercept == pytest.approx(0.3, abs=0.1)
    assert line.slope_ci95 is not None and line.slope_ci95[0] < 0.5 < line.slope_ci95[1] < 0.8
    assert found.ece > 4 * found.ece_if_calibrated
    honest = score(expit(logits), (random.random(4000) < expit(logits)).astype(int), pairs, np.zeros(4000))
    assert honest.ece < 1.6 * honest.ece_if_calibrated


def test_p_values_are_corrected_for_their_number() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


@pytest.mark.parametrize("decimals", [1, 12])
def test_areas_of_all_weightings_are_those_of_scikit_learn(decimals: int) -> None:
    random = np.random.default_rng(0)
    p_right, choices = random.random(80).round(decimals), random.integers(0, 2, 80)
    weights = random.integers(0, 4, (12, 80))
    ours = areas(p_right, choices, np.zeros(80), weights)
    for one, area in zip(weights, ours, strict=True):
        assert area == pytest.approx(roc_auc_score(choices, p_right, sample_weight=one), abs=1e-12)
    assert np.isnan(areas(p_right, np.ones(80, int), np.zeros(80), weights)).all()


def test_areas_compare_choices_of_the_same_fold_alone() -> None:
    p_right, choices = np.array([0.2, 0.1, 0.9, 0.8, 0.7]), np.array([1, 0, 1, 0, 0])
    weights = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    assert areas(p_right, choices, np.array([0, 0, 1, 1, 1]), weights) == pytest.approx([1, 1])
    assert np.isnan(areas(p_right, choices, np.array([0, 1, 0, 1, 1]), weights)).all(), (
        "no fold has both sides"
    )


def test_lines_of_all_weightings_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=200)
    choices = (random.random(200) < expit(0.7 * logits + 0.3)).astype(int)
    weights = random.integers(0, 4, (12, 200)).astype(float)
    for side_bias in (0.0, 0.5):
        ours = lines(logits, np.full(200, side_bias), choices, weights, np.zeros((1, 2)))
        for one, (slope, intercept) in zip(weights, ours, strict=True):
            known = LogisticRegression(C=1e4, tol=1e-10).fit(logits[:, None], choices, one)
            expected = (known.coef_[0, 0], known.intercept_[0] - side_bias)
            assert (slope, intercept) == pytest.approx(expected, abs=1e-4)
