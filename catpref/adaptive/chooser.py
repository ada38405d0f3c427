"""The next trial of an adaptive session, given all answers so far: what a session, in the lab or simulated, calls.

Nothing is kept between calls, so that a session that was stopped, and resumed from its files, goes on with the same pair.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from catpref.adaptive.learner import Posterior, learn
from catpref.adaptive.prior import Prior
from catpref.adaptive.progress import gained
from catpref.adaptive.schedule import reserved_images
from catpref.adaptive.selection import next_pair
from catpref.design.trial_list import AT_RANDOM, RANKING, Trial


@dataclass(frozen=True, slots=True)
class Answer:
    """What was shown in a trial, and the choice: 0 left, 1 right, 0.5 no preference, None no answer."""

    left_image: str
    right_image: str
    choice: float | None


def learn_from(prior: Prior, schedule: Sequence[Trial], answers: Sequence[Answer]) -> Posterior:
    """Return what the answers to the first trials of a schedule teach; catch trials and time-outs teach nothing.

    Parameters
    ----------
    prior
        Of the session.
    schedule
        All its trials.
    answers
        To the first of them, in order.
    """
    number = {name: index for index, name in enumerate(prior.images)}
    taught = [
        answer
        for trial, answer in zip(schedule, answers, strict=False)
        if answer.choice is not None and not trial.catch
    ]
    pairs = [(number[answer.left_image], number[answer.right_image]) for answer in taught]
    choices = np.array([answer.choice for answer in taught], dtype=float)
    return learn(prior, np.array(pairs, dtype=int).reshape(-1, 2), choices)


def choose(
    prior: Prior, posterior: Posterior, schedule: Sequence[Trial], answers: Sequence[Answer], seed: int
) -> Trial:
    """Return the trial that comes after so many answers, with its images.

    Parameters
    ----------
    prior, schedule, answers
        As for `learn_from`.
    posterior
        What that returned.
    seed
        Of the session.
    """
    trial = schedule[len(answers)]
    if not trial.is_open:
        return trial
    number = {name: index for index, name in enumerate(prior.images)}
    reserved = reserved_images(schedule)
    near = _images_near(schedule, answers)
    candidates = [index for name, index in number.items() if name not in reserved | near]
    asked = [
        (number[answer.left_image], number[answer.right_image])
        for shown, answer in zip(schedule, answers, strict=False)
        if not shown.catch
    ]
    left, right = next_pair(prior, posterior, candidates, asked, seed, trial.trial)
    return replace(trial, left_image=prior.images[left], right_image=prior.images[right])


def share_gained(prior: Prior, posterior: Posterior, schedule: Sequence[Trial]) -> float:
    """Return the share, from 0 to 1, of the accuracy that can be gained; judged on pairs that no adaptive trial shows.

    Where the aim is the order of the images, it is judged on all pairs of them.
    """
    number = {name: index for index, name in enumerate(prior.images)}
    if schedule[0].design == RANKING:
        pairs = [(first, second) for second in range(len(number)) for first in range(second)]
    else:
        pairs = [
            (number[trial.left_image], number[trial.right_image])
            for trial in schedule
            if trial.chosen_by == AT_RANDOM
        ]
    return gained(prior, posterior, np.array(pairs))


def _images_near(schedule: Sequence[Trial], answers: Sequence[Answer]) -> set[str]:
    """Return the images of the trials before and after the next one: no image is in two successive trials."""
    following = schedule[len(answers) + 1 : len(answers) + 2]
    near = {name for trial in following for name in (trial.left_image, trial.right_image)}
    return near | {name for answer in answers[-1:] for name in (answer.left_image, answer.right_image)}
