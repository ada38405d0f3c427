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
import glob
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from catpref._io.files import force_to_disk, make_folder, portable_name, put_in_place
from catpref._io.locks import locked
from catpref._io.marks import (
    MARK,
    foreign_entry,
    is_unchanged,
    mark_beside,
    mark_folder,
    read_mark,
    version_of,
    write_mark,
)
from catpref.errors import BadInput

_LOCK, _TEMPORARY = ".catpref-lock", ".catpref-tmp-"
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
        building = make_folder(place.parent, f".{place.name}{_TEMPORARY}")
        try:
            yield building
            mark_folder(building, kind)
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
        foreign = foreign_entry(place, kind)
        if foreign:
            raise BadInput(f"{path}: {foreign}; choose another folder, or move it away")


def _check_file(path: Path, place: Path, kind: str) -> None:
    """Refuse a file that `kind` may not replace."""
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(place.lstat().st_mode):
            raise BadInput(f"{path}: is not an ordinary file; choose another")
        mark = read_mark(mark_beside(place))
        if mark is None:
            raise BadInput(f"{path}: was not written by catpref; choose another, or move it away")
        if mark["kind"] != kind:
            raise BadInput(f"{path}: is a {mark['kind']}, not a {kind}; choose another, or move it away")
        if not any(is_unchanged(place, version) for version in mark["files"].values()):
            raise BadInput(f"{path}: was changed since catpref wrote it; choose another, or move it away")


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
    if os.name == "nt" and place.name != portable_name(place.name):
        raise BadInput(f"{path}: Windows has no file or folder of this name; choose another")
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
            mark = mark_beside(place)
            known = read_mark(mark) if old else None
            versions = {
                name: version
                for name, version in (known["files"] if known else {}).items()
                if is_unchanged(place, version)
            }
            version = version_of(new)
            temporary = _temporary_file(place)
            try:
                write_mark(temporary, kind, versions | {version["sha256"]: version})
                temporary.chmod(0o644)
                put_in_place(temporary, mark)
            finally:
                temporary.unlink(missing_ok=True)
            if not old:
                _rename_to_nothing(new, place)
                undo.callback(place.unlink)
                undo.callback(mark.unlink)
            elif _renameat2(new, place, _EXCHANGE):
                undo.callback(_renameat2, new, place, _EXCHANGE)
                if not any(is_unchanged(new, one) for one in versions.values()):
                    raise BadInput(f"{path}: was changed meanwhile; choose another, or move it away")
            else:
                put_in_place(new, place)
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
    for left in place.parent.glob(f".{glob.escape(place.name)}{_TEMPORARY}*"):
        if (
            not place.exists()
            and left.name.startswith(f".{place.name}{_TEMPORARY}old-")
            and read_mark(left / MARK)
        ):
            left.replace(place)
            print(f"catpref: {place}: was put back, after a run that was ended too soon", file=sys.stderr)
        else:
            _remove(left)


def _remove(left: Path) -> None:
    """Remove a temporary file or folder, but nothing that a mark in it does not list."""
    if not left.is_dir() or left.is_symlink():
        with suppress(OSError):
            left.unlink(missing_ok=True)
        return
    mark = read_mark(left / MARK)
    foreign = foreign_entry(left, mark["kind"]) if mark else None
    if foreign:
        print(f"catpref: {left}: is kept, since {foreign}", file=sys.stderr)
    else:
        shutil.rmtree(left, ignore_errors=True)
