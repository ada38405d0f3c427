import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import all_pairs, simulations

from catpref.design.splits import Fold, split
from catpref.errors import BadInput

couples = st.tuples(st.integers(0, 30), st.integers(0, 30)).filter(lambda pair: pair[0] != pair[1])


def check(pairs: np.ndarray, made: list[Fold], folds: int) -> None:
    assert len(made) == folds
    tested = np.concatenate([test for _, test in made])
    assert len(np.unique(tested)) == len(tested), "no trial is tested twice"
    for train, test in made:
        assert len(train) >= 10 and len(test) >= 1
        assert not set(train) & set(test)


@settings(max_examples=simulations(30, 150), deadline=None)
@given(st.lists(couples, min_size=1, max_size=120), st.integers(2, 6), st.integers(0, 5))
def test_by_images_nothing_leaks(trials: list[tuple[int, int]], folds: int, seed: int) -> None:
    pairs = np.unique(trials, return_inverse=True)[1].reshape(-1, 2)
    try:
        made = split(pairs, "images", folds, seed)
    except BadInput:
        return
    check(pairs, made, folds)
    for train, test in made:
        assert not set(pairs[train].ravel()) & set(pairs[test].ravel())


@settings(max_examples=simulations(30, 150), deadline=None)
@given(st.lists(couples, min_size=1, max_size=120), st.integers(2, 6), st.integers(0, 5))
def test_by_trials_every_trial_is_tested_and_repeats_stay_together(
    trials: list[tuple[int, int]], folds: int, seed: int
) -> None:
    pairs = np.unique(trials, return_inverse=True)[1].reshape(-1, 2)
    try:
        made = split(pairs, "trials", folds, seed)
    except BadInput:
        return
    check(pairs, made, folds)
    for train, test in made:
        assert len(train) + len(test) == len(pairs)
        assert not {frozenset(pairs[trial]) for trial in train} & {frozenset(pairs[trial]) for trial in test}


def test_disjoint_pairs_lose_no_trial() -> None:
    pairs = np.random.default_rng(0).permutation(200).reshape(-1, 2)
    pairs = np.concatenate([pairs, pairs[:15, ::-1]])  # repeats
    made = split(pairs, "images", 5, 0)
    check(pairs, made, 5)
    assert sum(len(test) for _, test in made) == len(pairs)
    assert all(len(train) + len(test) == len(pairs) for train, test in made)
    assert {len(test) for _, test in made} == {23}


def test_repeats_stay_together_by_trials_whatever_their_sides() -> None:
    pairs = np.concatenate([all_pairs(12), all_pairs(12)[:, ::-1]])
    for train, test in split(pairs, "trials", 5, 0):
        assert not {frozenset(pair) for pair in pairs[train].tolist()} & {
            frozenset(pair) for pair in pairs[test].tolist()
        }
        assert len(test) % 2 == 0


def test_images_that_are_connected_stay_together_and_lose_no_trial() -> None:
    # Chains of 8, 4, 3, 2, 2 and 1 trials.
    chains = np.cumsum([0, 9, 5, 4, 3, 3, 2])
    pairs = np.array([(k, k + 1) for k in range(chains[-1] - 1) if k + 1 not in chains])
    made = split(pairs, "images", 2, 0)
    assert sorted(len(test) for _, test in made) == [10, 10]
    assert all(len(train) + len(test) == 20 for train, test in made)


def test_a_fully_sampled_session_is_split_as_its_images_are() -> None:
    pairs = all_pairs(50)
    made = split(pairs, "images", 5, 0)
    check(pairs, made, 5)
    assert {(len(train), len(test)) for train, test in made} == {(40 * 39 // 2, 10 * 9 // 2)}
    assert len({image for _, test in made for image in pairs[test].ravel()}) == 50


@pytest.mark.parametrize("trials", [20, 40, 100, 300])
@pytest.mark.parametrize("seed", range(3))
def test_the_beginning_of_a_fully_sampled_session_can_be_split(trials: int, seed: int) -> None:
    pairs = np.random.default_rng(seed).permutation(all_pairs(50))[:trials]
    pairs = np.unique(pairs, return_inverse=True)[1].reshape(-1, 2)
    check(pairs, split(pairs, "images", 5, seed), 5)


def test_twenty_random_trials_can_be_split() -> None:
    pairs = np.arange(40).reshape(-1, 2)
    made = split(pairs, "images", 5, 0)
    assert {(len(train), len(test)) for train, test in made} == {(16, 4)}


@pytest.mark.parametrize("by", ["images", "trials"])
def test_the_seed_decides(by: str) -> None:
    pairs = all_pairs(20)
    first, again, other = (
        np.concatenate([test for _, test in split(pairs, by, 4, seed)]) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert len(first) != len(other) or (first != other).any()


@pytest.mark.parametrize("by", ["images", "trials"])
@pytest.mark.parametrize(
    ("pairs", "folds", "said"),
    [
        (all_pairs(20), 1, "folds=1"),
        (all_pairs(20), 191, "too few for 191 folds"),
        (all_pairs(20), 2**32 - 1, "too few"),
        (all_pairs(4), 2, "6 trials of 4 images are too few for 2 folds"),
        (np.array([(0, 1)] * 50), 2, "50 trials of 2 images are too few for 2 folds"),
        (np.array([(0, 1)]), 2, "1 trials of 2 images"),
    ],
)
def test_too_little_for_the_folds_is_bad_input(by: str, pairs: np.ndarray, folds: int, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        split(pairs, by, folds, 0)


# ---- adaptive sessions -------------------------------------------------------------------------------------


def adaptive(trials: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Every fifth trial is of two images of its own, the others are of few images that others have, too."""
    random = np.random.default_rng(seed)
    is_fair = np.arange(trials) % 5 == 0
    pairs = np.empty((trials, 2), int)
    pairs[is_fair] = np.arange(2 * is_fair.sum()).reshape(-1, 2)
    pairs[~is_fair] = [
        2 * is_fair.sum() + random.choice(20, 2, replace=False) for _ in range((~is_fair).sum())
    ]
    return np.unique(pairs, return_inverse=True)[1].reshape(-1, 2), is_fair


@pytest.mark.parametrize("by", ["images", "trials"])
@pytest.mark.parametrize("seed", range(5))
def test_adaptive_trials_are_always_learned_from_and_never_tested(by: str, seed: int) -> None:
    pairs, is_fair = adaptive(100, seed)
    made = split(pairs, by, 5, seed, is_fair=is_fair)
    check(pairs, made, 5)
    assert sorted(np.concatenate([test for _, test in made])) == np.flatnonzero(is_fair).tolist()
    for train, test in made:
        assert set(np.flatnonzero(~is_fair)) <= set(train) and len(test) == 4
        assert not set(pairs[train].ravel()) & set(pairs[test].ravel())


@pytest.mark.parametrize("by", ["images", "trials"])
def test_an_adaptive_trial_with_a_test_trial_s_images_is_not_learned_from(by: str) -> None:
    """As where another person's adaptive trials show what was reserved."""
    pairs, is_fair = adaptive(100, 0)
    pairs = np.concatenate([pairs, pairs[:5, ::-1]])
    is_fair = np.append(is_fair, np.zeros(5, bool))
    for train, test in split(pairs, by, 5, 0, is_fair=is_fair):
        assert (100 in train) == (0 not in test) and {101, 102, 103, 104} <= set(train)


def test_too_few_random_trials_are_called_so() -> None:
    pairs, is_fair = adaptive(20, 0)
    with pytest.raises(BadInput, match="4 random trials beside 16 adaptive ones are too few for 5 folds"):
        split(pairs, "images", 5, 0, is_fair=is_fair)


def test_where_all_trials_are_fair_folds_are_as_ever() -> None:
    pairs = all_pairs(20)
    for by in ("images", "trials"):
        plain, fair = (split(pairs, by, 4, 0, is_fair=each) for each in (None, np.ones(len(pairs), bool)))
        for (train, test), (same, also) in zip(plain, fair, strict=True):
            np.testing.assert_array_equal(train, same)
            np.testing.assert_array_equal(test, also)
