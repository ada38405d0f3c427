"""New photographs, cropped as those of a stimulus set were, so that a model sees in both the same."""

import io
import logging
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image, JpegImagePlugin

from catpref._io.parallel import parallel, threads
from catpref.stimuli.images import open_image
from catpref.stimuli.photographs import QUALITY, find_face, save_stimulus, square_around
from catpref.stimuli.sets import SIZE, read_manifest

log = logging.getLogger(__name__)


class Seen(NamedTuple):
    """What a model is to see of an image."""

    file: Path
    is_cropped: bool
    """Just now."""
    has_face: bool
    """False for a photograph in which no cat's face was found; it is seen whole."""


def is_cropped_around_faces(stimuli: Path) -> bool:
    """Return whether a set is of photographs that were cropped around the face, as its manifest tells.

    Squares from the middle, as ``--no-crop`` takes them, reach from edge to edge: all begin at the left or top one.
    """
    boxes = [(row["crop_left"], row["crop_top"]) for row in read_manifest(stimuli)]
    try:
        return any(min(map(float, box)) > 0 for box in boxes if all(box))  # those of drawn faces are empty
    except ValueError:
        return False  # of other software


class Cropping:
    """Crops photographs as `catpref.stimuli.photographs.import_photographs` does, a batch after another.

    Images that are stimuli already are left as they are: those that a manifest in a folder above them lists, and
    copies of what an import wrote, known by their size and encoding.

    Attributes
    ----------
    faces
        1 for each image so far that is a stimulus or in which a face was found, else 0.
    """

    def __init__(self) -> None:
        self.faces: list[int] = []
        self._cropped = 0
        self._listed = cache(_listed)

    def see(self, images: Sequence[Path], folder: Path) -> list[Seen]:
        """Crop some photographs.

        Parameters
        ----------
        images
            Image files.
        folder
            Where the crops are written to.

        Raises
        ------
        BadInput
            If an image cannot be read.
        """
        crop = partial(self._crop, folder)
        seen = list(parallel(threads(), crop, list(enumerate(images)), "cropping photographs"))
        self.faces += [int(one.has_face) for one in seen]
        self._cropped += sum(one.is_cropped for one in seen)
        return seen

    def warn(self) -> None:
        """Say how many images are cropped, and in how many no face was found."""
        count, faceless = len(self.faces), self.faces.count(0)
        if self._cropped:
            log.warning(
                "%d of %d images are cropped around the face, as the stimuli were", self._cropped, count
            )
        if faceless:
            log.warning(
                "in %d of %d images no cat's face is found; they are taken whole, and their predictions may mean"
                " nothing",
                faceless, count,
            )  # fmt: skip

    def _crop(self, folder: Path, job: tuple[int, Path]) -> Seen:
        number, image = job
        absolute = image.absolute()
        if any(absolute in self._listed(parent) for parent in absolute.parents) or _is_as_imported(image):
            return Seen(image, is_cropped=False, has_face=True)
        photograph = open_image(image)
        face = find_face(photograph)
        if face is None:
            return Seen(image, is_cropped=False, has_face=False)
        crop = folder / f"{number}.jpg"
        save_stimulus(photograph, square_around(face, *photograph.size), crop)
        return Seen(crop, is_cropped=True, has_face=True)


def _listed(folder: Path) -> frozenset[Path]:
    return frozenset(folder / row["file"] for row in read_manifest(folder))


def _is_as_imported(path: Path) -> bool:
    """Return whether an image has the size and the encoding that an import gives to its stimuli."""
    try:
        with Image.open(path, formats=("JPEG",)) as image:
            return (
                isinstance(image, JpegImagePlugin.JpegImageFile)
                and image.size == (SIZE, SIZE)
                and image.quantization == _quantization()
                and JpegImagePlugin.get_sampling(image) == 0
            )
    except Exception:  # `open_image` says what is wrong with it
        return False


@cache
def _quantization() -> dict[int, list[int]]:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    with Image.open(buffer) as image:
        assert isinstance(image, JpegImagePlugin.JpegImageFile)
        return image.quantization
