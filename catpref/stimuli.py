"""A stimulus set: a folder of images, found, checked and loaded, and told from copies of itself."""

import os
import posixpath
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PureWindowsPath

import imagehash
import numpy as np
from PIL import Image, ImageOps

from catpref.commands import BadInput, progress

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
MAX_PIXELS = 64 * 2**20
"""No photograph for an experiment is larger (8192 × 8192); a decompression bomb is."""

HASH_BITS = 32
COLOUR_STEPS = 20

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
_BACKGROUND = (128, 128, 128)

# Pillow warns about odd but readable files, which would break the promise of one clear line on stderr.
# A filter for good, because warnings.catch_warnings is not safe where images are read in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


def find_images(folder: Path) -> list[str]:
    """List the images of a stimulus folder and its subfolders.

    Parameters
    ----------
    folder
        The stimulus folder.

    Returns
    -------
    list of str
        Paths relative to `folder`, separated by ``/``, sorted. Hidden files and folders are left out.

    Raises
    ------
    BadInput
        If the folder does not exist or holds no image.
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
    if not names:
        raise BadInput(f"{folder}: holds no images (jpg, png, webp, bmp or tiff)")
    return sorted(names)


def image_path(folder: Path, name: str) -> Path:
    """Resolve the name of one stimulus, without ever leaving the stimulus folder.

    Parameters
    ----------
    folder
        The stimulus folder.
    name
        A path relative to `folder`, separated by ``/``, as it stands in a trial list or session.

    Returns
    -------
    Path
        The file itself, absolute, with symbolic links followed.

    Raises
    ------
    BadInput
        If the name is empty, absolute, not ``/``-separated, leads outside the folder, or is not a file in it.
        The message names the image; the caller knows the file and row it came from.
    """
    shown = repr(name if len(name) <= 100 else name[:97] + "...")
    if not name.strip():
        raise BadInput("the image name is empty")
    windows = PureWindowsPath(name)
    if "\\" in name or windows.drive or windows.root:
        raise BadInput(f"image {shown} must be a path relative to the stimulus folder, separated by '/'")
    try:
        root = Path(folder).resolve()
        path = (root / name).resolve()
        exists = path.is_file()
    except (OSError, RuntimeError, ValueError) as problem:  # too long, a loop of links, a NUL byte
        raise BadInput(f"image {shown} is not a usable file name") from problem
    if posixpath.normpath(name).startswith("..") or not path.is_relative_to(root):
        raise BadInput(f"image {shown} leads outside the stimulus folder {folder}")
    if not exists:
        raise BadInput(f"image {shown} is not in the stimulus folder {folder}")
    return path


def open_image(path: Path) -> Image.Image:
    """Load an image as the participant sees it: upright, RGB, 8 bits.

    EXIF orientation is applied, transparency is laid over the mid-grey of a PsychoPy window, 16-bit greys are
    scaled to 8, and of an animation the first frame is taken.

    Parameters
    ----------
    path
        The image file.

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
    return _load(Path(path), None)


def near_duplicates(folder: Path, names: Sequence[str]) -> list[tuple[str, str]]:
    """Find images that are the same picture: re-encoded, resized or slightly brightened copies.

    Parameters
    ----------
    folder
        The stimulus folder.
    names
        Images in it.

    Returns
    -------
    list of (str, str)
        The pairs, each in the order of `names`.

    Raises
    ------
    BadInput
        If an image cannot be read.
    """
    if len(names) < 2:
        return []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        read = pool.map(lambda name: _look(image_path(folder, name)), names)
        looks = list(progress(read, "looking for near-duplicates", total=len(names)))
    return [(names[first], names[second]) for first, second in same_picture(looks)]


def _load(path: Path, least: int | None) -> Image.Image:
    """Open an image; with `least`, JPEGs may come at 1/2, 1/4 or 1/8 of their size, no smaller than that."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
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


def _look(path: Path) -> tuple[np.ndarray, np.ndarray]:
    return look(_load(path, 256))


def look(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Give a picture's perceptual hash and its colours at a glance, for `same_picture`."""
    bits = imagehash.phash(image, hash_size=16).hash.ravel()
    colours = np.asarray(image.resize((8, 8), Image.Resampling.BOX), dtype=np.float32).ravel()
    return bits, colours


def same_picture(looks: Sequence[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[int, int]]:
    """Pair the pictures whose hashes and colours are both close."""
    bits = np.array([one for one, _ in looks], dtype=np.float32)
    colours = np.array([one for _, one in looks])
    ones = bits.sum(1)
    for start in range(0, len(bits), 1024):
        block = bits[start : start + 1024]
        distance = ones[start : start + 1024, None] + ones - 2 * block @ bits.T  # Hamming
        for row, second in np.argwhere(distance <= HASH_BITS):
            first = start + row
            if first < second and np.abs(colours[first] - colours[second]).mean() <= COLOUR_STEPS:
                yield int(first), int(second)
