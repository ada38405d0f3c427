"""Work on many files at once, with a progress bar."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from catpref._io.progress import progress

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = (
    256  # files that wait for a thread: tasks for 100,000 at once would take as much memory as what they find
)


def threads() -> ThreadPoolExecutor:
    """Return a pool for reading images: decoders and resampling let other threads run."""
    return ThreadPoolExecutor(os.cpu_count())


def parallel(
    pool: Executor, function: Callable[[Item], Result], items: Sequence[Item], what: str
) -> Iterator[Result]:
    """Map in a pool, in order, with a progress bar; Ctrl-C or an error drops what has not begun."""
    with pool:
        yield from progress(_in_order(pool, function, items), what, total=len(items))


def _in_order(pool: Executor, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    waiting = iter(items)
    begun: deque[Future[Result]] = deque(pool.submit(function, item) for item in islice(waiting, _AHEAD))
    try:
        while begun:
            yield begun.popleft().result()
            begun.extend(pool.submit(function, item) for item in islice(waiting, 1))
    finally:
        for future in begun:
            future.cancel()


def serve_parent() -> None:
    """Let a process of a pool end with its parent, whatever ends that, and leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
