"""Where answers go when a session's folder cannot be written, and how they come back to it.

The whole session is saved in the first place that can be written: beside its folder, in the home folder, or among the
temporary files. The next call of the experiment finds it there.
"""

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from glob import escape
from itertools import count
from pathlib import Path
from typing import Any

from catpref._io.reading import read_bytes
from catpref.errors import BadInput
from catpref.lab.description import check_description
from catpref.lab.recording import (
    DESCRIPTION,
    LARGEST,
    SESSION,
    TRIALS,
    Recording,
    made_whole,
    read_description,
    replace_content,
)

RESCUED_FROM = "rescued_from"
"""What session.json says, in a folder of rescued answers, of the folder that they belong to."""

_ENDING = "_rescued"


def save_elsewhere(folder: Path, contents: Mapping[str, bytes]) -> Path:
    """Save a session beside its folder, or wherever it can be written, and return that folder.

    Parameters
    ----------
    folder
        The session's own folder.
    contents
        Each file's content by its name.

    Raises
    ------
    BadInput
        If it cannot be written anywhere.
    """
    places = _places(folder)
    for place in places:
        with suppress(BadInput, OSError):
            names = (f"{folder.name}{_ENDING}{number}" for number in count(1))
            new = next(place / name for name in names if not os.path.lexists(place / name))
            with made_whole(new) as building:
                for name, content in contents.items():
                    replace_content(building / name, content)
            return new
    raise BadInput(f"nor can anything be written in {', '.join(map(str, places))}; make room in one of them")


def find_rescued(folder: Path) -> list[Path]:
    """Return the folders into which `save_elsewhere` saved the session of a folder."""
    return [
        rescued
        for place in _places(folder)
        for rescued in sorted(place.glob(f"{escape(folder.name)}{_ENDING}*"))
        if _is_of(folder, rescued)
    ]


def take_back(recording: Recording, description: dict[str, Any]) -> Path | None:
    """Put answers that were saved elsewhere into the session's folder; return where they were, or None.

    They stay there, too. Only answers that come after those in the folder are taken; `description` is told of
    their sittings.

    Raises
    ------
    BadInput
        If the folder cannot be written.
    """
    for rescued in reversed(find_rescued(recording.folder)):
        try:
            listed, answers = (read_bytes(rescued / name, LARGEST) for name in (TRIALS, SESSION))
            told = read_description(rescued)
        except (BadInput, FileNotFoundError):
            continue
        if recording.take(listed, answers):
            description |= {name: told[name] for name in ("sittings", "completed") if name in told}
            recording.describe(description)
            return rescued
    return None


def _places(folder: Path) -> list[Path]:
    places = [folder.absolute().parent]
    with suppress(RuntimeError):
        places.append(Path.home())
    with suppress(FileNotFoundError):
        places.append(Path(tempfile.gettempdir()))
    return list(dict.fromkeys(places))


def _is_of(folder: Path, rescued: Path) -> bool:
    """Return whether a folder holds rescued answers of the session in `folder`, and is one's own."""
    with suppress(BadInput, OSError):
        description = read_description(rescued)
        check_description(rescued / DESCRIPTION, description)
        was = description.get(RESCUED_FROM)
        if not isinstance(was, str) or (os.name != "nt" and rescued.stat().st_uid != os.getuid()):
            return False
        beside = rescued.parent == folder.absolute().parent and Path(was).name == folder.name
        return beside or Path(was) == folder.absolute()
    return False
