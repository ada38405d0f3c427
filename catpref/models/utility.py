"""The signed utility: each image has a cuteness, linear in its embedding, and the cuter image is chosen.

P(right) = logistic(u(right) − u(left) + side bias). With the side bias set aside, swapping the sides turns
P(right) into 1 − P(right), by construction. The weights have a Gaussian prior, so that an embedding may have
many more dimensions than there are trials: the solution lies in the span of the training images, and is found
there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from scipy.linalg import eigh
from scipy.special import expit

from catpref.commands import BadInput
from catpref.embeddings import Blocks
from catpref.models import laplace, relevance
from catpref.models.calibration import fit_gain
from catpref.splits import split

_CHUNK = 1 << 25  # numbers standardised at a time, to keep memory low
_DIRECTIONS = 64  # of the posterior that a model keeps; along all others it is as unsure as the prior
_CALIBRATION_FOLDS = 5
_RELEVANCE_TRIALS = 250  # enough to tell the relevant blocks
_MOST_PRODUCTS = 1 << 28  # inner products that are kept, 1 GiB
_ENOUGH_IMAGES = 100  # to tell how much a dimension typically varies
_MANY = 500  # items, for which every product of all dimensions would take too long
_HASHED = 512  # dimensions of a block that are left then
_MOST_DIRECTIONS = 300  # in which a utility varies where there are many images
_CLEARLY = 1.1  # times as far: new images of the same kind are not, those of other kinds mostly more
_LEAST_REST = 1e-4  # of a dimension's variance, once the image is left out that it mostly comes from
_LEAST_EIGENVALUE = 1e-6  # of the greatest: below is rounding


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
        """Give each image's utility against the average training image, and its standard deviation, in logits.

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
        """Tell how unlike the training images others are; see `far`.

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
        total = np.zeros(len(embeddings))
        for _, part in _standardised(embeddings, slice(None), self.centre, self.scale):
            total += np.abs(part).sum(1)
        return total / embeddings.shape[1]

    def far(self, embeddings: np.ndarray) -> np.ndarray:
        """Say which images are of another kind than the training images: clearly farther than any of those.

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
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> "Utility":
        """Restore what `tensors` returned; raises KeyError if a part is missing."""
        arrays = ("centre", "scale", "weights", "weight_directions", "bias_directions", "shrinkage")
        numbers = ("prior_variance", "side_bias", "side_bias_sd", "gain", "farthest")
        parts: dict[str, Any] = {name: tensors[name] for name in arrays}
        parts |= {name: float(tensors[name][0]) for name in numbers}
        return cls(**parts)

    def _posterior(
        self, embeddings: np.ndarray, pairs: np.ndarray | None, bias_scale: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the utility of images, or of the utility differences of pairs."""
        rows = len(embeddings) if pairs is None else len(pairs)
        mean, square = np.zeros(rows), np.zeros(rows)
        along = np.outer(np.full(rows, bias_scale), self.bias_directions)
        for columns, part in _standardised(embeddings, slice(None), self.centre, self.scale):
            vectors = part if pairs is None else part[pairs[:, 1]] - part[pairs[:, 0]]
            mean += vectors @ self.weights[columns].astype(np.float32)
            square += np.square(vectors).sum(1)
            directions = self.weight_directions[:, columns].astype(np.float32)
            along += np.sqrt(self.prior_variance) * (vectors @ directions.T)
        prior = self.prior_variance * square + bias_scale**2
        return mean, np.maximum(prior - np.square(along) @ self.shrinkage, 0)


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
        learn(kernels(embeddings, pairs, blocks), choices, np.arange(len(pairs)), seed), embeddings
    )


@dataclass(frozen=True)
class Kernels:
    """Inner products of a session's embeddings: all that learning from any part of its trials has to know.

    Attributes
    ----------
    centre, scale
        Mean and standard deviation of each dimension over the images shown, shape (dimensions,).
    blocks
        Which dimensions share their relevance.
    images
        The images of each trial as indices into the embeddings, shape (trials, 2).
    pairs
        The items of each trial, shape (trials, 2). Items are the images shown; or, where there are fewer
        trials than images, nothing at all (item 0, whose embedding is zero) and the differences of the trials.
    grams
        Inner products of the items' standardised embeddings within each block, divided by its dimensions, shape
        (blocks, items, items), float32; empty if they are too many to be kept.
    features
        If so, the standardised embeddings, each block's hashed to a few dimensions, shape (blocks, items, hashed).
    """

    centre: np.ndarray
    scale: np.ndarray
    blocks: Blocks
    images: np.ndarray
    pairs: np.ndarray
    grams: np.ndarray
    features: np.ndarray

    def gram(self, variances: np.ndarray) -> np.ndarray:
        """Add up the blocks, each with its prior variance: shape (items, items), float64."""
        weights = torch.from_numpy(variances.astype(np.float32))
        if len(self.grams):
            summed = torch.tensordot(weights, torch.from_numpy(self.grams), dims=1)
        else:
            features = torch.from_numpy(self.features)
            summed = torch.zeros(features.shape[1], features.shape[1])
            for weight, block in zip(weights, features, strict=True):
                summed.addmm_(block, block.T, alpha=float(weight))
        return summed.numpy().astype(np.float64)

    def gram_of_block(self, block: int, items: np.ndarray) -> np.ndarray:
        """Give the inner products of some items within one block."""
        if len(self.grams):
            return self.grams[block][np.ix_(items, items)]
        features = self.features[block][items]
        return features @ features.T


def kernels(embeddings: np.ndarray, pairs: np.ndarray, blocks: Blocks | None = None) -> Kernels:
    """Compute what learning needs of the images; see `fit` for the parameters, and `learn` for what follows.

    The embeddings are standardised over all images shown, which says nothing of any choice.
    """
    blocks = blocks or Blocks(np.zeros(embeddings.shape[1], int), np.ones((1, 1)))
    shown, indices = np.unique(pairs, return_inverse=True)
    sides = indices.reshape(-1, 2)
    by_images = len(shown) <= len(pairs)
    items = sides if by_images else np.column_stack([np.zeros(len(pairs), int), np.arange(1, len(pairs) + 1)])
    count = int(items.max()) + 1
    storable = len(blocks.factors) * count**2 <= _MOST_PRODUCTS
    kept = np.empty((len(blocks.factors), count, count if storable else _HASHED), np.float32)
    if len(shown) < len(embeddings):
        embeddings = embeddings[shown]
    centre, scale = (np.empty(embeddings.shape[1], np.float32) for _ in range(2))
    # A dimension that hardly varies (a channel that is almost always off) must not be blown up.
    typical = float(embeddings[:_ENOUGH_IMAGES].std(0, dtype=np.float32).mean())
    floor = max(0.01 * typical, float(np.finfo(np.float32).tiny))
    for block in range(len(blocks.factors)):
        dimensions = np.flatnonzero(blocks.of_dimension == block)
        part = torch.from_numpy(np.take(embeddings, dimensions, axis=1)).float().numpy()
        centre[dimensions], scale[dimensions] = part.mean(0), np.maximum(part.std(0), floor)
        part -= centre[dimensions]
        if not by_images:
            part = np.vstack([np.zeros_like(part[:1]), _differences(part, sides)])
        part /= scale[dimensions] * np.sqrt(len(dimensions))
        tensor = torch.from_numpy(_hashed(part) if count > _MANY else part)
        kept[block] = tensor @ tensor.T if storable else tensor
    none = np.empty((0, count, 0), np.float32)
    grams, features = (kept, none) if storable else (none, kept)
    return Kernels(centre, scale, blocks, pairs, items, grams, features)


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
    span = _span(gram, kernels.pairs[train])
    differences = _differences(gram @ span, kernels.pairs)
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
    onto = onto.astype(np.float32)
    projected = np.empty((embeddings.shape[1], onto.shape[1]), np.float32)
    apart = np.zeros(len(shown))
    for columns, part in _standardised(embeddings, shown, kernels.centre, scale):
        projected[columns] = part.T @ onto
        apart += _left_out(part, np.sqrt(relevance[columns])).sum(1)
    return Utility(
        centre=kernels.centre,
        scale=scale,
        weights=projected[:, 0],
        weight_directions=projected[:, 1:].T,
        bias_directions=vectors[-1],
        shrinkage=shrinkage,
        prior_variance=posterior.prior_variance,
        side_bias=posterior.side_bias,
        side_bias_sd=posterior.side_bias_sd,
        gain=learned.gain,
        farthest=float(apart.max() / embeddings.shape[1]),
    )


def _left_out(deviations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Give each image's absolute deviation from the other images' mean, in units of their standard deviation.

    Parameters
    ----------
    deviations
        From the mean of all, in units of all images' standard deviation and times `weights`.
    weights
        Of each dimension.
    """
    images = len(deviations)
    part = np.square(deviations / weights.astype(np.float32)) / max(
        images - 1, 1
    )  # of the variance that is its own
    return np.abs(deviations) * np.sqrt(images / max(images - 1, 1) / np.maximum(1 - part, _LEAST_REST))


def _slices(embeddings: np.ndarray, rows: int) -> Iterator[slice]:
    """Go through the dimensions a slice at a time, to keep memory low."""
    width = max(1, _CHUNK // rows)
    for start in range(0, embeddings.shape[1], width):
        yield slice(start, start + width)


def _standardised(
    embeddings: np.ndarray, images: np.ndarray | slice, centre: np.ndarray, scale: np.ndarray
) -> Iterator[tuple[slice, np.ndarray]]:
    """Standardise a slice of the dimensions at a time, as float32."""
    for columns in _slices(embeddings, len(embeddings)):
        part = embeddings[images, columns].astype(np.float32)
        part -= centre[columns]
        part /= scale[columns]
        yield columns, part


def _hashed(features: np.ndarray) -> np.ndarray:
    """Add up dimensions with random signs into a few, which keeps inner products up to a little noise.

    References
    ----------
    Weinberger et al. (2009). Feature hashing for large scale multitask learning. ICML.
    """
    rows, dimensions = features.shape
    signs = np.random.default_rng(0).choice(np.array([-1, 1], np.float32), dimensions)
    padded = np.pad(features * signs, ((0, 0), (0, -dimensions % _HASHED)))
    return padded.reshape(rows, -1, _HASHED).sum(1)


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
    incidence = _differences(np.eye(len(items)), pairs)
    grams = np.array([kernels.gram_of_block(block, items) for block in range(blocks)])
    if not by_items:
        grams = np.array([_differences(_differences(gram, pairs).T, pairs) for gram in grams])
        incidence = np.eye(len(train))
    return relevance.block_variances(grams, kernels.blocks.factors, incidence, choices[train])


def _differences(values: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    return values[pairs[:, 1]] - values[pairs[:, 0]]


def _span(gram: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Find combinations of items that are orthonormal directions and span the trials' differences.

    Returns
    -------
    ndarray
        Shape (items, rank): ``gram @ span`` are the items' coordinates.
    """
    items, indices = np.unique(pairs, return_inverse=True)
    among = gram[np.ix_(items, items)]
    if len(pairs) >= len(items):
        values, vectors = _greatest(among)
    else:  # fewer trials than items: the trials' differences span less
        pairs = indices.reshape(-1, 2)
        values, of_trials = _greatest(_differences(_differences(among, pairs).T, pairs))
        vectors = np.zeros((len(items), of_trials.shape[1]))
        np.add.at(vectors, pairs[:, 1], of_trials)
        np.add.at(vectors, pairs[:, 0], -of_trials)
    kept = values > values[-1] * _LEAST_EIGENVALUE
    kept[:-_MOST_DIRECTIONS] = False
    span = np.zeros((len(gram), kept.sum()))
    span[items] = vectors[:, kept] / np.sqrt(values[kept])
    return span


def _greatest(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the greatest eigenvalues, in rising order, and their vectors; of a large matrix, approximately.

    References
    ----------
    Halko, Martinsson & Tropp (2011). Finding structure with randomness. SIAM Review 53(2), algorithm 4.4.
    """
    if len(gram) <= 2000:
        return eigh(gram)
    basis = np.random.default_rng(0).standard_normal((len(gram), _MOST_DIRECTIONS))
    for _ in range(3):
        basis, _ = np.linalg.qr(gram @ basis)
    values, vectors = eigh(basis.T @ gram @ basis)
    return values, basis @ vectors


def _learned_directions(posterior: laplace.Posterior) -> tuple[np.ndarray, np.ndarray]:
    """Give the directions that the choices told most about, and how much of the prior variance they took."""
    size = len(posterior.precision)
    values, vectors = eigh(posterior.precision, subset_by_index=(max(0, size - _DIRECTIONS), size - 1))
    return vectors, 1 - 1 / values


def _moments_of(
    posterior: laplace.Posterior, differences: np.ndarray, squares: np.ndarray, side_bias: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Give the mean and the variance of the utility differences of trials, before the gain."""
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
        return 1.0  # too little data to leave any out
    held_out = []
    for train, test in folds:
        posterior = laplace.fit(differences[train], choices[train], prior_variance)
        bias = np.full(len(test), posterior.side_bias)
        held_out.append((*_moments_of(posterior, differences[test], squares[test]), bias, choices[test]))
    mean, variance, bias, chosen = (np.concatenate(part) for part in zip(*held_out, strict=True))
    gain, _ = fit_gain(lambda gain: _moderated(mean, variance, gain, bias), chosen)
    return gain


def _moderated(
    mean: np.ndarray, variance: np.ndarray, gain: float, side_bias: float | np.ndarray
) -> np.ndarray:
    """Shrink logits by their uncertainty, so that their logistic is the average over it (MacKay 1992)."""
    return gain * mean / np.sqrt(1 + np.pi / 8 * variance) + side_bias
