"""The signed utility: each image has a cuteness, linear in its embedding, and the cuter image is chosen.

P(right) = logistic(u(right) − u(left) + side bias). With the side bias set aside, swapping the sides turns
P(right) into 1 − P(right), by construction. The weights have a Gaussian prior, so that an embedding may have
many more dimensions than there are trials: the solution lies in the span of the training images, and is found
there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from scipy.linalg import eigh
from scipy.special import expit
from threadpoolctl import threadpool_limits
from torch import Tensor

from catpref.design.splits import split
from catpref.errors import BadInput
from catpref.models import laplace, relevance, stored
from catpref.models.calibration import fit_gain
from catpref.models.interface import Data, Images, Model
from catpref.models.kernels import Kernels, directions, kernels_of, right_minus_left
from catpref.models.standardised import by_slices
from catpref.perception.embeddings import Blocks

_DIRECTIONS = 64  # of the posterior that a model keeps; along all others it is as unsure as the prior
_CALIBRATION_FOLDS = 5
# Mean and standard deviation of the log gain. Simulated observers of drawn cats, with 177 trials or 1225, needed one
# of 0.2 to 0.35 on average; what 177 trials themselves tell of theirs has nothing to do with what they need.
_USUAL_GAIN = 0.3, 0.2
_RELEVANCE_TRIALS = 250  # enough to tell the relevant blocks
_CLEARLY = 1.1  # times as far: new images of the same kind are not, those of other kinds mostly more
_ROUNDING = 1e-3  # of the shrinkage, which is a difference
_LEAST_REST = 1e-4  # of a dimension's variance, once the image is left out that it mostly comes from


@dataclass(frozen=True)
class Utility:
    """A fitted utility.

    Attributes
    ----------
    centre, scale
        Mean of each dimension over the training images, and its standard deviation divided by what its block
        matters, shape (dimensions,): embeddings are standardised with them.
    weights
        Posterior mode, logits for each standardised dimension, shape (dimensions,).
    weight_directions, bias_directions
        Directions in which the choices told more than the prior did, shapes (kept, dimensions) and (kept,):
        with the weights and the side bias in units of their prior's standard deviation, unit vectors.
    shrinkage
        The part of the prior variance that the choices took away in each direction, shape (kept,).
    prior_variance
        Of each weight.
    side_bias, side_bias_sd
        The preference for the right whatever it shows, in logits.
    gain
        What the logits of a choice are multiplied by, so that P(right) is calibrated for images never seen.
    farthest
        The distance (see `distances`) of the training image that is least like the others, from those.
    """

    centre: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    weight_directions: np.ndarray
    bias_directions: np.ndarray
    shrinkage: np.ndarray
    prior_variance: float
    side_bias: float
    side_bias_sd: float
    gain: float
    farthest: float

    def utilities(self, embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return each image's utility against the average training image, and its standard deviation, in logits.

        Parameters
        ----------
        embeddings
            Shape (images, dimensions).
        """
        mean, variance = self._posterior(embeddings, None, bias_scale=0.0)
        return self.gain * mean, self.gain * np.sqrt(variance)

    def p_right(self, embeddings: np.ndarray, pairs: np.ndarray, side_bias: bool = True) -> np.ndarray:
        """Predict choices, averaged over what the training choices left open (MacKay's approximation).

        Parameters
        ----------
        embeddings
            Shape (images, dimensions).
        pairs
            Left and right image of each trial, indices into `embeddings`, shape (trials, 2).
        side_bias
            Whether the observer's side bias counts; without it the prediction is exactly antisymmetric.

        Returns
        -------
        ndarray
            P(right), shape (trials,).
        """
        bias_scale = np.sqrt(laplace.BIAS_VARIANCE) if side_bias else 0.0
        mean, variance = self._posterior(embeddings, pairs, bias_scale)
        return expit(_moderated(mean, variance, self.gain, self.side_bias if side_bias else 0.0))

    def distances(self, embeddings: np.ndarray) -> np.ndarray:
        """Return how unlike the training images others are; see `far`.

        Parameters
        ----------
        embeddings
            Shape (images, dimensions).

        Returns
        -------
        ndarray
            Mean absolute deviation from the average training image, each dimension in units of its standard
            deviation and weighted by the square root of its prior variance, shape (images,).
        """
        parts = by_slices(embeddings, self.centre, self.scale, lambda _, part: part.abs_().sum(1))
        return sum(parts, torch.zeros(len(embeddings))).numpy() / embeddings.shape[1]

    def far(self, embeddings: np.ndarray) -> np.ndarray:
        """Return which images are of another kind than the training images: clearly farther than any of those.

        Parameters
        ----------
        embeddings
            Shape (images, dimensions).

        Returns
        -------
        ndarray of bool
            Shape (images,).
        """
        return self.distances(embeddings) > _CLEARLY * self.farthest

    def tensors(self) -> dict[str, np.ndarray]:
        """Return everything there is to save, by name, as float32 (the directions as float16)."""
        halved = {"weight_directions"}
        return {
            field.name: np.atleast_1d(getattr(self, field.name)).astype(
                np.float16 if field.name in halved else np.float32
            )
            for field in fields(self)
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray], dimensions: int) -> "Utility":
        """Restore what `tensors` returned.

        Parameters
        ----------
        tensors
            What was read.
        dimensions
            Of the embedding that the utility is to read.

        Raises
        ------
        ValueError
            If a part is missing, has another shape or type, or a value that cannot be.
        """
        arrays = ("centre", "scale", "weights", "weight_directions", "bias_directions", "shrinkage")
        numbers = ("prior_variance", "side_bias", "side_bias_sd", "gain", "farthest")
        kept = tensors["shrinkage"].size if "shrinkage" in tensors else 0
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("centre", "scale", "weights"), (dimensions,))
        shapes |= {"weight_directions": (kept, dimensions), "bias_directions": (kept,), "shrinkage": (kept,)}
        stored.check(tensors, shapes | dict.fromkeys(numbers, (1,)), {"weight_directions": np.float16})
        stored.check_positive(tensors, "scale", "prior_variance", "gain")
        if tensors["farthest"] < 0 or tensors["side_bias_sd"] < 0:
            raise ValueError("farthest and side_bias_sd must not be negative")
        if ((tensors["shrinkage"] < -_ROUNDING) | (tensors["shrinkage"] > 1 + _ROUNDING)).any():
            raise ValueError("shrinkage must be between 0 and 1")
        parts: dict[str, Any] = {name: tensors[name] for name in arrays}
        parts |= {name: float(tensors[name][0]) for name in numbers}
        return cls(**parts)

    def _posterior(
        self, embeddings: np.ndarray, pairs: np.ndarray | None, bias_scale: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the utility of images, or of the utility differences of pairs."""
        rows = len(embeddings) if pairs is None else len(pairs)
        sides = None if pairs is None else torch.from_numpy(np.ascontiguousarray(pairs.T))
        onto = torch.from_numpy(np.vstack([self.weights, self.weight_directions]).astype(np.float32)).T

        def project(columns: slice, part: Tensor) -> tuple[np.ndarray, np.ndarray]:
            vectors = part if sides is None else part[sides[1]] - part[sides[0]]
            return (vectors @ onto[columns]).numpy(), vectors.square_().sum(1).numpy()

        projected, square = np.zeros((rows, onto.shape[1])), np.zeros(rows)
        for of_slice, square_of_slice in by_slices(embeddings, self.centre, self.scale, project):
            projected += of_slice
            square += square_of_slice
        mean = projected[:, 0]
        along = np.sqrt(self.prior_variance) * projected[:, 1:] + bias_scale * self.bias_directions
        prior = self.prior_variance * square + bias_scale**2
        return mean, np.maximum(prior - np.square(along) @ self.shrinkage, 0)


# The matrices are so small that two threads of a linear algebra library mostly wait for each other.
@threadpool_limits.wrap(limits=1, user_api="blas")
def fit(
    embeddings: np.ndarray,
    pairs: np.ndarray,
    choices: np.ndarray,
    blocks: Blocks | None = None,
    seed: int = 0,
) -> Utility:
    """Fit a utility to choices.

    Parameters
    ----------
    embeddings
        Shape (images, dimensions), any float type.
    pairs
        Left and right image of each trial, indices into `embeddings`, shape (trials, 2). Images in no pair
        play no part.
    choices
        0 = left, 1 = right, shape (trials,).
    blocks
        Which dimensions share their relevance; None takes all for equally relevant.
    seed
        See `learn`.
    """
    return project(
        learn(kernels_of(embeddings, pairs, blocks), choices, np.arange(len(pairs)), seed), embeddings
    )


@dataclass(frozen=True)
class Learned:
    """What some trials of a session taught, ready to predict the others.

    Attributes
    ----------
    kernels
        Of the session.
    variances
        Prior variance of each block, up to a common factor, shape (blocks,).
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
        See `Utility`.
    """

    kernels: Kernels
    variances: np.ndarray
    span: np.ndarray
    differences: np.ndarray
    squares: np.ndarray
    posterior: laplace.Posterior
    gain: float

    def p_right(self, trials: np.ndarray, side_bias: bool = True) -> np.ndarray:
        """Predict trials of the session, as `Utility.p_right` does."""
        mean, variance = _moments_of(
            self.posterior, self.differences[trials], self.squares[trials], side_bias
        )
        bias = self.posterior.side_bias if side_bias else 0.0
        return expit(_moderated(mean, variance, self.gain, bias))


def learn(kernels: Kernels, choices: np.ndarray, train: np.ndarray, seed: int = 0) -> Learned:
    """Learn a utility from some trials of a session; nothing of the other choices is used.

    The prior's strength, overall and for each block of dimensions, is the one with the greatest marginal
    likelihood; the gain is the one under which choices between training images left out in turn are most likely.

    Parameters
    ----------
    kernels
        Of the session.
    choices
        0 = left, 1 = right, of all its trials, shape (trials,).
    train
        The trials to learn from, as indices.
    seed
        Seed of the folds that the calibration uses, and of the trials that tell the relevant blocks.
    """
    variances = _relevance(kernels, choices, train, seed)
    gram = kernels.gram(variances)
    span = directions(gram, kernels.pairs[train])
    differences = right_minus_left(gram @ span, kernels.pairs)
    left, right = kernels.pairs.T
    squares = gram[left, left] + gram[right, right] - 2 * gram[left, right]
    posterior = laplace.fit(differences[train], choices[train])
    gain = _calibrate(
        differences[train],
        squares[train],
        kernels.images[train],
        choices[train],
        posterior.prior_variance,
        seed,
    )
    return Learned(kernels, variances, span, differences, squares, posterior, gain)


def project(learned: Learned, embeddings: np.ndarray) -> Utility:
    """Write what was learned as weights of the embedding's dimensions, for images that were not in the session."""
    kernels, posterior = learned.kernels, learned.posterior
    sizes = np.bincount(kernels.blocks.of_dimension, minlength=len(learned.variances))
    relevance = (learned.variances / sizes)[kernels.blocks.of_dimension]
    scale = (kernels.scale / np.sqrt(relevance)).astype(np.float32)
    vectors, shrinkage = _learned_directions(posterior)
    onto = np.column_stack([learned.span @ posterior.weights, learned.span @ vectors[:-1]])
    shown, indices = np.unique(kernels.images, return_inverse=True)
    if len(onto) != len(shown):  # items are trials
        left, right = indices.reshape(-1, 2).T
        of_trials, onto = onto[1:], np.zeros((len(shown), onto.shape[1]))
        np.add.at(onto, right, of_trials)
        np.add.at(onto, left, -of_trials)
    onto_images = torch.from_numpy(onto.astype(np.float32))
    weights = torch.from_numpy(np.sqrt(relevance).astype(np.float32))

    projected = torch.empty(embeddings.shape[1], onto.shape[1])

    def project_slice(columns: slice, part: Tensor) -> Tensor:
        projected[columns] = part.T @ onto_images
        return _left_out(part, weights[columns]).sum(1)

    if len(shown) < len(embeddings):
        embeddings = embeddings[shown]
    apart = torch.zeros(len(shown))
    for of_slice in by_slices(embeddings, kernels.centre, scale, project_slice):
        apart += of_slice
    return Utility(
        centre=kernels.centre,
        scale=scale,
        weights=projected[:, 0].numpy(),
        weight_directions=projected[:, 1:].T.numpy(),
        bias_directions=vectors[-1],
        shrinkage=shrinkage,
        prior_variance=posterior.prior_variance,
        side_bias=posterior.side_bias,
        side_bias_sd=posterior.side_bias_sd,
        gain=learned.gain,
        farthest=float(apart.max() / embeddings.shape[1]),
    )


def _left_out(deviations: Tensor, weights: Tensor) -> Tensor:
    """Return each image's absolute deviation from the other images' mean, in units of their standard deviation.

    Parameters
    ----------
    deviations
        From the mean of all, in units of all images' standard deviation and times `weights`.
    weights
        Of each dimension.
    """
    images = len(deviations)
    own = (deviations / weights).square_() / max(images - 1, 1)  # part of the variance that is the image's
    return (
        deviations.abs()
        * own.neg_().add_(1).clamp_(min=_LEAST_REST).rsqrt_()
        * (images / max(images - 1, 1)) ** 0.5
    )


def _relevance(kernels: Kernels, choices: np.ndarray, train: np.ndarray, seed: int) -> np.ndarray:
    """Find how much each block matters, from so many trials that more would hardly tell more."""
    blocks = len(kernels.blocks.factors)
    if blocks == 1:
        return np.ones(1)
    if min(len(np.unique(kernels.pairs[train])), len(train)) > _RELEVANCE_TRIALS:
        train = np.random.default_rng(seed).choice(train, _RELEVANCE_TRIALS, replace=False)
    items, indices = np.unique(kernels.pairs[train], return_inverse=True)
    pairs = indices.reshape(-1, 2)
    by_items = len(items) <= len(train)
    incidence = right_minus_left(np.eye(len(items)), pairs)
    grams = np.array([kernels.gram_of_block(block, items) for block in range(blocks)])
    if not by_items:
        grams = np.array([right_minus_left(right_minus_left(gram, pairs).T, pairs) for gram in grams])
        incidence = np.eye(len(train))
    return relevance.block_variances(grams, kernels.blocks.factors, incidence, choices[train])


def _learned_directions(posterior: laplace.Posterior) -> tuple[np.ndarray, np.ndarray]:
    """Return the directions that the choices told most about, and how much of the prior variance they took."""
    size = len(posterior.precision)
    values, vectors = eigh(posterior.precision, subset_by_index=(max(0, size - _DIRECTIONS), size - 1))
    return vectors, 1 - 1 / values


def _moments_of(
    posterior: laplace.Posterior, differences: np.ndarray, squares: np.ndarray, side_bias: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the variance of the utility differences of trials, before the gain."""
    vectors, shrinkage = _learned_directions(posterior)
    bias_scale = np.sqrt(laplace.BIAS_VARIANCE) if side_bias else 0.0
    along = np.sqrt(posterior.prior_variance) * (differences @ vectors[:-1]) + bias_scale * vectors[-1]
    variance = posterior.prior_variance * squares + bias_scale**2 - np.square(along) @ shrinkage
    return differences @ posterior.weights, np.maximum(variance, 0)


def _calibrate(
    differences: np.ndarray,
    squares: np.ndarray,
    images: np.ndarray,
    choices: np.ndarray,
    prior_variance: float,
    seed: int,
) -> float:
    """Find the gain on utility differences that makes choices between left-out images most likely."""
    try:
        folds = split(images, "images", _CALIBRATION_FOLDS, seed)
    except BadInput:
        return float(np.exp(_USUAL_GAIN[0]))  # too little data to leave any out
    held_out = []
    for train, test in folds:
        posterior = laplace.fit(differences[train], choices[train], prior_variance)
        bias = np.full(len(test), posterior.side_bias)
        held_out.append((*_moments_of(posterior, differences[test], squares[test]), bias, choices[test]))
    mean, variance, bias, chosen = (np.concatenate(part) for part in zip(*held_out, strict=True))
    gain, _ = fit_gain(lambda gain: _moderated(mean, variance, gain, bias), chosen, _USUAL_GAIN)
    return gain


def _moderated(
    mean: np.ndarray, variance: np.ndarray, gain: float, side_bias: float | np.ndarray
) -> np.ndarray:
    """Shrink logits by their uncertainty, so that their logistic is the average over it (MacKay 1992)."""
    return gain * mean / np.sqrt(1 + np.pi / 8 * variance) + side_bias


def learned_from(data: Data, train: np.ndarray) -> Learned:
    """Learn from trials of a session, or return what was learned from the same trials before."""
    key = train.tobytes()
    learned = data.found.get(key) or learn(data.kernels, data.choices, train, data.seed)
    if key in data.shared:
        data.found[key] = learned
    return learned


def _restore(
    tensors: Mapping[str, np.ndarray], channels: int, grid: int, map_size: int | None, device: str
) -> Utility:
    return Utility.from_tensors(tensors, channels * grid**2)


def _utilities(model: Utility, images: Images) -> tuple[np.ndarray, np.ndarray]:
    return model.utilities(images.embeddings)


UTILITY = Model(
    "utility",
    "signed utility",
    lambda data, train, _: learned_from(data, train),
    needs=("embeddings", "kernels"),
    predictor=lambda fitted, data: project(fitted, data.embeddings),
    p_right=lambda model, images, pairs: model.p_right(images.embeddings, pairs),
    utilities=_utilities,
    far=lambda model, images: model.far(images.embeddings),
    restore=_restore,
)
