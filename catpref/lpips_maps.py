"""LPIPS distance maps of many pairs: the mean map and each layer's own, exactly as ``lpips`` computes them.

A layer map is ``lpips``'s spatial distance at one layer: the squared difference of the two images' unit-length
features, weighted by LPIPS's linear layer, summed over the channels and resized (bilinear) to the images' size.
``lpips`` adds the layer maps up; the mean map here is that sum divided by the number of layers (7 for
SqueezeNet, 5 for AlexNet and VGG), so that one layer's map and the mean have the same scale.

Where ``lpips`` passes both images of every pair through the network, here each image passes once. Its features
are cut into strips of pixels and wait in a temporary file. Then, a strip at a time, all pairs that share images
come out of one matrix product a pixel: with f = √w · feature / |feature|, the distance is |f₁|² + |f₂|² − 2 f₁·f₂.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from tqdm import tqdm

from catpref.backbones import Backbone
from catpref.commands import BadInput, progress
from catpref.embeddings import image_tensor
from catpref.splits import connected_groups

_BATCH = 4  # images in the network together
_MAPS_AT_ONCE = 8  # resized together
_STRIP_BYTES = 1 << 25  # of the features of a group's images in one strip, if read from a file
_CACHED_BYTES = 1 << 21  # the same if they are in memory: few enough to stay in the processor's cache
_PRODUCT_BYTES = 1 << 26  # of the products of all images of a group with all in one strip
_DENSE = 1 / 16  # from this part of all pairs on, one product of all images beats a difference for each pair
_EPSILON = 1e-10  # lpips adds it to the features' length


def distance_maps(
    images: Sequence[Path],
    pairs: np.ndarray,
    backbone: Backbone,
    size: int,
    layer: int | None = None,
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

    Returns
    -------
    ndarray of float32
        Shape (pairs, size, size).

    Raises
    ------
    BadInput
        If an image cannot be read, or the folder for temporary files is full.
    """
    layers = range(len(backbone.channel_weights)) if layer is None else [layer]
    maps = torch.empty(len(pairs), size, size)
    shown = len(np.unique(pairs))
    with progress([], f"distance maps with {backbone.name}", total=shown) as bar:
        for trials in _groups(pairs):
            distances = _distances(images, pairs[trials], backbone, size, layers, bar)
            if np.array_equal(trials, np.arange(len(pairs))) and distances[0].shape == maps.shape:
                maps = distances[0]  # added to in place, since two arrays as large would be too much
            for start in range(0, len(trials), _MAPS_AT_ONCE):
                rows = slice(start, start + _MAPS_AT_ONCE)
                total = _resized(distances[0][rows], size)
                for coarser in distances[1:]:
                    total.add_(_resized(coarser[rows], size))
                maps[trials[rows]] = total.div_(len(layers))
    return maps.numpy()


def layer_maps(left: Path, right: Path, backbone: Backbone, size: int) -> np.ndarray:
    """Compute every layer's map of one pair.

    Returns
    -------
    ndarray of float32
        Shape (layers, size, size); their mean over the first axis is the mean map.
    """
    pair = np.array([[0, 1]])
    layers = range(len(backbone.channel_weights))
    return np.concatenate([distance_maps([left, right], pair, backbone, size, layer) for layer in layers])


def _resized(distances: Tensor, size: int) -> Tensor:
    return interpolate(distances[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]


def _groups(pairs: np.ndarray) -> Iterator[np.ndarray]:
    """Cut the trials into groups that share no image, each small where the design allows it.

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
        if group and members + together > _BATCH:
            yield np.array(group)
            group, members = [], 0
        group.extend(trials.tolist())
        members += together
    if group:
        yield np.array(group)


def _distances(
    images: Sequence[Path],
    pairs: np.ndarray,
    backbone: Backbone,
    size: int,
    layers: Sequence[int],
    bar: "tqdm[object]",
) -> list[Tensor]:
    """Compute the distances of a group of pairs, layers of the same resolution added up.

    Returns
    -------
    list of Tensor
        For each resolution, shape (pairs, height, width).
    """
    members, local = np.unique(pairs, return_inverse=True)
    local = local.reshape(-1, 2)
    with ExitStack() as files:
        features = _Features(files, len(members), layers)
        for start in range(0, len(members), _BATCH):
            batch = members[start : start + _BATCH]
            tensors = torch.stack([image_tensor(images[member], size) for member in batch])
            features.put(start, backbone.raw_features(tensors.to(backbone.device), max(layers) + 1))
            bar.update(len(batch))
        totals: dict[tuple[int, int], Tensor] = {}
        for layer in layers:
            distance = _layer_distances(features, layer, local, backbone.channel_weights[layer].cpu())
            resolution = (distance.shape[1], distance.shape[2])
            totals[resolution] = totals[resolution].add_(distance) if resolution in totals else distance
        return list(totals.values())


class _Features:
    """The layers' features of a group of images, to be read a strip of rows at a time.

    A batch stays in memory; more go to temporary files, strip after strip and in each image after image, so
    that what is read together lies together.
    """

    def __init__(self, files: ExitStack, images: int, layers: Sequence[int]) -> None:
        self.images = images
        self.in_memory = images <= _BATCH
        self.shapes: dict[int, tuple[int, int, int]] = {}
        self.kept: dict[int, Tensor] = {}
        in_files = [] if self.in_memory else layers
        self.files = {layer: files.enter_context(tempfile.TemporaryFile()) for layer in in_files}  # noqa: SIM115
        self.layers = layers

    def rows(self, layer: int) -> int:
        """Return how many rows make a strip."""
        height, width, channels = self.shapes[layer]
        strip = _CACHED_BYTES if self.in_memory else _STRIP_BYTES
        by_features = strip // (4 * width * channels * self.images)
        by_products = _PRODUCT_BYTES // (4 * width * self.images**2)
        return min(max(1, min(by_features, by_products)), height)

    def put(self, start: int, activations: Sequence[Tensor]) -> None:
        """Keep a batch of images' features; `start` is the number of the first."""
        for layer in self.layers:
            batch = activations[layer].permute(0, 2, 3, 1).cpu()
            self.shapes[layer] = (batch.shape[1], batch.shape[2], batch.shape[3])
            if self.in_memory:
                self.kept[layer] = batch
                continue
            height, width, channels = self.shapes[layer]
            rows = self.rows(layer)
            try:
                for number, image in enumerate(batch.numpy(), start):
                    for top in range(0, height, rows):
                        strip = np.ascontiguousarray(image[top : top + rows])
                        place = top * self.images + number * len(strip)
                        self.files[layer].seek(4 * width * channels * place)
                        self.files[layer].write(strip.data)
            except OSError as problem:
                folder = tempfile.gettempdir()
                raise BadInput(
                    f"{folder}: cannot hold the features ({problem.strerror}); free space"
                ) from problem

    def strip(self, layer: int, top: int) -> Tensor:
        """Read the strip whose first row is `top`: shape (images, pixels, channels)."""
        height, width, channels = self.shapes[layer]
        rows = min(self.rows(layer), height - top)
        if self.in_memory:
            return self.kept[layer][:, top : top + rows].reshape(self.images, -1, channels)
        self.files[layer].seek(4 * width * channels * top * self.images)
        content = torch.empty(self.images, rows * width, channels)
        self.files[layer].readinto(content.numpy().data)
        return content


def _layer_distances(features: _Features, layer: int, pairs: np.ndarray, weights: Tensor) -> Tensor:
    """Compute one layer's distances at its own resolution, shape (pairs, height, width)."""
    height, width, _ = features.shapes[layer]
    distances = torch.empty(len(pairs), height, width)
    rows = features.rows(layer)
    left, right = torch.from_numpy(pairs).T
    dense = len(pairs) > max(features.images, _DENSE * features.images**2)
    root = weights.sqrt()
    with torch.inference_mode():
        for top in range(0, height, rows):
            strip = features.strip(layer, top)
            length = torch.linalg.vector_norm(strip, dim=2, keepdim=True).add_(_EPSILON)
            unit = strip.mul_(root).div_(length)
            made = _products(unit, left, right) if dense else _differences(unit, left, right)
            distances[:, top : top + rows] = made.reshape(len(pairs), -1, width)
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
