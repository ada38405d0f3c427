"""Let catpref believe that it is on Windows, in every Python that has this folder in PYTHONPATH.

To catpref's modules ``os.name`` is ``nt``, and what Windows does not have is not there. For everyone, a file that is
open or mapped can be neither renamed, replaced nor removed, nor can a folder that holds one, and only what can be
written is forced to the disk.

    PYTHONPATH=tests/on_windows python -m pytest -m "not posix and not screen and not browser"
"""

# ruff: noqa: PTH100, PTH115, PTH123, PTH208
import builtins
import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable
from fcntl import F_GETFL, fcntl
from functools import wraps
from types import ModuleType
from typing import Any

MODULES = {"fcntl", "grp", "posix", "pwd", "readline", "resource", "syslog", "termios", "tty"}
NOT_THERE = {
    os: {
        *("fork", "forkpty", "getuid", "geteuid", "getgid", "getegid", "getgroups", "setuid", "setsid", "getpgid"),
        *("sync", "fdatasync", "fchmod", "fchown", "chown", "lchown", "mkfifo", "mknod", "statvfs", "fstatvfs"),
        *("killpg", "nice", "uname", "sysconf", "getloadavg", "sched_getaffinity", "sched_setaffinity"),
        *("pread", "pwrite", "pathconf", "wait", "wait3", "wait4", "symlink"),  # the last asks for a privilege
        *("O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_SYNC", "WNOHANG"),
    },
    signal: {"SIGKILL", "SIGHUP", "SIGUSR1", "SIGPIPE", "SIGALRM", "alarm", "setitimer", "pthread_sigmask"},
    sys: set[str](),
}  # fmt: skip
CHANGED = {(os, "name"): "nt", (sys, "platform"): "win32"}


class OnWindows(ModuleType):
    """One of Python's modules as it is on Windows."""

    def __init__(self, module: ModuleType) -> None:
        super().__init__(module.__name__)
        vars(self).clear()
        vars(self)["here"] = module

    def __getattr__(self, name: str) -> Any:
        module = vars(self)["here"]
        if name in NOT_THERE[module]:
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r} on Windows")
        return CHANGED.get((module, name), getattr(module, name))

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(vars(self)["here"], name, value)


_really_import = builtins.__import__
SEEN = {module.__name__: OnWindows(module) for module in NOT_THERE}


def _import(name: str, globals: Any = None, *arguments: Any, **keywords: Any) -> ModuleType:
    if globals and str(globals.get("__name__")).partition(".")[0] == "catpref":
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r} on Windows", name=name)
        if name in SEEN:
            return SEEN[name]
    return _really_import(name, globals, *arguments, **keywords)


def _in_use() -> set[str]:
    """Return which files this process has open or mapped."""
    files = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            files.add(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        return files | {line.split(maxsplit=5)[5].rstrip("\n") for line in maps if "/" in line}


def _only_if_closed(change: Callable[..., None]) -> Callable[..., None]:
    @wraps(change)
    def changed(*paths: Any, **keywords: Any) -> None:
        for path in [] if keywords.get("dir_fd") else paths:
            place = os.path.abspath(os.fsdecode(path))
            if any(one == place or one.startswith(place + os.sep) for one in _in_use()):
                raise PermissionError(errno.EACCES, "is open in another program, as Windows says", place)
        change(*paths, **keywords)

    return changed


def _fsync(opened: int, fsync: Callable[[int], None] = os.fsync) -> None:
    if fcntl(opened, F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "was opened only to read, and Windows forces no such file to the disk")
    fsync(opened)


for changing in ("rename", "replace", "unlink", "remove"):
    setattr(os, changing, _only_if_closed(getattr(os, changing)))
os.fsync = _fsync
shutil._use_fd_functions = False  # type: ignore[reportAttributeAccessIssue]
builtins.__import__ = _import
