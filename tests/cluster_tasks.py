"""Tasks that test workers do; a module of its own, so that they can import it."""

import os
import time

import numpy as np


def times(common: int, item: int) -> int:
    """Multiply, not too fast to be killed meanwhile."""
    time.sleep(0.02)
    return common * item


def who(common: float, item: int) -> int:
    """Return the process that did the task, after a while."""
    time.sleep(common)
    return os.getpid()


def take_memory(common: int, item: int) -> int:
    """Take more memory than a worker may have, if asked to."""
    if item:
        kept = [np.ones(1 << 20) for _ in range(common)]
        time.sleep(10)
        return len(kept)
    return item
