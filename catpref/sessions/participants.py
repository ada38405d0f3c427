"""Who a participant is stays with the lab: codes are kept, names, mail addresses and IP numbers are not."""

import ipaddress
import logging
import re
from contextlib import suppress
from typing import Any

from catpref.errors import BadInput, shown

log = logging.getLogger(__name__)

_NAMES = {"name", "firstname", "lastname", "surname", "fullname", "email", "mail", "ip", "ipaddress", "phone"}


def check_participant(code: str) -> str:
    """Return a participant code, or raise BadInput where it could be a name or an address."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", code):
        raise BadInput(
            f"participant '{shown(code, 60)}': use a code of letters, digits, - and _, no name or address"
        )
    return code


def check_new_participant(code: str) -> str:
    """Return a code for someone who is about to take part: short, and with a digit, which names have not.

    Raises
    ------
    BadInput
        If it is no such code.
    """
    if len(check_participant(code)) > 20 or not re.search("[0-9]", code):
        raise BadInput(
            f"participant '{code}': use a code such as p01, with a digit and at most 20 characters, no name"
        )
    return code


def without_names(trials: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Leave out columns of names, mail addresses or IP numbers, and number participants who have no code.

    Parameters
    ----------
    trials
        Columns. `left_image` and `right_image` hold names of images, which are left alone.
    """
    public = {"participant", "source", "row", "left_image", "right_image"}
    private = [
        name
        for name, cells in trials.items()
        if name not in public
        and (re.sub("[^a-z]", "", name.lower()) in _NAMES or any(map(_is_address, set(cells))))
    ]
    if private:
        log.info("left out, since they may tell who the participant is: %s", shown(", ".join(private), 300))
    kept = {name: cells for name, cells in trials.items() if name not in private}
    if "participant" in kept:
        unnamed: dict[str, str] = {}
        kept["participant"] = [_code(participant, unnamed) for participant in kept["participant"]]
        if unnamed:
            log.info("participants not named by a code of letters, digits, - and _: %d", len(unnamed))
    return kept


def _code(participant: Any, unnamed: dict[str, str]) -> str | None:
    if not isinstance(participant, str):
        return None
    with suppress(BadInput):
        return check_participant(participant)
    return unnamed.setdefault(participant, f"unnamed-{len(unnamed) + 1}")


def _is_address(cell: Any) -> bool:
    if not isinstance(cell, str):
        return False
    if re.search(r"[^\s@]@[^\s@]+\.[A-Za-z]", cell):
        return True
    with suppress(ValueError):
        return len(cell) < 50 and bool(ipaddress.ip_address(cell.strip()))
    return False
