"""A fault injector: the n-th change that a command makes to the disk fails, or is the last thing that it does.

Python announces what it is about to do to files (audit events), before it does it. What it does not announce is
wrapped: fsync, and Linux's renameat2.
"""

import atexit
import errno
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from catpref._io import outputs
from catpref.command_line import run

CHANGES = {
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
}
KILL, NO_SPACE, BROKEN = "SIGKILL", "ENOSPC", "EIO"
KINDS = (KILL, NO_SPACE, BROKEN)


class Outcome(NamedTuple):
    """How a command ended.

    Attributes
    ----------
    code
        The exit code; negative for a signal.
    told
        Standard error.
    changes
        How many changes of the disk were begun.
    """

    code: int
    told: str
    changes: int


def run_with_fault(
    module: str,
    arguments: Sequence[object],
    folder: Path,
    kind: str = KILL,
    at: int = 0,
    largest_file: int | None = None,
) -> Outcome:
    """Run a command in a process of its own, in which one change within a folder fails.

    Parameters
    ----------
    module, arguments
        The command.
    folder
        Its current folder; changes elsewhere do not count.
    kind
        How the change fails: one of `KINDS`.
    at
        Which change fails, from 1; 0 for none.
    largest_file
        Bytes beyond which files cannot grow.
    """
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    asked = [module, [str(part) for part in arguments], str(folder), kind, at, largest_file]
    server.stdin.write(json.dumps(asked) + "\n")
    server.stdin.flush()
    return Outcome(*json.loads(server.stdout.readline()))


def main_of(module: str) -> Callable[[Sequence[str]], None]:
    """Return the function behind ``python -m module``."""
    found = importlib.import_module(module)
    return (importlib.import_module(f"{module}.__main__") if hasattr(found, "__path__") else found).main


@cache
def _server() -> "subprocess.Popen[str]":
    """Start a process that forks for each command: it has imported them, but nothing of the other tests."""
    server = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(server.kill)
    return server


def _serve() -> None:
    with tempfile.TemporaryDirectory() as place:
        said, count = Path(place, "stderr.txt"), Path(place, "changes.txt")
        for line in sys.stdin:
            module, *asked = json.loads(line)
            command = main_of(module)
            for file in (said, count):
                file.write_text("")
            child = os.fork()
            if child == 0:
                _be_the_command(command, *asked, said, count)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            print(json.dumps([code, said.read_text(), len(count.read_text())]), flush=True)


def _be_the_command(
    command: Callable[[Sequence[str]], None],
    arguments: Sequence[str],
    folder: str,
    kind: str,
    at: int,
    largest_file: int | None,
    said: Path,
    count: Path,
) -> NoReturn:
    code = 70
    try:
        error = os.open(said, os.O_WRONLY | os.O_APPEND)
        os.dup2(error, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        counter = os.open(count, os.O_WRONLY | os.O_APPEND)
        os.chdir(folder)
        _inject(folder, kind, at, counter)
        if largest_file is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
        sys.argv = ["catpref", *arguments]
        run(command)
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _inject(folder: str, kind: str, at: int, counter: int) -> None:
    changes = 0

    def change() -> None:
        nonlocal changes
        changes += 1
        with suppress(OSError):  # where files may not grow, this one may not, either
            os.write(counter, b".")
        if changes == at:
            if kind == KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            number = errno.ENOSPC if kind == NO_SPACE else errno.EIO
            raise OSError(number, os.strerror(number))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR) or (isinstance(mode, str) and set(mode) & set("wax+"))
            if not writes:
                return
        elif event in CHANGES:
            path = arguments[0]
        else:
            return
        if isinstance(path, str | bytes | os.PathLike) and _within(os.fsdecode(path), folder):
            change()

    fsync, renameat2 = os.fsync, outputs._renameat2

    def counted_fsync(descriptor: int) -> None:
        change()
        fsync(descriptor)

    def counted_renameat2(*arguments: Any) -> bool:
        change()
        return renameat2(*arguments)

    os.fsync = counted_fsync
    outputs._renameat2 = counted_renameat2
    sys.addaudithook(hook)


def _within(path: str, folder: str) -> bool:
    return not Path(path).is_absolute() or path.startswith(folder + os.sep)


if __name__ == "__main__":
    _serve()
