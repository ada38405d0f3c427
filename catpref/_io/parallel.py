"""Work on many files at once, with a progress bar."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar

from catpref._io.progress import progress

Item = TypeVar("Item")
Result = TypeVar("Result")


def threads() -> ThreadPoolExecutor:
    """Return a pool for reading images: decoders and resampling let other threads run."""
    return ThreadPoolExecutor(os.cpu_count())


def parallel(
    pool: Executor, function: Callable[[Item], Result], items: Sequence[Item], what: str
) -> Iterator[Result]:
    """Map in a pool, in order, with a progress bar; Ctrl-C or an error drops what has not begun."""
    with pool:
        yield from progress(pool.map(function, items), what, total=len(items))


def serve_parent() -> None:
    """Let a process of a pool end with its parent, whatever ends that, and leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
