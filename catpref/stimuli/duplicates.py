"""Near-duplicates: files that show the same picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catpref._io import cache
from catpref._io.files import sha256_of
from catpref._io.parallel import parallel, threads
from catpref.stimuli.images import image_path, load

HASH_SIZE = 24
HASH_BITS = 64
COLOUR_SIDE = 16
COLOUR_CHANGE = 0.2
BRIGHTNESS_CHANGE = 32.0
_CODE_VERSION = "1"  # raise it when the same image would look otherwise


def near_duplicates(
    folder: Path, names: Sequence[str], cache_folder: Path | None = None
) -> list[tuple[str, str]]:
    """Find images that are the same picture: re-encoded, resized or slightly brightened copies.

    A cache keeps by content what is remembered of each.

    Returns
    -------
    list of (str, str)
        The pairs, each in the order of `names`; see `same_pictures` for the criterion.

    Raises
    ------
    BadInput
        If an image cannot be read.
    """
    files = [image_path(folder, name) for name in names]
    looks = list(
        parallel(threads(), lambda file: _kept_look(file, cache_folder), files, "looking for near-duplicates")
    )
    return [(names[first], names[second]) for first, second in same_pictures(looks)]


class Look(NamedTuple):
    """What is remembered of a picture to recognise it again."""

    bits: NDArray[np.bool_]
    """Perceptual hash, shape (576,)."""

    colours: NDArray[np.float32]
    """The picture reduced to 16 × 16 RGB, 0 to 255, shape (768,)."""


def look(image: Image.Image) -> Look:
    """Take what `same_pictures` compares from an RGB image."""
    bits = imagehash.phash(image, hash_size=HASH_SIZE).hash.ravel()
    colours = image.resize((COLOUR_SIDE, COLOUR_SIDE), Image.Resampling.BOX)
    return Look(bits, np.asarray(colours, dtype=np.float32).ravel())


def look_at(path: Path) -> Look:
    """Take what `same_pictures` compares from an image file (errors as `open_image`)."""
    return look(load(path, least=256))


def _kept_look(path: Path, cache_folder: Path | None) -> Look:
    if cache_folder is None:
        return look_at(path)
    bits = HASH_SIZE**2
    key = cache.key_of("look", _CODE_VERSION, sha256_of(path))
    kept = cache.read(cache_folder, key, np.uint8, lambda length: length == bits + 3 * COLOUR_SIDE**2)
    if kept is None:
        kept = np.concatenate(look_at(path)).astype(np.uint8)
        cache.write(cache_folder, key, kept)
    return Look(kept[:bits].astype(bool), kept[bits:].astype(np.float32))


def same_pictures(looks: Sequence[Look]) -> list[tuple[int, int]]:
    """Pair what is the same picture.

    Aligned faces are alike in an ordinary 8 × 8 hash (down to 8 of 64 bits between different people), so the
    perceptual hash is 24 × 24, and the colours must agree as well. The same picture is where at most 64 of
    576 bits differ; the reduced pictures, each less its mean, differ by at most 0.2 of the larger one's norm;
    and mean brightness differs by at most 32 of 255. The worst cases measured:

    =======================================================  =============  ==================
    pairs of pictures                                        bits of 576    colours
    =======================================================  =============  ==================
    copies at JPEG quality 60, half size, brightness +5%     at most 24     at most 0.14
    copies at quarter size or brightness +10%                at most 40     at most 0.195
    504 faces of different people                            at least 166   at least 0.38
    155 faces of 18 cats (but for two pairs from bursts)     at least 150   at least 0.26
    300 photographs of cats                                  at least 234   at least 0.59
    2000 drawn faces                                         at least 68    at least 0.18
    =======================================================  =============  ==================

    No pair of different pictures came near both limits: the drawn faces nearest in colour, at 0.18 to 0.19,
    differ by 80 bits or more.

    Returns
    -------
    list of (int, int)
        Positions in `looks`, the lower first, in order.
    """
    if len(looks) < 2:
        return []
    bits = np.array([one.bits for one in looks], dtype=np.float32)
    colours = np.array([one.colours for one in looks])
    brightness = colours.mean(1)
    colours -= brightness[:, None]
    ones = bits.sum(1)
    contrast = (colours**2).sum(1)
    rounding = 0.25 * colours.shape[1]  # half a grey level everywhere
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(looks), 1024):
        rows = slice(start, start + 1024)
        hamming = ones[rows, None] + ones - 2 * bits[rows] @ bits.T
        difference = contrast[rows, None] + contrast - 2 * colours[rows] @ colours.T
        allowed = COLOUR_CHANGE**2 * np.maximum(contrast[rows, None], contrast) + rounding
        same = (hamming <= HASH_BITS) & (difference <= allowed)
        same &= np.abs(brightness[rows, None] - brightness) <= BRIGHTNESS_CHANGE
        firsts, seconds = np.nonzero(np.triu(same, start + 1))
        pairs += zip((firsts + start).tolist(), seconds.tolist(), strict=True)
    return pairs
