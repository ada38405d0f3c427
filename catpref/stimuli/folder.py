"""The files of a stimulus folder, found by name without ever leaving it."""

import os
import posixpath
from pathlib import Path

from catpref.errors import BadInput, shown

LONGEST_NAME = 4096
"""Characters; no system opens a longer path."""


class StimulusFolder:
    """Finds files by name; of many names, each folder on their way is looked at once.

    Parameters
    ----------
    folder
        The stimulus folder. What changes in it afterwards may not be seen.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.root = os.path.realpath(folder)
        """The folder, absolute, with symbolic links followed."""
        self._real: dict[str, str] = {}  # where a folder's name leads

    def file(self, name: str) -> str:
        """Find a file.

        Parameters
        ----------
        name
            A path relative to the folder, separated by ``/``, as it stands in a trial list or session.

        Returns
        -------
        str
            The file's path, absolute, with symbolic links followed.

        Raises
        ------
        BadInput
            If the name is empty, absolute, not ``/``-separated, leads outside the folder, or is not a file in
            it. The message names the image; the caller knows the file and row it came from.
        """
        if not name.strip():
            raise BadInput("the image name is empty")
        if "\\" in name or name.startswith("/") or name[1:2] == ":":  # such as C:
            raise BadInput(
                f"image {shown(repr(name))} must be a path relative to its folder, separated by '/'"
            )
        try:
            path = self._follow(name)
        except ValueError as problem:  # such as one with a NUL byte
            raise BadInput(f"image {shown(repr(name))} is not a usable file name") from problem
        if not self.holds(path) or (".." in name and posixpath.normpath(name).startswith("..")):
            raise BadInput(f"image {shown(repr(name))} leads outside {self._folder}")
        if not os.path.isfile(path):  # noqa: PTH113
            raise BadInput(f"image {shown(repr(name))} is not in {self._folder}")
        return path

    def holds(self, path: str) -> bool:
        """Return whether a path, absolute and with symbolic links followed, is inside the folder."""
        return path.startswith(self.root.rstrip(os.sep) + os.sep)

    def _follow(self, name: str) -> str:
        """Follow a name, and all links on its way, from the folder on; what is not there is taken for a folder."""
        if len(name) > LONGEST_NAME or "\0" in name:
            raise ValueError("no system opens it")
        parent, _, last = name.rpartition("/")
        if parent not in self._real:
            self._real[parent] = os.path.realpath(self.root + os.sep + parent)
        path = self._real[parent] + os.sep + last
        is_plain = last not in ("", ".", "..") and not os.path.islink(path)  # noqa: PTH114
        return path if is_plain else os.path.realpath(path)
