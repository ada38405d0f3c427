import numpy as np
import pytest
from PIL import Image
from support import faces

from catpref.stimuli.scrambling import TILES, scramble


def test_the_pixels_are_the_same_and_the_places_are_not():
    face = Image.open(sorted(faces().glob("*.png"))[0]).convert("RGB")
    before = face.tobytes()
    scrambled = scramble(face)
    assert (face.tobytes(), scramble(face).tobytes()) == (before, scrambled.tobytes())
    assert (scrambled.mode, scrambled.size) == ("RGB", face.size)
    assert sorted(face.getdata()) == sorted(scrambled.getdata())


def test_no_tile_stays_beside_its_neighbours():
    """Number the tiles: hardly any is where it was, or has a neighbour that it had."""
    numbers = np.arange(TILES**2).reshape(TILES, TILES)
    colours = np.stack([numbers % 256, numbers // 256, numbers * 0], -1).astype(np.uint8)
    tiles = Image.fromarray(colours).resize((512, 512), Image.Resampling.NEAREST)
    found = np.asarray(scramble(tiles)).astype(int)[::16, ::16] @ [1, 256, 0]
    assert sorted(found.ravel()) == list(range(TILES**2))
    assert (found == numbers).sum() <= 5
    steps = np.abs(np.diff(found, axis=1))
    assert ((steps == 1) | (steps == TILES)).mean() < 0.02


@pytest.mark.parametrize("size", [(301, 200), (200, 301), (20, 31), (1, 1), (64, 5)])
def test_any_size_and_mode(size):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, size[::-1], dtype=np.uint8))
    scrambled = scramble(picture)
    assert (scrambled.size, scrambled.mode) == (picture.size, "L")
    assert sorted(scrambled.tobytes()) == sorted(picture.tobytes())
    if size != (1, 1):
        assert scrambled.tobytes() != picture.tobytes()
