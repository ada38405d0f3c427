"""What a cluster costs, and how it holds up (``python -m benchmarks.cluster``).

*Overhead*: the same simulated study is done again and again by the process itself, by processes, and by clusters of
one worker and of two on this computer, in rounds of all four, since other work on the computer comes and goes. A
worker's first study is left out, in which much is read that is needed but once. What is compared, round by round, is
the time of a worker for a study, waiting included, and the CPU seconds for a study, of workers, scheduler and client.

*Tasks*: a scheduler, workers and a client in processes of their own. Tasks do nothing, or sleep, so that a few
processes hold as many workers as a department has. Efficiency is the part of the workers' time that is slept. Bytes
are those that the system counts on the loopback, with the headers of TCP/IP, and with those of other programs.

*Sent once*: what all studies of a plan have in common, sent to every worker.
"""

import json
import os
import pickle
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from benchmarks.cluster_lab import Lab, Task, lab, sleep, study
from catpref._io.cluster import connected
from catpref._io.engines import AHEAD, Engine, Here, Processes
from catpref.command_line import Parser, run
from catpref.design.trial_list import RANDOM
from catpref.plans.observers import usual_habits
from catpref.plans.studies import Cell, Setting
from catpref.plans.world import drawn_cats

_CELL = Cell(RANDOM, 50, 100, 1, 1.0)  # one of the cheapest: others hide more of what a cluster costs
_NONE = {"local:1": "here", "local:2": "processes:2"}


class Sizes(NamedTuple):
    """How much is done.

    Attributes
    ----------
    rounds, studies
        Of the overhead: how often each engine does how many studies a worker.
    sleeping
        Of each number of workers: seconds that a task sleeps, and how many such tasks a worker.
    sent
        To how many workers, at most, what is common is sent; those of one process share its memory.
    """

    rounds: int
    studies: int
    sleeping: dict[int, Sequence[tuple[float, int]]]
    sent: int


_MANY = ((0.1, 4), (1.0, 4), (10.0, 2))
FULL = Sizes(3, 3, {1: ((0.0, 400),), 2: ((0.0, 200),), 64: _MANY, 256: _MANY}, 64)
QUICK = Sizes(1, 2, {1: ((0.0, 100),), 8: ((0.1, 8),)}, 8)


def main(arguments: Sequence[str]) -> None:
    """Run the benchmark."""
    parser = Parser(
        "python -m benchmarks.cluster",
        "Measure what a cluster of this computer costs, and how a scheduler holds up with many workers.",
        "python -m benchmarks.cluster --json",
    )
    parser.add_argument("--quick", action="store_true", help="few studies, few workers, two minutes")
    parser.add_argument("--json")
    options = parser.parse_args(arguments)
    sizes = QUICK if options.quick else FULL

    def report(entry: dict[str, Any]) -> None:
        print(json.dumps(entry) if options.json else entry, flush=True)

    world = drawn_cats()
    setting = Setting(world, usual_habits(world.blocks), 0)
    report(_computer())
    for entry in _overhead(setting, sizes):
        report(entry)
    for workers, several in sizes.sleeping.items():
        with lab(workers) as place:
            for seconds, tasks in several:
                report(_tasks(place, workers, seconds, tasks * workers))
            if workers <= sizes.sent:
                report(_sent(place, workers, setting))


def _computer() -> dict[str, Any]:
    """Return where and when this is measured, and how fast that is: CPU seconds of five million empty rounds."""
    began = time.process_time()
    for _ in range(5_000_000):
        pass
    return {
        "what": "computer",
        "date": datetime.now(UTC).date().isoformat(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "loop_seconds": round(time.process_time() - began, 2),
    }


# ---- overhead ------------------------------------------------------------------------------------------------


class _Run(NamedTuple):
    """What an engine takes: a worker's seconds and CPU seconds for a study, and seconds until the first begins."""

    worker: float
    cpu: float
    start: float


def _overhead(setting: Setting, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Yield an entry for each engine."""
    names = ["here", "local:1", "processes:2", "local:2"]
    found: dict[str, list[_Run]] = {name: [] for name in names}
    for number in range(sizes.rounds):
        turned = names[number % len(names) :] + names[: number % len(names)]
        for name in turned:
            found[name].append(_run(name, setting, sizes.studies))
    for name, runs in found.items():
        entry: dict[str, Any] = {"what": "overhead", "engine": name, "rounds": sizes.rounds}
        for key, values in zip(_Run._fields, zip(*runs, strict=True), strict=True):
            entry[f"{key}_seconds"] = _spread(values)
        if name in _NONE:
            entry["against"] = _NONE[name]
            for place, key in enumerate(("worker", "cpu")):
                pairs = zip(runs, found[_NONE[name]], strict=True)
                entry[f"{key}_ratio"] = _spread([one[place] / none[place] for one, none in pairs])
        yield entry


def _run(name: str, setting: Setting, studies: int) -> _Run:
    """Let an engine do a study again and again, so often for each of its workers."""
    called = time.time()
    tasks: list[Task] = []
    with _engine(name) as engine:
        marks = []
        for _, task in engine.as_done(study, setting, [(_CELL, 0)] * (studies * engine.workers)):
            tasks.append(task)
            marks.append(time.process_time())
    worker, cpu = after_the_first(tasks)
    if name != "here":
        cpu += (marks[-1] - marks[0]) / (len(marks) - 1)
    return _Run(worker, cpu, min(task.began for task in tasks) - called)


def after_the_first(tasks: Sequence[Task]) -> tuple[float, float]:
    """Return a worker's seconds and CPU seconds for a task, from the end of each worker's first one on."""
    by_worker: dict[int, list[Task]] = {}
    for task in sorted(tasks, key=lambda task: task.ended):
        by_worker.setdefault(task.process, []).append(task)
    count = sum(len(of) - 1 for of in by_worker.values())
    seconds = sum(of[-1].ended - of[0].ended for of in by_worker.values())
    cpu = sum(of[-1].cpu_ended - of[0].cpu_ended for of in by_worker.values())
    return seconds / count, cpu / count


@contextmanager
def _engine(name: str) -> Iterator[Engine]:
    if name == "here":
        yield Here()
    elif name.startswith("processes:"):
        yield Processes(int(name.removeprefix("processes:")))
    else:
        with connected(name) as cluster:
            yield cluster


def _spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median, the least and the most."""
    of = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return {name: round(value, 3) for name, value in of.items()}


# ---- tasks ---------------------------------------------------------------------------------------------------


class _Items(Sequence[Any]):
    """The same item many times, and how many of them were taken."""

    def __init__(self, item: Any, count: int) -> None:
        self._item, self._count = item, count
        self.taken = 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: Any) -> Any:
        self.taken += 1
        return self._item


def _tasks(place: Lab, workers: int, seconds: float, count: int) -> dict[str, Any]:
    """Return how many tasks a second are done, what each costs, and how many are given away at most."""
    with connected(place.address) as cluster:
        list(cluster.as_done(sleep, None, [0.0] * AHEAD * workers))  # what is needed but once
        before, items = place.used(), _Items(seconds, count)
        tasks: list[Task] = []
        most = 0
        for _, task in cluster.as_done(sleep, None, items):
            most = max(most, items.taken - len(tasks))
            tasks.append(task)
        used = place.used().since(before)
    wall = max(task.ended for task in tasks) - min(task.began for task in tasks)
    return {
        "what": "tasks",
        "workers": workers,
        "sleep_seconds": seconds,
        "tasks": count,
        "tasks_a_second": round(count / wall, 1),
        "efficiency": round(seconds * count / (workers * wall), 3),
        "client_ms_a_task": round(1000 * used.client / count, 2),
        "scheduler_ms_a_task": round(1000 * used.scheduler / count, 2),
        "workers_ms_a_task": round(1000 * used.workers / count, 2),
        "bytes_a_task": round(used.sent / count),
        "most_given_away": most,
        "scheduler_mib": round(place.scheduler_memory() / 2**20),
    }


def _sent(place: Lab, workers: int, setting: Setting) -> dict[str, Any]:
    """Return what is moved until every worker has what studies have in common, and how long that takes."""
    with connected(place.address) as cluster:
        before, began = place.used(), time.perf_counter()
        list(cluster.as_done(sleep, setting, [0.1] * AHEAD * workers))
        seconds, used = time.perf_counter() - began, place.used().since(before)
    return {
        "what": "sent once",
        "workers": workers,
        "bytes": len(pickle.dumps(setting, pickle.HIGHEST_PROTOCOL)),
        "moved_bytes": used.sent,  # with the tasks themselves
        "seconds": round(seconds, 2),
        "scheduler_mib": round(place.scheduler_memory() / 2**20),
    }


if __name__ == "__main__":
    run(main)
