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
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit

from catpref.commands import BadInput
from catpref.embeddings import Blocks
from catpref.models import laplace, relevance
from catpref.splits import split

_CHUNK = 1 << 25  # numbers standardised at a time, to keep memory low
_DIRECTIONS = 64  # of the posterior that a model keeps; along all others it is as unsure as the prior
_LOG_GAIN_SD = 1.0  # prior of the calibration: a gain between 1/7 and 7 is not unusual
_CALIBRATION_FOLDS = 5
_RELEVANCE_TRIALS = 400  # enough to tell the relevant blocks where each image is seen once


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
        numbers = ("prior_variance", "side_bias", "side_bias_sd", "gain")
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
        for columns, part in _standardised(embeddings, self.centre, self.scale, rows):
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

    The prior's strength, overall and for each block of dimensions, is the one with the greatest marginal
    likelihood; the gain is the one under which choices between training images left out in turn are most likely.

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
        Seed of the folds that the calibration uses, and of the trials that tell the relevant blocks.
    """
    embeddings, pairs = _shown(embeddings, pairs)
    centre, scale = _moments(embeddings)
    if blocks is not None:
        scale = scale / np.sqrt(_relevance(embeddings, pairs, choices, centre, scale, blocks, seed))
    gram = _gram(embeddings, centre, scale)
    span = _span(gram, pairs)
    posterior = laplace.fit(_differences(gram @ span, pairs), choices)
    gain = _calibrate(gram, pairs, choices, posterior.prior_variance, seed)

    vectors, shrinkage = _learned_directions(posterior)
    onto = np.column_stack([span @ posterior.weights, span @ vectors[:-1]])
    projected = np.concatenate(
        [
            part.T @ onto.astype(np.float32)
            for _, part in _standardised(embeddings, centre, scale, len(embeddings))
        ]
    )
    return Utility(
        centre=centre,
        scale=scale,
        weights=projected[:, 0],
        weight_directions=projected[:, 1:].T,
        bias_directions=vectors[-1],
        shrinkage=shrinkage,
        prior_variance=posterior.prior_variance,
        side_bias=posterior.side_bias,
        side_bias_sd=posterior.side_bias_sd,
        gain=gain,
    )


def _shown(embeddings: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out the images that are in no pair."""
    shown, indices = np.unique(pairs, return_inverse=True)
    return embeddings[shown], indices.reshape(-1, 2)


def _relevance(
    embeddings: np.ndarray,
    pairs: np.ndarray,
    choices: np.ndarray,
    centre: np.ndarray,
    scale: np.ndarray,
    blocks: Blocks,
    seed: int,
) -> np.ndarray:
    """Find each dimension's prior variance, up to a common factor, by the relevance of its block."""
    if len(pairs) < len(embeddings) and len(pairs) > _RELEVANCE_TRIALS:
        some = np.random.default_rng(seed).choice(len(pairs), _RELEVANCE_TRIALS, replace=False)
        embeddings, pairs, choices = *_shown(embeddings, pairs[some]), choices[some]
    by_images = len(embeddings) <= len(pairs)
    items = len(embeddings) if by_images else len(pairs)
    grams = np.zeros((len(blocks.factors), items, items))
    sizes = np.bincount(blocks.of_dimension, minlength=len(blocks.factors))
    for block, size in enumerate(sizes):
        dimensions = np.flatnonzero(blocks.of_dimension == block)
        gram = _gram(embeddings[:, dimensions], centre[dimensions], scale[dimensions]) / size
        grams[block] = gram if by_images else _differences(_differences(gram, pairs).T, pairs)
    incidence = _differences(np.eye(items), pairs) if by_images else np.eye(items)
    variances = relevance.block_variances(grams, blocks.factors, incidence, choices)
    return (variances / sizes)[blocks.of_dimension].astype(np.float32)


def _moments(embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    centre = embeddings.mean(0, dtype=np.float32)
    scale = embeddings.std(0, dtype=np.float32)
    # A dimension that hardly varies (a channel that is almost always off) must not be blown up.
    floor = max(0.01 * float(scale.mean()), float(np.finfo(np.float32).tiny))
    return centre, np.maximum(scale, floor)


def _standardised(
    embeddings: np.ndarray, centre: np.ndarray, scale: np.ndarray, rows: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Standardise a slice of the dimensions at a time, as float32."""
    width = max(1, _CHUNK // max(rows, len(embeddings)))
    for start in range(0, embeddings.shape[1], width):
        columns = slice(start, start + width)
        part = embeddings[:, columns].astype(np.float32)
        part -= centre[columns]
        part /= scale[columns]
        yield columns, part


def _gram(embeddings: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Inner products of the standardised embeddings, shape (images, images), float64."""
    total = torch.zeros(len(embeddings), len(embeddings), dtype=torch.float64)
    for _, part in _standardised(embeddings, centre, scale, len(embeddings)):
        tensor = torch.from_numpy(part)
        total += tensor @ tensor.T
    return total.numpy()


def _differences(values: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    return values[pairs[:, 1]] - values[pairs[:, 0]]


def _span(gram: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Find combinations of images that are orthonormal directions and span the trials' differences.

    Returns
    -------
    ndarray
        Shape (images, rank): ``gram @ span`` are the images' coordinates.
    """
    if len(pairs) >= len(gram):
        values, vectors = eigh(gram)
    else:  # fewer trials than images: the trials' differences span less
        values, vectors = eigh(_differences(_differences(gram, pairs).T, pairs))
        combined = np.zeros((len(gram), len(pairs)))
        np.add.at(combined, pairs[:, 1], vectors)
        np.add.at(combined, pairs[:, 0], -vectors)
        vectors = combined
    kept = values > values[-1] * 1e-8
    return vectors[:, kept] / np.sqrt(values[kept])


def _learned_directions(posterior: laplace.Posterior) -> tuple[np.ndarray, np.ndarray]:
    """Give the directions that the choices told most about, and how much of the prior variance they took."""
    size = len(posterior.precision)
    values, vectors = eigh(posterior.precision, subset_by_index=(max(0, size - _DIRECTIONS), size - 1))
    return vectors, 1 - 1 / values


def _calibrate(
    gram: np.ndarray, pairs: np.ndarray, choices: np.ndarray, prior_variance: float, seed: int
) -> float:
    """Find the gain on utility differences that makes choices between left-out images most likely."""
    try:
        folds = split(pairs, "images", _CALIBRATION_FOLDS, seed)
    except BadInput:
        return 1.0  # too little data to leave any out
    held_out = []
    for train, test in folds:
        span = _span(gram, pairs[train])
        coordinates = gram @ span
        posterior = laplace.fit(_differences(coordinates, pairs[train]), choices[train], prior_variance)
        vectors, shrinkage = _learned_directions(posterior)
        differences = _differences(coordinates, pairs[test])
        left, right = pairs[test].T
        square = gram[left, left] + gram[right, right] - 2 * gram[left, right]
        along = np.sqrt(prior_variance) * (differences @ vectors[:-1]) + vectors[-1]
        variance = prior_variance * square + laplace.BIAS_VARIANCE - np.square(along) @ shrinkage
        bias = np.full(len(test), posterior.side_bias)
        held_out.append((differences @ posterior.weights, np.maximum(variance, 0), bias, choices[test]))
    mean, variance, bias, chosen = (np.concatenate(part) for part in zip(*held_out, strict=True))
    signs = np.where(chosen == 1, 1.0, -1.0)

    def loss(log_gain: float) -> float:
        logits = _moderated(mean, variance, np.exp(log_gain), bias)
        return float(np.square(log_gain / _LOG_GAIN_SD) / 2 - log_expit(signs * logits).sum())

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def _moderated(
    mean: np.ndarray, variance: np.ndarray, gain: float, side_bias: float | np.ndarray
) -> np.ndarray:
    """Shrink logits by their uncertainty, so that their logistic is the average over it (MacKay 1992)."""
    return gain * mean / np.sqrt(1 + np.pi / 8 * variance) + side_bias
