"""Learn one person's visual taste from two-alternative forced choices.

The rooms, in the order in which they build on each other: `stimuli` (sets of images), `design` (trial lists, and
simulated observers who answer them), `sessions` (recorded choices), `perception` (what a network sees in an image),
`models`, `evaluation` and `report`; beside them `lab` and `pavlovia` (where people answer) and `replication` (the
study of 2021).
"""

import importlib
from typing import TYPE_CHECKING, Any

from catpref._io.startup import begin
from catpref.errors import BadInput, not_installed
from catpref.version import __version__

if TYPE_CHECKING:
    from catpref.learning import learn, load, read_session
    from catpref.sessions.session import Session
    from catpref.taste import Taste

begin()

__all__ = ["BadInput", "Session", "Taste", "__version__", "learn", "load", "read_session"]

_LATER = {
    "Session": "catpref.sessions.session",
    "Taste": "catpref.taste",
    **dict.fromkeys(("learn", "load", "read_session"), "catpref.learning"),
}


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for."""
    if name not in _LATER:
        raise AttributeError(f"module 'catpref' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_LATER[name]), name)
    except ModuleNotFoundError as problem:
        raise ModuleNotFoundError(not_installed(problem, "fit"), name=problem.name) from problem


def __dir__() -> list[str]:
    return sorted(__all__)
