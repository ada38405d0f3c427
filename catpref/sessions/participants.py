"""Who a participant is stays with the lab: codes are kept; names, addresses and what may hold them are not."""

import logging
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import pandas as pd

from catpref.errors import BadInput, shown
from catpref.sessions.cells import is_nothing
from catpref.sessions.columns import option
from catpref.sessions.private_columns import is_private, says_who, words_of

log = logging.getLogger(__name__)

_MAY_SAY_WHO = {"id", "judge"}  # beside what says who for sure
_FEWEST_TRIALS = 5  # on average, of whoever has a value of their own in a column

CODE = "(?:[A-Za-z]|(?=[^0-9]*[0-9])(?!(?:[_-]*[0-9]){8,}[_-]*$)[A-Za-z0-9_-]{1,40})"
"""A participant code, to Python and JavaScript: a digit is in it, which names have not, or it is a single letter.
Eight digits and nothing else may be a telephone number, a date of birth or a student's number."""

_ACCOUNT = re.compile("[0-9a-f]{24}|A[A-Z0-9]{11,20}")
"""The ids that Prolific and Mechanical Turk give to their workers, by which these can be found again."""

_PUBLIC = {"participant", "source", "row", "left_image", "right_image"}


def check_participant(code: str) -> str:
    """Return a participant code.

    Raises
    ------
    BadInput
        If it could be a name or an address; see `CODE`.
    """
    if re.fullmatch(CODE, code) is None:
        raise BadInput(
            f"participant '{shown(code, 60)}': use a code such as p01, with a digit, of at most 40 letters, digits, "
            "- and _; no name or address"
        )
    return code


def without_names(trials: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return trials with a code for each participant, and without columns that may tell who they are.

    Parameters
    ----------
    trials
        Columns, of all files of a run. `left_image` and `right_image` hold names of images, which are left alone.
    """
    people = trials.get("participant", [])
    unnamed = _numbered(people)
    if unnamed:
        log.info("participants without a code, who are called unnamed-1 and so on: %d", len(unnamed))
    codes = [unnamed.get(_same(who), who) if isinstance(who, str) else None for who in people]
    known, whose = words_of(unnamed), codes if codes else trials["source"]
    private = [
        name
        for name, cells in trials.items()
        if name not in _PUBLIC
        and (is_private(name, cells, whose, known) or (says_who(name) and bool(_numbered(cells))))
    ]
    if private:
        log.info("left out, since they may tell who the participant is: %s", shown(", ".join(private), 300))
    if not codes:
        _ask_who(trials, private)
    kept = {name: cells for name, cells in trials.items() if name not in private}
    return kept | {"participant": codes} if codes else kept


def _ask_who(trials: dict[str, list[Any]], private: Sequence[str]) -> None:
    """Say so where no column is that of the participants, but one may be."""
    for name, cells in trials.items():
        people = len({_same(cell) for cell in cells if isinstance(cell, str)})
        may_say = name in private or says_who(name) or name.casefold() in _MAY_SAY_WHO
        if may_say and 1 < people <= len(cells) / _FEWEST_TRIALS:
            log.warning(
                "column %s has %d values, and all trials are taken for one person's; if these are participants, add"
                " %s",
                shown(name, 60), people, option("columns", participant=name),
            )  # fmt: skip
            return


def without_accounts(trials: pd.DataFrame) -> pd.DataFrame:
    """Return trials for sharing, in which no one is called by an account on Prolific or Mechanical Turk.

    A lab needs these ids at hand, but whoever has them can find the person. Participants are numbered instead, and
    other columns with such ids are left out.
    """
    of_accounts = [name for name in trials if _are_accounts(trials[name].tolist())]
    if not of_accounts:
        return trials
    log.info("ids of Prolific or Mechanical Turk are not exported: %s", shown(", ".join(of_accounts), 300))
    shared = trials.drop(columns=[name for name in of_accounts if name != "participant"])
    if "participant" in of_accounts:
        people = trials["participant"].tolist()
        taken = {who for who in people if not _is_account(who)}
        accounts = _number([who for who in people if _is_account(who)], taken, "online")
        shared["participant"] = [accounts.get(who, who) for who in people]
    return shared


def _is_account(cell: Any) -> bool:
    return isinstance(cell, str) and _ACCOUNT.fullmatch(cell) is not None


def _are_accounts(cells: Sequence[Any]) -> bool:
    return any(map(_is_account, cells))


def _numbered(people: Sequence[Any]) -> dict[str, str]:
    """Return a new code for each of those who have none, in the order in which they appear."""
    texts = [_same(who) for who in dict.fromkeys(people) if isinstance(who, str) and not is_nothing(who)]
    names = [who for who in texts if re.fullmatch(CODE, who) is None]
    return _number(names, set(texts).difference(names), "unnamed")


def _number(names: Sequence[str], taken: set[str], kind: str) -> dict[str, str]:
    codes: dict[str, str] = {}
    number = 0
    for name in dict.fromkeys(names):
        number += 1
        while f"{kind}-{number}" in taken:  # such as in files that catpref exported before
            number += 1
        codes[name] = f"{kind}-{number}"
    return codes


def _same(name: str) -> str:
    """Return a name as it is the same whichever system wrote it."""
    return unicodedata.normalize("NFC", name.strip())
