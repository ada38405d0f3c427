"""What the trials of a session teach: the posterior of a utility, in terms of the images' inner products.

A utility is linear in the embedding, plus an image effect. It can learn from any part of the trials, and predict the
others, without going back to the embeddings; `catpref.models.utility` writes it as weights of their dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np
from scipy.linalg import eigh
from scipy.special import expit

from catpref.models import laplace, relevance
from catpref.models.calibration import fit_gain
from catpref.models.davidson import where_preferred
from catpref.models.interface import Data, of_trials
from catpref.models.kernels import (
    Kernels,
    directions,
    incidence_of,
    of_differences,
    right_minus_left,
    squared_distances,
)

_DIRECTIONS = 64  # of the posterior that a model keeps; along all others it is as unsure as the prior
_RELEVANCE_TRIALS = 250  # enough to tell the relevant blocks


class Moments(Protocol):
    """What is calibrated: it tells mean and variance of the logits of a session's trials."""

    def moments(self, trials: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of the logits, without the side bias and before the gain."""
        ...

    @property
    def side_bias(self) -> float | np.ndarray:
        """The side bias, or one for each of the session's trials."""
        ...


@dataclass(frozen=True)
class Learned:
    """What some trials of a session taught, ready to predict the others.

    Attributes
    ----------
    kernels
        Of the session.
    variances, effect_variance
        Prior variance of each block, shape (blocks,), and of the image effects, up to a common factor.
    span
        Directions in which the training trials' embeddings differ, as combinations of the items, shape (items,
        rank).
    differences
        Right minus left along these directions, of all the session's trials, shape (trials, rank).
    squares
        Squared distance of left and right along all directions, shape (trials,).
    posterior
        Over the weights of these directions and the side bias.
    gain
        See `Utility`; 1 until it is known from choices between held-out images (`gain_of`).
    known
        What is known of the images that were shown, where that is told apart (`of_known_images`); with the same
        variances of the blocks.
    """

    kernels: Kernels
    variances: np.ndarray
    effect_variance: float
    span: np.ndarray
    differences: np.ndarray
    squares: np.ndarray
    posterior: laplace.Posterior
    gain: float = 1.0
    known: "Learned | None" = None

    @property
    def side_bias(self) -> float:
        """The preference for the right whatever it shows, in logits."""
        return self.posterior.side_bias

    def p_right(self, trials: np.ndarray, side_bias: bool = True) -> np.ndarray:
        """Predict held-out trials of the session, as `Utility.p_right` does."""
        mean, variance = self.moments(trials, side_bias)
        return expit(moderated(self.gain * mean, variance, self.side_bias if side_bias else 0.0))

    def moments(self, trials: np.ndarray, side_bias: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of the logits of held-out trials, without the side bias and before the gain."""
        return _moments_of(self.posterior, self.differences[trials], self.squares[trials], side_bias)


def learn(kernels: Kernels, choices: np.ndarray, train: np.ndarray, seed: int = 0) -> Learned:
    """Learn a utility from some trials of a session; nothing of the other choices is used.

    The prior's strength, overall, for each block of dimensions and for the image effects, is the one with the
    greatest marginal likelihood.

    Parameters
    ----------
    kernels
        Of the session.
    choices
        0 = left, 1 = right, 0.5 = no preference, of all its trials, shape (trials,).
    train
        The trials to learn from, as indices.
    seed
        Seed of the choice of trials that tell the relevant blocks, where there are many.
    """
    return _learned(kernels, *_relevance(kernels, choices, train, seed), choices, train)


def _learned(
    kernels: Kernels,
    variances: np.ndarray,
    effect_variance: float,
    choices: np.ndarray,
    train: np.ndarray,
    lapse: float = 0.0,
) -> Learned:
    gram = kernels.gram(variances) + effect_variance * kernels.effects()
    span = directions(gram, kernels.pairs[train])
    differences = right_minus_left(gram @ span, kernels.pairs)
    squares = squared_distances(gram, kernels.pairs)
    posterior = laplace.fit(differences[train], choices[train], prior_variance=1.0, lapse=lapse)
    return Learned(kernels, variances, effect_variance, span, differences, squares, posterior)


def of_known_images(learned: Learned, choices: np.ndarray, lapse: float) -> Learned:
    """Learn again from all trials of the session, for what is known of the images that were shown.

    Of some trials the observer did not look. And image effects have at least the variance that is expected before any
    choice: Laplace's approximation takes most of it away from images that were shown once, of which no choice tells
    it. New images are predicted better so (`benchmarks.observers`), but known ones would seem to be known too well.

    Parameters
    ----------
    learned
        From all trials.
    choices
        0 = left, 1 = right, 0.5 = no preference, shape (trials,).
    lapse
        The lapse rate.
    """
    expected = float(np.exp(relevance.learned_prior()["image effect"][0]))
    effect_variance = max(learned.effect_variance, expected)
    everything = np.arange(len(choices))
    return _learned(learned.kernels, learned.variances, effect_variance, choices, everything, lapse)


def gain_of(held_out: Sequence[tuple[Moments, np.ndarray]], choices: np.ndarray) -> float:
    """Find the gain under which choices between held-out images are most likely.

    Parameters
    ----------
    held_out
        What was learned without the images of some trials, and those trials; ties among them play no part.
    choices
        0 = left, 1 = right, 0.5 = no preference, of all the session's trials, shape (trials,).
    """
    held_out = [(learned, where_preferred(test, choices)[0]) for learned, test in held_out]
    if not sum(len(test) for _, test in held_out):
        return 1.0
    moments = [learned.moments(test) for learned, test in held_out]
    mean, variance = (np.concatenate(part) for part in zip(*moments, strict=True))
    bias = np.concatenate([of_trials(learned.side_bias, test) for learned, test in held_out])
    chosen = choices[np.concatenate([test for _, test in held_out])]
    return fit_gain(lambda gain: moderated(gain * mean, variance, bias), chosen)[0]


def _relevance(
    kernels: Kernels, choices: np.ndarray, train: np.ndarray, seed: int
) -> tuple[np.ndarray, float]:
    """Find how much each block and the image itself matter, from so many trials that more would hardly tell more."""
    if min(len(np.unique(kernels.pairs[train])), len(train)) > _RELEVANCE_TRIALS:
        train = np.random.default_rng(seed).choice(train, _RELEVANCE_TRIALS, replace=False)
    grams, incidence = grams_of(kernels, train)
    return relevance.block_variances(grams, relevance.prior_of(kernels.blocks), incidence, choices[train])


def grams_of(kernels: Kernels, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what `relevance.block_variances` asks for: inner products of some trials' items, and their incidence."""
    blocks = len(kernels.blocks.factors)
    items, incidence = incidence_of(kernels.pairs[train])
    grams = chain((kernels.gram_of_block(block, items) for block in range(blocks)), [kernels.effects(items)])
    if len(items) > len(train):
        pairs = np.searchsorted(items, kernels.pairs[train])
        grams = (of_differences(gram.astype(float), pairs) for gram in grams)
        incidence = np.eye(len(train))
    return np.array([gram.astype(np.float32) for gram in grams]), incidence


def learned_directions(posterior: laplace.Posterior) -> tuple[np.ndarray, np.ndarray]:
    """Return the directions that the choices told most about, and how much of the prior variance they took."""
    size = len(posterior.precision)
    values, vectors = eigh(posterior.precision, subset_by_index=(max(0, size - _DIRECTIONS), size - 1))
    return vectors, 1 - 1 / values


def _moments_of(
    posterior: laplace.Posterior, differences: np.ndarray, squares: np.ndarray, side_bias: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the variance of the utility differences of trials, before the gain."""
    vectors, shrinkage = learned_directions(posterior)
    bias_scale = np.sqrt(laplace.BIAS_VARIANCE) if side_bias else 0.0
    along = np.sqrt(posterior.prior_variance) * (differences @ vectors[:-1]) + bias_scale * vectors[-1]
    variance = posterior.prior_variance * squares + bias_scale**2 - np.square(along) @ shrinkage
    return differences @ posterior.weights, np.maximum(variance, 0)


def moderated(mean: np.ndarray, variance: np.ndarray, side_bias: float | np.ndarray) -> np.ndarray:
    """Shrink logits by their uncertainty, so that their logistic is the average over it (MacKay 1992)."""
    return mean / np.sqrt(1 + np.pi / 8 * variance) + side_bias


def learned_from(data: Data, train: np.ndarray) -> Learned:
    """Learn from trials of a session, or return what was learned from the same trials before."""
    key = train.tobytes()
    learned = data.found.get(key) or learn(data.kernels, data.choices, train, data.seed)
    if key in data.shared:
        data.found[key] = learned
    return learned
