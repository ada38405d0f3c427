"""What commands write: whole or not at all, and never over anything that catpref did not write itself.

A folder that catpref wrote holds a mark, `MARK`, that lists its files; beside a single file stands a mark of its
own, ``.NAME.catpref``. What is there already is replaced only if its mark is of the same kind, all that it lists is
unchanged, and there is nothing else. That is checked before the work begins, and again when the new takes the
place of the old.

While a command runs it holds a lock beside its output, ``.NAME.catpref-lock``, which ends with its process. What
killed processes left beside their outputs is cleaned by the next command that writes there.
"""

import ctypes
import errno
import hashlib
import io
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from catpref._io.files import force_to_disk, sha256_of
from catpref._io.locks import locked
from catpref._io.reading import read_bytes
from catpref.errors import BadInput
from catpref.version import __version__

MARK = ".catpref.json"
"""Name of the mark in an output folder."""

_DROPPINGS = frozenset(
    {".DS_Store", "Thumbs.db", "desktop.ini"}
)  # what file managers leave in folders they show
_LARGEST_MARK = 64 * 2**20
_LOCK, _TEMPORARY = ".catpref-lock", ".catpref-tmp-"
_THREADS = 8  # that wait for the disk
_NOREPLACE, _EXCHANGE = 1, 2  # of Linux's renameat2
_AT_FDCWD = -100


@contextmanager
def output_folder(path: Path, kind: str, reads: Iterable[Path] = ()) -> Iterator[Path]:
    """Yield an empty folder to write to, which takes the place of `path` when the block succeeds.

    Parameters
    ----------
    path
        The output folder. If it exists, catpref must have written all that is in it, as the same kind of output.
    kind
        What is written, such as ``"stimulus set"``.
    reads
        Files and folders that the command reads; none of them may lie in `path`.

    Raises
    ------
    BadInput
        If `path` holds anything foreign, is no folder, is being written by another process, or cannot be written.
    """
    with _place_for(path) as place:
        _check_folder(path, place, kind, reads)
        building = Path(tempfile.mkdtemp(prefix=f".{place.name}{_TEMPORARY}", dir=place.parent))
        try:
            yield building
            _mark_folder(building, kind)
            building.chmod(0o755)
            _swap_folders(building, path, place, kind)
            force_to_disk(place.parent)
        finally:
            _remove(building)


@contextmanager
def output_files(kind: str, *paths: Path) -> Iterator[list[Path]]:
    """Yield a temporary file for each of some paths; they take their places, in order, when the block succeeds.

    Parameters
    ----------
    kind
        What is written, such as ``"trial list"``.
    paths
        The output files. Those that exist must have been written by catpref, as the same kind of output, and be
        unchanged since.

    Raises
    ------
    BadInput
        If one of them is foreign, no ordinary file, being written by another process, or cannot be written.
    """
    with ExitStack() as stack:
        places = [stack.enter_context(_place_for(path)) for path in paths]
        for path, place in zip(paths, places, strict=True):
            _check_file(path, place, kind)
        temporaries = [_temporary_file(place) for place in places]
        try:
            yield temporaries
            for temporary in temporaries:
                temporary.chmod(0o644)
                force_to_disk(temporary)
            _swap_files(temporaries, paths, places, kind)
            for parent in {place.parent for place in places}:
                force_to_disk(parent)
        finally:
            for temporary in temporaries:
                _remove(temporary)


@contextmanager
def output_file(path: Path, kind: str) -> Iterator[Path]:
    """Yield a temporary file that takes the place of `path` when the block succeeds; see `output_files`."""
    with output_files(kind, path) as (temporary,):
        yield temporary


# ---- the rule ----------------------------------------------------------------------------------------------


def _check_folder(path: Path, place: Path, kind: str, reads: Iterable[Path] = ()) -> None:
    """Refuse a folder that holds what `kind` may not replace, or what is read."""
    with suppress(FileNotFoundError):
        if not stat.S_ISDIR(place.lstat().st_mode):
            raise BadInput(f"{path}: is not a folder; choose another folder")
        for one in reads:
            if one.resolve().is_relative_to(place):
                raise BadInput(f"{path}: would be replaced whole, and {one} is in it; choose another folder")
        foreign = _foreign_entry(place, kind)
        if foreign:
            raise BadInput(f"{path}: {foreign}; choose another folder, or move it away")


def _foreign_entry(folder: Path, kind: str) -> str | None:
    """Return why a folder may not be replaced, naming the first foreign file; None if it may."""
    if all(entry.name in _DROPPINGS for entry in os.scandir(folder)):
        return None
    mark = _read_mark(folder / MARK)
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
            if known and not _is_unchanged(Path(entry.path), files[name]):
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


def _check_file(path: Path, place: Path, kind: str) -> None:
    """Refuse a file that `kind` may not replace."""
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(place.lstat().st_mode):
            raise BadInput(f"{path}: is not an ordinary file; choose another")
        mark = _read_mark(_mark_beside(place))
        if mark is None:
            raise BadInput(f"{path}: was not written by catpref; choose another, or move it away")
        if mark["kind"] != kind:
            raise BadInput(f"{path}: is a {mark['kind']}, not a {kind}; choose another, or move it away")
        if not any(_is_unchanged(place, version) for version in mark["files"].values()):
            raise BadInput(f"{path}: was changed since catpref wrote it; choose another, or move it away")


# ---- marks -------------------------------------------------------------------------------------------------


def _mark_beside(file: Path) -> Path:
    return file.with_name(f".{file.name}.catpref")


def _read_mark(path: Path) -> dict[str, Any] | None:
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


def _version_of(path: Path) -> dict[str, Any]:
    """Return what tells this version of a file from others."""
    with path.open("rb", buffering=0) as file:
        return _version(file)


def _version(file: io.FileIO) -> dict[str, Any]:
    status = os.fstat(file.fileno())
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
    return {"size": status.st_size, "modified_ns": status.st_mtime_ns, "sha256": digest}


def _is_unchanged(path: Path, version: dict[str, Any]) -> bool:
    """Whether a file is as it was; its content is read only where size and time do not tell."""
    status = path.stat()
    if status.st_size != version["size"]:
        return False
    return status.st_mtime_ns == version.get("modified_ns") or sha256_of(path) == version["sha256"]


def _mark_folder(folder: Path, kind: str) -> None:
    files = sorted(entry.path for entry in _walk(folder) if entry.is_file(follow_symlinks=False))
    shares = [
        files[start::_THREADS] for start in range(_THREADS)
    ]  # a task a file would cost more than the file
    with ThreadPoolExecutor(_THREADS) as pool:
        versions = dict(pair for share in pool.map(_forced_versions, shares) for pair in share)
    names = {path: path.removeprefix(f"{folder}{os.sep}").replace(os.sep, "/") for path in files}
    _write_mark(folder / MARK, kind, {names[path]: versions[path] for path in files})


def _forced_versions(paths: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Force files to the disk, and return what tells their versions from others."""
    versions = []
    for path in paths:
        with Path(path).open("rb", buffering=0) as file:
            os.fsync(file.fileno())
            versions.append((path, _version(file)))
    return versions


def _write_mark(path: Path, kind: str, files: dict[str, Any]) -> None:
    about = {"written_by": f"catpref {__version__}", "kind": kind, "files": files}
    path.write_text(json.dumps(about) + "\n", encoding="utf-8")
    force_to_disk(path)


# ---- from the new to its place -----------------------------------------------------------------------------


@contextmanager
def _place_for(path: Path) -> Iterator[Path]:
    """Lock an output's place, and clean what was left there; yield the place as an absolute path."""
    try:
        place = path.resolve() if path.name in ("", "..") else path.parent.resolve() / path.name
    except RuntimeError as problem:
        raise BadInput(f"{path}: cannot be written (its links lead in a circle)") from problem
    if not place.name:
        raise BadInput(f"{path}: cannot be replaced; name a file or folder in it")
    made = [parent for parent in place.parents if not parent.exists()]
    done = False
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with locked(_lock_of(place), path, "written") as alone:
            if alone:
                _clean(place)
                _clean_others(place.parent)
            yield place
            done = True
    except OSError as problem:
        named = problem.filename
        if isinstance(problem, BrokenPipeError) or (
            named and not _is_beside(Path(os.fsdecode(named)), place)
        ):
            raise  # it is of something else that the command reads or writes
        raise BadInput(f"{path}: cannot be written ({problem.strerror or problem})") from problem
    finally:
        for parent in () if done else made:
            with suppress(OSError):
                parent.rmdir()


def _is_beside(file: Path, place: Path) -> bool:
    """Whether a file is a place, in it, beside it under a name made of its, or on the way to it."""
    within = [file, *file.parents]
    return (
        place in within
        or file in place.parents
        or any(part.parent == place.parent and part.name.startswith(f".{place.name}.") for part in within)
    )


def _lock_of(place: Path) -> Path:
    return place.with_name(f".{place.name}{_LOCK}")


def _temporary_file(place: Path) -> Path:
    handle, name = tempfile.mkstemp(
        prefix=f".{place.name}{_TEMPORARY}", suffix=place.suffix, dir=place.parent
    )
    os.close(handle)
    return Path(name)


def _swap_folders(new: Path, path: Path, place: Path, kind: str) -> None:
    """Put a folder in its place; the old one, if there is one, ends where the new one was."""
    _check_folder(path, place, kind)
    if not place.exists():
        _rename_to_nothing(new, place)
    elif _renameat2(new, place, _EXCHANGE):
        try:
            _check_folder(path, new, kind)  # of what was added since the last look
        except BaseException:
            _renameat2(new, place, _EXCHANGE)
            raise
    else:  # a system without the exchange: `_clean` puts the old one back if this is as far as it goes
        aside = new.with_name(new.name.replace(_TEMPORARY, f"{_TEMPORARY}old-"))
        place.replace(aside)
        try:
            _check_folder(path, aside, kind)
            new.replace(place)
        except BaseException:
            aside.replace(place)
            raise
        _remove(aside)


def _swap_files(news: Sequence[Path], paths: Sequence[Path], places: Sequence[Path], kind: str) -> None:
    """Put files in their places, all or none."""
    with ExitStack() as undo:
        for new, path, place in zip(news, paths, places, strict=True):
            _check_file(path, place, kind)
            old = place.exists()
            # The mark knows the old and the new before the new is there, so that it is right at every moment.
            mark = _mark_beside(place)
            known = _read_mark(mark) if old else None
            versions = {
                name: version
                for name, version in (known["files"] if known else {}).items()
                if _is_unchanged(place, version)
            }
            version = _version_of(new)
            temporary = _temporary_file(place)
            try:
                _write_mark(temporary, kind, versions | {version["sha256"]: version})
                temporary.chmod(0o644)
                temporary.replace(mark)
            finally:
                temporary.unlink(missing_ok=True)
            if not old:
                _rename_to_nothing(new, place)
                undo.callback(place.unlink)
                undo.callback(mark.unlink)
            elif _renameat2(new, place, _EXCHANGE):
                undo.callback(_renameat2, new, place, _EXCHANGE)
                if not any(_is_unchanged(new, one) for one in versions.values()):
                    raise BadInput(f"{path}: was changed meanwhile; choose another, or move it away")
            else:
                new.replace(place)
        undo.pop_all()


def _rename_to_nothing(new: Path, place: Path) -> None:
    """Rename to where nothing is; what has come there meanwhile stays.

    Raises
    ------
    BadInput
        If something has come there.
    """
    try:
        if _renameat2(new, place, _NOREPLACE):
            return
        if new.is_dir() or os.name == "nt":
            new.rename(place)  # a folder replaces an empty folder at most; Windows replaces nothing
        else:
            os.link(new, place)
    except FileExistsError as problem:
        raise BadInput(
            f"{place}: has come into being meanwhile; choose another, or move it away"
        ) from problem


def _renameat2(new: Path, place: Path, flag: int) -> bool:
    """Rename in one step in a way that only Linux has; return False where it cannot be done so."""
    rename = None
    if sys.platform == "linux":
        rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(place), flag) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # an old kernel, or some file systems
        return False
    raise OSError(number, os.strerror(number), str(place))


# ---- what killed processes left ----------------------------------------------------------------------------


def _clean_others(folder: Path) -> None:
    """Clean the places in a folder whose locks nobody holds any more."""
    for lock in folder.glob(f".*{_LOCK}"):
        place = lock.with_name(lock.name[1 : -len(_LOCK)])
        with suppress(BadInput, OSError), locked(lock, place, "written", tries=1) as alone:
            if alone:
                _clean(place)


def _clean(place: Path) -> None:
    """Remove what a killed process left beside a place, or put the old folder back; the place is locked."""
    for left in place.parent.glob(f".{_escaped(place.name)}{_TEMPORARY}*"):
        if (
            not place.exists()
            and left.name.startswith(f".{place.name}{_TEMPORARY}old-")
            and _read_mark(left / MARK)
        ):
            left.replace(place)
            print(f"catpref: {place}: was put back, after a run that was ended too soon", file=sys.stderr)
        else:
            _remove(left)


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _remove(left: Path) -> None:
    """Remove a temporary file or folder, but nothing that a mark in it does not list."""
    if not left.is_dir() or left.is_symlink():
        with suppress(OSError):
            left.unlink(missing_ok=True)
        return
    mark = _read_mark(left / MARK)
    foreign = _foreign_entry(left, mark["kind"]) if mark else None
    if foreign:
        print(f"catpref: {left}: is kept, since {foreign}", file=sys.stderr)
    else:
        shutil.rmtree(left, ignore_errors=True)
