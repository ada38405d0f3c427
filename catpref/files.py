"""A file's digest, and files replaced whole; what commands put out is the business of `catpref.outputs`."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catpref.commands import BadInput


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; when the block succeeds, it replaces `path` in one step.

    Raises
    ------
    BadInput
        If the folder cannot be made or written to, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    except OSError as problem:
        raise BadInput(f"{path}: cannot be written ({problem.strerror})") from problem
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        force_to_disk(temporary)
        temporary.replace(path)
    except OSError as problem:
        raise BadInput(f"{path}: cannot be written ({problem.strerror})") from problem
    finally:
        temporary.unlink(missing_ok=True)


def force_to_disk(path: Path) -> None:
    """Make what was written to a file, or renamed in a folder, last should the power fail now."""
    if path.is_dir() and os.name != "posix":  # Windows cannot open a folder
        return
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
