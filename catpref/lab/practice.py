"""Pairs to practise on: drawn cats that are in no stimulus set."""

from collections.abc import Iterator

from PIL import Image

from catpref.stimuli.catface import draw, sample_parameters

_SEED = 2**32  # one more than python -m catpref.stimuli render takes


def practice_pairs(pairs: int) -> Iterator[tuple[Image.Image, Image.Image]]:
    """Draw the left and right image of each practice trial, 512 × 512; the same every time."""
    faces = iter(sample_parameters(2 * pairs, _SEED).to_dict("records"))
    for left, right in zip(faces, faces, strict=True):
        yield draw(left), draw(right)
