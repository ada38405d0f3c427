"""Where on the face a preference lives: a utility as the sum of what each region of the image brings.

A utility is linear in the embedding, and the embedding is a grid of regions, so that the sum is exact. A region
of a deep layer has seen more of the image than its own cell: what moves in one place shows a little in the
cells around it, too.
"""

import numpy as np

from catpref.embeddings import GRIDS
from catpref.models.utility import Utility


def contributions(model: Utility, embeddings: np.ndarray, embedding: str) -> np.ndarray:
    """Tell what each cell of the grid adds to each image's utility.

    Parameters
    ----------
    model
        The fitted utility.
    embeddings
        Shape (images, dimensions).
    embedding
        Its name in `catpref.embeddings.GRIDS`.

    Returns
    -------
    ndarray
        In logits, shape (images, grid, grid), from the top left; the sum over the cells is the image's utility.
    """
    grid = GRIDS[embedding]
    brought = np.empty((len(embeddings), grid**2))
    for number in range(grid**2):
        dimensions = slice(number, None, grid**2)  # of every channel: each layer is channels × grid × grid
        part = embeddings[:, dimensions].astype(np.float32)
        standardised = (part - model.centre[dimensions]) / model.scale[dimensions]
        brought[:, number] = standardised @ model.weights[dimensions].astype(np.float32)
    return model.gain * brought.reshape(-1, grid, grid)


def shares(contributions: np.ndarray) -> np.ndarray:
    """Tell which part of the utilities' variance over the images each cell brings.

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
