"""The check of a session.json that a session is to go on with: it may be damaged, or edited by hand."""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from catpref.design.trial_list import is_adaptive
from catpref.errors import BadInput

LIST = ("images", "trials", "repeats", "catch", "block", "seed")

_NEEDED = {"list", "part", "first_trial", "trials", "trials_per_session"}


def check_description(path: Path, description: Mapping[str, Any]) -> None:
    """Raise BadInput unless everything that is used of a session.json is of its kind.

    Parameters
    ----------
    path
        The file, for the message.
    description
        Its content.
    """
    if not description.keys() >= _NEEDED:
        raise BadInput(f"{path}: is of an earlier catpref; choose another --session or --out")
    _check(path, "", description, _SESSION)
    _check(path, "list.", description["list"], dict.fromkeys(LIST, _MAYBE))
    if "whole_list" in description:
        if not isinstance(description["whole_list"], dict):
            raise BadInput(f"{path}: whole_list must be an object in braces; {_INSTEAD}")
        _check(path, "whole_list.", description["whole_list"], _WHOLE_LIST)
    if is_adaptive(description["design"]):
        if not isinstance(description.get("adaptive"), dict):
            raise BadInput(f"{path}: adaptive must be an object in braces; {_INSTEAD}")
        _check(path, "adaptive.", description["adaptive"], _ADAPTIVE)
    sittings = description.get("sittings", [])
    if not isinstance(sittings, list) or not all(isinstance(sitting, dict) for sitting in sittings):
        raise BadInput(f"{path}: sittings must be a list of objects in braces; {_INSTEAD}")
    for number, sitting in enumerate(sittings):
        _check(path, f"sittings[{number}].", {"started": None, "ended": None} | sitting, _SITTING)


def time_of(text: str | None) -> datetime | None:
    """Return a time that `check_description` has let pass."""
    return None if text is None else datetime.fromisoformat(text)


def _check(path: Path, where: str, found: Mapping[str, Any], kinds: "Mapping[str, _Kind]") -> None:
    for name, (fits, kind) in kinds.items():
        if name not in found:
            raise BadInput(f"{path}: has no {where}{name}; {_INSTEAD}")
        if not fits(found[name]):
            raise BadInput(f"{path}: {where}{name} is {_shown(found[name])}, not {kind}; {_INSTEAD}")


def _shown(value: object) -> str:
    kinds = {list: "a list", dict: "an object", type(None): "null", bool: "true or false"}
    return kinds.get(type(value)) or ascii(value)[:40]


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_whole(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**32


def _is_positive(value: object) -> bool:
    return _is_whole(value) and value != 0


def _is_time(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).utcoffset() is not None
    except ValueError:
        return False


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9


def _or_null(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or fits(value)


_Kind = tuple[Callable[[object], bool], str]

_INSTEAD = "restore it, or choose another --session or --out"
_WHOLE: _Kind = (_is_whole, "a whole number")
_POSITIVE: _Kind = (_is_positive, "a whole number from 1")
_MAYBE: _Kind = (_or_null(_is_whole), "a whole number or null")
_TEXT: _Kind = (_is_text, "a text")
_TIME: _Kind = (_or_null(_is_time), "a time with its zone, such as 2026-05-04T09:30:00+02:00, or null")

_SESSION: dict[str, _Kind] = {
    "participant": _TEXT,
    "session": _POSITIVE,
    "design": _TEXT,
    "question": _TEXT,
    "stimuli": _TEXT,
    "list": (lambda value: isinstance(value, dict), "an object in braces"),
    "part": _POSITIVE,
    "first_trial": _WHOLE,
    "trials": _POSITIVE,
    "trials_per_session": (_or_null(_is_positive), "a whole number from 1 or null"),
}
_NUMBER: _Kind = (_is_number, "a number")
_MAYBE_NUMBER: _Kind = (_or_null(_is_number), "a number or null")
_MAYBE_TEXT: _Kind = (_or_null(_is_text), "a text or null")
_ADAPTIVE: dict[str, _Kind] = {
    "aim": _TEXT,
    "minutes": _MAYBE_NUMBER,
    "until": _MAYBE_NUMBER,
    "start_from": _MAYBE_TEXT,
    "seed": _WHOLE,
    "prior_sha256": _TEXT,
    "earlier_sha256": _MAYBE_TEXT,
    "earlier_s": _NUMBER,
    "ended": _MAYBE_TEXT,
}
_WHOLE_LIST: dict[str, _Kind] = {"trials": _POSITIVE, "sha256": _TEXT}
_SITTING: dict[str, _Kind] = {"first_trial": _WHOLE, "started": _TIME, "ended": _TIME}
