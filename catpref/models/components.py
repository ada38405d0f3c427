"""Principal components of an embedding's channels: what a small network reads of an image."""

import numpy as np
import torch
from torch import Tensor

MOST_COMPONENTS = 32  # that the first, 1 × 1 convolution makes of the channels
_COMPONENT_ROWS = 4096  # cells of training images that tell the components
IMAGES_AT_ONCE = 64


def mixing_of(
    embeddings: np.ndarray, images: np.ndarray, centre: np.ndarray, scale: np.ndarray, channels: int
) -> np.ndarray:
    """Find the channels' principal components over the cells of the images, scaled to a mean square of one.

    Returns
    -------
    ndarray of float32
        Shape (channels, components).
    """
    cells = embeddings.shape[1] // channels
    enough = max(1, _COMPONENT_ROWS // cells)
    some = np.random.default_rng(0).permutation(images)[:enough]
    standardised = (torch.from_numpy(embeddings[some]).float() - torch.from_numpy(centre)) * _inverse(scale)
    rows = standardised.reshape(-1, channels, cells).transpose(1, 2).reshape(-1, channels)
    count = min(MOST_COMPONENTS, *rows.shape)
    _, lengths, directions = torch.svd_lowrank(rows, q=count, niter=4)
    return (directions / (lengths.square().mean() / len(rows)).sqrt().clamp_min(1e-6)).numpy()


def components_of(
    embeddings: np.ndarray, images: np.ndarray, centre: np.ndarray, scale: np.ndarray, mixing: np.ndarray
) -> Tensor:
    """Standardise images and mix their channels, a few at a time: shape (images, components, grid, grid)."""
    channels, components = mixing.shape
    grid = round((embeddings.shape[1] / channels) ** 0.5)
    by = _inverse(scale)
    mix = torch.from_numpy(mixing).T
    middle = mix @ (torch.from_numpy(centre) * by).reshape(channels, grid**2)
    parts = [
        mix @ torch.from_numpy(embeddings[some]).float().mul_(by).reshape(-1, channels, grid**2) - middle
        for some in np.array_split(images, -(-len(images) // IMAGES_AT_ONCE))
    ]
    return torch.cat(parts).reshape(-1, components, grid, grid)


def _inverse(scale: np.ndarray) -> Tensor:
    """Invert the scale; a dimension that is the same in all images does not count."""
    return torch.from_numpy(np.divide(1, scale, out=np.zeros_like(scale), where=scale > 1e-12))
