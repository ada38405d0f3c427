"""The words in names of columns, loops, images and keys, and which of them mean a side.

A name counts by its whole words alone: ``stim_left``, ``imageLeft`` and ``leftimage`` are of the left, ``upright``,
``wright`` and ``bright`` of no side; a loop ``practiceTrials`` is practice, ``constrained`` and ``demographics``
are not.
"""

import re
from collections.abc import Sequence


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text that are set apart by blanks."""
    return frozenset(text.split())


LEFT = word_set("left l links gauche izquierda sinistra esquerda")
RIGHT = word_set("right r rechts droite derecha destra direita")
KINDS = ((LEFT, RIGHT), ({"a"}, {"b"}), ({"1"}, {"2"}), ({"0"}, {"1"}), ({"first"}, {"second"}))
"""What tells two things apart: the words of the left, or the first, and those of the right, or the second."""

IMAGE = word_set(
    "image images img imgs picture pic pict photo stimulus stimuli stim face item option file filename name path src "
    "url cat candidate alternative"
)
"""Words that name a thing that is shown."""

_THING = "|".join((*sorted(IMAGE, key=len, reverse=True), "button", "btn", "box", "arrow", "key", "side"))
_GLUED = re.compile(f"(left|right)({_THING})|({_THING})(left|right)")
_BOUNDARY = re.compile(
    r"(?<=[a-zà-ÿ0-9])(?=[A-ZÀ-Þ])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])"
)
_PRACTICE = word_set("prac train demo example examples familiarisation familiarization übung")
_PRACTICE_STARTS = ("practice", "practise", "training", "tutorial", "warmup")


def words(name: str) -> list[str]:
    """Return the words of a name, in lower case: of ``imgLeft_2``, img, left and 2."""
    found = [word.lower() for word in re.split(r"[\W_]+", _BOUNDARY.sub(" ", name)) if word]
    return [part for word in found for part in _parts(word)]


def _parts(word: str) -> list[str]:
    glued = _GLUED.fullmatch(word)
    return [word] if glued is None else [part for part in glued.groups() if part]


def side_of(said: Sequence[str]) -> int | None:
    """Return the side that words name, 0 = left and 1 = right; None where they name none or both."""
    sides = {side for side in (0, 1) if not KINDS[0][side].isdisjoint(said)}
    return sides.pop() if len(sides) == 1 else None


def is_practice(name: str) -> bool:
    """Return whether a loop, block or phase of this name is practice."""
    said = words(name)
    return any(word in _PRACTICE or word.startswith(_PRACTICE_STARTS) for word in said) or (
        "warm up" in " ".join(said)
    )
