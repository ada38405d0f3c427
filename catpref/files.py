"""Writing files and folders so that a crash leaves either the old one or the new one, never half of one."""

import hashlib
import os
import shutil
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
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as problem:
        raise BadInput(f"{path}: cannot be written ({problem.strerror})") from problem
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path, marker: str) -> Iterator[Path]:
    """Give a temporary folder beside `path`; when the block succeeds, it takes the place of `path`.

    Parameters
    ----------
    path
        The folder to write. If it exists already it is replaced whole.
    marker
        A file that tells a folder catpref wrote earlier from any other; a folder with content but without
        it is never replaced.

    Raises
    ------
    BadInput
        If `path` holds something that catpref did not write, or cannot be written.
    """
    check_replaceable(path, marker)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as problem:
        raise BadInput(f"{path}: cannot be written ({problem.strerror})") from problem
    try:
        yield temporary
        temporary.chmod(0o755)
        _swap(temporary, path)
    except OSError as problem:
        raise BadInput(f"{path}: cannot be written ({problem.strerror})") from problem
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(new: Path, path: Path) -> None:
    """Put `new` in the place of `path`; whatever happens, one of the two is there."""
    if not path.exists():
        new.replace(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
    try:
        path.replace(old)
        new.replace(path)
    finally:
        if not path.exists():
            old.replace(path)
        shutil.rmtree(old, ignore_errors=True)


def check_replaceable(path: Path, marker: str) -> None:
    """Refuse an output folder that exists, has content and was not written by catpref."""
    if path.is_dir() and not path.is_symlink():
        if any(path.iterdir()) and not (path / marker).is_file():
            raise BadInput(
                f"{path}: not empty and not written by catpref (no {marker}); choose another folder"
            )
    elif path.exists() or path.is_symlink():
        raise BadInput(f"{path}: is not a folder; choose another folder")
