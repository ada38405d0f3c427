import numpy as np
import pytest
from adaptive_sessions import answer, prior_of

from catpref.adaptive.learner import learn
from catpref.adaptive.progress import differences_of, expected_p_right
from catpref.evaluation.asked import Asked, blocks, follow


def made_up(count: int = 100) -> list[Asked]:
    """Every fifth trial is random, and of these the first half is missed."""
    return [
        Asked(trial, "adaptive" if trial % 5 else "random", 0.4, trial % 5 > 0 or trial > count / 2, 0.6)
        for trial in range(1, count + 1)
    ]


def test_each_pair_is_predicted_from_the_trials_before_it() -> None:
    random = np.random.default_rng(0)
    prior = prior_of(random.normal(size=(60, 4)))
    pairs, choices, chosen_by = answer(prior, prior.features @ random.normal(size=4), 50, 0, side_bias=1.0)
    found = follow(prior, pairs, choices, chosen_by)
    assert [one.trial for one in found] == list(range(1, 51))
    assert [one.chosen_by for one in found] == chosen_by.tolist()
    assert found[0].p_right_before == 0.5, "side bias set aside"
    for trial, one in enumerate(found):
        mean, sd = differences_of(
            prior, learn(prior, pairs[:trial], choices[:trial]), pairs[trial : trial + 1]
        )
        # Between two fits, answers are added one by one.
        assert one.p_right_before == pytest.approx(expected_p_right(mean, sd)[0], abs=0.02)
        assert one.hit == ((one.p_right_before > 0.5) == (choices[trial] == 1))
        sure = max(one.p_right_before, 1 - one.p_right_before)
        assert one.p_chosen_before == pytest.approx(sure if one.hit else 1 - sure)


def test_what_the_last_answers_were_does_not_change_what_was_known_before() -> None:
    random = np.random.default_rng(1)
    prior = prior_of(random.normal(size=(40, 3)))
    pairs, choices, chosen_by = answer(prior, prior.features @ random.normal(size=3), 30, 0)
    other = choices.copy()
    other[20:] = 1 - other[20:]
    first, second = (follow(prior, pairs, each, chosen_by) for each in (choices, other))
    assert first[:20] == second[:20] and first[20].p_right_before == second[20].p_right_before
    assert first[22].p_right_before != second[22].p_right_before


def test_more_is_known_at_the_end() -> None:
    random = np.random.default_rng(2)
    prior = prior_of(random.normal(size=(80, 3)), strength=3.0)
    pairs, choices, chosen_by = answer(prior, prior.features @ random.normal(size=3), 60, 0)
    found = follow(prior, pairs, choices, chosen_by)
    assert found[0].expected_accuracy < found[-1].expected_accuracy - 0.1


def test_repeats_of_random_pairs_and_ties_are_only_learned_from() -> None:
    prior = prior_of(np.random.default_rng(0).normal(size=(20, 3)))
    pairs = np.array([(0, 1), (2, 3), (1, 0), (4, 5), (4, 5)])
    how = np.array(["random", "adaptive", "random", "adaptive", "adaptive"])
    found = follow(prior, pairs, np.array([1, 0, 0, 0.5, 1]), how)
    assert [one.trial for one in found] == [1, 2, 5]


def test_random_trials_are_gathered_into_blocks_of_ten_or_more() -> None:
    found = blocks(made_up(100))
    assert [block.accuracy for block in found] == [0.0, 1.0]
    assert [block.trial for block in found] == [27.5, 77.5]
    assert all(0 <= block.low <= block.accuracy <= block.high <= 1 for block in found)
    assert blocks(made_up(45)) == [], "nine random trials say nothing"
    assert len(blocks(made_up(1000))) == 8
    assert blocks([one for one in made_up() if one.chosen_by == "adaptive"]) == []
