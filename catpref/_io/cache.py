"""Arrays kept by content, so that a second fit on the same images starts at once: a folder of a few large files.

Kept are images' embeddings, what near-duplicates and baselines are told by, and, where they all fit, features. What
a run computes is gathered and written as a *chunk*, one file of about 32 MiB: a table of keys, digests and places,
then the arrays. A chunk is written under a temporary name and renamed, and never changes: a run that is killed leaves
whole chunks alone, and any number of runs, on one computer or on several that share the folder, write beside each
other without a lock, which databases and HDF5 need and network folders often do not have. An array that does not
match its digest is made again, and the newer one counts.

What was used longest ago goes first when the folder grows too large, whole chunks at a time. A run removes nothing
that it uses itself: of images that do not fit all together, as many are kept as do. Where nothing can be written, or
where the folder is None, nothing is kept.
"""

import contextlib
import hashlib
import logging
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path

import numpy as np
import platformdirs

from catpref._io.files import put_in_place
from catpref.errors import shown

LIMIT = 32 << 30
"""Bytes that the folder may hold, the embeddings of 100,000 images; where the disk has less, half of what it has."""

_CHUNK = 32 << 20  # bytes of arrays that are written together …
_OFTEN = 10.0  # … or what came in so many seconds: no more is lost when a run is killed
_MAGIC = b"catpref\1"
_TABLE = np.dtype([("key", "V32"), ("sha256", "V32"), ("start", "<u8"), ("length", "<u8")])
_HEAD = len(_MAGIC) + 32 + 8  # bytes: magic number, digest of the table, how many arrays it lists
_NAME = re.compile(r"(\.?)[0-9a-f]{16}-[0-9a-f]{8}\.arrays")  # hidden while it is being written
_OF_VERSION_02 = re.compile(r"\.catpref-.*|[0-9a-f]{64}")  # an array a file, in folders of two digits
_ABANDONED = 3600.0  # seconds after which a temporary file is no longer being written
_LOG = logging.getLogger(__name__)
_warned: set[Path] = set()  # of these folders the user knows that they cannot be written
_stores: dict[Path, "Store"] = {}
_opening = threading.Lock()


def default_folder() -> Path:
    """Return the folder in which this system keeps caches, with ours inside it."""
    return platformdirs.user_cache_path("catpref", appauthor=False)


def key_of(*parts: str) -> str:
    """Return one name for everything that an array depends on."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@contextlib.contextmanager
def opened(folder: Path | None) -> Iterator["Store"]:
    """Open what is kept in a folder, None for nothing; what is given to it is on the disk when the last block ends.

    Blocks may be inside each other, or run in several threads.
    """
    if folder is None:
        yield Store(None)
        return
    folder = folder.absolute()
    with _opening:
        store = _stores.setdefault(folder, Store(folder))
        if not store.users:
            store.refresh()
        store.users += 1
    try:
        yield store
    finally:
        with _opening:
            store.users -= 1
            if not store.users:
                store.close()


@contextlib.contextmanager
def marked(folder: Path | None) -> Iterator[str | None]:
    """Leave a mark in a folder while a block runs; yield its name, by which `is_marked` knows the same folder.

    None where there is no folder, or it cannot be written. Should the mark be left, it goes as unfinished chunks do.
    """
    name = None if folder is None else f".{_new_name()}"
    try:
        if folder is not None and name is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
    except OSError:
        name = None
    try:
        yield name
    finally:
        if folder is not None and name is not None:
            with contextlib.suppress(OSError):
                (folder / name).unlink()


def is_marked(folder: Path | None, mark: str | None) -> bool:
    """Return whether this computer sees, under the same name, the folder that was `marked`."""
    return folder is not None and mark is not None and (folder / mark).is_file()


def read(
    folder: Path | None, key: str, dtype: type[np.generic], fits: Callable[[int], bool] = lambda length: True
) -> np.ndarray | None:
    """Read one array; see `Store.read`."""
    with opened(folder) as kept:
        return kept.read(key, dtype, fits)


def write(folder: Path | None, key: str, array: np.ndarray) -> None:
    """Keep one array, in a file of its own unless the folder is `opened`; see `Store.write`."""
    with opened(folder) as kept:
        kept.write(key, array)


class Store:
    """What is kept in a folder, as this process knows it; see `opened`.

    Attributes
    ----------
    users
        How many blocks have it open.
    """

    def __init__(self, folder: Path | None) -> None:
        self.users = 0
        self._folder = folder
        self._lock = threading.RLock()
        self._tables: dict[str, np.ndarray] = {}  # of each chunk
        self._places: dict[bytes, tuple[str, int]] = {}  # chunk, and row of its table
        self._pending: dict[bytes, bytes] = {}
        self._pending_bytes = 0
        self._written = time.monotonic()
        self._used: set[str] = set()  # chunks
        self._is_full = False

    @property
    def keeps(self) -> bool:
        """Whether anything is kept."""
        return self._folder is not None

    def read(
        self, key: str, dtype: type[np.generic], fits: Callable[[int], bool] = lambda length: True
    ) -> np.ndarray | None:
        """Return the flat array kept under a key; None if none is, or it is damaged, or its length does not fit."""
        if self._folder is None:
            return None
        name = bytes.fromhex(key)
        with self._lock:
            pending = self._pending.get(name)
            chunk, row = self._places.get(name, ("", 0))
            place = self._tables[chunk][row] if chunk in self._tables else None
        if pending is not None:
            content = np.frombuffer(bytearray(pending), np.uint8)
        else:
            content = None if place is None else self._content(chunk, place)
        if content is None:
            return None
        length, rest = divmod(len(content), np.dtype(dtype).itemsize)
        return None if rest or not fits(length) else content.view(dtype)

    def write(self, key: str, array: np.ndarray) -> None:
        """Keep an array under a key; where it cannot be written, as on a full disk, warn once and leave nothing."""
        if self._folder is None or self._is_full:
            return
        content = array.tobytes()
        with self._lock:
            self._pending[bytes.fromhex(key)] = content
            self._pending_bytes += len(content)
            due = self._pending_bytes >= _CHUNK or time.monotonic() - self._written > _OFTEN
        if due:
            self._flush()

    def refresh(self) -> None:
        """Learn of the chunks that others wrote, and forget those that are gone."""
        names = {path.name for path in self._chunks()}
        with self._lock:
            self._written = time.monotonic()
            for gone in self._tables.keys() - names:
                del self._tables[gone]
            for name in sorted(
                names - self._tables.keys()
            ):  # in the order of their time: the newest array counts
                self._know(name, _read_table(Path(self._folder or "", name)))

    def close(self) -> None:
        """Write what is not written yet; what this run used may be removed from now on."""
        self._flush()
        self._used.clear()
        self._is_full = False

    def _know(self, name: str, table: np.ndarray) -> None:
        self._tables[name] = table
        self._places.update(zip(table["key"].tolist(), zip(repeat(name), range(len(table))), strict=False))

    def _content(self, chunk: str, place: np.void) -> np.ndarray | None:
        """Read an array from its chunk; None if it is not there, or damaged."""
        path, start, length = Path(self._folder or "", chunk), int(place["start"]), int(place["length"])
        try:
            with path.open("rb") as file:
                if start + length > os.fstat(file.fileno()).st_size:
                    return None
                content = np.empty(length, np.uint8)
                file.seek(start)
                file.readinto(content.data)
            if chunk not in self._used:
                self._used.add(chunk)
                os.utime(path)
        except OSError:
            return None
        return content if hashlib.sha256(content.data).digest() == place["sha256"].tobytes() else None

    def _flush(self) -> None:
        """Write a chunk of what is pending."""
        folder = self._folder
        with self._lock:
            pending, self._pending, self._pending_bytes = self._pending, {}, 0
            self._written = time.monotonic()
        if not pending or folder is None:
            return
        table = _table_of(pending)
        name = _new_name()
        temporary = folder / f".{name}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not self._make_room(_HEAD + table.nbytes + int(table["length"].sum())):
                return
            try:
                with temporary.open("xb") as file:
                    file.write(
                        _MAGIC + hashlib.sha256(table.tobytes()).digest() + len(table).to_bytes(8, "little")
                    )
                    file.write(table.tobytes())
                    file.writelines(pending.values())
                put_in_place(temporary, folder / name)
            except BaseException:
                with contextlib.suppress(OSError):
                    temporary.unlink()
                raise
        except OSError as problem:
            _warn(folder, problem)
            return
        with self._lock:
            self._used.add(name)
            self._know(name, table)

    def _make_room(self, size: int) -> bool:
        """Remove what was used longest ago until there is room; return whether there is."""
        assert self._folder is not None
        held: list[tuple[float, int, Path]] = []
        _remove_version_02(self._folder)
        for path in self._chunks(hidden=True):
            with contextlib.suppress(OSError):  # another run may have removed it
                status = path.stat()
                if not path.name.startswith("."):
                    held.append((status.st_mtime, status.st_size, path))
                elif time.time() - status.st_mtime > _ABANDONED:
                    path.unlink()
        total = sum(size for _, size, _ in held)
        limit = min(LIMIT, (shutil.disk_usage(self._folder).free + total) // 2)
        in_use = sum(size for _, size, path in held if path.name in self._used)
        if in_use + size > limit:
            self._is_full = True
            _LOG.info("%s: full (%d MiB); the rest is not kept", self._folder, limit >> 20)
            return False
        for _, freed, path in sorted(held):
            if total + size <= limit:
                break
            if path.name not in self._used:
                with contextlib.suppress(OSError):  # Windows removes none that another run is reading
                    path.unlink()
                    total -= freed
        return True

    def _chunks(self, hidden: bool = False) -> list[Path]:
        """Return the files of the folder that are chunks; those that are being written are hidden."""
        try:
            entries = [(entry.path, _NAME.fullmatch(entry.name)) for entry in os.scandir(self._folder)]
        except OSError:
            return []
        return [Path(path) for path, match in entries if match and (hidden or not match[1])]


def _new_name() -> str:
    return f"{time.time_ns():016x}-{secrets.token_hex(4)}.arrays"


def _table_of(arrays: dict[bytes, bytes]) -> np.ndarray:
    """Return the table of a chunk in which arrays stand in this order."""
    table = np.empty(len(arrays), _TABLE)
    lengths = [len(content) for content in arrays.values()]
    table["key"] = np.frombuffer(b"".join(arrays), "V32")
    table["sha256"] = np.frombuffer(
        b"".join(hashlib.sha256(content).digest() for content in arrays.values()), "V32"
    )
    table["length"] = lengths
    table["start"] = _HEAD + table.nbytes + np.cumsum([0, *lengths[:-1]])
    return table


def _read_table(path: Path) -> np.ndarray:
    """Read the table of a chunk; that of a damaged one is empty."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        head = file.read(_HEAD)
        count = int.from_bytes(head[-8:], "little")
        if head.startswith(_MAGIC) and count * _TABLE.itemsize <= os.fstat(file.fileno()).st_size:
            content = file.read(count * _TABLE.itemsize)
            if hashlib.sha256(content).digest() == head[len(_MAGIC) : -8]:
                return np.frombuffer(content, _TABLE)
    return np.empty(0, _TABLE)


def _remove_version_02(folder: Path) -> None:
    """Remove what catpref 0.2 kept; files that have no name of ours stay, should the folder be one of the user's."""
    for parent in folder.glob("[0-9a-f][0-9a-f]"):
        with contextlib.suppress(OSError):
            kept = [path for path in parent.iterdir() if path.name.startswith((".", parent.name))]
            for path in kept:
                if _OF_VERSION_02.fullmatch(path.name):
                    path.unlink()
            if kept:
                parent.rmdir()


def _warn(folder: Path, problem: OSError) -> None:
    if folder not in _warned:
        _warned.add(folder)
        _LOG.warning(
            "%s: the cache cannot be written (%s), so nothing is kept; free some space, or take no cache"
            " (--no-cache; cache=None)",
            shown(str(folder), 300),
            problem.strerror or problem,
        )
