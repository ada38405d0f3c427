"""LPIPS distance maps of many pairs: the mean map and each layer's own, exactly as ``lpips`` computes them.

A layer map is ``lpips``'s spatial distance at one layer: the squared difference of the two images' unit-length
features, weighted by LPIPS's linear layer, summed over the channels and resized (bilinear) to the images' size.
``lpips`` adds the layer maps up; the mean map here is that sum divided by the number of layers (7 for
SqueezeNet, 5 for AlexNet and VGG), so that one layer's map and the mean have the same scale.

Where ``lpips`` passes both images of every pair through the network, here each image passes once and its
features serve all its pairs.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from catpref.backbones import Backbone
from catpref.commands import progress
from catpref.embeddings import image_tensor

_FEATURES_IN_MEMORY = 1 << 30  # bytes


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
        If an image cannot be read.
    """
    depth = None if layer is None else layer + 1
    weights = backbone.channel_weights[:depth]
    maps = np.empty((len(pairs), size, size), np.float32)
    kept: dict[int, list[Tensor]] = {}
    room = None

    def features_of(image: int) -> list[Tensor]:
        if image not in kept:
            tensor = image_tensor(images[image], size)[None].to(backbone.device)
            kept[image] = [
                feature * weight.sqrt()[:, None, None]
                for feature, weight in zip(backbone.features(tensor, depth), weights, strict=True)
            ]
        kept[image] = kept.pop(image)  # the last one used is the last one dropped
        return kept[image]

    for index in progress(_order(pairs), f"distance maps, {size} × {size}", unit="pair"):
        left, right = features_of(pairs[index, 0]), features_of(pairs[index, 1])
        layers = [layer] if layer is not None else range(len(weights))
        with torch.inference_mode():
            resized = [_resized((left[k] - right[k]).square().sum(1, keepdim=True), size) for k in layers]
            maps[index] = (torch.stack(resized).sum(0) / len(resized))[0, 0].cpu().numpy()
        if room is None:
            room = max(2, _FEATURES_IN_MEMORY // sum(feature.nbytes for feature in left))
        while len(kept) > room:
            del kept[next(iter(kept))]
    return maps


def layer_maps(left: Path, right: Path, backbone: Backbone, size: int) -> np.ndarray:
    """Compute every layer's map of one pair.

    Returns
    -------
    ndarray of float32
        Shape (layers, size, size); their mean over the first axis is the mean map.
    """
    first, second = (
        backbone.features(image_tensor(path, size)[None].to(backbone.device)) for path in (left, right)
    )
    with torch.inference_mode():
        maps = [
            _resized(((a - b).square() * weight[:, None, None]).sum(1, keepdim=True), size)[0, 0]
            for a, b, weight in zip(first, second, backbone.channel_weights, strict=True)
        ]
        return torch.stack(maps).cpu().numpy()


def _resized(distance: Tensor, size: int) -> Tensor:
    return interpolate(distance, size=(size, size), mode="bilinear", align_corners=False)


def _order(pairs: np.ndarray) -> np.ndarray:
    """Order pairs so that those that share images come close together, and features are seldom made twice."""
    first_seen: dict[int, int] = {}
    for image in pairs.ravel():
        first_seen.setdefault(int(image), len(first_seen))
    rank = np.array([[first_seen[int(image)] for image in pair] for pair in pairs]).reshape(-1, 2)
    # Tiles small enough that two of them fit in memory together.
    tiles = np.sort(rank // 16, axis=1)
    return np.lexsort((tiles[:, 1], tiles[:, 0]))
