"""What is wrong with the user's input, and how messages show it."""

import errno
import re


class BadInput(ValueError):
    """The user's input cannot be used; the message is one line: the file, the place, what is wrong, what to do."""


def not_installed(problem: ModuleNotFoundError, extra: str) -> str:
    """Return what is missing, and which of catpref's extras brings it."""
    return f'{problem.name} is not installed; pip install "catpref[{extra}]"'


_NO_MEMORY = re.compile(
    r"(?i)out of memory|(can't|cannot|could not|unable to|failed to) allocate|insufficient memory|"
    r"failed to map segment|can't start new thread"
)


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether an error says that memory is short, as Python, NumPy, torch, OpenCV and Pillow say it."""
    number = getattr(problem, "errno", None)
    if number is not None or isinstance(problem, BadInput):
        return number == errno.ENOMEM
    return isinstance(problem, MemoryError) or bool(_NO_MEMORY.search(str(problem)))


def shown(text: str, most: int = 100) -> str:
    r"""Return text from a file as a message may hold it: not too long, and what does not print as ``\x1b``."""
    text = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )
