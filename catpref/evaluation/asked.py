"""What an adaptive session asked and what that taught, trial by trial, as it was before each answer.

Each pair is predicted from all trials before it, side bias set aside. Of the random trials these predictions are a
fair test, and the only one: adaptive pairs were chosen for what their answers would teach. What accuracy the
posterior expects on new images is its own opinion, beside which the random trials stand.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import expit
from scipy.stats import binomtest

from catpref.adaptive.learner import Posterior, learn
from catpref.adaptive.prior import FILE, Prior, read_prior
from catpref.adaptive.progress import expected_p_right
from catpref.errors import BadInput
from catpref.models.interface import Data
from catpref.models.kernels import right_minus_left
from catpref.models.laplace import BIAS_VARIANCE
from catpref.sessions.chosen_by import ADAPTIVE, RANDOM
from catpref.sessions.session import Session

_LOG = logging.getLogger(__name__)

_LONGER = (
    20  # of the trials, one part more has the posterior computed anew; between, one answer at a time is added
)
_DRAWN = 300  # pairs of new images
_ENOUGH_NEW = 40  # images that were not shown, of which these pairs are
_MOST_BLOCKS, _LEAST_IN_BLOCK = 8, 10


@dataclass(frozen=True)
class Asked:
    """One trial, and what was known before and after it.

    Attributes
    ----------
    trial
        Its place among the answered trials, from 1.
    chosen_by
        `catpref.sessions.chosen_by.ADAPTIVE` or `RANDOM`.
    p_right_before
        P(right) by taste alone, from the trials before.
    hit
        Whether the choice is the one that was more probable.
    expected_accuracy
        On pairs of new images, as the posterior has it after this trial.
    """

    trial: int
    chosen_by: str
    p_right_before: float
    hit: bool
    expected_accuracy: float

    @property
    def p_chosen_before(self) -> float:
        """How probable the choice was by what was known before."""
        sure = max(self.p_right_before, 1 - self.p_right_before)
        return sure if self.hit else 1 - sure


class Block(NamedTuple):
    """Successive random trials: where they are, and how many of their choices were predicted, with 95% interval."""

    trial: float
    accuracy: float
    low: float
    high: float


def of_session(session: Session, data: Data) -> list[Asked]:
    """Go through one participant's session as it went.

    What was known before is the prior that the session was begun with, where it is kept beside the one file that has
    adaptive trials; else tastes of a usual strength over the leading components of the embedding.

    Returns
    -------
    list of Asked
        Nothing of a session that is not adaptive, nor where there is neither.
    """
    how = session.chosen_by
    if how is None or ADAPTIVE not in how:
        return []
    prior, pairs = _kept(session, how == ADAPTIVE), data.pairs
    if prior is not None:
        pairs = prior.indices(session.images)[pairs]
    elif "kernels" in vars(data):
        size = np.sqrt(np.square(right_minus_left(data.components, pairs)).sum(1).mean())
        features = data.components / (float(size) or 1.0)
        prior = Prior(tuple(session.images), features, np.zeros(len(features)), BIAS_VARIANCE)
    else:
        return []
    return follow(prior, pairs, data.choices, how, data.seed)


def follow(
    prior: Prior, pairs: np.ndarray, choices: np.ndarray, chosen_by: np.ndarray, seed: int = 0
) -> list[Asked]:
    """Go through a session as it went.

    Parameters
    ----------
    prior
        What was known before the first answer.
    pairs
        Left and right image of each trial, as indices of the prior's images, in their order, shape (trials, 2).
    choices
        0 = left, 1 = right, 0.5 = no preference, shape (trials,).
    chosen_by
        How each pair was chosen, shape (trials,).
    seed
        Draws the pairs of new images.

    Returns
    -------
    list of Asked
        Without trials of no preference, and random ones whose pair had been shown before: from these is only learned.
    """
    new = _new_pairs(prior, pairs, chosen_by, seed)
    known, due = _Known(prior, new), 0
    seen: set[frozenset[int]] = set()
    found = []
    for trial, (pair, choice) in enumerate(zip(pairs, choices, strict=True)):
        if trial == due:
            known.begin(learn(prior, pairs[:trial], choices[:trial]))
            due = trial + 1 + trial // _LONGER
        p_right = known.p_right(pair)
        known.add(pair, float(choice))
        images = frozenset(pair.tolist())
        if choice in (0, 1) and not (chosen_by[trial] == RANDOM and images in seen):
            hit = bool((p_right > 0.5) == (choice == 1))
            found.append(Asked(trial + 1, str(chosen_by[trial]), p_right, hit, known.expected_accuracy()))
        seen.add(images)
    return found


class _Known:
    """A posterior to which single answers are added, and what it says of pairs of new images."""

    def __init__(self, prior: Prior, new: np.ndarray) -> None:
        self.prior = prior
        self.new = np.column_stack([right_minus_left(prior.features, new), np.zeros(len(new))])
        self.offsets = right_minus_left(prior.mean, new)
        self.weights = self.covariance = self.mean = self.variance = np.empty(0)

    def begin(self, posterior: Posterior) -> None:
        """Take over what was learned from all trials so far."""
        self.weights = np.append(posterior.weights, posterior.side_bias)
        self.covariance = posterior.covariance
        self.mean = self.offsets + self.new @ self.weights
        self.variance = ((self.new @ self.covariance) * self.new).sum(1)

    def p_right(self, pair: np.ndarray) -> float:
        """Predict a choice, side bias set aside."""
        shown, offset = self._of(pair, 0.0)
        return float(
            expected_p_right(offset + shown @ self.weights, np.sqrt(shown @ self.covariance @ shown))
        )

    def add(self, pair: np.ndarray, choice: float) -> None:
        """Add an answer, by one Newton step."""
        shown, offset = self._of(pair, 1.0)
        expected = expit(offset + shown @ self.weights)
        information = expected * (1 - expected)
        pull = self.covariance @ shown
        beside = 1 + information * (shown @ pull)
        of_new = self.new @ pull
        self.weights = self.weights + pull * ((choice - expected) / beside)
        self.mean = self.mean + of_new * ((choice - expected) / beside)
        self.covariance = self.covariance - np.outer(pull, pull) * (information / beside)
        self.variance = self.variance - np.square(of_new) * (information / beside)

    def expected_accuracy(self) -> float:
        """Return how many choices between new images it expects to predict."""
        expected = expected_p_right(self.mean, np.sqrt(np.maximum(self.variance, 0)))
        return float(np.maximum(expected, 1 - expected).mean())

    def _of(self, pair: np.ndarray, side: float) -> tuple[np.ndarray, float]:
        """Return what a trial's logit is made of, with the side bias or without, and what it is a priori."""
        left, right = pair
        apart = self.prior.features[right] - self.prior.features[left]
        return np.append(apart, side), float(self.prior.mean[right] - self.prior.mean[left])


def blocks(asked: Sequence[Asked]) -> list[Block]:
    """Gather the random trials, in their order, into blocks of at least ten, where there are so many."""
    random = [one for one in asked if one.chosen_by == RANDOM]
    count = min(_MOST_BLOCKS, len(random) // _LEAST_IN_BLOCK)
    found = []
    for places in np.array_split(np.arange(len(random)), count) if count else []:
        hits = [random[place].hit for place in places]
        interval = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
        middle = float(np.mean([random[place].trial for place in places]))
        found.append(Block(middle, float(np.mean(hits)), float(interval.low), float(interval.high)))
    return found


def _new_pairs(prior: Prior, pairs: np.ndarray, chosen_by: np.ndarray, seed: int) -> np.ndarray:
    """Draw pairs of images that the session did not show, else of the random trials' images, else of all."""
    candidates = np.setdiff1d(np.arange(len(prior.images)), pairs)
    if len(candidates) < _ENOUGH_NEW:
        candidates = np.unique(pairs[chosen_by == RANDOM])
    if len(candidates) < 2:
        candidates = np.unique(pairs)
    drawn = np.random.default_rng(seed).integers(len(candidates), size=(2, _DRAWN))
    return candidates[drawn[:, drawn[0] != drawn[1]].T]


def _kept(session: Session, is_adaptive: np.ndarray) -> Prior | None:
    """Return the prior beside the file with adaptive trials; None where there is none that fits."""
    sources = sorted({*session.trials["source"].to_numpy()[is_adaptive]})
    path = Path(sources[0]).with_name(FILE)
    if len(sources) > 1 or not path.is_file():
        return None
    try:
        prior = read_prior(path)
        prior.indices(session.images)
    except BadInput as problem:
        _LOG.warning("%s; what was asked is shown by the embedding instead", problem)
        return None
    return prior
