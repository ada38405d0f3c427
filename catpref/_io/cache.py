"""A folder of arrays kept by content, so that a second fit on the same images starts at once.

Kept are images' embeddings and, where they all fit, their features. An entry is one file: the sha256 of the
array's bytes, then the bytes. It is written under a temporary name and renamed, so a run that is killed leaves the
old entry or none, and two runs at a time do no harm. An entry that does not match its own sha256 is made again.
What was used longest ago goes first when the folder grows too large. Where nothing can be written, or where the
folder is None, nothing is kept.
"""

import contextlib
import hashlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs

from catpref._io.files import put_in_place
from catpref.errors import shown

LIMIT = 8 << 30
"""Bytes that the folder may hold: the embeddings of about 30,000 images."""

_DIGEST = 32  # bytes of a sha256
_TEMPORARY = ".catpref-"  # begins the name of a file that is being written
_LOG = logging.getLogger(__name__)
_warned: set[Path] = set()  # of these folders the user knows that they cannot be written
_ABANDONED = 3600.0  # seconds after which a temporary file is no longer being written


def default_folder() -> Path:
    """Return the folder in which this system keeps caches, with ours inside it."""
    return platformdirs.user_cache_path("catpref", appauthor=False)


def key_of(*parts: str) -> str:
    """Return one name for everything that an entry depends on."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def read(
    folder: Path | None, key: str, dtype: type[np.generic], fits: Callable[[int], bool] = lambda length: True
) -> np.ndarray | None:
    """Return the flat array kept under a key, or None if there is none, it is damaged, or its length does not fit."""
    if folder is None:
        return None
    path = folder / key[:2] / key
    try:
        content = np.fromfile(path, np.uint8)
        os.utime(path)  # used now: see `prune`
    except OSError:
        return None
    digest, array = content[:_DIGEST].tobytes(), content[_DIGEST:]
    length, rest = divmod(len(array), np.dtype(dtype).itemsize)
    if rest or not fits(length) or hashlib.sha256(array.data).digest() != digest:
        return None
    return array.view(dtype)


def write(folder: Path | None, key: str, array: np.ndarray) -> None:
    """Keep an array under a key; where it cannot be written, as on a full disk, warn once and leave nothing."""
    if folder is None:
        return
    path = folder / key[:2] / key
    content = np.ascontiguousarray(array).data
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(content).digest())
                file.write(content)
            put_in_place(Path(temporary), path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
    except OSError as problem:
        if folder not in _warned:
            _warned.add(folder)
            reason = problem.strerror or problem
            _LOG.warning(
                "%s: the cache cannot be written (%s), so nothing is kept; free some space, or take no cache"
                " (--no-cache; cache=None)",
                shown(str(folder), 300),
                reason,
            )


def prune(folder: Path | None, limit: int = LIMIT) -> None:
    """Remove what was used longest ago until at most `limit` bytes are left, and what killed runs left behind.

    Files that have no name of ours stay, should the folder be one of the user's.
    """
    entries = []
    for path in folder.glob("??/*") if folder else ():
        if not re.fullmatch(
            f"{re.escape(_TEMPORARY)}.*|{re.escape(path.parent.name)}[0-9a-f]{{62}}", path.name
        ):
            continue
        with contextlib.suppress(OSError):  # another run may have removed it
            status = path.stat()
            if path.name.startswith(_TEMPORARY):
                if time.time() - status.st_mtime > _ABANDONED:
                    path.unlink()
            else:
                entries.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= limit:
            break
        with contextlib.suppress(OSError):
            path.unlink()
        total -= size
