"""LPIPS distance maps of many pairs: the mean map and each layer's own, exactly as ``lpips`` computes them.

A layer map is ``lpips``'s spatial distance at one layer: the squared difference of the two images' unit-length
features, weighted by LPIPS's linear layer, summed over the channels and resized (bilinear) to the images' size.
``lpips`` adds the layer maps up; the mean map here is that sum divided by the number of layers (7 for
SqueezeNet, 5 for AlexNet and VGG), so that one layer's map and the mean have the same scale.

Where ``lpips`` passes both images of every pair through the network, here each image passes once. Pairs that share
no image with others are done on the spot. Where pairs share images, the features are cut into strips of pixels and
wait in a temporary file; then, a strip at a time, all pairs come out of one matrix product a pixel: with
f = √w · feature / |feature|, the distance is |f₁|² + |f₂|² − 2 f₁·f₂.
"""

import logging
import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from catpref._io import cache
from catpref._io.progress import progress
from catpref._io.workers import workers
from catpref.design.splits import connected_groups
from catpref.errors import BadInput
from catpref.perception.backbones import Backbone
from catpref.perception.features import Features

_LOG = logging.getLogger(__name__)
_PIXELS = 2 * 512 * 512  # of the images in the network together …
_MOST = 32  # … which are no more than these
_MAPS_AT_ONCE = 8  # resized together
_STRIP_BYTES = 1 << 24  # of the features of a group's images in one strip, if read from a file
_CACHED_BYTES = 1 << 21  # the same if they are in memory: few enough to stay in the processor's cache
_PRODUCT_BYTES = 1 << 25  # of the products of all images of a group with all in one strip
_DENSE = 1 / 16  # from this part of all pairs on, one product of all images beats a difference for each pair
_EPSILON = 1e-10  # lpips adds it to the features' length

Apply = Callable[[Callable[[int], None], Sequence[int]], Iterator[None]]  # `map`, or that of a pool


def distance_maps(
    images: Sequence[Path],
    pairs: np.ndarray,
    backbone: Backbone,
    size: int,
    layer: int | None = None,
    cache_folder: Path | None = None,
) -> np.ndarray:
    """Compute one distance map for each pair.

    Parameters
    ----------
    images
        The files; each is resized to size × size pixels.
    pairs
        Shape (pairs, 2), indices into `images`.
    backbone
        The network.
    size
        Side of the images and of the maps, in pixels.
    layer
        Which layer's map, from 0; None gives the mean map.
    cache_folder
        Where features are kept by content, if those of all the images fit; None keeps nothing.

    Returns
    -------
    ndarray of float32
        Shape (pairs, size, size).

    Raises
    ------
    BadInput
        If an image cannot be read, or the folder for temporary files is full.
    """
    started = time.perf_counter()
    shown, pairs = np.unique(pairs, return_inverse=True)
    pairs = pairs.reshape(-1, 2)
    layers = range(len(backbone.channel_weights)) if layer is None else [layer]
    batch = min(_MOST, max(2, _PIXELS // size**2))
    groups = list(_groups(pairs, batch))
    with (
        cache.opened(cache_folder) as kept,
        workers() as pool,
        progress([], f"distance maps with {backbone.name}", total=len(shown)) as bar,
    ):
        features = Features([images[image] for image in shown], backbone, size, layers, kept)
        if len(groups) == 1:  # no second array, which may be as large
            maps = _maps_of_group(features, pairs, batch, pool.map, bar.update)
        else:
            maps = torch.empty(len(pairs), size, size)

            def fill(trials: np.ndarray) -> None:
                maps[trials] = _maps_of_group(features, pairs[trials], batch, map, bar.update)

            deque(pool.map(fill, groups), maxlen=0)
    counts = f"{len(shown)} images, {len(shown) - features.computed} cached, {features.computed} computed"
    seconds = time.perf_counter() - started
    _LOG.info("distance maps of %d pairs: features of %s, %.1f s", len(pairs), counts, seconds)
    return maps.numpy()


def layer_maps(
    left: Path, right: Path, backbone: Backbone, size: int, cache_folder: Path | None = None
) -> np.ndarray:
    """Compute every layer's map of one pair; see `distance_maps` for the parameters.

    Returns
    -------
    ndarray of float32
        Shape (layers, size, size); their mean over the first axis is the mean map.
    """
    layers = range(len(backbone.channel_weights))
    strips = _Strips(2, layers, in_files=False)
    with cache.opened(cache_folder) as kept:
        for number, image in enumerate(Features([left, right], backbone, size, layers, kept).of([0, 1])):
            strips.put(number, image)
    pair = np.array([[0, 1]])
    distances = [_layer_distances(strips, layer, pair, backbone, map) for layer in layers]
    return torch.cat([_resized(distance, size) for distance in distances]).numpy()


def _maps_of_group(
    features: Features, pairs: np.ndarray, batch: int, apply: Apply, advance: Callable[[], object]
) -> Tensor:
    """Compute the maps of pairs that share no image with others: shape (pairs, size, size)."""
    members, local = np.unique(pairs, return_inverse=True)
    strips = _Strips(len(members), features.layers, in_files=len(members) > batch)

    def keep(start: int) -> None:
        for number, image in enumerate(features.of(members[start : start + batch].tolist()), start):
            strips.put(number, image)
            advance()

    deque(apply(keep, range(0, len(members), batch)), maxlen=0)
    distances = _by_resolution(strips, local.reshape(-1, 2), features.backbone, apply)
    size, finest = features.size, distances[0]
    maps = finest if finest.shape[1:] == (size, size) else torch.empty(len(pairs), size, size)

    def finish(start: int) -> None:
        rows = slice(start, start + _MAPS_AT_ONCE)
        total = _resized(finest[rows], size)
        for coarser in distances[1:]:
            total.add_(_resized(coarser[rows], size))
        maps[rows] = total.div_(len(features.layers))

    deque(apply(finish, range(0, len(pairs), _MAPS_AT_ONCE)), maxlen=0)
    return maps


def _resized(distances: Tensor, size: int) -> Tensor:
    return interpolate(distances[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]


def _groups(pairs: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Cut the trials into groups that share no image, of at most `most` images where the design allows it.

    Yields
    ------
    ndarray
        Indices of the group's trials.
    """
    component = connected_groups(pairs)
    group: list[int] = []
    members = 0
    by_component = np.argsort(component[pairs[:, 0]], kind="stable")
    for trials in np.split(by_component, np.flatnonzero(np.diff(component[pairs[by_component, 0]])) + 1):
        together = len(np.unique(pairs[trials]))
        if group and members + together > most:
            yield np.array(group)
            group, members = [], 0
        group.extend(trials.tolist())
        members += together
    if group:
        yield np.array(group)


class _Strips:
    """The features of a group of images, in memory or in temporary files, to be read a strip of rows at a time.

    Strip after strip and in each image after image, what is read together lies together.
    """

    def __init__(self, images: int, layers: Sequence[int], in_files: bool) -> None:
        self.images = images
        self.layers = layers
        self.shapes: dict[int, tuple[int, int, int]] = {}
        self._in_files = in_files
        self._content: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def rows(self, layer: int) -> int:
        """Return how many rows make a strip."""
        height, width, channels = self.shapes[layer]
        by_features = (_STRIP_BYTES if self._in_files else _CACHED_BYTES) // (
            4 * width * channels * self.images
        )
        by_products = _PRODUCT_BYTES // (4 * width * self.images**2)
        return min(max(1, min(by_features, by_products)), height)

    def put(self, number: int, image: Sequence[Tensor]) -> None:
        """Keep an image's features, its layers each of shape (height, width, channels)."""
        for layer, content in zip(self.layers, image, strict=True):
            height, width, channels = content.shape
            with self._lock:
                if layer not in self._content:
                    self.shapes[layer] = height, width, channels
                    self._content[layer] = self._space(content.numel() * self.images)
            rows = self.rows(layer)
            for top in range(0, height, rows):
                self._at(layer, top)[number] = content[top : top + rows].reshape(-1, channels).numpy()

    def strip(self, layer: int, top: int) -> Tensor:
        """Read the strip whose first row is `top`: shape (images, pixels, channels)."""
        return torch.from_numpy(np.array(self._at(layer, top)))

    def _at(self, layer: int, top: int) -> np.ndarray:
        """Return where the strip whose first row is `top` lies."""
        height, width, channels = self.shapes[layer]
        pixels = min(self.rows(layer), height - top) * width
        start = top * width * channels * self.images
        strip = self._content[layer][start : start + self.images * pixels * channels]
        return strip.reshape(self.images, pixels, channels)

    def _space(self, numbers: int) -> np.ndarray:
        if not self._in_files:
            return np.empty(numbers, np.float32)
        try:
            with tempfile.TemporaryFile() as file:
                if hasattr(
                    os, "posix_fallocate"
                ):  # or writing to the map of a file on a full disk kills the process
                    os.posix_fallocate(file.fileno(), 0, 4 * numbers)
                return np.memmap(file, np.float32, "r+", shape=numbers)
        except OSError as problem:
            folder = tempfile.gettempdir()
            raise BadInput(
                f"{folder}: cannot hold the features ({problem.strerror}); free space"
            ) from problem


def _by_resolution(strips: _Strips, pairs: np.ndarray, backbone: Backbone, apply: Apply) -> list[Tensor]:
    """Compute a group's distances, layers of the same resolution added up: each shape (pairs, height, width)."""
    totals: dict[tuple[int, int], Tensor] = {}
    for layer in strips.layers:
        distance = _layer_distances(strips, layer, pairs, backbone, apply)
        resolution = (distance.shape[1], distance.shape[2])
        totals[resolution] = totals[resolution].add_(distance) if resolution in totals else distance
    return list(totals.values())


def _layer_distances(
    strips: _Strips, layer: int, pairs: np.ndarray, backbone: Backbone, apply: Apply
) -> Tensor:
    """Compute one layer's distances at its own resolution, shape (pairs, height, width)."""
    height, width, _ = strips.shapes[layer]
    distances = torch.empty(len(pairs), height, width)
    rows = strips.rows(layer)
    left, right = torch.from_numpy(pairs).T
    dense = len(pairs) > max(strips.images, _DENSE * strips.images**2)
    root = backbone.channel_weights[layer].cpu().sqrt()

    def fill(top: int) -> None:
        with torch.inference_mode():
            strip = strips.strip(layer, top)
            length = torch.linalg.vector_norm(strip, dim=2, keepdim=True).add_(_EPSILON)
            unit = strip.mul_(root).div_(length)
            made = _products(unit, left, right) if dense else _differences(unit, left, right)
            distances[:, top : top + rows] = made.reshape(len(pairs), -1, width)

    deque(apply(fill, range(0, height, rows)), maxlen=0)
    return distances


def _products(unit: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Squared distances from the products of all images with all, pixel by pixel: shape (pairs, pixels)."""
    by_pixel = unit.permute(1, 0, 2).contiguous()
    squares = torch.linalg.vecdot(by_pixel, by_pixel)
    both = squares[:, :, None] + squares[:, None, :]
    distances = torch.baddbmm(both, by_pixel, by_pixel.transpose(1, 2), alpha=-2)
    return distances.flatten(1).index_select(1, left * len(unit) + right).clamp_(min=0).T


def _differences(unit: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Squared distances from each pair's difference: shape (pairs, pixels)."""
    ones = torch.ones(unit.shape[2])
    return torch.stack(
        [
            (unit[first] - unit[second]).square_() @ ones
            for first, second in zip(left.tolist(), right.tolist(), strict=True)
        ]
    )
