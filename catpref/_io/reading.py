"""Reading files that may come from anywhere: ordinary files only, and never more than was expected."""

import os
import stat
from pathlib import Path

from catpref.errors import BadInput


def read_bytes(path: Path, most: int) -> bytes:
    """Return the content of an ordinary file.

    A named pipe, a device or a folder is refused without waiting for it, and a link to one likewise.

    Parameters
    ----------
    path
        The file; a symbolic link is followed.
    most
        Bytes that it may hold.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    BadInput
        If it is not an ordinary file, holds more than `most` bytes, or cannot be read.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe waits for somebody to write to it.
        opened = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError) as problem:
        raise FileNotFoundError(problem.errno, problem.strerror, str(path)) from problem
    except (OSError, ValueError) as problem:
        if os.path.isdir(path):  # which Windows opens in no way; no error for a name that is too long  # noqa: PTH112
            raise BadInput(f"{path}: is a folder; name the file in it") from problem
        raise BadInput(
            f"{path}: cannot be read ({getattr(problem, 'strerror', None) or problem})"
        ) from problem
    mode = os.fstat(opened).st_mode
    if not stat.S_ISREG(mode):
        os.close(opened)
        if stat.S_ISDIR(mode):
            raise BadInput(f"{path}: is a folder; name the file in it")
        raise BadInput(f"{path}: is not an ordinary file; save it to one first")
    with os.fdopen(opened, "rb") as file:
        try:
            content = file.read(most + 1)  # files in /proc say that they hold nothing, and never end
        except OSError as problem:
            raise BadInput(f"{path}: cannot be read ({problem.strerror})") from problem
    if len(content) > most:
        raise BadInput(f"{path}: has over {most / 2**20:g} MiB, more than such a file needs")
    return content
