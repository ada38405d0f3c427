"""Signed embeddings: one vector an image, whose differences point from the one to the other.

An LPIPS distance is the same when the sides swap. The features that it compares are not: here each layer's
features (scaled to unit length over the channels, as in LPIPS) are averaged over the cells of a grid laid on
the image, and φ(right) − φ(left) changes its sign with the sides. Features of late stages of two further networks,
averaged over the image, stand behind those of the grid.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from scipy.linalg import block_diag
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from catpref._io import cache
from catpref._io.devices import choose_device
from catpref._io.engines import Engine
from catpref._io.files import sha256_of_image
from catpref._io.progress import progress
from catpref._io.tasks import where_seen
from catpref._io.workers import workers
from catpref.errors import BadInput
from catpref.perception import late_stages
from catpref.perception.backbones import Backbone
from catpref.stimuli.images import open_image, read_image

SIZE = 512
"""Images are resized to SIZE × SIZE pixels before the backbone reads them."""

GRIDS = {"grid8+late": 8, "grid8": 8, "grid4": 4, "global": 1}
"""The embeddings by name: cells along each side of the grid on which the backbone's features are averaged."""

_WITH_LATE_STAGES = "+late"  # at the end of an embedding's name

DEFAULT = "grid8+late"

_LOG = logging.getLogger(__name__)
_CODE_VERSION = "1"  # raise it when the same image would be embedded differently
_BATCH = 2  # images in the network together
_MOST_AT_ONCE = 16  # images of a task

T = TypeVar("T")


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
    engine: Engine | None = None,
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
    engine
        Who does it; None: this process, on all cores.

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

    def take(index: int, rows: dict[int, np.ndarray]) -> None:
        for number, row in rows.items():
            embeddings[index, parts[number].columns] = row
            kept.write(_key(digests[index], parts[number]), row)

    def compute(batch: Sequence[int]) -> int:
        found = _embedded([todo[index] for index in batch], parts)
        for index, rows in zip(batch, found, strict=True):
            take(index, rows)
        return len(batch)

    with cache.opened(cache_folder) as kept, workers() as pool:
        digests = list(pool.map(sha256_of_image, images))
        read = partial(_read, parts=parts, kept=kept)
        missing = list(pool.map(read, embeddings, digests))
        todo = {
            index: _Wanted(path, digest, some)
            for index, (path, digest, some) in enumerate(zip(images, digests, missing, strict=True))
            if some
        }
        indices = list(todo)
        with progress([], f"embedding with {backbone.name}", total=len(todo)) as bar:
            if engine is None:
                for done in pool.map(compute, _cut(indices, _BATCH)):
                    bar.update(done)
            elif todo:
                work = _Work(backbone, embedding, backbone.device.type, cache_folder, None)
                with cache.marked(cache_folder) as mark:
                    in_cache = _by_engine(engine, replace(work, mark=mark), todo, take, bar.update)
                kept.refresh()
                # Folders of a network may show late what is new.
                late = {index: todo[index] for index in in_cache if read(embeddings[index], digests[index])}
                if late:
                    _by_engine(engine, work, late, take, lambda _: None)
    counts = f"{len(images) - len(todo)} cached, {len(todo)} computed"
    _LOG.info("embeddings of %d images: %s, %.1f s", len(images), counts, time.perf_counter() - started)
    return embeddings


def _cut(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


@dataclass(frozen=True)
class _Wanted:
    """An image to be embedded: its file, the digest of that, which parts, and, if sent, what is in the file."""

    path: Path
    digest: str
    parts: Sequence[int]
    content: bytes | None = None


def _embedded(batch: Sequence[_Wanted], parts: Sequence[_Part]) -> list[dict[int, np.ndarray]]:
    """Compute images' parts, by their numbers, in the networks together."""
    decoded = [open_image(one.path, one.content) for one in batch]  # once for all networks
    found: list[dict[int, np.ndarray]] = [{} for _ in batch]
    for number, part in enumerate(parts):
        some = [place for place, one in enumerate(batch) if number in one.parts]
        if some:
            tensors = torch.stack([_tensor(decoded[place], part.size) for place in some])
            computed = part.compute(tensors).cpu().numpy().astype(np.float16)
            for place, row in zip(some, computed, strict=True):
                found[place][number] = row
    return found


@dataclass(frozen=True)
class _Work:
    """What tasks of embedding have in common.

    Attributes
    ----------
    backbone, embedding, device
        The network, the name in `GRIDS`, and where it runs.
    cache_folder, mark
        Where embeddings are kept, and by what a worker knows that folder; see `catpref._io.cache.marked`.
    """

    backbone: Backbone
    embedding: str
    device: str
    cache_folder: Path | None
    mark: str | None

    @cached_property
    def parts(self) -> list[_Part]:
        """What is made, by networks that a worker builds once."""
        return _parts(self.backbone.on(choose_device(self.device)), self.embedding)


def _by_engine(
    engine: Engine,
    work: _Work,
    todo: Mapping[int, _Wanted],
    take: Callable[[int, dict[int, np.ndarray]], None],
    count: Callable[[int], Any],
) -> list[int]:
    """Let an engine embed images; return those that it wrote to the cache, `take` the others.

    A worker that sees the images' files reads them there; others are sent what is in them.
    """
    size = min(_MOST_AT_ONCE, -(-len(todo) // (4 * max(engine.workers, 1))))
    tasks = _cut(
        list(todo), _BATCH * -(-size // _BATCH)
    )  # the batches are those that this process would make
    in_cache: list[int] = []

    wanted = [[todo[index] for index in task] for task in tasks]
    for number, found in where_seen(engine, _embed_task, work, wanted, _with_content):
        assert found is not None, "what is sent is seen"
        for index, rows in zip(tasks[number], found, strict=True):
            if rows is None:
                in_cache.append(index)
            else:
                take(index, rows)
        count(len(tasks[number]))
    return in_cache


def _embed_task(work: _Work, wanted: Sequence[_Wanted]) -> Sequence[dict[int, np.ndarray] | None] | None:
    """Embed images on a worker: their parts, None for each that is in the cache now; None if it does not see them."""
    if wanted[0].content is None:
        wanted = [replace(one, content=_content_of(one)) for one in wanted]
        if any(one.content is None for one in wanted):
            return None
    found = [rows for batch in _cut(wanted, _BATCH) for rows in _embedded(batch, work.parts)]
    if not cache.is_marked(work.cache_folder, work.mark):
        return found
    keys = [{number: _key(one.digest, work.parts[number]) for number in one.parts} for one in wanted]
    with cache.opened(work.cache_folder) as kept:
        for key_of, rows in zip(keys, found, strict=True):
            for number, row in rows.items():
                kept.write(key_of[number], row)
    with cache.opened(work.cache_folder) as kept:  # where it is full, nothing was written
        are_there = [all(kept.read(key, np.float16) is not None for key in own.values()) for own in keys]
    return [None if is_there else rows for is_there, rows in zip(are_there, found, strict=True)]


def _with_content(wanted: Sequence[_Wanted]) -> Sequence[_Wanted]:
    return [replace(one, content=read_image(one.path)) for one in wanted]


def _content_of(wanted: _Wanted) -> bytes | None:
    """Return what is in an image's file, if this computer has the very file under the same name."""
    try:
        content = read_image(wanted.path)
    except BadInput:
        return None
    return content if hashlib.sha256(content).hexdigest() == wanted.digest else None


def _read(row: np.ndarray, digest: str, parts: Sequence[_Part], kept: cache.Store) -> list[int]:
    """Fill in an image's parts that are in the cache, and return the numbers of the others."""
    missing = []
    for number, part in enumerate(parts):
        width = part.columns.stop - part.columns.start
        found = kept.read(_key(digest, part), np.float16, width.__eq__)
        if found is None:
            missing.append(number)
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
