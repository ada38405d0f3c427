"""The faces that a report shows: each image file is read once, whatever shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from catpref._io.workers import workers
from catpref.stimuli.images import image_path, open_image

SIDE = 192  # pixels, of what maps are laid over
_THUMBNAIL = 144  # pixels
_LARGEST = 256  # pixels


@dataclass(frozen=True)
class Face:
    """An image in the sizes that figures need."""

    image: Image.Image
    thumbnail: Image.Image
    grey: np.ndarray

    @classmethod
    def read(cls, path: Path) -> "Face":
        """Read an image file."""
        image = open_image(path)
        thumbnail = image.copy()
        thumbnail.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
        grey = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS), np.float32)
        image.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
        return cls(image, thumbnail, grey)


class Faces(dict[str, Face]):
    """The images of a stimulus folder, by name, read when they are first asked for."""

    def __init__(self, stimuli: Path) -> None:
        super().__init__()
        self.stimuli = stimuli

    def __missing__(self, name: str) -> Face:
        """Read an image that was not asked for before."""
        self.read([name])
        return self[name]

    def read(self, names: Sequence[str]) -> None:
        """Read images, on all cores, before they are asked for."""
        paths = [image_path(self.stimuli, name) for name in names]
        with workers() as pool:
            self.update(zip(names, pool.map(Face.read, paths), strict=True))
