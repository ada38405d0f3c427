"""The images that a session's file names, found in the stimulus folder however the experiment reached them."""

import os
import re
import unicodedata
from contextlib import suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from catpref.errors import BadInput, shown
from catpref.sessions.cells import without_quotes
from catpref.stimuli.folder import LONGEST_NAME, StimulusFolder
from catpref.stimuli.images import SUFFIXES

_HEIC = (".heic", ".heif")
_INDEXED = {*SUFFIXES, ".gif", *_HEIC}
_MOST_FILES = 200_000  # to look through: a walk through a home folder could take many minutes


class ImageNames:
    """Finds images by the names that experiments give them, and never outside the stimulus folder.

    Parameters
    ----------
    folder
        The stimulus folder. What changes in it afterwards may not be seen.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = StimulusFolder(folder)

    def find(self, name: str) -> tuple[str, str]:
        """Find an image.

        A name is taken as it stands, from the stimulus folder on. If nothing is there, it is the image of the set
        that has the same last part: folders before it, drives, the address of a server, ``%20``, upper and lower
        case, how Unicode composes accents, and a missing ending make no difference. Of several such images it is the
        one whose folders and letters agree best.

        Returns
        -------
        name
            Relative to the stimulus folder.
        file
            The image.

        Raises
        ------
        BadInput
            If no image of the set fits, or several do, which the message names; if the name leads to a file outside
            the folder; or if it is HEIC, which is not read.
        """
        found, file = self._found(name)
        if file.lower().endswith(_HEIC):
            raise BadInput(f"image {shown(repr(name))} is HEIC, which is not read; convert it to JPEG or PNG")
        return found, file

    def _found(self, name: str) -> tuple[str, str]:
        try:
            return name, self._files.file(name)
        except BadInput:
            if not name.strip() or len(name) > LONGEST_NAME or self._leads_out(name):
                raise
        spellings = _spellings(name)
        for path in spellings:
            fitting = self._fitting(path)
            if len(fitting) == 1:
                file, found = fitting.popitem()
                return found, file
            if fitting:
                several = shown(", ".join(sorted(fitting.values())), 300)
                raise BadInput(f"image {shown(repr(name))} may be any of {several} in {self._folder}")
        beside = self._by_stem.get(_key(PurePosixPath(spellings[-1]).stem), [])
        there = f"; there is {shown(', '.join(beside), 200)}" if beside else ""
        raise BadInput(f"image {shown(repr(name))} is not in {self._folder}{there}")

    def _leads_out(self, name: str) -> bool:
        """Return whether a relative name leads to what is there, but outside the folder: that is another image."""
        name = name.replace("\\", "/")
        try:
            path = os.path.realpath(f"{self._files.root}/{name}")
        except ValueError:  # such as one with a NUL byte
            return True
        return not name.startswith("/") and not self._files.holds(path) and os.path.exists(path)  # noqa: PTH110

    def _fitting(self, path: str) -> dict[str, str]:
        """Return the images that a path may mean: the file, and its name in the stimulus folder."""
        *folders, last = [part for part in path.split("/") if part not in ("", ".")] or [""]
        has_ending = PurePosixPath(last).suffix.lower() in _INDEXED
        candidates = (self._by_name if has_ending else self._by_stem).get(_key(last), [])

        def agreement(candidate: str) -> tuple[bool, int, bool]:
            *theirs, own = candidate.split("/")
            same = 0
            while same < min(len(theirs), len(folders)) and _key(theirs[-1 - same]) == _key(
                folders[-1 - same]
            ):
                same += 1
            return same == len(theirs), same, own.startswith(last)

        agree = {candidate: agreement(candidate) for candidate in candidates}
        best = tuple(max(one) for one in zip(*agree.values(), strict=True))
        fitting: dict[str, str] = {}
        for candidate in [one for one in candidates if agree[one] == best] or candidates:
            with suppress(BadInput):  # links that lead out of the folder
                fitting.setdefault(self._files.file(candidate), candidate)
        return fitting

    @cached_property
    def _names(self) -> list[str]:
        """Every image of the folder, relative to it."""
        names, looked_at = [], 0
        for parent, subfolders, files in os.walk(self._files.root):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            looked_at += len(files)
            if looked_at > _MOST_FILES:
                raise BadInput(
                    f"{self._folder} holds over {_MOST_FILES} files, too many to look through for an image"
                )
            start = parent[len(self._files.root) :].replace(os.sep, "/").strip("/")
            names += [
                f"{start}/{name}".lstrip("/")
                for name in files
                if os.path.splitext(name)[1].lower() in _INDEXED and not name.startswith(".")  # noqa: PTH122
            ]
        return sorted(names)

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        return _grouped(self._names, [name.rpartition("/")[2] for name in self._names])

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        return _grouped(self._names, [PurePosixPath(name).stem for name in self._names])


def _grouped(names: list[str], by: list[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name, group in zip(names, by, strict=True):
        groups.setdefault(_key(group), []).append(name)
    return groups


def _key(text: str) -> str:
    """Return what names have in common that macOS or Windows take for one."""
    return unicodedata.normalize("NFC", text).casefold()


def _spellings(name: str) -> list[str]:
    """Return the path in a name, without its drive or server; then without ``%20`` and the like."""
    path = without_quotes(name).replace("\\", "/")
    if server := re.match(r"[A-Za-z][\w+.-]*://", path):
        path = re.split(r"[?#]", path[server.end() :])[0]
    path = re.sub(r"^[A-Za-z]:", "", path)
    return [path, unquote(path)] if "%" in path else [path]
