"""The marks by which catpref knows its own outputs: what it wrote, and which versions of which files.

A folder holds `MARK`, which lists its files; beside a single file stands a mark of its own, ``.NAME.catpref``.
"""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from catpref._io.files import force_to_disk, sha256_of
from catpref._io.reading import read_bytes
from catpref.errors import BadInput
from catpref.version import __version__

MARK = ".catpref.json"
"""Name of the mark in an output folder."""

_DROPPINGS = frozenset(
    {".DS_Store", "Thumbs.db", "desktop.ini"}
)  # what file managers leave in folders they show
_LARGEST_MARK = 64 * 2**20
_THREADS = 8  # that wait for the disk


def foreign_entry(folder: Path, kind: str) -> str | None:
    """Return why a folder may not be replaced, naming the first foreign file; None if it may."""
    if all(entry.name in _DROPPINGS for entry in os.scandir(folder)):
        return None
    mark = read_mark(folder / MARK)
    files: dict[str, Any] = {} if mark is None else mark["files"]
    parents = {parent.as_posix() for name in files for parent in Path(name).parents}
    for entry in _walk(folder):
        name = Path(entry.path).relative_to(folder).as_posix()
        if entry.is_dir(follow_symlinks=False):
            known = name in parents
        elif entry.name in _DROPPINGS or name == MARK:
            known = True
        else:
            known = name in files and entry.is_file(follow_symlinks=False)
            if known and not is_unchanged(Path(entry.path), files[name]):
                return f"holds {name!r}, which was changed since catpref wrote it"
        if not known:
            return f"holds {name!r}, which was not written by catpref"
    if mark is None:
        return f"holds {MARK!r}, which is damaged"
    return None if mark["kind"] == kind else f"holds a {mark['kind']}, not a {kind}"


def _walk(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield what is in a folder and below, in the order of the names, hidden ones last; links are not followed."""
    for entry in sorted(os.scandir(folder), key=lambda entry: (entry.name.startswith("."), entry.name)):
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))


def mark_beside(file: Path) -> Path:
    """Return where the mark of a single file stands."""
    return file.with_name(f".{file.name}.catpref")


def read_mark(path: Path) -> dict[str, Any] | None:
    """Read a mark; None if there is none, or nothing that could be one."""
    try:
        mark = json.loads(read_bytes(path, _LARGEST_MARK))
        intact = (
            isinstance(mark["kind"], str)
            and mark["kind"].isprintable()
            and all(
                isinstance(version["sha256"], str) and isinstance(version["size"], int)
                for version in mark["files"].values()
            )
        )
    except (OSError, BadInput, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return mark if intact else None


def version_of(path: Path) -> dict[str, Any]:
    """Return what tells this version of a file from others."""
    status = path.stat()
    return {"size": status.st_size, "modified_ns": status.st_mtime_ns, "sha256": sha256_of(path)}


def is_unchanged(path: Path, version: dict[str, Any]) -> bool:
    """Whether a file is as it was; its content is read only where size and time do not tell."""
    status = path.stat()
    if status.st_size != version["size"]:
        return False
    return status.st_mtime_ns == version.get("modified_ns") or sha256_of(path) == version["sha256"]


def mark_folder(folder: Path, kind: str) -> None:
    """Force all files of a folder to the disk, and write its mark."""
    files = sorted(entry.path for entry in _walk(folder) if entry.is_file(follow_symlinks=False))
    shares = [
        files[start::_THREADS] for start in range(_THREADS)
    ]  # a task a file would cost more than the file
    with ThreadPoolExecutor(_THREADS) as pool:
        versions = dict(pair for share in pool.map(_forced_versions, shares) for pair in share)
    names = {path: path.removeprefix(f"{folder}{os.sep}").replace(os.sep, "/") for path in files}
    write_mark(folder / MARK, kind, {names[path]: versions[path] for path in files})


def _forced_versions(paths: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Force files to the disk, and return what tells their versions from others."""
    versions = []
    for path in map(Path, paths):
        force_to_disk(path)
        versions.append((str(path), version_of(path)))
    return versions


def write_mark(path: Path, kind: str, files: dict[str, Any]) -> None:
    """Write a mark, and force it to the disk."""
    about = {"written_by": f"catpref {__version__}", "kind": kind, "files": files}
    path.write_text(json.dumps(about) + "\n", encoding="utf-8")
    force_to_disk(path)
