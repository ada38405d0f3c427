"""Where on the face a preference lives: a utility as the sum of what each region of the image brings.

What the embedding carries of a utility is linear in it, and the embedding is a grid of regions, so that the sum is
exact; image effects, and features that are averaged over the image, have no place. A region of a deep layer has seen
more of the image than its own cell: what moves in one place shows a little in the cells around it, too.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from catpref._io.engines import Engine, Threads, in_order
from catpref.design.splits import split
from catpref.errors import BadInput
from catpref.models.interface import Data
from catpref.models.learned import learn
from catpref.models.standardised import by_slices
from catpref.models.utility import Utility
from catpref.perception.embeddings import Layout

RELIABLE = 0.5
"""Maps of the halves of a session that agree less are more noise than not (see `agreement`)."""

HALVINGS = 3
"""Of the images, over which the agreement of two halves is averaged."""


def contributions(model: Utility, embeddings: np.ndarray, layout: Layout) -> np.ndarray:
    """Return what each cell of the grid adds to each image's utility.

    Parameters
    ----------
    model
        The fitted utility.
    embeddings
        Shape (images, dimensions).
    layout
        How they are made up.

    Returns
    -------
    ndarray
        In logits, shape (images, grid, grid), from the top left; the sum over the cells is what the
        grid carries of the image's utility.
    """
    weights, grid = torch.from_numpy(model.weights), layout.grid
    parts = by_slices(
        embeddings,
        model.centre,
        model.scale,
        lambda columns, part: _by_cell(part, weights[columns], columns, layout),
    )
    brought = sum(parts, torch.zeros(len(embeddings), grid**2))
    return brought.numpy().reshape(-1, grid, grid)


def agreement(data: Data, engine: Engine | None = None) -> float | None:
    """Return how well two halves of a session agree on what each region of the images brings.

    The halves share no image: a taste that has nothing to do with what is seen in the images leads to the same
    map from other trials of the same images, but not from other images.

    Parameters
    ----------
    data
        The session.
    engine
        Who learns from the halves; None: this process.

    Returns
    -------
    float or None
        The reliability of what the whole session says, from 0 to 1: the correlation, over images and regions, of
        what the two halves say, corrected for how many more trials the session has than a half (Spearman 1910; Brown
        1910). None where there is too little to halve.
    """
    try:
        halves = [split(data.pairs, "images", 2, data.seed + number)[0] for number in range(HALVINGS)]
    except BadInput:
        return None
    parts = [half for pair in halves for half in pair]
    learned = in_order(engine or Threads(), _learn, data, parts)
    apart = [brought - brought.mean(0) for brought in _contributions_of(learned, data)]
    found = [_correlation(first, second) for first, second in zip(apart[::2], apart[1::2], strict=True)]
    mean = max(float(np.mean(found)), 0.0)
    longer = len(data.pairs) / float(np.mean([len(half) for half in parts]))
    return longer * mean / (1 + (longer - 1) * mean)


def _learn(data: Data, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how much each block matters by some trials, and what each image shown counts for."""
    learned = learn(data.kernels, data.choices, half, data.seed)
    return learned.variances, data.kernels.made_of.T @ (learned.span @ learned.posterior.weights)


def _contributions_of(learned: Sequence[tuple[np.ndarray, np.ndarray]], data: Data) -> np.ndarray:
    """Return what each cell adds to each image's utility, of several that were learned, in one pass.

    Returns
    -------
    ndarray
        Shape (learned, images, cells).
    """
    kernels, embeddings = data.kernels, data.embeddings
    layout = data.images.layout
    sizes = np.bincount(kernels.blocks.of_dimension)
    relevance = [torch.from_numpy(variances / sizes).float() for variances, _ in learned]
    onto = np.column_stack([on_images for _, on_images in learned])
    on_images = torch.from_numpy(onto.astype(np.float32))

    def add_up(columns: slice, part: Tensor) -> Tensor:
        weights = part.T @ on_images
        block = kernels.blocks.of_dimension[columns]
        return torch.stack([
            _by_cell(part, own[block] * weight, columns, layout)
            for own, weight in zip(relevance, weights.T, strict=True)
        ])  # fmt: skip

    parts = by_slices(embeddings, kernels.centre, kernels.scale, add_up)
    return sum(parts, torch.zeros(len(learned), len(embeddings), layout.grid**2)).numpy()


def _by_cell(part: Tensor, weights: Tensor, columns: slice, layout: Layout) -> Tensor:
    """Multiply a slice of embeddings by its weights, and add up each cell's dimensions, shape (images, cells).

    Slices are of whole channels. Averages over the image have no place.
    """
    cells = layout.grid**2
    added = part.new_zeros(len(part), cells)
    for start in range(0, min(columns.stop, layout.gridded) - columns.start, cells):
        channel = slice(start, start + cells)
        added.addcmul_(part[:, channel], weights[channel])
    return added


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return the correlation; 0 where there is nothing to correlate."""
    if min(np.ptp(first), np.ptp(second)) == 0:
        return 0.0
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def shares(contributions: np.ndarray) -> np.ndarray:
    """Return which part of the utilities' variance over the images each cell brings.

    Parameters
    ----------
    contributions
        Shape (images, grid, grid).

    Returns
    -------
    ndarray
        Covariance of a cell's contribution with the utility, over the utility's variance, shape (grid, grid). The
        sum is 1 (0 if all utilities are the same); a cell that works against the others is negative.
    """
    apart = contributions - contributions.mean(0)
    utilities = apart.sum((1, 2))
    variance = float(np.square(utilities).mean())
    covariance = np.tensordot(utilities, apart, axes=1) / len(apart)
    return covariance / variance if variance > 0 else np.zeros_like(covariance)
