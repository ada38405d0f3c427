"""An engine of this process that is as unkind as a cluster: other copies of everything, in any order."""

import contextlib
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from catpref._io.engines import alone


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
        there = [pickle.loads(content) for _ in range(self.workers)]
        for number in self._random.permutation(len(items)):
            does, item = pickle.loads(pickle.dumps((function, items[number])))
            self.done.append(function.__name__)
            with contextlib.chdir(self._folder or Path.cwd()):
                found = alone(does, there[self._random.integers(self.workers)], item)
            yield int(number), pickle.loads(pickle.dumps(found))
