"""An engine of this process that is as unkind as a cluster: other copies of everything, in any order."""

import contextlib
import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from catpref._io.engines import alone

PACKAGES = {"catpref", "collections", "functools", "numpy", "pathlib", "scipy", "torch"}
"""Whose names what is sent may hold, beside those of the tests."""


class Unpickler(pickle.Unpickler):
    """Reads what tasks are made of, and nothing else: a task that held more would not do for a cluster."""

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] not in PACKAGES and not module.startswith("test_"):
            raise pickle.UnpicklingError(f"{module}.{name}: is no part of a task")
        return super().find_class(module, name)


def read(content: bytes) -> Any:
    return Unpickler(io.BytesIO(content)).load()


class Scrambled:
    """Sends tasks and results through pickle, and does tasks in an order drawn at random; an `Engine`.

    Where it is given a folder, workers are in that one, and see what has a relative path there.
    """

    workers = 2

    def __init__(self, seed: int = 0, folder: Path | None = None) -> None:
        self._random = np.random.default_rng(seed)
        self._folder = folder
        self.done: list[str] = []
        self.sent = 0  # bytes

    def as_done(
        self, function: Callable[[Any, Any], Any], common: Any, items: Sequence[Any]
    ) -> Iterator[tuple[int, Any]]:
        """Do the tasks; see `catpref._io.engines.Engine.as_done`."""
        content = pickle.dumps(common)
        self.sent += len(content)
        there = [read(content) for _ in range(self.workers)]
        for number in self._random.permutation(len(items)):
            does, item = read(pickle.dumps((function, items[number])))
            self.done.append(function.__name__)
            with contextlib.chdir(self._folder or Path.cwd()):
                found = alone(does, there[self._random.integers(self.workers)], item)
            yield int(number), read(pickle.dumps(found))
