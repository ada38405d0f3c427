"""A file's digest, and its way to the disk; what commands put out is the business of `catpref._io.outputs`."""

import hashlib
import os
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def force_to_disk(path: Path) -> None:
    """Make what was written to a file, or renamed in a folder, last should the power fail now."""
    if path.is_dir() and os.name != "posix":  # Windows cannot open a folder
        return
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
