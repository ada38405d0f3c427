"""What several people's trials taught: variances of the population, everybody's utilities, and how sure they are."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.special import expit

from catpref.models.answers import Answers
from catpref.models.kernels import Kernels, of_differences, right_minus_left, squared_distances
from catpref.models.learned import moderated


@dataclass(frozen=True)
class Variances:
    """Prior variances, in squared logits; those of the tastes are of an image with unit mean square.

    Attributes
    ----------
    shared, personal
        Of the taste that people share, and of each one's departure from it.
    shared_effect, personal_effect
        Of image effects.
    side_bias
        Of the people's side biases.
    late
        The part of the tastes' variances that late stages have, from 0 to 1; layers have the rest.
    """

    shared: float
    personal: float
    shared_effect: float
    personal_effect: float
    side_bias: float
    late: float

    def of_shared(self, taste: np.ndarray, effects: np.ndarray) -> np.ndarray:
        """Return prior covariances of shared utilities, given inner products within the embedding and of effects."""
        return self.shared * taste + self.shared_effect * effects

    def of_personal(self, taste: np.ndarray, effects: np.ndarray) -> np.ndarray:
        """Return prior covariances of a departure likewise."""
        return self.personal * taste + self.personal_effect * effects

    @property
    def shared_fraction(self) -> float:
        """The part of the variance of utilities that people share."""
        shared, personal = self.shared + self.shared_effect, self.personal + self.personal_effect
        return shared / (shared + personal)


@dataclass
class Person(Answers):
    """One person's training trials.

    Attributes
    ----------
    pairs
        The left and the right item of each trial, shape (trials, 2).
    tastes, effects
        Inner products of their trials' differences within late stages and layers, shape (2, trials, trials), and if
        every image were a dimension of its own, shape (trials, trials).
    """

    pairs: np.ndarray
    tastes: np.ndarray
    effects: np.ndarray

    def departure(self, variances: Variances) -> np.ndarray:
        """Return prior covariances of what the person adds to differences of the shared utilities."""
        return variances.of_personal(mixed(self.tastes, variances.late), self.effects).astype(float)


@dataclass(frozen=True)
class People:
    """What people's trials taught.

    Attributes
    ----------
    kernels
        Of the session, whose items are the images.
    blocks
        Prior variance of each block, shape (blocks,), which add up to about one.
    variances
        Of the population.
    log_covariance
        Posterior covariance of the logarithms of all but the last, shape (5, 5); None where they were given.
    who
        The person of each of the session's trials, shape (trials,).
    gram
        Inner products of the items, shape (items, items).
    shared
        What the prior covariance is multiplied by to give the mean of the shared utilities, shape (items,).
    certainty
        (shared prior covariance + information⁻¹)⁻¹, shape (items, items).
    personal
        As `shared`, for each person's departure, shape (items, people).
    side_biases
        Of each person, in logits, shape (people,).
    trials
        Each person's training trials.
    gain
        What the logits of new images are multiplied by, so that they are calibrated.
    """

    kernels: Kernels
    blocks: np.ndarray
    variances: Variances
    log_covariance: np.ndarray | None
    who: np.ndarray
    gram: np.ndarray
    shared: np.ndarray
    certainty: np.ndarray
    personal: np.ndarray
    side_biases: np.ndarray
    trials: Sequence[Person] = field(repr=False)
    gain: float = 1.0

    def p_right(self, trials: np.ndarray) -> np.ndarray:
        """Predict held-out trials of the session, given as indices; return P(right)."""
        mean, variance = self.moments(trials)
        return expit(moderated(self.gain * mean, variance, self.side_bias[trials]))

    @property
    def side_bias(self) -> np.ndarray:
        """The side bias of the person of each of the session's trials."""
        return self.side_biases[self.who]

    def moments(self, trials: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of the logits of held-out trials, without the side bias and before the gain.

        The variance of a personal departure is that of its prior: few trials hardly tell it for new images.
        """
        pairs, given = self.kernels.pairs[trials], self.variances
        taste, effects = (right_minus_left(each, pairs) for each in (self.gram, self.kernels.effects()))
        covariance, own = given.of_shared(taste, effects), given.of_personal(taste, effects)
        mean = covariance @ self.shared + np.einsum("ti,it->t", own, self.personal[:, self.who[trials]])
        prior = (given.shared + given.personal) * squared_distances(self.gram, pairs) + 2 * (
            given.shared_effect + given.personal_effect
        )
        taken = np.einsum("ti,ti->t", covariance @ self.certainty, covariance)
        scales = self.scales[self.who[trials]]
        return scales * mean, scales**2 * np.maximum(prior - taken, 0)

    @property
    def scales(self) -> np.ndarray:
        """What each person's utilities are multiplied by to give logits, shape (people,)."""
        return np.array([one.scale for one in self.trials])

    def utilities_of_images(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the shared utility of each image, (images,), and what each person adds, (people, images)."""
        given, effects = self.variances, self.kernels.effects()
        shared = given.of_shared(self.gram, effects) @ self.shared
        return shared, (given.of_personal(self.gram, effects) @ self.personal).T

    def variances_left_open(self) -> tuple[float, np.ndarray]:
        """Return the mean posterior variance of images' utilities about their mean.

        Returns
        -------
        float
            Of the shared utilities.
        ndarray
            Of what each person adds, shape (people,).
        """
        given, effects = self.variances, self.kernels.effects()
        count = len(self.gram)
        prior = given.of_shared(self.gram, effects)
        shared = prior - prior @ self.certainty @ prior
        prior = given.of_personal(self.gram, effects)
        own = []
        for one in self.trials:
            rows = one.scale * right_minus_left(prior, one.pairs)
            left = np.trace(prior) - np.vdot(one.precision @ rows, rows)
            mean = prior.sum() - rows.sum(1) @ one.precision @ rows.sum(1)
            own.append((left - mean / count) / count)
        return float((np.trace(shared) - shared.sum() / count) / count), np.array(own)


def mixed(of_late_and_layers: np.ndarray, late: float) -> np.ndarray:
    """Add up what is late stages' and what is layers'."""
    return late * of_late_and_layers[0] + (1 - late) * of_late_and_layers[1]


def person_of(grams: np.ndarray, effects: np.ndarray, pairs: np.ndarray, choices: np.ndarray) -> Person:
    """Return a person's trials: the items of each pair, shape (trials, 2), and the choices, shape (trials,)."""
    # Half as large: hundreds of people's are kept.
    *tastes, own = (of_differences(each, pairs).astype(np.float32) for each in (*grams, effects))
    return Person(choices, pairs, np.stack(tastes), own)


def add_up(onto: np.ndarray, pairs: np.ndarray, trials: np.ndarray) -> None:
    """Add each trial's row to that of its right item, and take it from that of its left one.

    In torch, which is several times as fast as NumPy where items come again.
    """
    left, right = torch.from_numpy(np.ascontiguousarray(pairs.T))
    rows, added = torch.from_numpy(onto), torch.from_numpy(np.ascontiguousarray(trials))
    rows.index_add_(0, right, added).index_add_(0, left, added, alpha=-1)
