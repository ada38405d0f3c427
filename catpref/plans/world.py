"""The images of simulated studies: what a network sees in them, in a few numbers for each block of the embedding.

An embedding has a hundred thousand dimensions, of which learning needs inner products alone
(`catpref.models.kernels`). Each block of dimensions is standardised and added up with random signs into a few, which
keeps them up to a little noise: observers' tastes are made of these numbers, and the learner sees the same.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import numpy as np

from catpref._io.devices import choose_device
from catpref.errors import BadInput
from catpref.models.interface import Images
from catpref.models.kernels import standards
from catpref.perception.backbones import load_backbone
from catpref.perception.embeddings import DEFAULT, Blocks, blocks, embed
from catpref.stimuli.images import find_images, image_path

MOST_IMAGES = 1500
"""Of a set's images so many are looked at: a plan needs no more, and their embeddings take 350 MB."""

FEWEST_IMAGES = 60
"""Fewer images leave no new ones to predict."""

DRAWN_CATS = "drawn cats"
WIDTH = 16  # numbers a block
SHIPPED = "drawn_cats.npz"
_STEPS = 8.0  # a standard deviation, of the whole numbers that come with catpref


@dataclass(frozen=True)
class World:
    """Images from which simulated studies take theirs.

    Attributes
    ----------
    name
        What messages call them.
    features
        Standardised numbers of each image, shape (images, blocks × `WIDTH`), float32, block by block.
    factors, kinds
        Of the embedding's blocks; see `catpref.perception.embeddings.Blocks`.
    """

    name: str
    features: np.ndarray
    factors: np.ndarray
    kinds: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.features)

    @cached_property
    def blocks(self) -> Blocks:
        """Which numbers belong together."""
        return Blocks(np.repeat(np.arange(len(self.factors)), WIDTH), self.factors, self.kinds)

    @cached_property
    def digest(self) -> str:
        """The sha256 of all that studies depend on."""
        content = self.features.tobytes() + self.factors.tobytes() + repr(self.kinds).encode()
        return hashlib.sha256(content).hexdigest()

    def some(self, images: np.ndarray) -> "SomeImages":
        """Return some of the images, as models read them."""
        nothing = [], cast(Any, None), DEFAULT, None, None, None
        return SomeImages(*nothing, features=self.features[images], of_features=self.blocks)


@dataclass(frozen=True, kw_only=True)
class SomeImages(Images):
    """Images of which nothing but a few numbers for each block is known.

    Attributes
    ----------
    features
        Of each image, shape (images, numbers).
    of_features
        Their blocks.
    """

    features: np.ndarray
    of_features: Blocks

    @cached_property
    def embeddings(self) -> np.ndarray:
        """These numbers."""
        return self.features

    @cached_property
    def blocks(self) -> Blocks:
        """Their blocks."""
        return self.of_features


def drawn_cats() -> World:
    """Return drawn cats as the default backbone sees them, which come with catpref."""
    with files("catpref.plans").joinpath(SHIPPED).open("rb") as file:
        kept = np.load(file, allow_pickle=False)
        features, factors = kept["features"].astype(np.float32) / _STEPS, kept["factors"].astype(np.float64)
        kinds = tuple(kept["kinds"].tolist())
    return World(DRAWN_CATS, features, factors, kinds)


def world_of(folder: Path, device: str = "auto", cache: Path | None = None) -> World:
    """Look at a stimulus folder's images, through the default backbone.

    Raises
    ------
    BadInput
        If it holds too few images, or one cannot be read.
    """
    names = find_images(folder)
    if len(names) < FEWEST_IMAGES:
        raise BadInput(
            f"{folder}: holds {len(names)} images, and a plan takes at least {FEWEST_IMAGES}; name a larger set, "
            "or none for drawn cats"
        )
    if len(names) > MOST_IMAGES:
        drawn = np.random.default_rng(0).permutation(len(names))[:MOST_IMAGES]
        names = [names[number] for number in np.sort(drawn)]
    backbone = load_backbone(device=choose_device(device))
    seen = embed([image_path(folder, name) for name in names], backbone, DEFAULT, cache)
    return reduced(str(folder), seen, blocks(backbone, DEFAULT))


def reduced(name: str, embeddings: np.ndarray, of_embedding: Blocks) -> World:
    """Reduce embeddings to a few numbers for each block."""
    random = np.random.default_rng(0)
    centre, scale = standards(embeddings, of_embedding)
    summed = []
    for block in range(len(of_embedding.factors)):
        columns = np.flatnonzero(of_embedding.of_dimension == block)
        part = (embeddings[:, columns].astype(np.float32) - centre[columns]) / scale[columns]
        part *= random.choice(np.array([-1, 1], np.float32), len(columns))
        summed += [part[:, first::WIDTH].sum(1) for first in range(WIDTH)]
    features = np.stack(summed, axis=1)
    sd = features.std(0)
    return World(name, features / np.where(sd > 0, sd, 1), of_embedding.factors, of_embedding.kinds)


def write_shipped(world: World, path: Path) -> None:
    """Write a world as `drawn_cats` reads it: numbers of eight bits, which add less noise than `WIDTH` does."""
    whole = np.clip(np.round(world.features * _STEPS), -127, 127).astype(np.int8)
    np.savez_compressed(
        path, features=whole, factors=world.factors.astype(np.int8), kinds=np.array(world.kinds)
    )
