"""What participants read and which keys they press, from ``texts.toml``."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

import matplotlib

FONT = "DejaVu Sans"
"""It has ← and →, and comes with matplotlib, so that it is there on a machine without any font."""

FONT_FILE = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


@dataclass(frozen=True)
class Keys:
    """PsychoPy's names of the keys for each purpose."""

    left: list[str]
    right: list[str]
    go_on: list[str]
    stop: list[str]


@dataclass(frozen=True)
class Page:
    """A screen of text: a title, a body, and at the bottom what to press."""

    title: str
    body: str
    hint: str

    def fill(self, **values: object) -> "Page":
        """Fill in the names in braces."""
        return Page(self.title.format(**values), self.body.format(**values), self.hint.format(**values))


@dataclass(frozen=True)
class Texts:
    """Everything a participant reads."""

    question: str
    keys: Keys
    left_hint: str
    right_hint: str
    instructions: Page
    pause: Page
    end: Page
    stopped: Page


def load_texts() -> Texts:
    """Read ``texts.toml``."""
    table = tomllib.loads(Path(__file__).with_name("texts.toml").read_text(encoding="utf-8"))
    return Texts(
        question=table["question"],
        keys=Keys(**table["keys"]),
        left_hint=table["hints"]["left"],
        right_hint=table["hints"]["right"],
        instructions=Page(**table["instructions"]),
        pause=Page(**table["break"]),
        end=Page(**table["end"]),
        stopped=Page(**table["stopped"]),
    )
