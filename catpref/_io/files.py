"""A file's digest, and its way to the disk; what commands put out is the business of `catpref._io.outputs`."""

import hashlib
import os
import re
import secrets
import time
from functools import lru_cache
from pathlib import Path

_PAUSES = (0.01, 0.05, 0.2, 0.5)  # seconds
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *")


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_image(path: Path) -> str:
    """Return the sha256 of an image file, which is read once until it changes: many ask."""
    status = path.stat()
    return _sha256_of(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1 << 17)
def _sha256_of(path: Path, _size: int, _modified_ns: int) -> str:
    return sha256_of(path)


def force_to_disk(path: Path) -> None:
    """Make what was written to a file, or renamed in a folder, last should the power fail now."""
    if path.is_dir() and os.name != "posix":  # Windows cannot open a folder
        return
    opened = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)  # which Windows asks for
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def put_in_place(new: Path, place: Path) -> None:
    """Rename a file, over what is there; wait where Windows refuses, as while a virus scanner reads either."""
    for pause in _PAUSES:
        try:
            new.replace(place)
        except PermissionError:
            if os.name != "nt":
                raise
            time.sleep(pause)
        else:
            return
    new.replace(place)


def make_folder(parent: Path, beginning: str) -> Path:
    """Make a folder with a new name; one of `tempfile.mkdtemp` stays closed to others for good on Windows."""
    folder = parent / f"{beginning}{secrets.token_hex(4)}"
    folder.mkdir()
    return folder


def portable_name(name: str) -> str:
    """Return a file's name without what Windows has in none, so that the file can be copied to every system."""
    name = re.sub(r'[<>:"|?*\\\x00-\x1f]|[. ]$', "_", name)
    stem, dot, ending = name.partition(".")
    return f"{stem}_{dot}{ending}" if _DEVICE.fullmatch(stem) else name
