"""What the JSON beside a session says of it: where its images are, and the noise ceiling of a simulated one."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from catpref._io.reading import read_bytes
from catpref.errors import BadInput

_LARGEST = 16 * 2**20  # bytes; a sitting has about 1500

_INSTEAD = "correct it or move it away"


def stimulus_folder(paths: Sequence[Path], stimuli: Path | None) -> Path:
    """Return where the images of some session files are; see `catpref.sessions.session.read_sessions`.

    Raises
    ------
    BadInput
        If the folder is not there, the files do not share one, or a file is given twice.
    """
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise BadInput(f"{path}: is given twice")
        seen.add(path.resolve())
    if stimuli is not None:
        if not _is_folder(stimuli):
            raise BadInput(f"{stimuli}: is not a folder; stimuli= names the stimulus folder")
        return stimuli
    if not paths:
        raise BadInput("a table does not say where its images are; name the stimulus folder with stimuli=")
    folders = [_named_folder(path) for path in paths]
    for path, folder in zip(paths, folders, strict=True):
        if folder.resolve() != folders[0].resolve():
            others = f"{folders[0]} that of {paths[0]}"
            raise BadInput(f"{path}: its stimulus folder is {folder}, but {others}; give one with stimuli=")
    return folders[0]


def _named_folder(path: Path) -> Path:
    for beside in (path.with_suffix(".json"), path.with_name("session.json")):
        named = _read_json(beside).get("stimuli")
        if named is None:
            continue
        if not isinstance(named, str) or not _is_folder(beside.parent / named):
            raise BadInput(
                f"{beside}: its stimulus folder {_shown(named)} is not there; give it with stimuli="
            )
        return beside.parent / named
    return path.parent


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # such as a name that is too long
        return False


def noise_ceiling(path: Path) -> float | None:
    """Return the best accuracy to expect, where the JSON beside a session knows it (that of a simulated one does).

    Raises
    ------
    BadInput
        If it is no accuracy.
    """
    beside = path.with_suffix(".json")
    ceiling = _read_json(beside).get("noise_ceiling")
    if ceiling is None:
        return None
    if type(ceiling) not in (float, int) or not 0.5 <= ceiling <= 1:
        raise BadInput(f"{beside}: noise_ceiling is {_shown(ceiling)}, not an accuracy from 0.5 to 1")
    return float(ceiling)


def _read_json(path: Path) -> dict[str, Any]:
    """Read a session's JSON; no file is as good as one that says nothing."""
    if path.stem.endswith("_beh"):  # BIDS has one there that describes the columns
        return {}
    try:
        text = read_bytes(path, _LARGEST).decode("utf-8-sig")
        content = json.loads(text)
    except FileNotFoundError:
        return {}
    except RecursionError as problem:
        raise BadInput(f"{path}: is not JSON (too many brackets in each other); {_INSTEAD}") from problem
    except UnicodeDecodeError as problem:
        raise BadInput(f"{path}: is not text in UTF-8; {_INSTEAD}") from problem
    except json.JSONDecodeError as problem:
        raise BadInput(f"{path}: is not JSON ({problem}); {_INSTEAD}") from problem
    except ValueError as problem:
        if isinstance(problem, BadInput):
            raise
        raise BadInput(f"{path}: is not JSON (a number has too many digits); {_INSTEAD}") from problem
    if not isinstance(content, dict):
        raise BadInput(f'{path}: must hold a JSON object, such as {{"stimuli": "cats"}}')
    return content


def _shown(value: object) -> str:
    """Return a value as a message can show it."""
    return repr(value)[:200] if isinstance(value, str | int | float) else f"a {type(value).__name__}"
