import numpy as np
import pytest

from catpref.adaptive.learner import learn
from catpref.adaptive.prior import Prior
from catpref.adaptive.selection import expected_gains, expected_gains_of_pairs, unsure

RANDOM = np.random.default_rng(3)
PRIOR = Prior(tuple("abcdefgh"), RANDOM.standard_normal((8, 3)), RANDOM.standard_normal(8), 1.0)
POSTERIOR = learn(PRIOR, np.array([[0, 1], [2, 3], [4, 0]]), np.array([1.0, 0.0, 1.0]))


def test_gains_of_some_pairs_are_those_among_all() -> None:
    pairs = np.array([[0, 5], [7, 2], [3, 4]])
    every = expected_gains(PRIOR, POSTERIOR, np.arange(8))
    assert expected_gains_of_pairs(PRIOR, POSTERIOR, pairs) == pytest.approx(every[tuple(pairs.T)])


def test_differences_count_as_their_sign_is_unsure() -> None:
    utilities, expected = POSTERIOR.utilities(PRIOR), np.zeros((3, 3))
    for left in range(8):
        for right in set(range(8)) - {left}:
            apart = PRIOR.features[right] - PRIOR.features[left]
            variance = apart @ POSTERIOR.covariance[:-1, :-1] @ apart
            weight = np.exp(-((utilities[right] - utilities[left]) ** 2) / 2 / variance) / np.sqrt(variance)
            expected += weight * np.outer(apart, apart)
    found = unsure(PRIOR, POSTERIOR)
    assert found == pytest.approx(expected * found[0, 0] / expected[0, 0])
