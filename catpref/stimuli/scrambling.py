"""A scrambled picture: the colours and the light of a face, and no face. Catch trials show one beside a face."""

import numpy as np
from PIL import Image

TILES = 32
"""Tiles along the shorter side. An eye of a cat face is two to five tiles wide, so that no tile shows one."""


def scramble(image: Image.Image) -> Image.Image:
    """Shuffle the tiles of an image and turn each by a multiple of 90°.

    The same picture always gives the same result, of the same size and mode, with exactly the same pixels in
    other places. Where the tiles do not fill the image, a rim narrower than one tile stays as it is.

    Parameters
    ----------
    image
        In mode ``RGB``, as `catpref.stimuli.images.open_image` gives them, or ``L``.
    """
    pixels = np.array(image)
    height, width = pixels.shape[:2]
    side = max(1, min(height, width) // TILES)
    rows, columns = height // side, width // side
    places = [
        (slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side))
        for row in range(rows)
        for column in range(columns)
    ]
    tiles = [pixels[place].copy() for place in places]
    rng = np.random.default_rng(0)
    for place, tile in zip(places, rng.permutation(len(tiles)), strict=True):
        pixels[place] = np.rot90(tiles[tile], int(rng.integers(4)))
    return Image.fromarray(pixels)
