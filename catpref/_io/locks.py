"""Locks that end with the process that holds them, whatever ends it."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import portalocker

from catpref.errors import BadInput

_TRIES, _PAUSE = 5, 0.05  # seconds


@contextmanager
def locked(lock: Path, what: Path, doing: str, tries: int = _TRIES) -> Iterator[bool]:
    """Hold a lock while the block runs.

    Parameters
    ----------
    lock
        The lock's file. It is removed afterwards; one that a killed process left behind is taken over.
    what
        What is locked, for the message.
    doing
        What its holder does to it, such as ``"written"``: another process reads "is being written by process 123
        since 14:03".
    tries
        How often to try, in quick succession: who only looks whether a holder still lives is soon gone.

    Yields
    ------
    bool
        Whether it is sure that nobody else is at it: some network file systems know no locks.

    Raises
    ------
    BadInput
        If another process holds the lock.
    """
    file, alone = _lock(lock, what, doing, tries)
    try:
        with suppress(OSError):
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            file.truncate(0)
            file.write(f"process {os.getpid()} since {since}".encode())
        yield alone
    finally:
        with suppress(OSError):
            if os.path.samestat(
                os.fstat(file.fileno()), lock.stat()
            ):  # not another's, in a folder that came later
                if os.name == "nt":
                    file.close()  # or it could not be removed, nor can it if another process has opened it since
                lock.unlink()
        file.close()


def _lock(lock: Path, what: Path, doing: str, tries: int) -> tuple[BinaryIO, bool]:
    while True:
        try:
            file = open(lock, "ab", buffering=0, opener=_without_following)  # noqa: SIM115
        except OSError as problem:
            raise BadInput(f"{what}: cannot be written ({problem.strerror})") from problem
        try:
            portalocker.lock(file, portalocker.LOCK_EX | portalocker.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                return file, True
        except portalocker.AlreadyLocked:
            tries -= 1
            if tries == 0:
                file.close()
                holder = _holder(lock)
                raise BadInput(f"{what}: is being {doing} by {holder}; wait until it has ended") from None
            time.sleep(_PAUSE)
        except portalocker.LockException:
            return file, False
        except FileNotFoundError:
            pass
        file.close()  # the last holder removed it between our opening and locking it


def _without_following(path: str, flags: int) -> int:
    """Open a lock's file, but not what a link of its name leads to: it is emptied."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o644)


def _holder(lock: Path) -> str:
    with suppress(OSError, ValueError):
        said = lock.read_text(encoding="utf-8")[:80]
        if said.isprintable() and said:
            return said
    return "another process"
