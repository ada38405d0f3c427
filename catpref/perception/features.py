"""The layers' features of images, from the cache or else from the network."""

import math
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from catpref._io import cache
from catpref._io.files import sha256_of_image
from catpref.perception.backbones import Backbone
from catpref.perception.embeddings import image_tensor

_MOST_KEPT = 8 << 30  # bytes of features: more would push embeddings out of the cache
_CODE_VERSION = "1"  # raise it when the same image would get other features


class Features:
    """Features of a list of images, computed or read when they are asked for, by several threads if need be.

    Attributes
    ----------
    backbone, size, layers
        What computes them, the side of the images in pixels, and which layers they are of.
    computed
        How many images have gone through the network so far.
    """

    def __init__(
        self,
        images: Sequence[Path],
        backbone: Backbone,
        size: int,
        layers: Sequence[int],
        kept: cache.Store,
    ) -> None:
        self._images, self.backbone, self.size, self.layers = images, backbone, size, layers
        self._kept = kept
        self._lock = threading.Lock()
        self.computed = 0

    def of(self, members: Sequence[int]) -> list[list[Tensor]]:
        """Return the features of some images, by index; what is not in the cache goes through the network together.

        Returns
        -------
        list of list of Tensor
            For each image and layer, shape (height, width, channels), float32, in memory.

        Raises
        ------
        BadInput
            If an image cannot be read.
        """
        keys = {member: self._keys(member) for member in members}
        read = {member: self._read(keys[member]) for member in members}
        found = {member: features for member, features in read.items() if features is not None}
        missing = [member for member in members if member not in found]
        if missing:
            images = torch.stack([image_tensor(self._images[member], self.size) for member in missing])
            layers = self.backbone.raw_features(images.to(self.backbone.device), max(self.layers) + 1)
            by_layer = [layers[layer].permute(0, 2, 3, 1).cpu() for layer in self.layers]
            for number, member in enumerate(missing):
                found[member] = [layer[number] for layer in by_layer]
                self._write(keys[member], found[member])
            with self._lock:
                self.computed += len(missing)
        return [found[member] for member in members]

    def _keys(self, member: int) -> list[str]:
        """Return the keys of an image in the cache, one a layer; its file is read for them once."""
        content, weights = sha256_of_image(self._images[member]), self.backbone.weights_sha256
        return [
            cache.key_of(_CODE_VERSION, content, weights, f"layer {layer}", str(self.size))
            for layer in self.layers
        ]

    def _read(self, keys: Sequence[str]) -> list[Tensor] | None:
        features = []
        for layer, key in zip(self.layers, keys, strict=True):
            channels = len(self.backbone.channel_weights[layer])

            def is_square(length: int, channels: int = channels) -> bool:
                return 0 < length == channels * math.isqrt(length // channels) ** 2

            found = self._kept.read(key, np.float32, is_square)
            if found is None:
                return None
            side = math.isqrt(len(found) // channels)
            features.append(torch.from_numpy(found).reshape(side, side, channels))
        return features

    def _write(self, keys: Sequence[str], features: Sequence[Tensor]) -> None:
        # What would push everything else out of the cache is not worth keeping.
        if sum(layer.nbytes for layer in features) * len(self._images) <= _MOST_KEPT:
            for key, layer in zip(keys, features, strict=True):
                self._kept.write(key, layer.numpy())
