"""The JSON beside a session: where its images are, and the noise ceiling of a simulated one."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from catpref._io.reading import read_bytes
from catpref._io.schemas import Schema
from catpref.errors import BadInput, shown

_LARGEST = 16 * 2**20  # bytes; a sitting has about 1500


class _Description(Schema, extra="ignore"):
    stimuli: str | None = Field(default=None, description="the path of a folder")
    noise_ceiling: Annotated[float, Field(ge=0.5, le=1)] | None = Field(
        default=None, description="an accuracy from 0.5 to 1"
    )


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
    for beside in (_of_its_own(path), path.with_name("session.json")):
        named = _read(beside).stimuli
        if named is None:
            continue
        if not _is_folder(beside.parent / named):
            said = shown(repr(named), 200)
            raise BadInput(f"{beside}: its stimulus folder {said} is not there; give it with stimuli=")
        return beside.parent / named
    return path.parent


def _of_its_own(path: Path) -> Path:
    """Return where a session's own JSON would be; one that is JSON itself, as jsPsych's, has none."""
    return path.with_suffix(".json" if path.suffix.lower() != ".json" else ".description.json")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # such as a name that is too long
        return False


def pooled_noise_ceiling(sources: Sequence[Path | pd.DataFrame], of_trials: Sequence[str]) -> float | None:
    """Return the best accuracy to expect, where the JSONs beside all sessions know it (those of simulated ones do).

    Parameters
    ----------
    sources
        The sessions.
    of_trials
        The session that each trial is from. The ceilings are averaged over the trials.

    Raises
    ------
    BadInput
        If one is no accuracy.
    """
    if not all(isinstance(source, Path) for source in sources):
        return None  # a table has no JSON beside it
    ceilings = [_read(_of_its_own(path)).noise_ceiling for path in sources if isinstance(path, Path)]
    known = [ceiling for ceiling in ceilings if ceiling is not None]
    counts = [of_trials.count(str(path)) for path in sources]
    return float(np.average(known, weights=counts)) if known == ceilings else None


def _read(path: Path) -> _Description:
    """Read a session's JSON; no file is as good as one that says nothing."""
    if path.stem.endswith("_beh"):  # BIDS has one there that describes the columns
        return _Description()
    try:
        content = read_bytes(path, _LARGEST)
    except FileNotFoundError:
        return _Description()
    if re.match(
        rb"(\xef\xbb\xbf)?\s*\[[\s\[]*\{", content
    ):  # trials, as jsPsych has them in NAME.json beside NAME.csv
        return _Description()
    return _Description.of(content, path, "correct it or move it away")
