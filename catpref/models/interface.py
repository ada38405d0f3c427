"""What all models have in common: what they learn from, and what they are once they have learned.

Evaluation knows models by this alone. A new one is a file with a `Model` in it, and its line in
`catpref.models.registry`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy.special import expit, logit

from catpref._io.engines import Engine
from catpref.models.kernels import Kernels, kernels_of, leading_components
from catpref.perception import low_level
from catpref.perception.backbones import Backbone
from catpref.perception.embeddings import Blocks, Layout, blocks, embed, layout
from catpref.perception.lpips_maps import distance_maps

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Epoch:
    """How a network did after one pass over its training trials: mean cross-entropy (nats) and accuracy."""

    loss: float
    accuracy: float
    test_loss: float | None
    test_accuracy: float | None


@dataclass(frozen=True)
class Images:
    """Images, and what a backbone sees in them: computed when it is first asked for.

    Attributes
    ----------
    paths
        The files.
    backbone
        The network.
    embedding
        Which of `catpref.perception.embeddings.GRIDS`.
    map_size
        Side of the distance maps, in pixels; None where no model reads maps.
    map_layer
        The layer of the maps, or None for the mean over the layers.
    cache
        Where embeddings and features are kept; None keeps nothing.
    of
        How many images these are a batch of; None where they are all.
    """

    paths: Sequence[Path]
    backbone: Backbone
    embedding: str
    map_size: int | None
    map_layer: int | None
    cache: Path | None
    of: int | None = None

    @property
    def layout(self) -> Layout:
        """How the embedding is made up."""
        return layout(self.backbone, self.embedding)

    @cached_property
    def blocks(self) -> Blocks:
        """Which of the embedding's dimensions belong together."""
        return blocks(self.backbone, self.embedding)

    @cached_property
    def embeddings(self) -> np.ndarray:
        """Signed embeddings, shape (images, dimensions), float16."""
        return embed(self.paths, self.backbone, self.embedding, self.cache)

    def embed_by(self, engine: Engine) -> None:
        """Let an engine compute the embeddings."""
        vars(self)["embeddings"] = embed(self.paths, self.backbone, self.embedding, self.cache, engine)

    def distance_maps(self, pairs: np.ndarray) -> np.ndarray:
        """Return the LPIPS map of each pair, shape (pairs, size, size), float32."""
        assert self.map_size is not None
        return distance_maps(self.paths, pairs, self.backbone, self.map_size, self.map_layer, self.cache)


@dataclass(frozen=True)
class Data:
    """The trials of a session, as models read them.

    Attributes
    ----------
    images
        All that were shown.
    pairs
        Left and right image of each trial, as indices, shape (trials, 2).
    choices
        0 = left, 1 = right, 0.5 = no preference, shape (trials,).
    crop_sizes
        Log side of each face's crop in its photograph, shape (images,); None where the set does not tell.
    who, participants
        The person of each trial, shape (trials,), as a place among the participants' codes; None where the trials are
        taken for one person's.
    is_fair
        Which trials no answer had a part in choosing, shape (trials,): on these alone can be judged how well a model
        does, also while it learns. None where that is all of them.
    seed, device
        Of every random draw; where networks are trained.
    shared
        Training trials (as ``train.tobytes()``) of which several models learn: what one found, others take.
    found
        What was learned from those, by the same key, and p-values by the bytes of the features that were tested.
    sends_embeddings
        Whether embeddings travel with the trials, to who fits networks: other models read kernels as they learn.
    """

    images: Images
    pairs: np.ndarray
    choices: np.ndarray
    crop_sizes: np.ndarray | None = None
    who: np.ndarray | None = None
    participants: Sequence[str] = ()
    is_fair: np.ndarray | None = None
    seed: int = 0
    device: str = "cpu"
    shared: frozenset[bytes] = frozenset()
    found: dict[bytes, Any] = field(default_factory=dict)
    sends_embeddings: bool = False

    def __getstate__(self) -> dict[str, Any]:
        """Return what is sent to where models are fitted."""
        state = {**vars(self), "found": {}}
        state.pop("components", None)
        if not self.sends_embeddings:
            state["images"] = replace(self.images)  # without what was computed of them
        return state

    @property
    def embeddings(self) -> np.ndarray:
        """As in `Images`."""
        return self.images.embeddings

    @cached_property
    def kernels(self) -> Kernels:
        """Inner products of the embeddings."""
        return kernels_of(self.embeddings, self.pairs, self.images.blocks, of_images=self.who is not None)

    @cached_property
    def components(self) -> np.ndarray:
        """Leading principal components of the embeddings, shape (images, components)."""
        return leading_components(self.embeddings, self.kernels)

    @cached_property
    def maps(self) -> np.ndarray:
        """The distance map of each trial, shape (trials, size, size)."""
        return self.images.distance_maps(self.pairs)

    @cached_property
    def luminance_and_contrast(self) -> np.ndarray:
        """Shape (images, 2)."""
        return low_level.luminance_and_contrast(self.images.paths, self.images.cache)


class Fitted(Protocol):
    """What a model learned from some trials of a session.

    Its `side_bias`, if it has one, is what its logits hold of the preference for the right whatever it shows: a
    number, or one for each of the session's trials.
    """

    def p_right(self, trials: np.ndarray) -> np.ndarray:
        """Predict trials of the session, given as indices; return P(right)."""
        ...


@dataclass(frozen=True)
class Model:
    """A way to learn from choices.

    Attributes
    ----------
    name
        What commands and files call it.
    title
        What figures call it.
    fit
        Learns from the trials with the given indices. Where the third argument has held-out trials, a network may
        follow how it does on them, for its history alone.
    needs
        What it reads: attributes of `Data`, computed before any model is fitted.
    features
        What it reads of each image, shape (images, features), so that it can be tested by permuting the images; None
        for a model that is not.
    gain_of
        Finds what the logits of held-out trials are to be multiplied by, so that they are calibrated: (what was
        fitted to other trials with those trials, choices of all) to the gain, which what was fitted has as `gain`.
        None: the model calibrates itself, or is not calibrated.
    predictor
        Makes of what was fitted a predictor for any images, with what to save. None: the model knows the
        session's images only, and is not saved.
    p_right
        Predicts pairs of any images: (predictor, images, pairs) to P(right).
    utilities
        Mean and standard deviation of images' utilities, each shape (images,); None where it has none.
    is_relative
        Whether utilities tell images apart and no more: their mean is then set to 0.
    far
        Which of some images are of another kind than all that a predictor learned from, shape (images,); None where
        it cannot tell.
    restore
        Makes a predictor of saved tensors again: (tensors, layout of the embedding, map size, device).
    is_baseline
        Whether it is fitted beside the models asked for, to compare them with, where they read what it needs.
    is_slow
        Whether it takes long to train: one cross-validation, where others are repeated.
    on_all_cores
        Whether one that is slow trains on all cores, and so nothing beside it.
    of_several
        Whether it is of several participants, where these are not pooled.
    first_epoch
        Number of the first entry of its training history.
    """

    name: str
    title: str
    fit: Callable[[Data, np.ndarray, np.ndarray | None], Fitted]
    needs: Sequence[str] = ()
    features: Callable[[Data], np.ndarray] | None = None
    gain_of: Callable[[Sequence[tuple[Any, np.ndarray]], np.ndarray], float] | None = None
    predictor: Callable[[Any, Data], Any] | None = None
    p_right: Callable[[Any, Images, np.ndarray], np.ndarray] | None = None
    utilities: Callable[[Any, Images], tuple[np.ndarray, np.ndarray]] | None = None
    is_relative: bool = False
    far: Callable[[Any, Images], np.ndarray] | None = None
    restore: Callable[[Mapping[str, np.ndarray], Layout, int | None, str], Any] | None = None
    is_baseline: bool = False
    is_slow: bool = False
    on_all_cores: bool = False
    of_several: bool = False
    first_epoch: int = 1

    def reads(self, data: Data) -> str | None:
        """Return the name of the representation of the images that the model reads."""
        if "maps" in self.needs:
            return f"{map_name(data.images.map_layer)} {data.images.map_size}"
        return data.images.embedding if "embeddings" in self.needs else None


def of_trials(side_bias: float | np.ndarray, trials: np.ndarray) -> np.ndarray:
    """Return the side bias in some of a session's trials, by their indices, given one for all, or one for each."""
    return np.full(len(trials), side_bias) if np.ndim(side_bias) == 0 else np.asarray(side_bias)[trials]


def by_taste(p_right: np.ndarray, side_bias: np.ndarray) -> np.ndarray:
    """Return P(right) of each trial by taste alone; a logit that is the side bias is none."""
    logits = logit(np.clip(p_right, 1e-15, 1 - 1e-15)) - side_bias
    return expit(np.where(np.abs(logits) < _ROUNDING, 0.0, logits))


def map_name(layer: int | None) -> str:
    """Return the name of the distance map of a layer, or of the mean over all."""
    return "mean-map" if layer is None else f"layer-{layer + 1}-map"


def history_of(fitted: Fitted) -> Sequence[Epoch]:
    """Return how the training of a network went; nothing for other models."""
    return getattr(fitted, "history", ())
