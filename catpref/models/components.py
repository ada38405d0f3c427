"""Principal components of an embedding's channels: what a small network reads of an image."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from catpref.perception.embeddings import Layout

MOST_COMPONENTS = 32  # that the first, 1 × 1 convolution makes of the channels
_COMPONENT_ROWS = 4096  # cells of training images that tell the components
IMAGES_AT_ONCE = 64
_DRAWING = Lock()


@contextmanager
def drawing(random: torch.Generator) -> Iterator[None]:
    """Let torch draw by this generator where it takes none; its own is one for all threads, which wait here."""
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.set_rng_state(random.get_state())
        yield
        random.set_state(torch.get_rng_state())


def mixing_of(
    embeddings: np.ndarray,
    images: np.ndarray,
    centre: np.ndarray,
    scale: np.ndarray,
    layout: Layout,
    random: torch.Generator,
) -> np.ndarray:
    """Find the channels' principal components over the cells of the images, scaled to a mean square of one.

    Returns
    -------
    ndarray of float32
        Shape (channels, components).
    """
    channels, cells = layout.channels, layout.grid**2
    enough = max(1, _COMPONENT_ROWS // cells)
    some = np.random.default_rng(0).permutation(images)[:enough]
    standardised = _standardised(embeddings[some], centre, scale)[:, : layout.gridded]
    rows = standardised.reshape(-1, channels, cells).transpose(1, 2).reshape(-1, channels)
    count = min(MOST_COMPONENTS, *rows.shape)
    with drawing(random):
        _, lengths, directions = torch.svd_lowrank(rows, q=count, niter=4)
    return (directions / (lengths.square().mean() / len(rows)).sqrt().clamp_min(1e-6)).numpy()


def components_of(
    embeddings: np.ndarray,
    images: np.ndarray,
    centre: np.ndarray,
    scale: np.ndarray,
    mixing: np.ndarray,
    layout: Layout,
) -> Tensor:
    """Standardise images and mix the channels of their grids, a few at a time.

    Returns
    -------
    Tensor
        Shape (images, components × grid × grid + averages): the mixed grids, then the averages over the image.
    """
    mix = torch.from_numpy(mixing).T
    parts = []
    for some in np.array_split(images, -(-len(images) // IMAGES_AT_ONCE)):
        standardised = _standardised(embeddings[some], centre, scale)
        grids = standardised[:, : layout.gridded].reshape(-1, layout.channels, layout.grid**2)
        parts.append(torch.cat([(mix @ grids).flatten(1), standardised[:, layout.gridded :]], dim=1))
    return torch.cat(parts)


def _standardised(embeddings: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> Tensor:
    """Standardise embeddings; a dimension that is the same in all images does not count."""
    by = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 1e-12)
    return (torch.from_numpy(embeddings).float() - torch.from_numpy(centre)).mul_(torch.from_numpy(by))
