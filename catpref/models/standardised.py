"""Embeddings in units of what they varied by among the training images, a slice of the dimensions at a time.

Two thousand embeddings have more numbers than a computer's caches hold, or its memory as float32. Each slice is
small enough for the cache, and the slices are shared among the cores.
"""

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from catpref._io.workers import workers

_CHUNK = 1 << 20  # numbers of a slice
_NARROWEST = 64  # dimensions of one: of less, a thread's hands are full with fetching the next

T = TypeVar("T")


def slice_width(images: int) -> int:
    """Return how many dimensions of so many embeddings stay in the cache: whole channels of a grid."""
    return max(1, _CHUNK // max(1, images) // _NARROWEST) * _NARROWEST


def by_slices(
    embeddings: np.ndarray,
    centre: np.ndarray,
    scale: np.ndarray,
    work: Callable[[slice, Tensor], T],
    of: int | None = None,
) -> Iterator[T]:
    """Standardise embeddings, do some work on each slice, and give its results in order.

    Parameters
    ----------
    embeddings
        Shape (images, dimensions), any float type.
    centre, scale
        What is taken off each dimension, and what it is divided by then, shape (dimensions,).
    work
        Is called with a slice of the dimensions and the standardised embeddings there, float32, shape (images,
        dimensions of the slice), which it may change; by several threads.
    of
        How many embeddings these are a part of, where results are to be the same, to the last bit, as of all at once.
    """
    whole = torch.from_numpy(embeddings)
    middle, by = torch.from_numpy(centre), torch.from_numpy(1 / scale)
    width = slice_width(len(embeddings) if of is None else of)

    def standardise(start: int) -> T:
        columns = slice(start, start + width)
        return work(
            columns, whole[:, columns].to(torch.float32, copy=True).sub_(middle[columns]).mul_(by[columns])
        )

    with workers() as pool:
        yield from pool.map(standardise, range(0, embeddings.shape[1], width))
