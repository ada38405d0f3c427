"""Fitted models on disk: ``model.json`` says what they are, one safetensors file each holds their numbers."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from catpref.analysis import Analysis
from catpref.backbones import Backbone, load_backbone
from catpref.commands import BadInput
from catpref.models import study_cnn
from catpref.models.study_cnn import StudyCNN
from catpref.models.utility import Utility

_SCHEMA = 1


@dataclass(frozen=True)
class FittedModels:
    """What ``catpref.predict`` needs; see `catpref.analysis.Analysis` for the parts."""

    backbone: Backbone
    embedding: str
    utility: Utility | None
    cnn: StudyCNN | None
    map_size: int | None
    map_layer: int | None


def save(analysis: Analysis, folder: Path) -> None:
    """Write the models that were fitted to all trials."""
    folder.mkdir()
    description = {
        "schema_version": _SCHEMA,
        "backbone": analysis.backbone.name,
        "weights_sha256": analysis.backbone.weights_sha256,
        "embedding": analysis.inputs.embedding,
        "map_size": analysis.map_size,
        "map_layer": analysis.inputs.map_layer,
    }
    (folder / "model.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    for name, model in (("utility", analysis.utility), ("study_cnn", analysis.cnn)):
        if model is not None:
            tensors = {key: np.ascontiguousarray(array) for key, array in model.tensors().items()}
            save_file(tensors, folder / f"{name}.safetensors")


def load(folder: Path, device: str = "cpu") -> FittedModels:
    """Read models that `save` wrote.

    Raises
    ------
    BadInput
        If the folder is not a model of this version of catpref, a file is damaged, or the backbone's weights
        are missing or are not those that the model was fitted with.
    """
    path = folder / "model.json"
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        if description["schema_version"] != _SCHEMA:
            raise BadInput(f"{path}: written by another version of catpref; fit the session again")
        name, sha256 = description["backbone"], description["weights_sha256"]
        embedding, size, layer = (description[key] for key in ("embedding", "map_size", "map_layer"))
    except FileNotFoundError:
        raise BadInput(f"{folder}: not a fitted model (no model.json); give the folder model/ of a fit") from None
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise BadInput(f"{path}: damaged; fit the session again") from problem
    backbone = load_backbone(name, device=device)
    if backbone.weights_sha256 != sha256:
        raise BadInput(f"--backbone {name}: its weights are not those of the fit (sha256 {sha256}); restore them")
    fitted: dict[str, Utility | StudyCNN] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            tensors = load_file(file)
            if file.stem == "utility":
                fitted[file.stem] = Utility.from_tensors(tensors)
            else:
                fitted[file.stem] = study_cnn.restore(tensors, size, device)
        except (OSError, SafetensorError, KeyError, RuntimeError, TypeError) as problem:
            raise BadInput(f"{file}: damaged; fit the session again") from problem
    if not fitted:
        raise BadInput(f"{folder}: holds no model (utility.safetensors, study_cnn.safetensors); fit again")
    return FittedModels(
        backbone=backbone,
        embedding=embedding,
        utility=fitted.get("utility"),  # type: ignore[arg-type]
        cnn=fitted.get("study_cnn"),  # type: ignore[arg-type]
        map_size=size,
        map_layer=layer,
    )
