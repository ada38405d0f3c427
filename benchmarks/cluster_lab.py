"""A cluster on this computer as a department would have it on several: a scheduler, and workers in other processes.

Workers that sleep are no load, so that a process holds as many as 64 of them, and a few processes a whole department
(``python -m benchmarks.cluster_lab ADDRESS WORKERS`` is such a process). The tasks that they do are here, too.
"""

import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import psutil

from catpref._io import cluster
from catpref._io.parallel import serve_parent
from catpref.plans.studies import Cell, Setting, simulate

FEW = 2
"""Up to so many workers have a process each."""

A_PROCESS = 64
"""More of them share processes, each of at most so many workers."""

_ROOT = Path(__file__).parents[1]
_READY = "ready"
_LOOPBACK = ("lo", "lo0")  # as Linux and macOS call it


class Task(NamedTuple):
    """When a task was done, by which process, and what of that process's CPU time was gone before and after."""

    process: int
    began: float
    ended: float
    cpu_began: float
    cpu_ended: float


def study(setting: Setting, of: tuple[Cell, int]) -> Task:
    """Simulate a study."""
    began, cpu = time.time(), time.process_time()
    simulate(setting, of)
    return Task(os.getpid(), began, time.time(), cpu, time.process_time())


def sleep(common: object, seconds: float) -> Task:
    """Do nothing, for a while."""
    del common
    began, cpu = time.time(), time.process_time()
    time.sleep(seconds)
    return Task(os.getpid(), began, time.time(), cpu, time.process_time())


class Used(NamedTuple):
    """What was used so far: seconds of CPU by each kind of process, and bytes sent on the loopback by everybody."""

    client: float
    scheduler: float
    workers: float
    sent: int

    def since(self, before: "Used") -> "Used":
        """Return what was used since then."""
        return Used(
            self.client - before.client,
            self.scheduler - before.scheduler,
            self.workers - before.workers,
            self.sent - before.sent,
        )


class Lab:
    """A scheduler on this computer, and processes of workers that are started for it."""

    def __init__(self, folder: Path, *certificates: str) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        here = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0", "--host", "127.0.0.1", "--port", "0")
        try:
            self.scheduler = self.start("dask", "scheduler", *here, *certificates)
            self.address = self.wait(self.scheduler, r"Scheduler at:\s+(\w+://\S+)")
        except BaseException:
            self.close()
            raise

    def start(self, module: str, *arguments: str, code: Path = _ROOT) -> subprocess.Popen[bytes]:
        """Start a process that has catpref from `code`, and the tasks of benchmarks and tests."""
        path = os.pathsep.join(map(str, (code, _ROOT, _ROOT / "tests")))
        with self._log(len(self.processes)).open("w") as log:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", module, *arguments],
                    cwd=self.folder,
                    env=os.environ | {"PYTHONPATH": path, "DASK_TEMPORARY_DIRECTORY": str(self.folder)},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # so that they end with what they have started
                )
            )
        return self.processes[-1]

    def wait(self, process: subprocess.Popen[bytes], pattern: str) -> str:
        """Wait until a process says something, and return that."""
        log = self._log(self.processes.index(process))
        while process.poll() is None:
            if found := re.search(pattern, log.read_text()):
                return found[1]
            time.sleep(0.05)
        raise RuntimeError(log.read_text())

    def close(self) -> None:
        """End all processes."""
        self.end(self.processes)

    @staticmethod
    def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
        """End processes, and at the same moment the workers that they would start again."""
        for process in reversed(processes):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        for process in processes:
            process.wait()

    def used(self) -> Used:
        """Return what was used so far; this process is to be the client."""
        scheduler, *hosts = (sum(psutil.Process(one.pid).cpu_times()[:2]) for one in self.processes)
        counters = psutil.net_io_counters(pernic=True)
        sent = next(counters[name].bytes_sent for name in _LOOPBACK if name in counters)
        return Used(time.process_time(), scheduler, sum(hosts), sent)

    def scheduler_memory(self) -> int:
        """Return the bytes of memory that the scheduler has."""
        return psutil.Process(self.scheduler.pid).memory_info().rss

    def _log(self, number: int) -> Path:
        return self.folder / f"{number}.log"


@contextmanager
def lab(workers: int) -> Iterator[Lab]:
    """Start a scheduler and workers, and end them."""
    with tempfile.TemporaryDirectory() as folder:
        made = Lab(Path(folder))
        try:
            hosts = workers if workers <= FEW else -(-workers // A_PROCESS)
            for host in range(hosts):
                share = workers // hosts + (host < workers % hosts)
                made.wait(made.start("benchmarks.cluster_lab", made.address, str(share)), f"({_READY})")
            yield made
        finally:
            made.close()


async def _work(address: str, workers: int) -> None:
    """Let workers of this process do tasks, for as long as it lives."""
    from distributed import Worker

    await asyncio.gather(*(
        Worker(address, nthreads=1, host="127.0.0.1", dashboard=False, memory_limit=0, silence_logs=logging.CRITICAL)
        for _ in range(workers)
    ))  # fmt: skip
    print(_READY, flush=True)
    await asyncio.Event().wait()


def main(arguments: Sequence[str]) -> None:
    """Be a process of many workers, of which none keeps the others from having threads."""
    address, workers = arguments
    serve_parent()
    cluster.about()  # read once, not by all of them at the same time
    with (
        mock.patch.object(cluster, "alone", lambda function, common, item: function(common, item)),
        mock.patch.object(cluster, "_ONE_BY_ONE", nullcontext()),  # tasks that sleep do so beside each other
    ):
        asyncio.run(_work(address, int(workers)))


if __name__ == "__main__":
    main(sys.argv[1:])
