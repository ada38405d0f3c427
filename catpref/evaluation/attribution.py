"""Where on the face a preference lives: a utility as the sum of what each region of the image brings.

What the embedding carries of a utility is linear in it, and the embedding is a grid of regions, so that the sum is
exact; image effects, and features that are averaged over the image, have no place. A region of a deep layer has seen
more of the image than its own cell: what moves in one place shows a little in the cells around it, too.
"""

import numpy as np
import torch

from catpref.models.standardised import by_slices
from catpref.models.utility import Utility
from catpref.perception.embeddings import Layout


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
    grid = layout.grid
    dimensions = np.arange(layout.gridded)
    cells = dimensions % grid**2  # each layer is channels × grid × grid
    onto = torch.zeros(layout.dimensions, grid**2)
    onto[dimensions, cells] = torch.from_numpy(model.weights[: layout.gridded])
    parts = by_slices(embeddings, model.centre, model.scale, lambda columns, part: part @ onto[columns])
    brought = sum(parts, torch.zeros(len(embeddings), grid**2))
    return brought.numpy().reshape(-1, grid, grid)


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
