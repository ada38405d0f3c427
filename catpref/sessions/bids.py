"""Sessions as behavioural files of the Brain Imaging Data Structure (BIDS 1.10), for sharing; and back again.

https://bids-specification.readthedocs.io/en/v1.10.0/modality-specific-files/behavioral-experiments.html
"""

import functools
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from catpref._io.outputs import output_folder
from catpref.errors import BadInput
from catpref.sessions.participants import without_accounts
from catpref.sessions.table import Table, free_name
from catpref.version import __version__

BIDS_VERSION = "1.10.0"
TASK = "2afc"

_SUFFIX = "_beh.tsv"
_NOTHING = "n/a"
_OWN_NAMES = {"response_time": "rt"}
_ESCAPES = {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"}  # the validator takes no quoted tabs or lines
_ESCAPING = str.maketrans(_ESCAPES)
_BIDS_NAMES = {own: name for name, own in _OWN_NAMES.items()}

log = logging.getLogger(__name__)

_COLUMNS: dict[str, dict[str, Any]] = {
    "participant": {"Description": "Code of the participant."},
    "session": {"Description": "Which of the participant's sessions this is."},
    "design": {
        "Description": "How the pairs were chosen.",
        "Levels": {
            "random-sampled": "Each image is in one pair (repeats aside).",
            "fully-sampled": "All pairs of a few images.",
            "balanced-incomplete": "Some of all pairs, with every image in as many of them (±1).",
        },
    },
    "block": {"Description": "Block of trials between two breaks, from 0."},
    "trial": {"Description": "Place in the list of trials, from 0."},
    "left_image": {"Description": "Image shown on the left, a path relative to the stimulus folder."},
    "right_image": {"Description": "Image shown on the right, a path relative to the stimulus folder."},
    "choice": {
        "Description": "The side that the participant chose; n/a if there was no answer.",
        "Levels": {"0": "the left image", "1": "the right image"},
    },
    "response_time": {"Description": "From the onset of the images to the answer.", "Units": "s"},
    "onset": {"Description": "Onset of the images, from the start of the session.", "Units": "s"},
    "repeat_of": {
        "Description": "The earlier trial that this one repeats with the sides swapped; n/a if it repeats none."
    },
    "catch": {
        "Description": "The side whose image was scrambled in a catch trial; n/a in all others.",
        "Levels": {"left": "the left image was scrambled", "right": "the right image was scrambled"},
    },
    "chosen_by": {
        "Description": "How the pair of an adaptive session was chosen; n/a in catch trials and repeats.",
        "Levels": {
            "adaptive": "by the answers before, for what its answer would teach",
            "random": "at random and beforehand, of images in no adaptive trial",
        },
    },
}

_ADAPTIVE_DESIGNS = {
    "adaptive": "Most pairs were chosen by the answers before, the others drawn beforehand.",
    "adaptive-ranking": "Pairs of a few images, chosen by the answers before.",
}

_DATASET = {
    "Name": "Two-alternative forced choices between images",
    "BIDSVersion": BIDS_VERSION,
    "DatasetType": "raw",
    "GeneratedBy": [{"Name": "catpref", "Version": __version__}],
}
_TASK_DESCRIPTION = "Two images side by side; the participant chooses one of them (2AFC)."
_README = f"""{_TASK_DESCRIPTION}

Each file holds one session, a row a trial, those without an answer and catch trials too; the JSON beside it
describes the columns. In cells, \\t, \\n and \\r stand for a tab and line ends, \\\\ for \\. The images are not
part of this data set.
"""


def is_beh(path: Path) -> bool:
    """Return whether a file is one that `write` wrote, or of its kind."""
    return path.name.endswith(_SUFFIX)


def with_own_names(table: Table) -> Table:
    """Return a behavioural file the columns of a session, and empty cells for n/a."""
    plain = {escape: character for character, escape in _ESCAPES.items()}

    def unescaped(cell: str) -> str:
        return re.sub(r"\\[\\tnr]", lambda found: plain[found[0]], cell) if "\\" in cell else cell

    columns = [unescaped(name) for name in table.columns]
    own = {name: called for name, called in _OWN_NAMES.items() if called not in columns}
    columns = [own.get(name, name) for name in columns]
    rows = [["" if cell == _NOTHING else unescaped(cell) for cell in row] for row in table.rows]
    return replace(table, columns=columns, rows=rows)


def write(trials: pd.DataFrame, folder: Path, reads: Sequence[Path] = ()) -> list[Path]:
    """Write a data set: a TSV and a JSON for each participant and session, and what BIDS asks for beside them.

    Parameters
    ----------
    trials
        As `catpref.sessions.session.read_trials` gives them.
    folder
        Where to; replaced whole if it is such a data set and holds nothing else.
    reads
        The files that the trials were read from; none may be in `folder`.

    Returns
    -------
    list of Path
        The TSV files.

    Raises
    ------
    BadInput
        If a trial does not say whose it is, two participants or sessions have the same code but for ``-`` and
        ``_``, which BIDS does not allow in labels, or for upper and lower case; or if `folder` holds something
        else or cannot be written.
    """
    trials = without_accounts(trials)
    files = list(_files(trials))
    columns = _columns(trials)
    subjects = sorted({name.split("_")[0] for name, _ in files})
    with output_folder(folder, "BIDS data set", reads=reads) as building:
        for name, rows in files:
            path = building / _path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = {name: [cells[row] for row in rows] for name, cells in columns.items()}
            # Further columns that only other files had are left out.
            part = {
                name: cells
                for name, cells in part.items()
                if name in _COLUMNS or any(cell is not None for cell in cells)
            }
            _write_table(path, part)
            path.with_suffix(".json").write_text(
                _description("0.5" in part["choice"], *part), encoding="utf-8"
            )
        _write_json(building / "dataset_description.json", _DATASET)
        (building / "README").write_text(_README, encoding="utf-8")
        _write_table(building / "participants.tsv", {"participant_id": subjects})
        _write_json(
            building / "participants.json", {"participant_id": {"Description": "Code of the participant."}}
        )
    return [folder / _path(name) for name, _ in files]


def _files(trials: pd.DataFrame) -> Iterator[tuple[str, list[int]]]:
    """Take the trials apart: a file's name without its ending, and the places of its rows."""
    if "participant" not in trials or not all(isinstance(code, str) for code in trials["participant"]):
        raise BadInput("a trial does not say whose it is; name its participant in a column participant")
    names = [name for name in ("participant", "session") if name in trials]
    codes: dict[str, tuple[str, Any]] = {}
    for _, part in trials.groupby(names, sort=False, dropna=False):
        who = tuple(part[names].iloc[0])
        known = [code for code in who if isinstance(code, str)]
        entities = [f"{kind}-{_label(code)}" for kind, code in zip(("sub", "ses"), known, strict=False)]
        for place, entity in enumerate(entities):
            key = "_".join(entities[: place + 1]).casefold()
            other, whose = codes.setdefault(key, (entity, who[: place + 1]))
            if whose != who[: place + 1]:
                raise BadInput(_same(who[place], entity, other))
        runs = part.groupby("source", sort=False).groups
        for run, rows in enumerate(runs.values(), start=1):
            which = f"_run-{run}" if len(runs) > 1 else ""
            yield f"{'_'.join(entities)}_task-{TASK}{which}_beh", list(rows)


def _same(code: Any, entity: str, other: str) -> str:
    if entity == other:
        reason = f"are both {entity} in BIDS, which has letters and digits only"
    else:
        reason = f"would be {entity} and {other}, one file where names ignore case, which BIDS forbids"
    return f"{code!r} and another code {reason}; rename one"


def _label(code: Any) -> str:
    label = re.sub("[^0-9A-Za-z]", "", str(code))
    if not label:
        raise BadInput(f"{code!r}: BIDS labels have letters and digits only; rename it")
    return label


def _path(name: str) -> Path:
    folders = [part for part in name.split("_") if part.startswith(("sub-", "ses-"))]
    return Path(*folders, "beh", f"{name}.tsv")


def _columns(trials: pd.DataFrame) -> dict[str, list[str | None]]:
    """Return the columns as text under the names that they have in BIDS, but not where a trial was read."""
    columns: dict[str, list[str | None]] = {}
    for name in map(str, trials):
        called = _BIDS_NAMES.get(name, name)
        if name in _OWN_NAMES:
            called = free_name(called, {*trials, *_BIDS_NAMES.values()})
            reason = "in BIDS that is the reaction time"
            log.info("the column %s is exported as %s, since %s", name, called, reason)
        if name not in ("source", "row"):
            shown = trials[name].tolist()
            if name == "choice":  # 1, not 1.0, where there are halves
                shown = [cell if cell is pd.NA else f"{cell:g}" for cell in shown]
            columns[called] = [_text(cell) for cell in shown]
    return columns


def _text(cell: Any) -> str | None:
    if cell is None or cell is pd.NA or cell != cell:
        return None
    return _escaped(str(cell))


def _escaped(text: str) -> str:
    return text if text.isalnum() else text.translate(_ESCAPING)


@functools.cache
def _description(ties: bool, *columns: str) -> str:
    further = {"Description": "A further column of the session's file, as it was."}
    about = {"TaskName": TASK, "TaskDescription": _TASK_DESCRIPTION}
    about |= {name: _COLUMNS.get(name, further) for name in columns}
    if ties:
        choice = _COLUMNS["choice"]
        about["choice"] = choice | {"Levels": choice["Levels"] | {"0.5": "no preference"}}
    if {"design", "chosen_by"} <= {*columns}:
        design = _COLUMNS["design"]
        about["design"] = design | {"Levels": design["Levels"] | _ADAPTIVE_DESIGNS}
    return _json(about)


def _write_table(path: Path, columns: Mapping[str, Sequence[str | None]]) -> None:
    table = {_escaped(name): [cell or _NOTHING for cell in cells] for name, cells in columns.items()}
    pd.DataFrame(table).to_csv(path, sep="\t", index=False, lineterminator="\n")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(_json(content), encoding="utf-8")


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
