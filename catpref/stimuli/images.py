"""Images in a folder: find them, check them, and load them as a participant sees them."""

import io
import logging
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from catpref._io.reading import read_bytes
from catpref.errors import BadInput, is_out_of_memory
from catpref.stimuli.folder import StimulusFolder

_LOG = logging.getLogger(__name__)

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})

MAX_PIXELS = 64 * 2**20
"""No photograph for an experiment is larger (8192 × 8192); a decompression bomb is."""

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
_BACKGROUND = (128, 128, 128)
_MOST_BYTES = 512 << 20  # of a file: twice what the largest image takes without compression

# Pillow warns about odd but readable files, which would break the promise of one clear line on stderr.
# A filter for good, because warnings.catch_warnings is not safe where images are read in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


def find_images(folder: Path) -> list[str]:
    """List the images of a stimulus folder and its subfolders.

    Returns
    -------
    list of str
        Paths relative to `folder`, separated by ``/``, sorted. Hidden files and folders are left out.

    Raises
    ------
    BadInput
        If the folder does not exist, holds no image, or holds one whose name is not printable text.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such stimulus folder")
    names = []
    for parent, subfolders, files in os.walk(folder):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for file in files:
            if not file.startswith(".") and Path(file).suffix.lower() in SUFFIXES:
                names.append(Path(parent, file).relative_to(folder).as_posix())
    for name in names:
        if not name.isprintable():  # a line break, or bytes that are no UTF-8: nothing a CSV could carry
            raise BadInput(f"{folder}: the file name {name!a} is not plain text; rename it")
    if not names:
        raise BadInput(f"{folder}: holds no images (jpg, png, webp, bmp or tiff)")
    return sorted(names)


def images_in(place: Path) -> list[Path]:
    """Return an image file, or the images of a folder that are files inside it."""
    if not place.is_dir():
        if not place.is_file():
            what = "is not an ordinary file" if place.exists() else "there is no such image or folder"
            raise BadInput(f"{place}: {what}")
        return [place]
    folder, inside, left_out = StimulusFolder(place), [], []
    for name in find_images(place):
        try:
            folder.file(name)
            inside.append(place / name)
        except BadInput:
            left_out.append(name)
    if not inside:
        raise BadInput(f"{place}: none of its images is a file inside it (such as {left_out[0]})")
    if left_out:
        more = ", …" if len(left_out) > 3 else ""
        _LOG.warning(
            "%s: left out %d not files inside the folder: %s%s",
            place, len(left_out), ", ".join(left_out[:3]), more,
        )  # fmt: skip
    return inside


def image_path(folder: Path, name: str) -> Path:
    """Find one stimulus by name, without ever leaving the stimulus folder; see `StimulusFolder.file`."""
    return Path(StimulusFolder(folder).file(name))


def open_image(path: Path, content: bytes | None = None) -> Image.Image:
    """Load an image as the participant sees it: upright, RGB, 8 bits.

    EXIF orientation is applied, transparency is laid over the mid-grey of a PsychoPy window, 16-bit greys are
    scaled to 8, and of an animation the first frame is taken.

    Parameters
    ----------
    path
        The file.
    content
        What is in it; None: it is read.

    Returns
    -------
    PIL.Image.Image
        Mode ``RGB``, not attached to the file.

    Raises
    ------
    BadInput
        If the file is not an image, is damaged or truncated, or declares more than `MAX_PIXELS` pixels (read
        from its header, before anything is decoded).
    """
    return load(Path(path), None, content)


def read_image(path: Path) -> bytes:
    """Return the content of an image's file, for `open_image` (errors likewise)."""
    try:
        return read_bytes(path, _MOST_BYTES)
    except OSError as problem:
        raise BadInput(f"{path}: cannot be read ({problem.strerror})") from problem


def load(path: Path, least: int | None, content: bytes | None = None) -> Image.Image:
    """Open an image; with `least`, JPEGs may come at 1/2, 1/4 or 1/8 of their size, no smaller than that."""
    try:
        content = read_bytes(path, _MOST_BYTES) if content is None else content
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            if least is not None:
                image.draft("RGB", (least, least))
            upright = ImageOps.exif_transpose(image)
        if upright.mode == "F":
            raise BadInput(f"{path}: has floating-point pixels; save it with 8 bits per channel")
        return _to_rgb(upright)
    except Image.DecompressionBombError as problem:
        limit = f"{MAX_PIXELS // 2**20} megapixels"
        raise BadInput(f"{path}: more than {limit}; make it smaller or leave it out") from problem
    except BadInput:
        raise
    except Exception as problem:  # decoders raise anything on a damaged file
        if is_out_of_memory(problem):
            raise MemoryError(f"{path}: {problem}") from problem
        if isinstance(problem, OSError) and problem.strerror:
            raise BadInput(f"{path}: cannot be read ({problem.strerror})") from problem
        raise BadInput(f"{path}: damaged or not an image; replace it or leave it out") from problem


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit greys; Pillow's own conversion clips them at 255
        grey = np.asarray(image).astype(np.float64) / 257
        image = Image.fromarray(np.clip(grey.round(), 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        cut_out = image.convert("RGBA")
        image = Image.new("RGBA", cut_out.size, _BACKGROUND)
        image.alpha_composite(cut_out)
    return image.convert("RGB")
