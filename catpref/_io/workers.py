"""One thread a core, each with work of its own (images, slices, folds): done sooner than by sharing each piece."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[int]:
    """Let torch use one thread, for work that is too small to be shared; return how many it would use."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """Return a pool of as many threads as torch would use, in each of which torch uses one.

    Layers too small for two threads, decoding, copying and allocating then fill the cores as well. When the
    block ends early, what has not begun is dropped.
    """
    with one_thread() as threads:  # threads that start from now on inherit it
        pool = ThreadPoolExecutor(threads)
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
