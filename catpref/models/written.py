"""What was learned in terms of a session's items, written as weights of the embedding's dimensions."""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from catpref._io.workers import workers
from catpref.models.kernels import Kernels
from catpref.models.standardised import by_slices

_LEAST_REST = 1e-4  # of a dimension's variance, once the image is left out that it mostly comes from


@dataclass(frozen=True)
class Written:
    """Combinations of a session's items, written as weights of the embedding's dimensions.

    Attributes
    ----------
    scale
        What centred dimensions are divided by, shape (dimensions,); see `Utility`.
    weights
        Of each combination, shape (dimensions, combinations).
    known
        Digests of the images, in order, shape (images,).
    effects
        What the combinations have of each of these images, told against the mean, shape (images, combinations).
    farthest
        See `Utility`.
    place
        Of each image shown among `known`, shape (images shown,).
    projected, squares
        The images shown, projected on the weights of some combinations, shape (images shown, some combinations), and
        their squared lengths, shape (images shown,).
    """

    scale: np.ndarray
    weights: np.ndarray
    known: np.ndarray
    effects: np.ndarray
    farthest: float
    place: np.ndarray
    projected: np.ndarray
    squares: np.ndarray


def write_as_weights(
    kernels: Kernels,
    variances: np.ndarray,
    onto: np.ndarray,
    embeddings: np.ndarray,
    some: np.ndarray | slice = slice(0),
) -> Written:
    """Write combinations of items as weights, so that images can be read that were not in the session.

    Parameters
    ----------
    kernels
        Of the session.
    variances
        Prior variance of each block, shape (blocks,).
    onto
        The combinations, shape (items, combinations).
    embeddings
        Of the session's images, shape (images, dimensions).
    some
        The combinations on which the images are projected in turn, in the same pass.
    """
    deviations = _deviations(kernels, variances)
    scale = scale_of(kernels, variances)
    shown, indices = np.unique(kernels.images, return_inverse=True)
    if len(onto) != len(shown):  # items are trials
        left, right = indices.reshape(-1, 2).T
        of_trials, onto = onto[1:], np.zeros((len(shown), onto.shape[1]))
        np.add.at(onto, right, of_trials)
        np.add.at(onto, left, -of_trials)
    onto_images = torch.from_numpy(onto.astype(np.float32))
    deviation = torch.from_numpy(deviations.astype(np.float32))
    weights = torch.empty(embeddings.shape[1], onto.shape[1])

    def write_slice(columns: slice, part: Tensor) -> tuple[np.ndarray, np.ndarray, Tensor]:
        weights[columns] = part.T @ onto_images
        projected = (part @ weights[columns, some]).numpy()
        apart = _left_out(part, deviation[columns]).sum(1)
        return projected, part.square_().sum(1).numpy(), apart

    if len(shown) < len(embeddings):
        embeddings = embeddings[shown]
    # Only differences of utilities mean anything: effects are told against their mean. Copies of an image have one.
    known, copies = np.unique(digests(embeddings), return_inverse=True)
    effects = np.zeros((len(known), onto.shape[1]))
    np.add.at(effects, copies, (onto - onto.mean(0)) / np.bincount(copies)[copies, None])
    projected, squares = np.zeros((len(shown), weights[0, some].numel())), np.zeros(len(shown))
    apart = torch.zeros(len(shown))
    for of_slice, squares_of_slice, apart_of_slice in by_slices(
        embeddings, kernels.centre, scale, write_slice
    ):
        projected += of_slice
        squares += squares_of_slice
        apart += apart_of_slice
    farthest = float(apart.max() / embeddings.shape[1])
    return Written(scale, weights.numpy(), known, effects, farthest, copies, projected, squares)


def scale_of(kernels: Kernels, variances: np.ndarray) -> np.ndarray:
    """Return what centred dimensions are divided by, given each block's prior variance; see `Utility`."""
    return (kernels.scale / _deviations(kernels, variances)).astype(np.float32)


def _deviations(kernels: Kernels, variances: np.ndarray) -> np.ndarray:
    """Return the prior standard deviation of each standardised dimension's weight, shape (dimensions,)."""
    sizes = np.bincount(kernels.blocks.of_dimension, minlength=len(variances))
    return np.sqrt(variances / sizes)[kernels.blocks.of_dimension]


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


def digests(embeddings: np.ndarray) -> np.ndarray:
    """Return what tells embeddings apart: a hash of each, as int64."""

    def digest(one: np.ndarray) -> int:
        return int.from_bytes(blake2b(np.ascontiguousarray(one).data, digest_size=8).digest(), signed=True)

    with workers() as pool:
        return np.fromiter(pool.map(digest, embeddings), np.int64, len(embeddings))
