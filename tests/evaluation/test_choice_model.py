import time

import numpy as np
import pytest
from scipy.special import expit
from support import all_pairs, most, simulations

from catpref.evaluation.choice_model import Check, check


def shown(
    random: np.random.Generator, images: int = 50, trials: int | None = None, repeats: int = 60
) -> np.ndarray:
    """Pairs in random order, all or so many at random, then some of them once more, sides drawn again."""
    pairs = (
        random.permutation(all_pairs(images)) if trials is None else random.integers(images, size=(trials, 2))
    )
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    again = pairs[random.choice(len(pairs), repeats, replace=False)]
    swap = random.random(repeats) < 0.5
    again[swap] = again[swap, ::-1]
    return np.concatenate([pairs, again])


def answers(
    random: np.random.Generator, logits: np.ndarray, bias: float = 0.5, lapse: float = 0.05
) -> np.ndarray:
    return (random.random(len(logits)) < lapse / 2 + (1 - lapse) * expit(logits + bias)).astype(int)


def difference(worth: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    return worth[pairs[:, 1]] - worth[pairs[:, 0]]


def failed(checks: list[Check]) -> set[str]:
    return {one.name for one in checks if one.failed}


@pytest.mark.parametrize(
    ("images", "trials"), [(50, None), pytest.param(2000, 1000, marks=pytest.mark.thorough)]
)
def test_a_bradley_terry_observer_is_rarely_suspected(images: int, trials: int | None) -> None:
    p_values: dict[str, list[float]] = {}
    runs = simulations(12, 120)
    for seed in range(runs):
        random = np.random.default_rng(seed)
        pairs = shown(random, images, trials)
        worth = random.normal(0, (0.7, 1.5, 3)[seed % 3], images)
        for one in check(pairs, answers(random, difference(worth, pairs)), seed=seed):
            if one.p_value is not None:
                p_values.setdefault(one.name, []).append(one.p_value)
    assert {"drift", "consistency drift", "side bias drift", "choice repetition", "repeated pairs"} <= set(
        p_values
    )
    assert ({"transitivity", "deviance"} <= set(p_values)) == (images == 50)
    suspected = {name: np.sum(np.array(values) <= 0.05) for name, values in p_values.items()}
    assert max(suspected.values()) <= most(runs), suspected


def test_a_coin_flipper_is_rarely_suspected() -> None:
    p_values, runs = [], simulations(20, 150)
    for seed in range(runs):
        random = np.random.default_rng(seed)
        pairs = shown(random, 30)
        p_values.append([one.p_value for one in check(pairs, random.integers(2, size=len(pairs)), seed=seed)])
    assert (np.sum(np.array(p_values, float) <= 0.05, axis=0) <= most(runs)).all()


@pytest.mark.parametrize("change", ["turned", "drawn again"])
@pytest.mark.parametrize(("images", "trials"), [(50, None), (200, 1000)])
def test_an_observer_who_changes_their_mind_is_found(change: str, images: int, trials: int | None) -> None:
    for seed in range(simulations(2, 5)):
        random = np.random.default_rng(seed)
        pairs = shown(random, images, trials)
        worth = random.normal(0, 1.5, images)
        other = -worth if change == "turned" else random.normal(0, 1.5, images)
        half = len(pairs) // 2
        logits = np.concatenate([difference(worth, pairs[:half]), difference(other, pairs[half:])])
        checks = check(pairs, answers(random, logits))
        assert "drift" in failed(checks)
        drift = next(one for one in checks if one.name == "drift")
        assert drift.estimate is not None and drift.estimate < 0.3 and drift.advice is not None


@pytest.mark.parametrize("part", [0.15, 0.3, 0.8])
def test_a_change_of_mind_is_found_whenever_it_comes(part: float) -> None:
    for seed in range(simulations(1, 3)):
        random = np.random.default_rng(seed)
        pairs = random.permutation(all_pairs(50))
        worth = random.normal(0, 0.8, 50)
        sign = np.where(np.arange(len(pairs)) < part * len(pairs), 1, -1)
        drift = check(pairs, answers(random, sign * difference(worth, pairs)))[2]
        assert drift.name == "drift" and drift.failed
        assert drift.estimate is not None and drift.estimate < 0
        named = int(drift.finding.split("after about ")[1].split("%")[0])
        assert named == pytest.approx(100 * part, abs=10)


@pytest.mark.parametrize(("change", "said"), [("learns", "more consistent"), ("tires", "less consistent")])
def test_who_becomes_more_or_less_consistent_has_not_changed_their_mind(change: str, said: str) -> None:
    for seed in range(simulations(2, 20)):
        random = np.random.default_rng(seed)
        pairs = shown(random)
        along = np.linspace(0.1, 2, len(pairs)) if change == "learns" else np.linspace(2, 0.1, len(pairs))
        logits = along * difference(random.normal(0, 1.5, 50), pairs)
        checks = {one.name: one for one in check(pairs, answers(random, logits), seed=seed)}
        assert not checks["drift"].failed and checks["consistency drift"].failed
        assert said in checks["consistency drift"].finding
        estimate = checks["consistency drift"].estimate
        assert estimate is not None and (estimate > 0) == (change == "learns")


def test_who_presses_a_wrong_key_now_and_then_is_transitive() -> None:
    """Whose choices are surer than any logistic function of utilities, but for a few, once seemed not to be."""
    for seed in range(simulations(2, 20)):
        random = np.random.default_rng(seed)
        pairs = shown(random)
        better = difference(random.normal(0, 1.5, 50), pairs) > 0
        choices = better ^ (random.random(len(pairs)) < 0.02)
        assert "transitivity" not in failed(check(pairs, choices.astype(int), seed=seed))


def test_who_always_chooses_the_better_image_is_transitive() -> None:
    """Nothing is left over, of which the p-value once was 0."""
    pairs = all_pairs(20)
    checks = {one.name: one for one in check(pairs, (pairs[:, 1] > pairs[:, 0]).astype(int))}
    assert checks["transitivity"].p_value == 1


def test_rock_paper_scissors_is_found() -> None:
    random = np.random.default_rng(0)
    pairs = shown(random, repeats=400)
    kind = np.arange(50) % 3
    logits = np.array([0.0, 2.0, -2.0])[(kind[pairs[:, 1]] - kind[pairs[:, 0]]) % 3]
    checks = check(pairs, answers(random, logits))
    assert {"transitivity", "deviance"} <= failed(checks)
    assert "drift" not in failed(checks)


def test_a_repeater_of_choices_is_found_and_one_whose_side_changes() -> None:
    random = np.random.default_rng(1)
    pairs = shown(random)
    logits = difference(random.normal(0, 1.5, 50), pairs)
    choices = answers(random, logits)
    for trial in range(1, len(choices)):
        if random.random() < 0.2:
            choices[trial] = choices[trial - 1]
    assert failed(check(pairs, choices)) == {"choice repetition"}
    sides = np.where(np.arange(len(pairs)) < len(pairs) // 2, -1.0, 1.0)
    assert "side bias drift" in failed(check(pairs, answers(random, logits + sides)))


def test_choosing_by_side_disagrees_where_sides_are_swapped() -> None:
    random = np.random.default_rng(2)
    pairs = shown(random, repeats=200)
    (repeated,) = (
        one
        for one in check(pairs, answers(random, np.zeros(len(pairs)), 2.0))
        if one.name == "repeated pairs"
    )
    assert repeated.failed and "95% interval" in repeated.finding


def test_what_cannot_be_told_is_unknown() -> None:
    pairs = np.array([(0, 1), (2, 3), (4, 5), (6, 7)])
    checks = {one.name: one for one in check(pairs, np.array([0, 1, 1, 0]))}
    for name in ("transitivity", "deviance", "repeated pairs"):
        assert checks[name].p_value is None and checks[name].estimate is None and not checks[name].failed
    assert not failed(list(checks.values()))


def test_two_observers_with_opposite_tastes_do_not_drift() -> None:
    random = np.random.default_rng(3)
    pairs = shown(random)
    worth = random.normal(0, 1.5, 50)
    logits = difference(worth, pairs)
    both = np.concatenate([pairs, pairs])
    choices = answers(random, np.concatenate([logits, -logits]))
    assert "drift" not in failed(check(both, choices, np.repeat(["a", "b"], len(pairs))))
    assert "drift" in failed(check(both, choices))


@pytest.mark.parametrize(("images", "trials"), [(50, None), (2000, 1000)])
def test_it_takes_little_time(images: int, trials: int | None) -> None:
    random = np.random.default_rng(4)
    pairs = shown(random, images, trials)
    choices = answers(random, difference(random.normal(0, 1.5, images), pairs))
    started = time.process_time()
    check(pairs, choices)
    assert time.process_time() - started < 30  # what grows with the cube of the images takes longer
