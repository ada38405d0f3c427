"""What participants read and which keys they press, from ``texts.toml`` or a file like it."""

import logging
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from string import Formatter, ascii_lowercase, digits
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from catpref._io.reading import read_bytes
from catpref._io.schemas import Schema
from catpref.errors import BadInput

log = logging.getLogger(__name__)

ENGLISH = Path(__file__).with_name("texts.toml")

PAGES: dict[str, set[str]] = {
    "instructions": {"trials"},
    "practice": {"practice"},
    "begin": {"trials"},
    "break": {"done", "blocks"},
    "progress": {"percent"},
    "resume": {"done", "trials"},
    "unsaved": {"done", "problem"},
    "end": set(),
    "part_end": {"part", "parts"},
    "stopped": {"done", "trials"},
}
"""What can be filled in on each page; every page may name the {question}, too."""

_NAMED_KEYS = """
    left right up down home end pageup pagedown insert delete space return tab backspace escape capslock menu
    minus equal bracketleft bracketright backslash semicolon apostrophe comma period slash grave quoteleft less pound
    num_add num_subtract num_multiply num_divide num_decimal num_enter num_equal numlock scrolllock pause function
    lshift rshift lctrl rctrl lalt ralt loption roption lcommand rcommand lwindows rwindows
"""

KEYS = frozenset(
    [*ascii_lowercase, *digits, *_NAMED_KEYS.split()]
    + [f"num_{digit}" for digit in digits]
    + [f"f{number}" for number in range(1, 20)]
)
"""PsychoPy's names of the keys, on any system; of a name that is not among them, no press is ever seen."""

_LARGEST = 2**20  # bytes

_EAST_ASIAN = {
    "[ぁ-ヿ]": "Noto Sans CJK JP, Noto Sans JP, IPAGothic, Hiragino Sans, Yu Gothic",
    "[가-힣]": "Noto Sans CJK KR, Noto Sans KR, Apple SD Gothic Neo, Malgun Gothic",
    "[一-鿿]": "Noto Sans CJK SC, Noto Sans SC, WenQuanYi Micro Hei, PingFang SC, Microsoft YaHei",
}
"""Fonts for texts with Kana, with Hangul, and with Chinese characters alone, which differ from country to country."""


_Names = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]


class Keys(Schema):
    """PsychoPy's names of the keys for each purpose."""

    left: _Names
    right: _Names
    go_on: _Names
    stop: _Names
    no_preference: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)


class Hints(Schema):
    """What stands below the left and the right image, and between them where a third answer is offered."""

    left: str
    right: str
    no_preference: str = ""


@dataclass(frozen=True)
class Page:
    """A screen of text: a title, a body, and at the bottom what to press."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    title: str
    body: str
    hint: str

    def fill(self, **values: object) -> "Page":
        """Fill in the names in braces."""
        return Page(self.title.format(**values), self.body.format(**values), self.hint.format(**values))


class Web(Schema):
    """What only participants in a browser read; `loading` with {percent} in it."""

    loading: str
    offline: str
    code: str


class Texts(Schema):
    """Everything a participant reads; `font` is a family of fonts, or several with commas between them.

    `at_most`, with {trials} in it, stands for the number of trials where a session may end earlier; `progress` is
    the break of such a session.
    """

    font: str
    question: str
    at_most: str
    keys: Keys
    hints: Hints
    instructions: Page
    practice: Page
    begin: Page
    pause: Page = Field(validation_alias="break")
    progress: Page
    resume: Page
    unsaved: Page
    end: Page
    part_end: Page
    stopped: Page
    web: Web


def load_texts(path: Path = ENGLISH) -> Texts:
    """Read a file like ``texts.toml``; what it lacks is taken from there.

    Raises
    ------
    BadInput
        If it cannot be read, misspells an entry, fills in what is not known, names a key that there is not, or
        gives a key two meanings.
    """
    table = _read_table(path)
    table, lacking = _completed(table, _read_table(ENGLISH))
    texts = Texts.of(table, path, f"take it from {ENGLISH}")
    _check_keys(path, texts.keys)
    if bool(texts.keys.no_preference) != bool(texts.hints.no_preference):
        raise BadInput(f"{path}: a third answer needs no_preference both in keys and in hints; add the other")
    pages = {name: _page(path, name, table) for name in PAGES}
    _check_braces(path, "at_most", texts.at_most, {"trials"})
    if lacking:
        log.warning("%s: does not have %s; taken from the English %s", path, ", ".join(lacking), ENGLISH.name)
    return texts.model_copy(update=pages | {"pause": pages["break"]})


def shown(texts: Texts) -> str:
    """Return all that participants read in the lab."""
    pages = [getattr(texts, "pause" if name == "break" else name) for name in PAGES]
    parts = [part for page in pages for part in (page.title, page.body, page.hint)]
    return "\n".join([texts.question, texts.at_most, *(hint for _, hint in texts.hints), *parts])


def fonts(texts: Texts, base: str) -> str:
    """Return the families of fonts to look for a character in, with commas between them: `base` is for Latin."""
    text = shown(texts)
    east_asian = next((families for signs, families in _EAST_ASIAN.items() if re.search(signs, text)), "")
    return ", ".join(filter(None, [texts.font, base, east_asian]))


def _read_table(path: Path) -> dict[str, Any]:
    try:
        content = read_bytes(path, _LARGEST)
    except FileNotFoundError as problem:
        raise BadInput(f"{path}: cannot be read ({problem.strerror})") from problem
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as problem:  # no UTF-8, or no TOML
        reason = problem if isinstance(problem, ValueError) else "too many brackets in each other"
        raise BadInput(f"{path}: is not TOML in UTF-8 ({reason}); correct it") from problem


def _completed(table: dict[str, Any], english: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a file's entries with those that it lacks in English, and which texts these are."""
    whole, lacking = english | table, []
    for name, value in english.items():
        entries = table.get(name)
        if isinstance(value, dict) and isinstance(entries, dict):
            whole[name] = value | entries
            lacking += [f"{name}.{entry}" for entry in value if entry not in entries]
        elif entries is None:
            lacking.append(name)
    return whole, [name for name in lacking if name.split(".")[0] not in ("font", "keys")]


def _check_keys(path: Path, keys: Keys) -> None:
    named = [key for _, names in keys for key in names]
    twice = next((key for key in named if named.count(key) > 1), None)
    if twice:
        raise BadInput(f"{path}: the key {twice} is named twice in keys; give it one meaning")
    unknown = next((key for key in named if key not in KEYS), None)
    if unknown:
        close = get_close_matches(unknown.lower()[:40], sorted(KEYS), 1)
        instead = f"; did you mean '{close[0]}'?" if close else ", such as left, f or num_1"
        raise BadInput(f"{path}: '{unknown[:40]}' in keys is none of PsychoPy's names{instead}")


def _page(path: Path, name: str, table: Mapping[str, Any]) -> Page:
    """Take one page, with the question filled in and everything else still in braces."""
    question = table["question"].replace("{", "{{").replace("}", "}}")
    page = {entry: text.replace("{question}", question) for entry, text in table[name].items()}
    for entry, text in page.items():
        _check_braces(path, f"{name}.{entry}", text, PAGES[name], "question")
    return Page(**page)


def _check_braces(path: Path, name: str, text: str, fields: set[str], *filled: str) -> None:
    """Raise BadInput unless only `fields` are in braces in a text; those `filled` in already are known, too."""
    try:
        for _, field, form, conversion in Formatter().parse(text):
            if field is not None and (field not in fields or form or conversion):
                raise LookupError(repr(f"{field}{form and ':'}{form}"[:40]))
    except (ValueError, LookupError) as problem:
        known = ", ".join(f"{{{field}}}" for field in sorted({*filled, *fields}))
        raise BadInput(
            f"{path}: {name} has braces that cannot be filled in ({problem}); known are {known}"
        ) from problem
