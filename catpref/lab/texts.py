"""What participants read and which keys they press, from ``texts.toml`` or a file like it."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from string import Formatter, ascii_lowercase, digits
from typing import Annotated, Any

import matplotlib
from matplotlib.ft2font import FT2Font
from pydantic import ConfigDict, Field

from catpref._io.reading import read_bytes
from catpref._io.schemas import Schema
from catpref.errors import BadInput

FONT = "DejaVu Sans"
"""It has ← and →, and comes with matplotlib, so that it is there on a machine without any font."""

FONT_FILE = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"

ENGLISH = Path(__file__).with_name("texts.toml")

PAGES: dict[str, set[str]] = {
    "instructions": {"trials"},
    "practice": {"practice"},
    "begin": {"trials"},
    "break": {"done", "blocks"},
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
    """Everything a participant reads."""

    question: str
    keys: Keys
    hints: Hints
    instructions: Page
    practice: Page
    begin: Page
    pause: Page = Field(validation_alias="break")
    resume: Page
    unsaved: Page
    end: Page
    part_end: Page
    stopped: Page
    web: Web


def load_texts(path: Path = ENGLISH) -> Texts:
    """Read a file like ``texts.toml``.

    Raises
    ------
    BadInput
        If it cannot be read, lacks or misspells an entry, fills in what is not known, names a key that there is
        not, gives a key two meanings, or has a character that the font has not.
    """
    try:
        content = read_bytes(path, _LARGEST)
    except FileNotFoundError as problem:
        raise BadInput(f"{path}: cannot be read ({problem.strerror})") from problem
    try:
        text = content.decode("utf-8-sig")
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as problem:  # no UTF-8, or no TOML
        reason = problem if isinstance(problem, ValueError) else "too many brackets in each other"
        raise BadInput(f"{path}: is not TOML in UTF-8 ({reason}); correct it") from problem
    texts = Texts.of(table, path, f"take it from {ENGLISH}")
    font = FT2Font(str(FONT_FILE))
    for character in sorted(set(text) - {"\n", "\r", "\t"}):
        if not font.get_char_index(ord(character)):
            raise BadInput(f"{path}: the font, {FONT}, has no '{character}'; write it otherwise")
    _check_keys(path, texts.keys)
    if bool(texts.keys.no_preference) != bool(texts.hints.no_preference):
        raise BadInput(f"{path}: a third answer needs no_preference both in keys and in hints; add the other")
    pages = {name: _page(path, name, table) for name in PAGES}
    return texts.model_copy(update=pages | {"pause": pages["break"]})


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
        try:
            for _, field, form, conversion in Formatter().parse(text):
                if field is not None and (field not in PAGES[name] or form or conversion):
                    raise LookupError(repr(f"{field}{form and ':'}{form}"[:40]))
        except (ValueError, LookupError) as problem:
            known = ", ".join(f"{{{field}}}" for field in sorted({"question", *PAGES[name]}))
            raise BadInput(
                f"{path}: {name}.{entry} has braces that cannot be filled in ({problem}); known are {known}"
            ) from problem
    return Page(**page)
