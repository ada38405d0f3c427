"""The next trial of an adaptive session, given all answers so far: what a session calls, in the lab or simulated.

Nothing is kept between calls, so that a session that was stopped goes on, from its files, with the same pair.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

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
    taught = [
        answer
        for trial, answer in zip(schedule, answers, strict=False)
        if answer.choice is not None and not trial.catch
    ]
    names = [name for answer in taught for name in (answer.left_image, answer.right_image)]
    choices = np.array([answer.choice for answer in taught], dtype=float)
    return learn(prior, prior.indices(names).reshape(-1, 2), choices)


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
    left_out = reserved_images(schedule) | _images_near(schedule, answers)
    candidates = prior.indices([name for name in prior.images if name not in left_out])
    left, right = next_pair(prior, posterior, candidates, seed, trial.trial)
    return replace(trial, left_image=prior.images[left], right_image=prior.images[right])


def share_gained(prior: Prior, posterior: Posterior, schedule: Sequence[Trial]) -> float:
    """Return the share, from 0 to 1, of the accuracy that can be gained; judged on the pairs of random trials.

    Where the aim is the order of the images, it is judged on all pairs of them.
    """
    if schedule[0].design == RANKING:
        pairs = np.array(list(combinations(range(len(prior.images)), 2)))
    else:
        randoms = [trial for trial in schedule if trial.chosen_by == AT_RANDOM]
        names = [name for trial in randoms for name in (trial.left_image, trial.right_image)]
        pairs = prior.indices(names).reshape(-1, 2)
    return gained(prior, posterior, pairs)


def _images_near(schedule: Sequence[Trial], answers: Sequence[Answer]) -> set[str]:
    """Return the images of the trials before and after the next one: no image is in two successive trials."""
    following = schedule[len(answers) + 1 : len(answers) + 2]
    near = {name for trial in following for name in (trial.left_image, trial.right_image)}
    return near | {name for answer in answers[-1:] for name in (answer.left_image, answer.right_image)}
