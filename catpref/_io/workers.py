"""One thread a core, each with work of its own (images, slices, folds): done sooner than by sharing each piece."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def threads(count: int) -> Iterator[int]:
    """Let torch use so many threads in this block; return how many are usual. It changes how sums round."""
    usual = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield usual
    finally:
        torch.set_num_threads(usual)


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """Return a pool of as many threads as torch would use, in each of which torch uses one.

    Layers too small for two threads, decoding, copying and allocating then fill the cores as well. When the
    block ends early, what has not begun is dropped.
    """
    with threads(1) as usual:  # threads that start from now on inherit it
        pool = ThreadPoolExecutor(usual)
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
