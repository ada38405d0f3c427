"""Fitted models on disk: ``model.json`` says what they are, one safetensors file each holds their numbers."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy as safetensors

from catpref.analysis import MODELS, Analysis
from catpref.backbones import NAMES, Backbone, load_backbone
from catpref.commands import BadInput
from catpref.embeddings import GRIDS
from catpref.files import sha256_of
from catpref.models import siamese_cnn, study_cnn
from catpref.models.siamese_cnn import SiameseCNN
from catpref.models.study_cnn import StudyCNN
from catpref.models.utility import Utility

_SCHEMA = 2


@dataclass(frozen=True)
class FittedModels:
    """What ``catpref.predict`` needs; see `catpref.analysis.Analysis` for the parts."""

    backbone: Backbone
    embedding: str
    utility: Utility | None
    siamese: SiameseCNN | None
    cnn: StudyCNN | None
    map_size: int | None
    map_layer: int | None


def save(analysis: Analysis, folder: Path) -> None:
    """Write the models that were fitted to all trials."""
    folder.mkdir()
    files = {}
    for name, model in _fitted(analysis):
        if model is not None:
            tensors = {key: np.ascontiguousarray(array) for key, array in model.tensors().items()}
            path = folder / f"{name}.safetensors"
            path.write_bytes(safetensors.save(tensors))
            files[name] = sha256_of(path)
    backbone = analysis.backbone.name
    description = {
        "schema_version": _SCHEMA,
        "backbone": backbone if backbone in NAMES else str(Path(backbone).resolve()),
        "weights_sha256": analysis.backbone.weights_sha256,
        "embedding": analysis.inputs.embedding,
        "map_size": analysis.map_size,
        "map_layer": analysis.inputs.map_layer,
        "files_sha256": files,
    }
    (folder / "model.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _fitted(analysis: Analysis) -> list[tuple[str, Utility | SiameseCNN | StudyCNN | None]]:
    return [("utility", analysis.utility), ("siamese_cnn", analysis.siamese), ("study_cnn", analysis.cnn)]


def load(folder: Path, device: str = "cpu", weights: Path | None = None) -> FittedModels:
    """Read models that `save` wrote.

    Parameters
    ----------
    folder
        The folder that `save` wrote.
    device
        Where the networks run.
    weights
        Read the backbone's weights from this file rather than from where they were at the fit.

    Raises
    ------
    BadInput
        If the folder is not a model of this version of catpref, a file is damaged, or the backbone's weights
        are missing or are not those that the model was fitted with.
    """
    path = folder / "model.json"
    about = _read_description(path)
    name = about["backbone"]
    if weights is not None and name not in NAMES:  # the model's own was a checkpoint, too
        name, weights = str(weights), None
    backbone = load_backbone(name, weights, device)
    if backbone.weights_sha256 != about["weights_sha256"]:
        raise BadInput(
            f"{weights or name}: not the weights that {folder} was fitted with (sha256 {about['weights_sha256']})"
        )
    size, layer = about["map_size"], about["map_layer"]
    if layer not in (None, *range(len(backbone.channel_weights))):
        raise BadInput(f"{path}: damaged; fit the session again")
    tensors = {
        model: _read_tensors(folder / f"{model}.safetensors", sha256)
        for model, sha256 in about["files_sha256"].items()
    }
    try:
        return FittedModels(
            backbone=backbone,
            embedding=about["embedding"],
            utility=Utility.from_tensors(tensors["utility"]) if "utility" in tensors else None,
            siamese=siamese_cnn.restore(tensors["siamese_cnn"], device) if "siamese_cnn" in tensors else None,
            cnn=study_cnn.restore(tensors["study_cnn"], size, device) if "study_cnn" in tensors else None,
            map_size=size,
            map_layer=layer,
        )
    except RuntimeError as problem:  # a map size that is not the network's
        raise BadInput(f"{path}: damaged; fit the session again") from problem


def _read_description(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise BadInput(
            f"{path.parent}: not a fitted model (no {path.name}); give the folder model/ of a fit"
        ) from None
    except (OSError, ValueError) as problem:
        raise BadInput(f"{path}: cannot be read ({problem})") from problem
    try:
        about = json.loads(text)
        version, files = about["schema_version"], set(about["files_sha256"])
        intact = (
            isinstance(about["backbone"], str)
            and about["embedding"] in GRIDS
            and (about["map_size"] in study_cnn.SIZES) == ("study_cnn" in files)
            and {"weights_sha256", "map_layer"} <= about.keys()
            and set() < files <= {*MODELS}
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadInput(f"{path}: damaged; fit the session again") from None
    if version != _SCHEMA:
        raise BadInput(f"{path}: written by another version of catpref; fit the session again")
    if not intact:
        raise BadInput(f"{path}: damaged; fit the session again")
    return about


def _read_tensors(path: Path, sha256: str) -> dict[str, np.ndarray]:
    if not path.is_file() or sha256_of(path) != sha256:
        raise BadInput(f"{path}: missing, damaged or of another fit; fit the session again")
    return safetensors.load(path.read_bytes())
