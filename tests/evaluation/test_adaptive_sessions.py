"""Adaptive sessions: what is unbiased on random trials is not on all trials."""

from typing import NamedTuple

import numpy as np
import pytest
from adaptive_sessions import answer, most_unsure, prior_of
from scipy.special import expit

from catpref.design.splits import Fold, split
from catpref.evaluation import sampling
from catpref.evaluation.choice_model import check
from catpref.evaluation.noise_ceiling import noise_ceiling
from catpref.evaluation.sampling import p_value, simulate
from catpref.models import psychometric
from catpref.models.kernels import right_minus_left

SESSIONS = 10
STRONG = 3.0  # logits of a typical pair


class Session(NamedTuple):
    features: np.ndarray
    worth: np.ndarray
    pairs: np.ndarray
    choices: np.ndarray
    is_fair: np.ndarray
    weights: np.ndarray


def session(seed: int, taste: float = 1.0, trials: int = 60) -> Session:
    """Answers of an observer who likes four features of the images; most pairs are those least sure before."""
    random = np.random.default_rng(seed)
    prior = prior_of(random.normal(size=(trials, 4)), STRONG)
    weights = taste * random.normal(size=4)
    worth = prior.features @ weights
    pairs, choices, chosen_by = answer(prior, worth, trials, seed, choose=most_unsure, every=3)
    return Session(prior.features, worth, pairs, choices, chosen_by == "random", weights)


def cross_validated(one: Session, folds: list[Fold]) -> float:
    scaled = one.features / sampling._scale(one.features, one.pairs)
    hits = sampling._hits(scaled[None], one.pairs, 2.0 * one.choices - 1, folds)[0]
    return float(hits) / sum(len(test) for _, test in folds)


def truth(one: Session, folds: list[Fold]) -> float:
    """The accuracy on new images of what the folds' training trials teach."""
    spread = one.features.std(0)
    new = np.random.default_rng(0).normal(size=(2, 4000, 4)) * spread
    p_right = expit((new[1] - new[0]) @ one.weights)
    reached = []
    for train, _ in folds:
        seen = right_minus_left(one.features, one.pairs[train]) / sampling._scale(one.features, one.pairs)
        answers = 2.0 * one.choices[train] - 1
        learned = sampling._ridge(seen.T @ seen, (seen.T @ (answers - answers.mean()))[:, None])[:, 0]
        reached.append(np.where((new[1] - new[0]) @ learned > 0, p_right, 1 - p_right).mean())
    return float(np.mean(reached))


def test_accuracy_is_unbiased_on_random_trials_and_far_too_low_on_all() -> None:
    """All trials, adaptive ones among them, would make a good model look hardly better than chance."""
    on_random, on_all, true = [], [], []
    for seed in range(SESSIONS):
        one = session(seed)
        folds = split(one.pairs, "images", 4, seed, is_fair=one.is_fair)
        on_random.append(cross_validated(one, folds))
        on_all.append(cross_validated(one, split(one.pairs, "trials", 4, seed)))
        true.append(truth(one, folds))
    error = np.std(np.subtract(on_random, true)) / np.sqrt(SESSIONS)
    assert abs(np.mean(on_random) - np.mean(true)) < 2.5 * error, (np.mean(on_random), np.mean(true), error)
    assert np.mean(on_all) < np.mean(true) - 0.08, "else the planted fault would not be seen"


def test_without_taste_no_p_value_is_more_likely_than_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "PERMUTATIONS", 39)
    found = []
    for seed in range(20):
        one = session(seed, taste=0.0)
        folds = split(one.pairs, "images", 4, seed, is_fair=one.is_fair)
        found.append(p_value(one.features, one.pairs, one.choices, folds, seed, one.is_fair))
    assert np.mean(np.array(found) <= 0.05) <= 0.2 and 0.35 < np.mean(found) < 0.7


def test_a_taste_is_found_though_most_answers_were_unsure() -> None:
    one = session(3, trials=100)
    folds = split(one.pairs, "images", 4, 0, is_fair=one.is_fair)
    assert p_value(one.features, one.pairs, one.choices, folds, 0, one.is_fair) < 0.05


def test_the_noise_ceiling_is_that_of_pairs_at_random() -> None:
    """One model of all trials takes pairs that were chosen to be alike for those of an inconsistent observer."""
    repeated = []
    for seed in range(2):
        one = session(seed, trials=100)
        again = np.flatnonzero(one.is_fair)
        random = np.random.default_rng(seed)
        logits = right_minus_left(one.worth, one.pairs[again])
        shown = np.concatenate([one.pairs, one.pairs[again][:, ::-1]])
        answers = np.append(one.choices, random.random(len(again)) < expit(-logits))
        is_fair = np.append(one.is_fair, np.ones(len(again), bool))
        true = expit(logits)
        both = psychometric.fit(shown, answers, is_fair), psychometric.fit(shown, answers)
        repeated.append((np.maximum(true, 1 - true).mean(), *(each.noise_ceiling for each in both)))
    true, fair, every = np.mean(repeated, axis=0)
    assert abs(fair - true) < 0.12 and every < fair - 0.08, (true, fair, every)


def test_adaptive_trials_tell_of_the_side_bias() -> None:
    random = np.random.default_rng(0)
    prior = prior_of(random.normal(size=(100, 4)), STRONG)
    pairs, choices, chosen_by = answer(
        prior, prior.features @ random.normal(size=4), 100, 0, 1.0, choose=most_unsure, every=3
    )
    is_fair = chosen_by == "random"
    alone, both = (
        psychometric.fit(pairs[is_fair], choices[is_fair]),
        psychometric.fit(pairs, choices, is_fair),
    )
    widths = [each.side_bias_ci95[1] - each.side_bias_ci95[0] for each in (alone, both)]
    assert widths[1] < 0.8 * widths[0] and both.side_bias_ci95[0] < 1 < both.side_bias_ci95[1]


def test_intervals_are_of_the_random_trials() -> None:
    one = session(0, trials=100)
    folds = split(one.pairs, "images", 4, 0, is_fair=one.is_fair)
    observer = psychometric.fit(one.pairs, one.choices, one.is_fair)
    found = simulate(one.features, one.pairs, folds, observer, 0, one.is_fair)
    low, high = found.interval(0.75)
    assert high - low > 0.2, "twenty trials, not a hundred"


def test_without_random_trials_there_is_no_ceiling() -> None:
    observer = psychometric.fit(*session(0)[2:4], np.zeros(60, bool))
    found = noise_ceiling(None, observer, any_is_fair=False)
    assert (found.accuracy, found.ci95, found.method) == (None, None, "not known without random trials")


def test_pairs_that_were_asked_again_because_of_an_answer_say_nothing_of_consistency() -> None:
    pairs = np.tile([(0, 1), (2, 3)], (30, 1))
    choices = np.tile([0, 1, 1, 0], 15)
    is_fair = np.zeros(60, bool)
    assert next(c for c in check(pairs, choices) if c.name == "repeated pairs").estimate == 0
    for name in ("repeated pairs", "deviance"):
        found = next(one for one in check(pairs, choices, is_fair=is_fair) if one.name == name)
        assert found.p_value is found.estimate is None
