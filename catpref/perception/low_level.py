"""What a choice might follow without looking at the face: plain numbers of each image, as baselines."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from catpref._io import cache
from catpref._io.files import sha256_of_image
from catpref._io.progress import progress
from catpref._io.workers import workers
from catpref.stimuli.images import open_image
from catpref.stimuli.sets import MANIFEST

_CODE_VERSION = "1"  # raise it when the same image would be measured differently


def luminance_and_contrast(images: Sequence[Path], cache_folder: Path | None = None) -> np.ndarray:
    """Measure each image's mean luma and its spread; a cache keeps the numbers by content.

    Returns
    -------
    ndarray
        Shape (images, 2): mean and standard deviation of the ITU-R 601 luma, in [0, 255].

    Raises
    ------
    BadInput
        If an image cannot be read.
    """
    with cache.opened(cache_folder) as kept, workers() as pool:
        measured = pool.map(lambda path: _measure(path, kept), images)
        return np.array(list(progress(measured, "luminance", total=len(images))))


def _measure(path: Path, kept: cache.Store) -> np.ndarray:
    key = cache.key_of("luminance and contrast", _CODE_VERSION, sha256_of_image(path))
    found = kept.read(key, np.float64, lambda length: length == 2)
    if found is not None:
        return found
    luma = np.asarray(open_image(path).convert("L"), np.float64)
    measured = np.array([luma.mean(), luma.std()])
    kept.write(key, measured)
    return measured


def crop_sizes(stimuli: Path, images: Sequence[str]) -> np.ndarray | None:
    """Read how large each face was in its photograph, from the manifest of an imported set.

    Returns
    -------
    ndarray or None
        Logarithm of the crop's side in pixels, shape (images,); None where the set does not say it of all images.
    """
    try:
        manifest = pd.read_csv(stimuli / MANIFEST, encoding="utf-8-sig").set_index("file")
        sizes = (manifest["crop_right"] - manifest["crop_left"]).loc[list(images)].to_numpy(np.float64)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a manifest of other software
    if len(sizes) != len(images):
        return None  # one that lists a file twice
    return np.log(sizes) if (sizes > 0).all() else None  # nan for drawn faces
