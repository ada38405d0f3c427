"""A cluster of dask.distributed that does tasks: started on this computer, or found at an address.

Whoever reaches the scheduler's port can run code on every worker, and on the computer that asks. It belongs in a
trusted network, or behind TLS: ``tls://HOST:PORT``, with the certificates that dask's settings name. No other address
takes anything from these settings.

What may go wrong: a worker that ends takes its tasks with it, and they are done again elsewhere; one that ends with
the same task again and again (memory, mostly), a scheduler that is gone, a cluster without workers, and workers with
other code end the run with one line.
"""

import asyncio
import concurrent.futures
import hashlib
import importlib.metadata
import logging
import math
import platform
import queue
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from catpref._io.engines import AHEAD, alone
from catpref.errors import BadInput, not_installed
from catpref.version import __version__

Common = TypeVar("Common")
Item = TypeVar("Item")
Result = TypeVar("Result")

_LOG = logging.getLogger(__name__)
_PATIENCE = 60.0  # seconds without a worker, or without the scheduler
_CONNECT = "10s"
_RECONNECT = 20.0  # seconds that a lost connection has; dask itself gives up after `_CONNECT`
_GOODBYE = 5  # seconds
_LOOK = 1.0  # seconds between looks at the workers
_CANCELLED = (asyncio.CancelledError, concurrent.futures.CancelledError)  # as dask calls it varies
_CLIENT = "DASK_DISTRIBUTED__COMM__TLS__CLIENT__"
_FILES = (
    "tls_ca_file",
    *(f"tls_{who}_{what}" for who in ("client", "scheduler", "worker") for what in ("cert", "key")),
)
_ENDINGS = 8  # workers that may end with a task while no other one is finished
_ONE_BY_ONE = threading.Lock()  # for workers with several threads, which torch's random draws must not share
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_LEAN = {
    "distributed.worker.profile.enabled": False,  # which costs, and nobody reads
    # Without what dask adds to it: with MALLOC_TRIM_THRESHOLD_ each array's memory goes back to the system at once,
    # and comes from there anew, which took a third of a study's time.
    "distributed.nanny.pre-spawn-environ": dict.fromkeys((*_THREADS, "MALLOC_ARENA_MAX"), 1),
}
_NUMERIC = ("numpy", "scipy", "torch")  # packages in which the last digits may differ between versions


@contextmanager
def connected(asked: str) -> Iterator["Cluster"]:
    """Start or find a cluster, and let go of it in the end.

    Parameters
    ----------
    asked
        ``local`` or ``local:N``, a worker a core or N on this computer, which end with the block; or the address of a
        scheduler, ``tcp://HOST:PORT`` or ``tls://HOST:PORT``.

    Raises
    ------
    BadInput
        If dask.distributed is not installed, `asked` is neither, or no scheduler or worker is there.
    """
    try:
        import dask.config
        import distributed
    except ModuleNotFoundError as problem:
        raise BadInput(f"cluster={asked}: {not_installed(problem, 'cluster')}") from problem
    for name in ("distributed", "distributed.client"):  # what matters is said in one line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    local = re.fullmatch(r"local(?::([1-9]\d*))?", asked)
    if not (local or re.fullmatch(r"(tcp|tls)://[^/\s]+:\d+", asked)):
        raise BadInput(
            f"cluster={asked}: is neither local, local:N nor an address such as tcp://192.168.0.10:8786"
        )
    security, own = _security(asked), None
    if local:
        count = int(local[1]) if local[1] else None
        with dask.config.set(_LEAN):
            own = distributed.LocalCluster(
                n_workers=count, threads_per_worker=1, silence_logs=logging.CRITICAL,
                protocol="tcp://", security=security,
                # no page on the web, and for what dask serves all the same, a port that is free
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            )  # fmt: skip
    else:
        _LOG.info("connecting to %s", asked)
    try:
        client = distributed.Client(own or asked, set_as_default=False, timeout=_CONNECT, security=security)
    except (OSError, ValueError, RuntimeError) as problem:
        refused = ", or it does not know these certificates" if asked.startswith("tls") else ""
        raise BadInput(
            f"cluster={asked}: no scheduler answers there; start one with dask scheduler{refused}"
        ) from problem
    try:
        if asked.startswith("tls"):
            _LOG.info("certificates: %s, of %s", security.tls_client_cert, security.tls_ca_file)
        yield Cluster(client, asked)
    finally:
        with suppress(Exception):  # a scheduler that is gone cannot be taken leave of
            client.close(timeout=_GOODBYE)
        if own is not None:
            with suppress(Exception):  # its processes end with this one at the latest
                own.close(timeout=_GOODBYE)


def _security(asked: str) -> Any:
    """Return the certificates that dask's settings name, for ``tls://``; none for any other address."""
    from distributed.security import Security

    named = Security()
    if asked.startswith("tls"):
        if not (named.tls_ca_file and named.tls_client_cert):
            raise BadInput(
                f"cluster={asked}: no certificates are named; set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, "
                f"{_CLIENT}CERT and {_CLIENT}KEY"
            )
        try:
            named.get_connection_args("client")
        except OSError as problem:  # which those of ssl are, too
            files = ", ".join(filter(None, (named.tls_ca_file, named.tls_client_cert, named.tls_client_key)))
            raise BadInput(f"cluster={asked}: {files}: {problem.strerror or problem}") from problem
        return named
    if named.require_encryption and not asked.startswith("local"):
        raise BadInput(f"cluster={asked}: dask's settings ask for encryption; use a tls:// address")
    return Security(require_encryption=False, **dict.fromkeys(_FILES))


class Cluster:
    """Workers of dask.distributed; an `Engine`."""

    def __init__(self, client: Any, address: str) -> None:
        self._client = client
        self._address = address
        # What the last tasks had in common, and where workers have it.
        self._sent: tuple[Any, Any] | None = None
        if not client.scheduler_info(n_workers=-1)["workers"]:
            _LOG.info("cluster %s: no worker yet; waiting for one, at most %.0f seconds", address, _PATIENCE)
        try:
            client.wait_for_workers(1, timeout=_PATIENCE)
        except TimeoutError:
            raise self._no_workers() from None
        of_workers = client.scheduler_info(n_workers=-1)["workers"].values()
        self.workers = sum(worker["nthreads"] for worker in of_workers)
        limits = sorted(worker["memory_limit"] or math.inf for worker in of_workers)  # 0 is none
        least, most = (f"{limit / 2**30:.1f}" for limit in (limits[0], limits[-1]))
        each = f"at most {most}" if least == most else f"{least} to {most}"
        memory = "without a limit of memory" if most == "inf" else f"{each} GiB of memory each"
        plural = "" if len(of_workers) == 1 else "s"
        _LOG.info("cluster %s: %d worker%s, %s", address, len(of_workers), plural, memory)

    def as_done(
        self, function: Callable[[Common, Item], Result], common: Common, items: Sequence[Item]
    ) -> Iterator[tuple[int, Result]]:
        """Do the tasks; see `catpref._io.engines.Engine.as_done`.

        dask gives a task up with the fourth worker that ends with it. Where a worker that ends was the only one to
        have what is common, all tasks are cancelled, wherever they were. In neither case can a task that ends its
        worker be told from one that happened to be there. So both wait until the others have begun, and a task is
        blamed when workers end with it again and again while no other is finished: then it is among the last ones
        left, whereas workers that are killed at random let something be finished in between.
        """
        waiting, again = deque(range(len(items))), list[int]()
        running: dict[Any, tuple[int, Any]] = {}  # the number, and what is common as it was sent with
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        endings: Counter[int] = Counter()  # of workers, by task
        shared = self._shared(common)
        looked = seen = time.monotonic()
        while waiting or again or running:
            while (waiting or again) and len(running) < AHEAD * max(self.workers, 1):
                number = waiting.popleft() if waiting else again.pop()
                task = self._client.submit(
                    _do, about(), function, shared, items[number], pure=False, key=None
                )
                running[task] = number, shared
                task.add_done_callback(done.put)
            with suppress(queue.Empty):
                task = done.get(timeout=_LOOK)
                (number, sent_with), status = running.pop(task), task.status
                result: Any = None
                if status == "finished":
                    try:
                        result = self._result(task)
                    except _CANCELLED:  # its worker ended before it had sent the result
                        status = "cancelled"
                if status == "finished":
                    endings.clear()
                    yield number, result
                else:
                    endings[number] += self._ended(task, status)
                    if endings[number] >= _ENDINGS:
                        raise BadInput(
                            f"cluster={self._address}: one task ended several workers; perhaps their memory is too "
                            "small for it: start them with a higher --memory-limit"
                        )
                    if status != "error" and sent_with is shared:
                        shared = self._share(common)
                    again.append(number)
                task.release()
            now = time.monotonic()
            if now - looked > _LOOK:
                looked = now
                self._check_scheduler()
                self.workers = self._count()
                seen = now if self.workers else seen
                if now - seen > _PATIENCE:
                    raise self._no_workers()

    def _shared(self, common: Any) -> Any:
        """Return what tasks have in common as workers have it: what they were sent before they still have."""
        if self._sent is not None and self._sent[0] is common:
            return self._sent[1]
        return self._share(common)

    def _share(self, common: Any) -> Any:
        """Hand what tasks have in common to a worker, from whom each of the others takes it once.

        dask can send it to all of them at once (`broadcast`, `replicate`), but does not stop trying if one of them
        ends meanwhile.
        """
        from distributed.comm.core import CommClosedError

        ends = time.monotonic() + _PATIENCE
        while time.monotonic() < ends:
            try:
                self._client.wait_for_workers(1, timeout=_PATIENCE)
                shared = self._client.scatter(_Common(common), hash=False, timeout=_PATIENCE)
                self._sent = common, shared
                return shared
            except TimeoutError:
                break
            except (
                CommClosedError,
                OSError,
                KeyError,
                ValueError,
            ):  # a worker ended meanwhile
                self._check_scheduler()
                time.sleep(_LOOK)
        raise self._no_workers()

    def _result(self, task: Any) -> Any:
        result = task.result()
        if isinstance(result, _OtherCode):
            raise BadInput(
                f"cluster={self._address}: the worker on {result.host} has {result.there}, and this computer "
                f"{result.here}; install the same on both"
            )
        return result

    def _ended(self, task: Any, status: str) -> int:
        """Return how many workers ended with a task; raise what it raised where it was not that."""
        import distributed

        # Cancelled, with the worker that had what is common or with the scheduler, or lost with its result's worker.
        if status != "error":
            self._check_scheduler()
            return 1
        problem = task.exception()
        if not isinstance(problem, distributed.KilledWorker):
            if isinstance(problem, ModuleNotFoundError):
                raise BadInput(
                    f"cluster={self._address}: {problem.name} is not installed on the cluster; install catpref "
                    "there as it is here"
                ) from problem
            raise problem
        return problem.allowed_failures + 1

    def _count(self) -> int:
        """Return how many tasks the workers do at once; those short of memory take none."""
        with suppress(Exception):
            found = self._client.sync(
                self._client.scheduler.identity, n_workers=-1, callback_timeout=_GOODBYE
            )
            workers = found["workers"].values()
            return sum(worker["nthreads"] for worker in workers if worker["status"] == "running")
        return 0

    def _check_scheduler(self) -> None:
        """Raise if the scheduler is gone; where only the connection was lost, dask connects anew."""
        ends = time.monotonic() + _RECONNECT
        while self._client.status != "running":
            if self._client.status == "closed" or time.monotonic() > ends:
                raise BadInput(
                    f"cluster={self._address}: the scheduler is gone; start it again, and then this command: what "
                    "was finished is kept"
                )
            time.sleep(0.1)

    def _no_workers(self) -> BadInput:
        start = "" if self._address.startswith("local") else f"; start one with dask worker {self._address}"
        return BadInput(
            f"cluster={self._address}: no worker has taken tasks for {_PATIENCE:.0f} seconds{start}"
        )


@dataclass(frozen=True)
class _Common:
    """What tasks have in common, in a box that dask does not look into."""

    content: Any


@dataclass(frozen=True)
class _OtherCode:
    """Why a worker did not do its task."""

    host: str
    here: str
    there: str


def _do(
    asked: tuple[tuple[str, str], ...], function: Callable[[Any, Item], Result], common: _Common, item: Item
) -> Result | _OtherCode:
    """Do a task on a worker, if its code is that of the computer that asks."""
    for (name, here), (_, there) in zip(asked, about(), strict=True):
        if here != there:
            return _OtherCode(platform.node(), f"{name} {here}", f"{name} {there}")
    with _ONE_BY_ONE:
        return alone(function, common.content, item)


@cache
def about() -> tuple[tuple[str, str], ...]:
    """Return what results depend on, beside their task: names and versions."""
    versions = [(name, importlib.metadata.version(name)) for name in _NUMERIC]
    python = ".".join(platform.python_version_tuple()[:2])
    return (("catpref", __version__), ("catpref's code", code_digest()), ("Python", python), *versions)


@cache
def code_digest() -> str:
    """Return a digest of catpref's code, short enough for a message."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]
