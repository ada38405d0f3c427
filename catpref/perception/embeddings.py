"""Signed embeddings: one vector an image, whose differences point from the one to the other.

An LPIPS distance is the same when the sides swap. The features that it compares are not: here each layer's
features (scaled to unit length over the channels, as in LPIPS) are averaged over the cells of a grid laid on
the image, and φ(right) − φ(left) changes its sign with the sides. Features of late stages of two further networks,
averaged over the image, stand behind those of the grid.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.linalg import block_diag
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from catpref._io import cache
from catpref._io.files import sha256_of
from catpref._io.progress import progress
from catpref._io.workers import workers
from catpref.perception import late_stages
from catpref.perception.backbones import Backbone
from catpref.stimuli.images import open_image

SIZE = 512
"""Images are resized to SIZE × SIZE pixels before the backbone reads them."""

GRIDS = {"grid8+late": 8, "grid8": 8, "grid4": 4, "global": 1}
"""The embeddings by name: cells along each side of the grid on which the backbone's features are averaged."""

_WITH_LATE_STAGES = "+late"  # at the end of an embedding's name

DEFAULT = "grid8+late"

_LOG = logging.getLogger(__name__)
_CODE_VERSION = "1"  # raise it when the same image would be embedded differently
_BATCH = 2  # images in the network together


@dataclass(frozen=True)
class Layout:
    """The dimensions of an embedding: those of the grid, channel by channel, then the averages over the image.

    Attributes
    ----------
    channels, grid
        Channels of all the backbone's layers, and cells along each side of the grid.
    averages
        Number of the averages.
    """

    channels: int
    grid: int
    averages: int

    @property
    def gridded(self) -> int:
        """Number of the grid's dimensions, which come first."""
        return self.channels * self.grid**2

    @property
    def dimensions(self) -> int:
        """Number of all dimensions."""
        return self.gridded + self.averages


def has_late_stages(embedding: str) -> bool:
    """Return whether an embedding has late stages beside its grid."""
    return embedding.endswith(_WITH_LATE_STAGES)


def layout(backbone: Backbone, embedding: str) -> Layout:
    """Return how an embedding of the backbone is made up."""
    channels = sum(len(weights) for weights in backbone.channel_weights)
    averages = sum(late_stages.WIDTHS) if has_late_stages(embedding) else 0
    return Layout(channels, GRIDS[embedding], averages)


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
    return _tensor(open_image(path), size)


def _tensor(image: Image.Image, size: int) -> Tensor:
    resized = image.resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).float() / 127.5 - 1


@dataclass(frozen=True)
class _Part:
    """A part of an embedding that one network makes.

    Attributes
    ----------
    columns
        Its dimensions.
    size
        Side of the images that the network takes, in pixels.
    identity
        What it depends on beside the image, as parts of its key in the cache.
    compute
        Makes it of images, shape (n, 3, size, size).
    """

    columns: slice
    size: int
    identity: tuple[str, ...]
    compute: Callable[[Tensor], Tensor]


def _parts(backbone: Backbone, embedding: str) -> list[_Part]:
    made_up = layout(backbone, embedding)
    grid = made_up.grid
    own = embedding.removesuffix(_WITH_LATE_STAGES)

    def on_grid(images: Tensor) -> Tensor:
        layers = backbone.features(images.to(backbone.device))
        return torch.cat([adaptive_avg_pool2d(layer, grid).flatten(1) for layer in layers], dim=1)

    parts = [
        _Part(
            slice(0, made_up.gridded), SIZE, (_CODE_VERSION, backbone.weights_sha256, own, str(SIZE)), on_grid
        )
    ]
    if made_up.averages:
        for network in late_stages.NETWORKS:
            start = parts[-1].columns.stop
            parts.append(
                _Part(
                    slice(start, start + sum(network.widths)),
                    network.size,
                    (_CODE_VERSION, network.weights.sha256, "late", str(network.size)),
                    partial(network.averages, device=backbone.device),
                )
            )
    return parts


def embed(
    images: Sequence[Path],
    backbone: Backbone,
    embedding: str = DEFAULT,
    cache_folder: Path | None = None,
) -> np.ndarray:
    """Embed images, each through a network once, or not at all if it was embedded before.

    Parameters
    ----------
    images
        The files.
    backbone
        The network whose features are averaged on a grid.
    embedding
        A name in `GRIDS`.
    cache_folder
        Where embeddings are kept by content; None keeps nothing.

    Returns
    -------
    ndarray of float16
        Shape (images, dimensions): for each layer in turn its channels × grid × grid, then the averages over the
        image of the late stages, network by network.

    Raises
    ------
    BadInput
        If an image cannot be read.
    """
    started = time.perf_counter()
    parts = _parts(backbone, embedding)
    embeddings = np.empty((len(images), parts[-1].columns.stop), np.float16)

    def compute(batch: Sequence[int]) -> int:
        decoded = {index: open_image(images[index]) for index in batch}  # once for all networks
        for part in parts:
            some = [index for index in batch if part in missing[index]]
            if some:
                tensors = torch.stack([_tensor(decoded[index], part.size) for index in some])
                computed = part.compute(tensors).cpu().numpy().astype(np.float16)
                for index, row in zip(some, computed, strict=True):
                    embeddings[index, part.columns] = row
                    kept.write(_key(digests[index], part), row)
        return len(batch)

    with cache.opened(cache_folder) as kept, workers() as pool:
        digests = list(pool.map(sha256_of, images))
        read = partial(_read, parts=parts, kept=kept)
        missing = dict(enumerate(pool.map(read, embeddings, digests)))
        todo = [index for index, some in missing.items() if some]
        with progress([], f"embedding with {backbone.name}", total=len(todo)) as bar:
            batches = [todo[start : start + _BATCH] for start in range(0, len(todo), _BATCH)]
            for done in pool.map(compute, batches):
                bar.update(done)
    counts = f"{len(images) - len(todo)} cached, {len(todo)} computed"
    _LOG.info("embeddings of %d images: %s, %.1f s", len(images), counts, time.perf_counter() - started)
    return embeddings


def _read(row: np.ndarray, digest: str, parts: Sequence[_Part], kept: cache.Store) -> list[_Part]:
    """Fill in an image's parts that are in the cache, and return the others."""
    missing = []
    for part in parts:
        width = part.columns.stop - part.columns.start
        found = kept.read(_key(digest, part), np.float16, width.__eq__)
        if found is None:
            missing.append(part)
        else:
            row[part.columns] = found
    return missing


def _key(digest: str, part: _Part) -> str:
    """Return the key of a part of an image's embedding in the cache; the image is known by its digest."""
    version, *rest = part.identity
    return cache.key_of(version, digest, *rest)


@dataclass(frozen=True)
class Blocks:
    """Which dimensions of an embedding belong together: those of one layer in one region of the image.

    Attributes
    ----------
    of_dimension
        The block of each dimension, shape (dimensions,).
    factors
        1 where a block has a factor, shape (blocks, factors): its layer, and its region.
    kinds
        The kind of each factor, "layer", "region" or "late stage", on which its prior depends.
    """

    of_dimension: np.ndarray
    factors: np.ndarray
    kinds: tuple[str, ...]

    @property
    def of_late(self) -> np.ndarray:
        """Which blocks are late stages, shape (blocks,)."""
        return np.asarray(self.factors[:, [kind == "late stage" for kind in self.kinds]].any(axis=1))


def blocks(backbone: Backbone, embedding: str) -> Blocks:
    """Return the blocks of an embedding: each layer in each of the regions of a 4 × 4 grid, and each late stage.

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
    late = late_stages.WIDTHS if layout(backbone, embedding).averages else ()
    on_grid = [
        layer * regions + np.tile(region, len(weights))
        for layer, weights in enumerate(backbone.channel_weights)
    ]
    averaged = np.repeat(layers * regions + np.arange(len(late)), late)
    layer, place = np.divmod(np.arange(layers * regions), regions)
    factors = block_diag(np.hstack([np.eye(layers)[layer], np.eye(regions)[place]]), np.eye(len(late)))
    kinds = ("layer",) * layers + ("region",) * regions + ("late stage",) * len(late)
    return Blocks(np.concatenate([*on_grid, averaged]), np.asarray(factors), kinds)
