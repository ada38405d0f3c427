import json
import os

import pytest
from support import call

from benchmarks import cluster
from benchmarks.cluster_lab import Task


def task(process: int, began: float, ended: float) -> Task:
    """A task that used half a core, of a process that used a tenth of one while it waited."""
    return Task(process, began, ended, 0.1 * began, 0.1 * began + 0.5 * (ended - began))


def test_each_workers_first_task_is_left_out_and_waiting_is_not() -> None:
    tasks = [task(1, 10, 19), task(2, 11, 18), task(1, 20, 22), task(2, 18, 20), task(1, 23, 24)]
    seconds, cpu = cluster.after_the_first(tasks)
    assert seconds == pytest.approx((5 + 2) / 3)
    of_first, of_last = 1.0 + 0.5 * 9, 2.3 + 0.5 * 1
    assert cpu == pytest.approx((of_last - of_first + (1.8 + 0.5 * 2) - (1.1 + 0.5 * 7)) / 3)


@pytest.mark.skipif(os.environ.get("CATPREF_BENCHMARKS") != "small", reason="CATPREF_BENCHMARKS=small")
def test_a_small_cluster_is_measured() -> None:
    done = call(cluster.main, "--quick", "--json")
    assert done.code == 0, done
    entries = [json.loads(line) for line in done.out.splitlines()]
    overhead = {entry["engine"]: entry for entry in entries if entry["what"] == "overhead"}
    assert set(overhead) == {"here", "local:1", "processes:2", "local:2"}
    for name in ("local:1", "local:2"):
        assert overhead[name]["cpu_ratio"]["median"] > 0.3, "so little is never the same work"
    slept = [entry for entry in entries if entry["what"] == "tasks"]
    assert [one["workers"] for one in slept] == list(cluster.QUICK.sleeping)
    for one in slept:
        assert one["most_given_away"] == 2 * one["workers"], "no more wait than are soon needed"
        assert 0 <= one["efficiency"] <= 1 and one["bytes_a_task"] > 500
    sent = [entry for entry in entries if entry["what"] == "sent once"]
    assert all(one["moved_bytes"] > one["workers"] * one["bytes"] for one in sent) and len(sent) == 2
