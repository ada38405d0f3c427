import numpy as np
import pytest
from scipy.special import expit
from support import all_pairs

from catpref.models import bradley_terry


def test_known_images_are_told_and_new_ones_are_not() -> None:
    pairs = all_pairs(20)
    random = np.random.default_rng(0)
    worth = random.normal(0, 2, size=20)
    choices = (random.random(len(pairs)) < expit(worth[pairs[:, 1]] - worth[pairs[:, 0]])).astype(int)
    known = (pairs < 15).all(1)
    p_right = bradley_terry.fit_and_predict(pairs[known], choices[known], pairs)
    truth = expit(worth[pairs[:, 1]] - worth[pairs[:, 0]])
    assert np.corrcoef(p_right[known], truth[known])[0, 1] > 0.9
    assert (p_right[~known] == 0.5).all()


def test_swapped_sides_swap_the_answer() -> None:
    pairs = all_pairs(6)
    choices = (pairs[:, 1] > pairs[:, 0]).astype(int)
    forth = bradley_terry.fit_and_predict(pairs, choices, pairs)
    back = bradley_terry.fit_and_predict(pairs, choices, pairs[:, ::-1])
    np.testing.assert_allclose(forth + back, 1, atol=1e-12)
    assert ((forth > 0.5) == (choices == 1)).all()


def test_one_win_is_worth_what_the_prior_lets_it() -> None:
    (p_right,) = bradley_terry.fit_and_predict(np.array([(0, 1)]), np.array([1]), np.array([(0, 1)]))
    # The mode has u = (−x, x) with x = 1 − logistic(2 x), the prior's variance being one.
    assert np.log(p_right / (1 - p_right)) / 2 == pytest.approx(1 - p_right, abs=1e-3)


def test_no_test_trial_is_no_trouble() -> None:
    assert bradley_terry.fit_and_predict(np.array([(0, 1)]), np.array([1]), np.empty((0, 2), int)).shape == (
        0,
    )
