"""Pairs to practise on: drawn cats that are in no stimulus set."""

import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from catpref.lab.options import PRACTICE
from catpref.stimuli.catface import draw, sample_parameters
from catpref.stimuli.sets import shows_cat_faces

_SEED = 2**32  # one more than python -m catpref.stimuli render takes


def count_practice(asked: int | None, stimuli: Path, question: str) -> int:
    """Return how many pairs to practise on: unless asked for, none where the set does not show cat faces."""
    if asked is not None:
        return asked
    if shows_cat_faces(stimuli):
        return PRACTICE
    print(
        f"catpref: {stimuli}: no manifest says that it shows cat faces, so there is no practice on drawn cats "
        f"(--practice {PRACTICE} shows them all the same); the question is '{question}' (--texts changes it)",
        file=sys.stderr,
    )
    return 0


def practice_pairs(pairs: int) -> Iterator[tuple[Image.Image, Image.Image]]:
    """Draw the left and right image of each practice trial, 512 × 512; the same every time."""
    faces = iter(sample_parameters(2 * pairs, _SEED).to_dict("records"))
    for left, right in zip(faces, faces, strict=True):
        yield draw(left), draw(right)
