"""Fitted models on disk: ``model.json`` says what they are, one safetensors file each holds their numbers.

A model's folder may come from anybody: it is data. Nothing in it is run, no file outside it is read, and its
numbers are checked before anything is computed with them. The network that a model reads images with is one of
`catpref.perception.backbones.NAMES`; or one of torchvision's architectures, which is copied into the folder; or
else the user names its file each time, which is known again by its sha256.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import safetensors.numpy as safetensors
from annotated_types import Predicate
from pydantic import Field

from catpref._io.files import sha256_of
from catpref._io.reading import read_bytes
from catpref._io.schemas import Schema, Sha256
from catpref.errors import BadInput, shown
from catpref.models import study_cnn
from catpref.models.interface import Images, Model
from catpref.models.population import MOST_PEOPLE
from catpref.models.registry import MODELS
from catpref.perception.backbones import NAMES, Backbone, load_backbone, load_copy
from catpref.perception.embeddings import GRIDS, layout
from catpref.perception.weights import check_file, parse_arrays, parse_json
from catpref.stimuli.new_photographs import Cropping

AT_ONCE = 512
"""Images that are read together where there are many: 150 MB of embeddings."""

_COPY = "network.json"  # what `backbone` says of a network that is in the folder
_MOST_JSON = 1 << 16  # bytes of the description: it has a dozen lines
_MOST_ARRAYS = 16 << 20  # bytes of a model's file, beside …
_MOST_OF_DIMENSION = 256  # … those for each of the embedding's dimensions, and …
_OF_PERSON = 4  # … for each of these and each of several people


@dataclass(frozen=True)
class FittedModels:
    """Models that can be asked about any images.

    Attributes
    ----------
    backbone
        The network that reads the images.
    embedding, map_size, map_layer
        What the models read; see `catpref.models.interface.Images`.
    predictors
        The models, by name.
    better_than_chance
        Whether the first of them was shown to be; None where that is unknown.
    cropped
        Whether the images that they were fitted on were cropped around the face, so that new ones have to be.
    """

    backbone: Backbone
    embedding: str
    map_size: int | None
    map_layer: int | None
    predictors: Mapping[str, Any]
    better_than_chance: bool | None = None
    cropped: bool = False

    def images(self, paths: Sequence[Path], cache: Path | None, of: int | None = None) -> Images:
        """Return images as these models read them."""
        return Images(paths, self.backbone, self.embedding, self.map_size, self.map_layer, cache, of)

    @contextmanager
    def seen(
        self, paths: Sequence[Path], cache: Path | None, crop: bool = True
    ) -> Iterator[tuple[Images, list[int] | None]]:
        """Yield images, cropped if need be and asked for, and then 1 for each with a face that was found, else 0."""
        cropping = self.cropping(crop)
        with self._seen(paths, cache, cropping) as images:
            if cropping is not None:
                cropping.warn()
            yield images, None if cropping is None else cropping.faces

    def batches(
        self, paths: Sequence[Path], cache: Path | None, cropping: Cropping | None
    ) -> Iterator[Images]:
        """Yield images some at a time, so that memory does not grow with their number; crop them if asked."""
        count = -(-len(paths) // AT_ONCE)
        for start, stop in pairwise(np.linspace(0, len(paths), count + 1, dtype=int).tolist()):
            with self._seen(paths[start:stop], cache, cropping, len(paths)) as images:
                yield images

    def cropping(self, crop: bool) -> Cropping | None:
        """Return what crops images if need be and asked for."""
        return Cropping() if crop and self.cropped else None

    @contextmanager
    def _seen(
        self, paths: Sequence[Path], cache: Path | None, cropping: Cropping | None, of: int | None = None
    ) -> Iterator[Images]:
        if cropping is None:
            yield self.images(paths, cache, of)
            return
        with tempfile.TemporaryDirectory(prefix="catpref-") as folder:
            seen = cropping.see(paths, Path(folder))
            yield self.images([one.file for one in seen], cache, of)


class _Description(Schema, extra="ignore"):
    """What ``model.json`` says."""

    schema_version: int = Field(ge=2, le=2, description="that of this version of catpref")
    backbone: str = Field(min_length=1, description="a name or path")
    weights_sha256: Sha256
    embedding: Annotated[str, Predicate(GRIDS.__contains__)] = Field(description=f"one of {', '.join(GRIDS)}")
    map_size: Annotated[int, Predicate(study_cnn.SIZES.__contains__)] | None = Field(
        description="a size of maps that study_cnn takes, or null"
    )
    map_layer: Annotated[int, Field(ge=0)] | None
    files_sha256: dict[
        Annotated[str, Predicate(lambda name: name in MODELS and MODELS[name].restore is not None)], Sha256
    ] = Field(min_length=1, description="the sha256 of each model's file")
    better_than_chance: bool | None = Field(None, description="true, false or null")
    cropped: bool = Field(False, description="true or false")


def save(models: FittedModels, folder: Path) -> None:
    """Write models, and a network of one's own where it is no program."""
    folder.mkdir(exist_ok=True)
    files = {}
    for name, predictor in models.predictors.items():
        tensors = {key: np.ascontiguousarray(array) for key, array in predictor.tensors().items()}
        path = folder / f"{name}.safetensors"
        path.write_bytes(safetensors.save(tensors))
        files[name] = sha256_of(path)
    description = {
        "schema_version": 2,
        "backbone": _save_backbone(models.backbone, folder),
        "weights_sha256": models.backbone.weights_sha256,
        "embedding": models.embedding,
        "map_size": models.map_size,
        "map_layer": models.map_layer,
        "files_sha256": files,
        "better_than_chance": models.better_than_chance,
        "cropped": models.cropped,
    }
    (folder / "model.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _save_backbone(backbone: Backbone, folder: Path) -> str:
    """Return a name of the backbone that holds on other computers, too; copy it into the folder, if need be."""
    if backbone.name in NAMES:
        return backbone.name
    path = Path(backbone.name)
    if path.suffix.lower() == ".json":
        from catpref.perception.own_networks import copy_into, read_description

        if read_description(path).architecture is not None:
            copy_into(folder, path, backbone.weights_sha256)
            return _COPY
    return str(path.resolve())


def load(
    folder: Path, device: str = "cpu", weights: Path | None = None, backbone: Path | None = None
) -> FittedModels:
    """Read models that `save` wrote.

    Parameters
    ----------
    folder
        The folder that `save` wrote.
    device
        Where the networks run.
    weights
        Read an official backbone's weights from this file rather than from torch's hub cache.
    backbone
        The checkpoint, or the JSON file of the network, that the models were fitted with, where the folder does
        not hold it.

    Raises
    ------
    BadInput
        If the folder is not a model of this version of catpref, a file is damaged, or the backbone's weights
        are missing or are not those that the model was fitted with.
    """
    about = _read_description(folder / "model.json")
    network = _load_backbone(folder, about, device, weights, backbone)
    if about.map_layer is not None and about.map_layer >= len(network.channel_weights):
        raise BadInput(f"{folder / 'model.json'}: damaged (map_layer); fit the session again")
    made_up = layout(network, about.embedding)
    size = about.map_size

    def restored(name: str) -> Any:
        path = folder / f"{name}.safetensors"
        most = _most_bytes(MODELS[name], made_up.dimensions, size)
        content = _read_whole(path, most, about.files_sha256[name])
        restore = MODELS[name].restore
        assert restore is not None
        try:
            return restore(parse_arrays(content), made_up, size, device)
        except BadInput:
            raise
        except ValueError as problem:
            raise BadInput(f"{path}: damaged ({problem}); fit the session again") from problem

    predictors = {name: restored(name) for name in MODELS if name in about.files_sha256}
    return FittedModels(
        network, about.embedding, size, about.map_layer, predictors, about.better_than_chance, about.cropped
    )


def _most_bytes(model: Model, dimensions: int, map_size: int | None) -> int:
    """Return how many bytes a model's file may have."""
    of_dimension = _MOST_OF_DIMENSION + _OF_PERSON * (MOST_PEOPLE if model.of_several else 0)
    of_maps = study_cnn.stored_bytes(map_size) if map_size is not None and "maps" in model.needs else 0
    return _MOST_ARRAYS + of_dimension * dimensions + of_maps


def _load_backbone(
    folder: Path, about: _Description, device: str, weights: Path | None, backbone: Path | None
) -> Backbone:
    named = backbone
    if about.backbone not in NAMES and weights is not None:  # it named a checkpoint, too, before --backbone
        named = named or weights
    if named is None:
        used, file = about.backbone, weights
        if used == _COPY:
            _read_whole(folder / _COPY, _MOST_JSON, about.weights_sha256)
            return load_copy(folder, device)
        if used not in NAMES:
            raise BadInput(
                f"{folder}: was fitted with {shown(ascii(used), 200)} (sha256 {about.weights_sha256}), "
                "which is not in it; name that file with backbone="
            )
    else:
        used, file = str(named.absolute()), None
        if about.backbone in NAMES:
            raise BadInput(
                f"backbone={named}: {folder} was fitted with {about.backbone}; leave backbone= out"
            )
        check_file(named, f"backbone={named}: there is no such file")
        if sha256_of(named) != about.weights_sha256:
            raise _other_weights(named, folder, about)
    loaded = load_backbone(used, file, device)
    if loaded.weights_sha256 != about.weights_sha256:
        raise _other_weights(file or used, folder, about)
    return loaded


def _other_weights(named: Path | str, folder: Path, about: _Description) -> BadInput:
    return BadInput(f"{named}: not the weights that {folder} was fitted with (sha256 {about.weights_sha256})")


def _read_description(path: Path) -> _Description:
    try:
        content = _read_inside(path, _MOST_JSON)
    except FileNotFoundError:
        raise BadInput(
            f"{path.parent}: not a fitted model (no {path.name}); give the folder model/ of a fit"
        ) from None
    try:
        said = parse_json(content)
    except ValueError as problem:
        raise BadInput(f"{path}: damaged ({problem}); fit the session again") from problem
    about = _Description.of(said, path, "fit the session again")
    if (about.map_size is None) == ("study_cnn" in about.files_sha256):
        raise BadInput(f"{path}: damaged (map_size goes with study_cnn); fit the session again")
    return about


def _read_whole(path: Path, most: int, sha256: str) -> bytes:
    try:
        content = _read_inside(path, most)
    except FileNotFoundError:
        raise BadInput(f"{path}: missing; fit the session again") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BadInput(f"{path}: damaged or of another fit; fit the session again")
    return content


def _read_inside(path: Path, most: int) -> bytes:
    """Read a file of the folder itself; a link may lead anywhere."""
    # Not pathlib's, which raise for too long a path.
    if os.path.islink(path) or os.path.isdir(path):  # noqa: PTH112, PTH114
        raise BadInput(f"{path}: is a link or a folder; a model's files must be in its own folder")
    return read_bytes(path, most)
