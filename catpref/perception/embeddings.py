"""Signed embeddings: one vector an image, whose differences point from the one to the other.

An LPIPS distance is the same when the sides swap. The features that it compares are not: here each layer's
features (scaled to unit length over the channels, as in LPIPS) are averaged over the cells of a grid laid on
the image, and φ(right) − φ(left) changes its sign with the sides.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from catpref._io import cache
from catpref._io.files import sha256_of
from catpref._io.progress import progress
from catpref._io.workers import workers
from catpref.perception.backbones import Backbone
from catpref.stimuli.images import open_image

SIZE = 512
"""Images are resized to SIZE × SIZE pixels before they are embedded."""

GRIDS = {"grid8": 8, "grid4": 4, "global": 1}
"""The embeddings by name: cells along each side of the grid on which features are averaged."""

DEFAULT = "grid8"

_LOG = logging.getLogger(__name__)
_CODE_VERSION = "1"  # raise it when the same image would be embedded differently
_BATCH = 2  # images in the network together


def image_tensor(path: Path, size: int) -> Tensor:
    """Load an image as the networks take it.

    Returns
    -------
    Tensor
        Shape (3, size, size), RGB in [-1, 1].

    Raises
    ------
    BadInput
        If the image cannot be read.
    """
    image = open_image(path).resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1


def embed(
    images: Sequence[Path],
    backbone: Backbone,
    embedding: str = DEFAULT,
    cache_folder: Path | None = None,
) -> np.ndarray:
    """Embed images, each through the network once, or not at all if it was embedded before.

    Parameters
    ----------
    images
        The files.
    backbone
        The network.
    embedding
        A name in `GRIDS`.
    cache_folder
        Where embeddings are kept by content; None keeps nothing.

    Returns
    -------
    ndarray of float16
        Shape (images, dimensions): for each layer in turn its channels × grid × grid.

    Raises
    ------
    BadInput
        If an image cannot be read.
    """
    started = time.perf_counter()
    dimensions = GRIDS[embedding] ** 2 * sum(len(weights) for weights in backbone.channel_weights)
    embeddings = np.empty((len(images), dimensions), np.float16)

    def read(index: int, key: str) -> bool:
        kept = cache.read(cache_folder, key, np.float16, lambda length: length == dimensions)
        if kept is not None:
            embeddings[index] = kept
        return kept is not None

    def compute(batch: Sequence[int]) -> int:
        tensors = torch.stack([image_tensor(images[index], SIZE) for index in batch])
        embeddings[batch] = _pooled(tensors, backbone, GRIDS[embedding])
        for index in batch:
            cache.write(cache_folder, keys[index], embeddings[index])
        return len(batch)

    with workers() as pool:
        keys = list(pool.map(lambda image: _key(image, backbone, embedding), images))
        cached = pool.map(read, range(len(images)), keys)
        missing = [index for index, there in enumerate(cached) if not there]
        with progress([], f"embedding with {backbone.name}", total=len(missing)) as bar:
            batches = [missing[start : start + _BATCH] for start in range(0, len(missing), _BATCH)]
            for done in pool.map(compute, batches):
                bar.update(done)
    if missing:
        cache.prune(cache_folder)
    counts = f"{len(images) - len(missing)} cached, {len(missing)} computed"
    _LOG.info("embeddings of %d images: %s, %.1f s", len(images), counts, time.perf_counter() - started)
    return embeddings


@dataclass(frozen=True)
class Blocks:
    """Which dimensions of an embedding belong together: those of one layer in one region of the image.

    Attributes
    ----------
    of_dimension
        The block of each dimension, shape (dimensions,).
    factors
        1 where a block has a factor, shape (blocks, factors): its layer, and its region.
    """

    of_dimension: np.ndarray
    factors: np.ndarray


def blocks(backbone: Backbone, embedding: str) -> Blocks:
    """Return the blocks of an embedding: each layer in each of the regions of a 4 × 4 grid.

    A region counts as one with its mirror image: faces are symmetric, and so, mostly, is what one likes in them.
    """
    grid = GRIDS[embedding]
    bands = min(4, grid)
    band = np.arange(grid) * bands // grid
    column = np.minimum(band, bands - 1 - band)
    columns = -(-bands // 2)
    region = (band[:, None] * columns + column).ravel()
    layers = len(backbone.channel_weights)
    regions = bands * columns
    of_dimension = np.concatenate(
        [
            layer * regions + np.tile(region, len(weights))
            for layer, weights in enumerate(backbone.channel_weights)
        ]
    )
    layer, place = np.divmod(np.arange(layers * regions), regions)
    return Blocks(of_dimension, np.hstack([np.eye(layers)[layer], np.eye(regions)[place]]))


def _pooled(images: Tensor, backbone: Backbone, grid: int) -> np.ndarray:
    layers = backbone.features(images.to(backbone.device))
    cells = [adaptive_avg_pool2d(layer, grid).flatten(1) for layer in layers]
    return torch.cat(cells, dim=1).cpu().numpy().astype(np.float16)


def _key(path: Path, backbone: Backbone, embedding: str) -> str:
    return cache.key_of(_CODE_VERSION, sha256_of(path), backbone.weights_sha256, embedding, str(SIZE))
