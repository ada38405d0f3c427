"""Clusters of real processes: a scheduler and workers, some of which are killed."""

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cluster_tasks
import dask.config
import distributed  # noqa: F401  # whose settings would else be taken back with those of the first test
import psutil
import pytest
from plans_support import setting

from benchmarks import cluster_lab
from catpref import BadInput
from catpref._io import cluster
from catpref._io.cluster import connected
from catpref._io.engines import Engine, Here, Processes, in_order
from catpref.plans import grid, summary
from catpref.plans.studies import Cell

ROOT = Path(__file__).parents[2]
WORKER = ("--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1")
with_faults = pytest.mark.skipif(
    os.environ.get("CATPREF_FAULTS") != "all", reason="takes minutes; CATPREF_FAULTS=all"
)


class Lab(cluster_lab.Lab):
    """A scheduler on this computer, and the workers that are started for it."""

    def __init__(self, folder: Path, *certificates: str) -> None:
        super().__init__(folder, *certificates)
        self.certificates = certificates

    def work(self, *more: str, wait: bool = True, code: Path = ROOT) -> subprocess.Popen[bytes]:
        worker = self.start("dask", "worker", self.address, *WORKER, *self.certificates, *more, code=code)
        if wait:
            self.wait(worker, "(Registered to)")
        return worker

    def work_again_and_again(self) -> subprocess.Popen[bytes]:
        """Start a process whose worker is there again when it is killed; they end together."""
        return self.start("cluster_tasks", self.address)

    def place(self, worker: subprocess.Popen[bytes]) -> str:
        """Return a worker's address."""
        return self.wait(worker, r"Start worker at:\s+(\S+)")

    def send_home(self) -> None:
        """End the workers."""
        self.end(self.processes[1:])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Start one scheduler for all tests: workers that a test starts it ends."""
    lab = Lab(tmp_path_factory.mktemp("lab"))
    try:
        yield lab
    finally:
        lab.close()


@pytest.fixture(autouse=True)
def send_home(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "lab" in request.fixturenames:
        request.getfixturevalue("lab").send_home()


def expected(count: int) -> list[int]:
    return [7 * item for item in range(count)]


def test_processes_of_this_computer_do_what_one_process_does():
    items = list(range(30))
    assert in_order(Here(), cluster_tasks.times, 7, items) == expected(30)
    assert in_order(Processes(2), cluster_tasks.times, 7, items) == expected(30)


@pytest.mark.parametrize("asked", ["locl", "local:0", "tcp://nowhere", "http://a:1", "local:-1"])
def test_what_is_no_cluster_is_refused(asked):
    with pytest.raises(BadInput, match=r"cluster=.*: is neither local"), connected(asked):
        pass


def test_workers_of_this_computer_have_a_limit_of_memory_and_the_first_line_says_which(caplog):
    with caplog.at_level("INFO"), connected("local:1") as workers:
        (of_worker,) = workers._client.scheduler_info()["workers"].values()
    limit = of_worker["memory_limit"]
    assert 0 < limit <= psutil.virtual_memory().total
    assert f"cluster local:1: 1 worker, at most {limit / 2**30:.1f} GiB of memory each" in caplog.text


def test_no_scheduler_is_one_line(monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT", "0.5s")
    with pytest.raises(BadInput, match="no scheduler answers there"), connected("tcp://127.0.0.1:9"):
        pass


def test_a_killed_worker_and_one_that_joins_late_change_nothing(lab):
    """With no nanny to start it again, the first worker is gone; what it had of the common things is sent again."""
    first = lab.work("--no-nanny")
    found = {}
    with connected(lab.address) as workers:
        for number, result in workers.as_done(cluster_tasks.times, 7, list(range(60))):
            found[number] = result
            if len(found) == 10:
                first.send_signal(signal.SIGKILL)
                lab.work("--no-nanny", wait=False)
    assert [found[number] for number in range(60)] == expected(60)


def test_one_task_that_ends_every_worker_ends_the_run_and_many_that_end_one_do_not(
    lab, tmp_path, monkeypatch
):
    """The worker that ends has what is common alone, so that whatever it had is cancelled with it."""
    monkeypatch.setattr(cluster, "_ENDINGS", 5)  # each costs a worker
    lab.work_again_and_again()
    once = list(range(6))
    found = []
    with connected(lab.address) as workers:
        assert in_order(workers, cluster_tasks.end_worker, tmp_path, once) == once
        with pytest.raises(BadInput, match="one task ended several workers"):
            for _, result in workers.as_done(cluster_tasks.end_worker, tmp_path, [0, -1, 1, 2, 3]):
                found.append(result)
    assert len(found) >= 2, "only the two that waited at the same worker may be missing"


def test_a_plan_on_a_cluster_is_the_plan(lab):
    """To the last bit, for one person and for several."""
    lab.work("--no-nanny")
    cells = [Cell("random-sampled", 30, 60, people, 1.0) for people in (1, 2)]
    found = grid.run(cells, setting(), 1, Here(), None)
    with connected(lab.address) as workers:
        again = grid.run(cells, setting(), 1, workers, None)
    assert [str(one[:-1]) for cell in cells for one in found[cell]] == [
        str(one[:-1]) for cell in cells for one in again[cell]
    ]


def test_other_code_on_a_worker_is_one_line(lab, tmp_path):
    code = tmp_path / "code"
    copy(ROOT / "catpref", code / "catpref")
    (code / "catpref" / "errors.py").write_text((ROOT / "catpref" / "errors.py").read_text() + "\n# other\n")
    lab.work("--no-nanny", code=code)
    with (
        pytest.raises(BadInput, match=r"has catpref's code \w+, and this computer \w+"),
        connected(lab.address) as workers,
    ):
        list(workers.as_done(cluster_tasks.times, 7, [1]))


def copy(folder: Path, to: Path) -> None:
    for file in folder.rglob("*.py"):
        (to / file.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
        (to / file.relative_to(folder)).write_bytes(file.read_bytes())


def test_no_worker_is_one_line(lab, monkeypatch):
    monkeypatch.setattr(cluster, "_PATIENCE", 1.0)
    with pytest.raises(BadInput, match="no worker has taken tasks"), connected(lab.address):
        pass


@with_faults
@pytest.mark.slow
def test_a_task_too_large_for_any_worker_is_one_line_and_what_was_finished_is_there(lab):
    lab.work("--memory-limit", "1500 MiB")
    found = []
    with pytest.raises(BadInput, match="higher --memory-limit"), connected(lab.address) as workers:
        for number, _ in workers.as_done(cluster_tasks.take_memory, 400, [0, 1, 0, 0]):
            found.append(number)
    assert 0 in found


@with_faults
@pytest.mark.slow
def test_a_worker_that_ends_while_it_is_sent_the_common_things_changes_nothing(tmp_path):
    """It takes no more in, and is killed. A scheduler hands things to its workers in turn, by their addresses."""
    lab = Lab(tmp_path)
    try:
        places = {lab.place(worker): worker for worker in [lab.work("--no-nanny") for _ in range(2)]}
        deaf = places[min(places)]
        with connected(lab.address) as workers:
            assert in_order(workers, cluster_tasks.times, 7, list(range(10))) == expected(10)
            deaf.send_signal(signal.SIGSTOP)
            killed = threading.Timer(5, deaf.kill)
            killed.start()
            assert in_order(workers, cluster_tasks.times, 7, list(range(10))) == expected(10)
            killed.join()
    finally:
        lab.close()


class Killing:
    """Does tasks elsewhere, and kills a worker at random moments."""

    def __init__(self, engine: Engine, parents: Sequence[subprocess.Popen[bytes]], kills: int) -> None:
        self.engine, self.parents, self.left = engine, parents, kills
        self.workers = engine.workers

    def as_done(
        self, function: Callable[[Any, Any], Any], common: Any, items: Sequence[Any]
    ) -> Iterator[tuple[int, Any]]:
        moments = random.Random(0)
        for done in self.engine.as_done(function, common, items):
            yield done
            if self.left:
                time.sleep(moments.uniform(0, 0.5))
                for worker in psutil.Process(moments.choice(self.parents).pid).children():
                    worker.kill()
                    self.left -= 1


@with_faults
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_plan_of_which_twenty_workers_are_killed_is_the_plan(lab, monkeypatch):
    monkeypatch.setattr(cluster, "_PATIENCE", 600.0)  # for computers on which a worker begins slowly
    cells = [Cell("random-sampled", 20, 40, people, 1.0) for people in (1, 2)]
    _, whole = summary.table(grid.run(cells, setting(), 12, Here(), None), 0.95)
    parents = [lab.work_again_and_again() for _ in range(2)]
    with connected(lab.address) as workers:
        killing = Killing(workers, parents, 20)
        _, table = summary.table(grid.run(cells, setting(), 12, killing, None), 0.95)
    assert killing.left == 0
    assert table.to_csv() == whole.to_csv()


# ---- certificates --------------------------------------------------------------------------------------------


def named(folder: Path, **others: str) -> Any:
    """Name certificates in dask's settings, as the documentation says."""
    files = {"ca-file": "ca.pem", "client.cert": "me.pem", "client.key": "me.key"} | others
    return dask.config.set(
        {f"distributed.comm.tls.{what}": str(folder / file) for what, file in files.items()}
    )


def make_certificates(folder: Path) -> None:
    """Make an authority, and a certificate that it signs; then others, of an authority that nobody knows."""
    for ca, holder in (("ca", "me"), ("other-ca", "stranger")):
        for command in (
            f"req -x509 -newkey rsa:2048 -nodes -subj /CN=lab -keyout {ca}.key -out {ca}.pem",
            f"req -newkey rsa:2048 -nodes -subj /CN=me -keyout {holder}.key -out {holder}.csr",
            f"x509 -req -in {holder}.csr -CA {ca}.pem -CAkey {ca}.key -CAcreateserial -out {holder}.pem",
        ):
            subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)


def test_certificates_are_named_or_there_are_none(tmp_path):
    with (
        pytest.raises(BadInput, match="no certificates are named; set DASK_"),
        connected("tls://127.0.0.1:9"),
    ):
        pass
    with named(tmp_path):
        with pytest.raises(BadInput, match=r"me\.key: No such file"), connected("tls://127.0.0.1:9"):
            pass
        (tmp_path / "ca.pem").write_text("none")
        with pytest.raises(BadInput, match=r"me\.key: .*X509"), connected("tls://127.0.0.1:9"):
            pass
        for asked in ("local", "tcp://127.0.0.1:9"):
            assert not cluster._security(asked).get_connection_args("client")["ssl_context"]
    with (
        dask.config.set({"distributed.comm.require-encryption": True}),
        pytest.raises(BadInput, match="use a tls:// address"),
        connected("tcp://127.0.0.1:9"),
    ):
        pass


@with_faults
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
def test_who_has_a_certificate_is_let_in_and_nobody_else(tmp_path, caplog):
    make_certificates(tmp_path)
    certificates = ("--tls-ca-file", "ca.pem", "--tls-cert", "me.pem", "--tls-key", "me.key")
    lab = Lab(tmp_path, *certificates)
    try:
        assert lab.address.startswith("tls://")
        lab.work("--no-nanny")
        with named(tmp_path), caplog.at_level("INFO"), connected(lab.address) as workers:
            assert in_order(workers, cluster_tasks.times, 7, list(range(10))) == expected(10)
        assert f"certificates: {tmp_path / 'me.pem'}, of {tmp_path / 'ca.pem'}" in caplog.text
        for stranger in (
            {"ca-file": "other-ca.pem"},
            {"client.cert": "stranger.pem", "client.key": "stranger.key"},
        ):
            with (
                named(tmp_path, **stranger),
                pytest.raises(BadInput, match="does not know these certificates"),
                connected(lab.address),
            ):
                pass
        plain = lab.address.replace("tls://", "tcp://")
        with named(tmp_path), pytest.raises(BadInput, match="no scheduler answers"), connected(plain):
            pass
    finally:
        lab.close()


# ---- the end -------------------------------------------------------------------------------------------------


def test_a_scheduler_that_goes_away_is_one_line_and_what_was_finished_is_there(tmp_path):
    """One of its own: other tests may come later, in whatever order they are dealt out to processes."""
    lab = Lab(tmp_path)
    try:
        lab.work("--no-nanny")
        found = {}
        with pytest.raises(BadInput, match="the scheduler is gone"), connected(lab.address) as workers:
            for number, result in workers.as_done(cluster_tasks.times, 7, list(range(500))):
                found[number] = result
                if len(found) == 10:
                    lab.scheduler.send_signal(signal.SIGKILL)
        assert len(found) >= 10
    finally:
        lab.close()
