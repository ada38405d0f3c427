"""A folder of arrays kept by content, so that a second fit on the same images starts at once.

An entry is one file: the sha256 of the array's bytes, then the bytes. It is written under a temporary name and
renamed, so a run that is killed leaves the old entry or none, and two runs at a time do no harm. An entry that
does not match its own sha256 is made again.
"""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np

from catpref.commands import BadInput

_DIGEST = 32  # bytes of a sha256


def default_folder() -> Path:
    """Return the folder for caches that the XDG base directory specification names, with ours inside it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "catpref"


def key_of(*parts: str) -> str:
    """Return one name for everything that an entry depends on."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def read(folder: Path, key: str, dtype: type[np.generic]) -> np.ndarray | None:
    """Return the flat array kept under a key, or None if there is none or it is damaged."""
    try:
        content = (folder / key[:2] / key).read_bytes()
    except OSError:
        return None
    digest, array = content[:_DIGEST], content[_DIGEST:]
    return np.frombuffer(array, dtype) if hashlib.sha256(array).digest() == digest else None


def write(folder: Path, key: str, array: np.ndarray) -> None:
    """Keep an array under a key.

    Raises
    ------
    BadInput
        If it cannot be written, say because the disk is full. Nothing is left behind.
    """
    path = folder / key[:2] / key
    content = np.ascontiguousarray(array).tobytes()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(content).digest() + content)
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
    except OSError as problem:
        raise BadInput(
            f"{folder}: the cache cannot be written ({problem.strerror}); free some space"
        ) from problem
