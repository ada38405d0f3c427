"""Many tasks that need nothing of each other: done by processes of this computer, or by a cluster.

A task is a function of a module, called with what all tasks have in common and with an item of its own. Whatever it
draws at random it draws with a seed of its item, so that nothing depends on who does it, when, or after what.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from itertools import islice
from multiprocessing import get_context
from typing import Any, Protocol, TypeVar

import torch
from threadpoolctl import threadpool_limits

from catpref._io.parallel import serve_parent
from catpref._io.tasks import by_number
from catpref._io.workers import threads, workers

Common = TypeVar("Common")
Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2
"""Tasks a worker that are handed out before the first is done: enough that none waits, and no more in memory."""

_common: Any = None  # of all tasks of a process


class Engine(Protocol):
    """What does tasks."""

    @property
    def workers(self) -> int:
        """How many tasks are done at once."""
        ...

    def as_done(
        self, function: Callable[[Common, Item], Result], common: Common, items: Sequence[Item]
    ) -> Iterator[tuple[int, Result]]:
        """Do a task for each item; yield its number and its result as soon as it is there, in any order."""
        ...


def in_order(
    engine: Engine, function: Callable[[Common, Item], Result], common: Common, items: Sequence[Item]
) -> list[Result]:
    """Do a task for each item, and return the results in the items' order."""
    return by_number(engine.as_done(function, common, items))


def alone(function: Callable[[Common, Item], Result], common: Common, item: Item) -> Result:
    """Do a task with one thread, as it is done wherever others are done beside it: sums then round alike."""
    with threads(1), threadpool_limits(1):
        return function(common, item)


class Here:
    """The process itself, which does one task after the other."""

    workers = 1

    def as_done(
        self, function: Callable[[Common, Item], Result], common: Common, items: Sequence[Item]
    ) -> Iterator[tuple[int, Result]]:
        """Do the tasks; see `Engine.as_done`."""
        for number, item in enumerate(items):
            yield number, alone(function, common, item)


class Threads:
    """Threads of the process itself, one thread to a task: nothing is sent, and what one task found others have."""

    @property
    def workers(self) -> int:
        """As many as torch would use."""
        return torch.get_num_threads()

    def as_done(
        self, function: Callable[[Common, Item], Result], common: Common, items: Sequence[Item]
    ) -> Iterator[tuple[int, Result]]:
        """Do the tasks; see `Engine.as_done`."""
        with workers() as pool:
            yield from enumerate(pool.map(partial(function, common), items))


class Processes:
    """Processes of this computer, each with one thread."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def as_done(
        self, function: Callable[[Common, Item], Result], common: Common, items: Sequence[Item]
    ) -> Iterator[tuple[int, Result]]:
        """Do the tasks; see `Engine.as_done`."""
        with _pool(min(self.workers, len(items)), common) as pool:
            waiting, running = iter(enumerate(items)), {}
            while True:
                for number, item in islice(waiting, AHEAD * self.workers - len(running)):
                    running[pool.submit(_do, function, item)] = number
                if not running:
                    return
                done = next(as_completed(running))
                yield running.pop(done), done.result()


@contextmanager
def _pool(workers: int, common: Any) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(max(workers, 1), get_context("spawn"), _begin, (common,))
    try:
        yield pool
    finally:  # what has not begun is dropped
        pool.shutdown(cancel_futures=True)


def _begin(common: Any) -> None:
    global _common
    serve_parent()
    _common = common


def _do(function: Callable[[Any, Item], Result], item: Item) -> Result:
    return alone(function, _common, item)
