"""What is known of a taste before the first answer, for the images of one stimulus set, in one small file.

An image's utility is ``mean + scale · features @ weights``: the weights are standard normal a priori, and the scale,
by which tastes differ in strength, is log-normal. The features are the leading directions in which the utilities of
the set's images differ a priori (`catpref.models.adaptive_prior`), so that neither embeddings nor networks are needed
during the session, in the lab or in the browser.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from catpref._io.reading import read_bytes
from catpref.errors import BadInput

FILE = "prior.safetensors"
"""What the file is called in the folder of a session."""

DIMENSIONS = 256
"""How many features an image has at most: 2000 images take a megabyte."""

_LARGEST = 128 * 2**20  # bytes; 100,000 images have 52 MiB
_VERSION = "1"


@dataclass(frozen=True, eq=False)
class Prior:
    """What is known of a taste before the first answer.

    Attributes
    ----------
    images
        The names of the images in their stimulus set.
    features
        Shape (images, dimensions), float64 numbers that are exact in float16.
    mean
        Expected utility of each image, in logits, shape (images,), float64.
    side_bias_variance
        Of the side bias, whose mean is 0, in squared logits.
    """

    images: tuple[str, ...]
    features: np.ndarray
    mean: np.ndarray
    side_bias_variance: float

    def indices(self, names: Sequence[str]) -> np.ndarray:
        """Return the places of images by their names, shape (names,).

        Raises
        ------
        BadInput
            If one is not in the set.
        """
        places = {name: place for place, name in enumerate(self.images)}
        try:
            return np.array([places[name] for name in names], int)
        except KeyError as problem:
            raise BadInput(
                f"{problem.args[0]}: is not among the images that the session was begun with"
            ) from problem


def write_prior(path: Path, prior: Prior) -> None:
    """Write a prior as safetensors: ``features`` as float16, ``mean`` as float32, the names as metadata."""
    tensors = {  # safetensors writes the memory as it lies, so that columns would become rows
        "features": np.ascontiguousarray(prior.features, np.float16),
        "mean": np.ascontiguousarray(prior.mean, np.float32),
    }
    metadata = {
        "catpref_prior": _VERSION,
        "images": json.dumps(prior.images, ensure_ascii=False),
        "side_bias_variance": repr(prior.side_bias_variance),
    }
    path.write_bytes(safetensors.numpy.save(tensors, metadata))


def read_prior(path: Path) -> Prior:
    """Read what `write_prior` wrote.

    Raises
    ------
    BadInput
        If the file is missing, damaged, or says something else.
    """
    try:
        content = read_bytes(path, _LARGEST)
        size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + size])["__metadata__"]
        tensors = safetensors.numpy.load(content)
        images = tuple(json.loads(metadata["images"]))
        prior = Prior(
            images,
            tensors["features"].astype(np.float64),
            tensors["mean"].astype(np.float64),
            float(metadata["side_bias_variance"]),
        )
        _check(metadata, prior)
    except FileNotFoundError as problem:
        raise BadInput(f"{path}: cannot be read ({problem.strerror}); restore it") from problem
    except (ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError) as problem:
        raise BadInput(f"{path}: is damaged, or no prior of an adaptive session; restore it") from problem
    return prior


def _check(metadata: dict[str, str], prior: Prior) -> None:
    """Raise ValueError unless a prior can be computed with."""
    images = len(prior.images)
    if metadata["catpref_prior"] != _VERSION or not all(isinstance(name, str) for name in prior.images):
        raise ValueError("of another version")
    if prior.features.shape[:1] != (images,) or prior.features.ndim != 2 or prior.mean.shape != (images,):
        raise ValueError("shapes do not fit")
    if not (np.isfinite(prior.features).all() and np.isfinite(prior.mean).all()):
        raise ValueError("not finite")
    if not 0 < prior.side_bias_variance < np.inf or len(set(prior.images)) < images:
        raise ValueError("not a variance, or an image twice")
