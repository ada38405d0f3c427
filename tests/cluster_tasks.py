"""Tasks that test workers do; a module of its own, so that they can import it.

``python -m cluster_tasks ADDRESS`` is a worker that is there again as soon as it is killed, with all that it imports.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

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


def end_worker(ended: Path, item: int) -> int:
    """End the worker when a task is done for the first time, and with a negative item always."""
    mark = ended / str(item)
    if item < 0 or not mark.exists():
        mark.touch()
        os._exit(1)
    return item


async def _work(address: str) -> None:
    from distributed import Worker

    worker = await Worker(address, nthreads=1, host="127.0.0.1", dashboard=False)
    await worker.finished()


def _work_again_and_again(address: str) -> None:
    # Before the fork: each new worker would take seconds for it.
    from distributed.versions import get_versions

    import catpref.plans.studies  # noqa: F401
    from catpref._io import cluster

    get_versions()
    cluster.about()
    while True:
        child = os.fork()
        if not child:
            asyncio.run(_work(address))
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    _work_again_and_again(sys.argv[1])
