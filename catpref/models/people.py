"""What several people's trials taught: variances of the population, everybody's utilities, and how sure they are."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.linalg import cho_factor
from scipy.special import expit

from catpref.models import davidson
from catpref.models.kernels import Kernels, incidence_of, right_minus_left, squared_distances
from catpref.models.learned import moderated

_LEAST_INFORMATION = 1e-6


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
class Person:
    """One person's training trials.

    Attributes
    ----------
    items, incidence
        The items in their trials, and how each trial's utility difference is made of these, shape (trials, items).
    tastes, effects
        Inner products of their trials' differences within late stages and layers, shape (2, trials, trials), and if
        every image were a dimension of its own, shape (trials, trials).
    choices
        0 = left, 1 = right, 0.5 = no preference, shape (trials,).
    logits
        Their posterior mode, shape (trials,).
    """

    items: np.ndarray
    incidence: Any
    tastes: np.ndarray
    effects: np.ndarray
    choices: np.ndarray
    logits: np.ndarray

    def observe(self) -> None:
        """Make the choices Gaussian at the current logits; how readily they have no preference is their own."""
        self.root, self.target = observe(self.logits, self.choices)

    def integrate_out(self, variances: Variances) -> None:
        """Find the precision of the choices about the shared utilities, the person's own departure integrated out."""
        matrix = torch.from_numpy(self.root[:, None] * self._prior(variances) * self.root)
        matrix.diagonal().add_(1)
        factor = torch.linalg.cholesky(matrix)  # in torch, which lets other threads go on
        self.log_determinant = 2 * float(factor.diagonal().log().sum())
        inverse = torch.cholesky_inverse(factor) if len(self.root) else factor
        self.precision = self.root[:, None] * inverse.numpy() * self.root

    def depart(self, shared: np.ndarray, variances: Variances) -> None:
        """Move the logits to their mode, given the shared utilities of all items."""
        common = self.incidence @ shared[self.items]
        self.pull = self.precision @ (self.target - common)
        self.logits = common + self._prior(variances) @ self.pull

    def _prior(self, variances: Variances) -> np.ndarray:
        """Return prior covariances of what the person's own departure and side bias add to the trials' logits."""
        taste = mixed(self.tastes, variances.late)
        return variances.of_personal(taste, self.effects).astype(float) + variances.side_bias


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
        return mean, np.maximum(prior - taken, 0)

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
            rows = prior[:, one.items] @ one.incidence.T
            left = np.trace(prior) - np.einsum("it,tu,iu->", rows, one.precision, rows, optimize=True)
            mean = prior.sum() - rows.sum(0) @ one.precision @ rows.sum(0)
            own.append((left - mean / count) / count)
        return float((np.trace(shared) - shared.sum() / count) / count), np.array(own)


def observe(logits: np.ndarray, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Make choices Gaussian at some logits: the roots of their information, and what logits they speak for."""
    _, pulls, information = davidson.likelihood(logits, choices, davidson.tie_parameter(logits, choices))
    information = np.maximum(information, _LEAST_INFORMATION)
    return np.sqrt(information), logits + pulls / information


def factor_of(covariance: np.ndarray, root: np.ndarray) -> Any:
    """Return the Cholesky factor of identity + root × prior covariance of the logits × root, for `cho_solve`."""
    return cho_factor(np.eye(len(root)) + root[:, None] * covariance * root, lower=True)


def mixed(of_late_and_layers: np.ndarray, late: float) -> np.ndarray:
    """Add up what is late stages' and what is layers'."""
    return late * of_late_and_layers[0] + (1 - late) * of_late_and_layers[1]


def person_of(grams: np.ndarray, effects: np.ndarray, pairs: np.ndarray, choices: np.ndarray) -> Person:
    """Return a person's trials: the items of each pair, shape (trials, 2), and the choices, shape (trials,)."""
    items, whole = incidence_of(pairs)
    incidence = sparse.csr_array(whole)  # two items a trial: products with it cost next to nothing
    *tastes, own = (
        # Half as large: hundreds of people's are kept.
        (incidence @ each[np.ix_(items, items)] @ incidence.T).astype(np.float32)
        for each in (*grams, effects)
    )
    return Person(items, incidence, np.stack(tastes), own, choices, np.zeros(len(choices)))
