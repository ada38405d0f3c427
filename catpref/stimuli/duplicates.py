"""Near-duplicates: files that show the same picture."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import KDTree

from catpref._io import cache
from catpref._io.files import sha256_of_image
from catpref._io.parallel import parallel, threads
from catpref.stimuli.images import image_path, load

HASH_SIZE = 24
HASH_BITS = 64
COLOUR_SIDE = 16
COLOUR_CHANGE = 0.2
BRIGHTNESS_CHANGE = 32.0
_CODE_VERSION = "1"  # raise it when the same image would look otherwise
_ROUNDING = 0.25 * 3 * COLOUR_SIDE**2  # half a grey level everywhere, squared
_DIRECTIONS = (
    8  # in which reduced pictures differ most: by these alone, one in 10,000 pairs of pictures is alike
)
_ENOUGH = 512  # pictures that tell these directions
_AT_ONCE = 1 << 18  # candidates
_ONES = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8)).reshape(-1, 16).sum(1, np.uint8)


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
    with cache.opened(cache_folder) as kept:
        looks = list(
            parallel(threads(), lambda file: _kept_look(file, kept), files, "looking for near-duplicates")
        )
    return [(names[first], names[second]) for first, second in same_pictures(looks)]


class Look(NamedTuple):
    """What is remembered of a picture to recognise it again: 840 bytes."""

    bits: NDArray[np.uint8]
    """Perceptual hash of 576 bits, eight a byte, shape (72,)."""

    colours: NDArray[np.uint8]
    """The picture reduced to 16 × 16 RGB, shape (768,)."""


def look(image: Image.Image) -> Look:
    """Take what `same_pictures` compares from an RGB image."""
    bits = imagehash.phash(image, hash_size=HASH_SIZE).hash
    colours = image.resize((COLOUR_SIDE, COLOUR_SIDE), Image.Resampling.BOX)
    return Look(np.packbits(bits), np.asarray(colours).ravel())


def look_at(path: Path, content: bytes | None = None) -> Look:
    """Take what `same_pictures` compares from an image file (arguments and errors as `open_image`)."""
    return look(load(path, least=256, content=content))


def _kept_look(path: Path, kept: cache.Store) -> Look:
    if not kept.keeps:
        return look_at(path)
    bits = HASH_SIZE**2 // 8
    key = cache.key_of("look", _CODE_VERSION, sha256_of_image(path))
    found = kept.read(key, np.uint8, lambda length: length == bits + 3 * COLOUR_SIDE**2)
    if found is None:
        found = np.concatenate(look_at(path))
        kept.write(key, found)
    return Look(found[:bits], found[bits:])


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

    The search finds every such pair without comparing all with all: pictures that differ by so little in colour
    differ no more in a few directions of colour, and a tree finds what is near there.

    Returns
    -------
    list of (int, int)
        Positions in `looks`, the lower first, in order.
    """
    if len(looks) < 2:
        return []
    bits = np.array([one.bits for one in looks]).view(np.uint16)
    colours = np.array([one.colours for one in looks])
    total = colours.sum(1, dtype=np.int64)
    contrast = np.einsum("ij,ij->i", colours, colours, dtype=np.int64) - total**2 / colours.shape[1]
    allowed = COLOUR_CHANGE**2 * contrast + _ROUNDING
    pairs: list[tuple[int, int]] = []
    for first, second in _near_in_colour(colours, np.sqrt(allowed)):
        first, second = np.minimum(first, second), np.maximum(first, second)
        same = _ONES[bits[first] ^ bits[second]].sum(1, dtype=np.int64) <= HASH_BITS
        first, second = first[same], second[same]
        change = (total[first] - total[second]) / colours.shape[1]
        apart = colours[first].astype(np.int64) - colours[second]
        difference = np.square(apart).sum(1) - colours.shape[1] * change**2
        same = difference <= np.maximum(allowed[first], allowed[second])
        same &= np.abs(change) <= BRIGHTNESS_CHANGE
        pairs += zip(first[same].tolist(), second[same].tolist(), strict=True)
    return sorted(pairs)


def _near_in_colour(
    colours: NDArray[np.uint8], reach: NDArray[np.float64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Find the pairs of pictures of which the colours, each less their mean, may be no farther apart than allowed.

    No pair is missed: along orthonormal directions two vectors are no farther apart than altogether.

    Parameters
    ----------
    colours
        Shape (pictures, 768).
    reach
        How far apart the colours of another picture with no more contrast may be, shape (pictures,).

    Yields
    ------
    tuple of ndarray
        Positions of the pairs, each once.
    """
    some = _centred(colours[:: -(-len(colours) // _ENOUGH)])
    directions = np.linalg.svd(some - some.mean(0), full_matrices=False)[2][:_DIRECTIONS].T
    blocks = (colours[start : start + 4096] for start in range(0, len(colours), 4096))
    points = np.vstack([_centred(block) @ directions for block in blocks])
    tree, reach = KDTree(points), reach + 1e-6  # for rounding
    ends = np.cumsum(tree.query_ball_point(points, reach, return_length=True))
    start = 0
    while start < len(points):
        so_far = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, so_far + _AT_ONCE, side="right")))
        near = tree.query_ball_point(points[start:stop], reach[start:stop])
        first = np.repeat(np.arange(start, stop), [len(each) for each in near])
        second = np.concatenate(near).astype(np.int64)
        # Each pair from the picture with more contrast, whose reach is what counts.
        once = (reach[second] < reach[first]) | ((reach[second] == reach[first]) & (second < first))
        yield first[once], second[once]
        start = stop


def _centred(colours: NDArray[np.uint8]) -> NDArray[np.float64]:
    return colours - colours.mean(1, keepdims=True)
