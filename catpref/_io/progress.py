"""Progress bars that stay out of logs."""

from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], what: str, total: int | None = None, unit: str = "image") -> "tqdm[T]":
    """Return the items with a progress bar that appears after two seconds, and only on a terminal."""
    return tqdm(items, desc=what, total=total, unit=unit, delay=2, disable=None, leave=False)
