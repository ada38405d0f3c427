import numpy as np
import pytest
from adaptive_support import made_up_prior

from catpref.adaptive.chooser import Answer, choose, learn_from, share_gained
from catpref.adaptive.prior import Prior, read_prior, write_prior
from catpref.adaptive.schedule import make_schedule, reserved_images
from catpref.design.trial_list import ADAPTIVE, RANKING, Trial

NAMES = [f"{number:03d}.png" for number in range(80)]


def run(prior: Prior, schedule: list[Trial], trials: int, seed: int = 5) -> list[Answer]:
    """Answer the first trials by the first feature; every seventh with no answer, every eleventh with a tie."""
    worth = dict(zip(prior.images, prior.features[:, 0], strict=True))
    answers: list[Answer] = []
    for number in range(trials):
        trial = choose(prior, learn_from(prior, schedule, answers), schedule, answers, seed)
        choice = float(worth[trial.right_image] > worth[trial.left_image])
        choice = None if number % 7 == 6 else 0.5 if number % 11 == 10 else choice
        answers.append(Answer(trial.left_image, trial.right_image, choice))
    return answers


@pytest.mark.parametrize("design", [ADAPTIVE, RANKING])
def test_adaptive_trials_show_what_is_not_reserved_and_no_image_twice_in_a_row(design):
    prior, schedule = made_up_prior(NAMES), make_schedule(NAMES, 60, catch=4, seed=2, design=design)
    answers = run(prior, schedule, len(schedule))
    reserved = reserved_images(schedule)
    for number, (trial, answer) in enumerate(zip(schedule, answers, strict=True)):
        shown = {answer.left_image, answer.right_image}
        assert len(shown) == 2
        if trial.is_open:
            assert not shown & reserved
        else:
            assert (answer.left_image, answer.right_image) == (trial.left_image, trial.right_image)
        assert not number or not shown & {answers[number - 1].left_image, answers[number - 1].right_image}


def test_the_same_answers_and_seed_give_the_same_pair_and_other_ones_another():
    prior, schedule = made_up_prior(NAMES), make_schedule(NAMES, 30, seed=2)
    answers = run(prior, schedule, 17)

    def following(answers: list[Answer], seed: int = 5) -> Trial:
        return choose(prior, learn_from(prior, schedule, answers), schedule, answers, seed)

    assert following(answers) == following(list(answers))
    others = [Answer(one.left_image, one.right_image, 1.0 - (one.choice or 0)) for one in answers]
    assert following(others) != following(answers)


def test_time_outs_and_catch_trials_teach_nothing():
    prior, schedule = made_up_prior(NAMES), make_schedule(NAMES, 40, catch=8, seed=2)
    answers = run(prior, schedule, 30)
    posterior = learn_from(prior, schedule, answers)
    flipped = [
        Answer(one.left_image, one.right_image, None if one.choice is None else 1 - one.choice)
        if trial.catch else one
        for trial, one in zip(schedule, answers, strict=False)
    ]  # fmt: skip
    assert flipped != answers
    np.testing.assert_array_equal(learn_from(prior, schedule, flipped).weights, posterior.weights)
    silent = [Answer(one.left_image, one.right_image, None) for one in answers]
    assert not learn_from(prior, schedule, silent).weights.any()


@pytest.mark.parametrize("design", [ADAPTIVE, RANKING])
def test_answers_gain_accuracy(design):
    prior, schedule = made_up_prior(NAMES), make_schedule(NAMES, 200, seed=2, design=design)
    answers = run(prior, schedule, 200)
    shares = [
        share_gained(prior, learn_from(prior, schedule, answers[:trials]), schedule)
        for trials in (0, 20, 200)
    ]
    assert shares[0] < 0.1 < shares[1] < shares[2] < 1


def test_a_prior_is_read_as_it_was_written_whatever_its_order_in_memory(tmp_path):
    prior = made_up_prior(NAMES)
    columns = Prior(prior.images, np.asfortranarray(prior.features), prior.mean, prior.side_bias_variance)
    write_prior(tmp_path / "prior.safetensors", columns)
    np.testing.assert_array_equal(read_prior(tmp_path / "prior.safetensors").features, prior.features)
