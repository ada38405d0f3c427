"""What every command shares: one-line errors with exit code 2, and a progress bar that stays out of logs."""

import argparse
import contextlib
import io
import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

from tqdm import tqdm

T = TypeVar("T")


class BadInput(ValueError):
    """The user's input cannot be used; the message is one line: the file, the place, what is wrong, what to do."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line, and whose help ends with an example.

    Parameters
    ----------
    command
        What the user types, such as ``python -m catpref.fit``.
    description
        One sentence on what the command does.
    example
        A command line that works.
    """

    def __init__(self, command: str, description: str, example: str) -> None:
        super().__init__(
            prog=command,
            description=description,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """Exit with code 2 and one line, without argparse's usage block."""
        raise SystemExit(_complain(f"{message} (see {self.prog} --help)"))


def run(command: Callable[[Sequence[str]], None]) -> NoReturn:
    """Run a command on ``sys.argv`` and exit: 0 when it worked, 2 after bad input, 130 after Ctrl-C."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for terminals that know no "─"
    try:
        command(sys.argv[1:])
        sys.stdout.flush()  # here, where it can still be told that nobody reads or the disk is full
    except BadInput as problem:
        sys.exit(_complain(str(problem)))
    except BrokenPipeError:  # such as "| head", which has read all that it wants
        _drop_output()
        sys.exit(141)
    except OSError as problem:  # such as a path that is too long
        _drop_output()
        sys.exit(_complain(f"{problem.filename or 'output'}: {problem.strerror or problem}"))
    except UnicodeEncodeError as problem:  # a file name that is no UTF-8
        name = problem.object[max(0, problem.start - 40) : problem.end + 40]
        sys.exit(_complain(f"{name!a}: is not plain text; rename the file or folder"))
    except MemoryError as problem:
        sys.exit(_complain(f"not enough memory ({problem}); use fewer or smaller images or maps"))
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def _drop_output() -> None:
    """Forget what could not be printed, or Python tries it again on its way out and complains."""
    with contextlib.suppress(OSError), Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), sys.stdout.fileno())


def _complain(message: str) -> int:
    print("catpref:", " ".join(message.split()), file=sys.stderr)
    return 2


def log_to_terminal() -> None:
    """Print what catpref's modules log, such as what was computed or left out."""
    log = logging.getLogger("catpref")
    log.setLevel(logging.INFO)
    if not log.handlers:
        log.addHandler(logging.StreamHandler(sys.stdout))


def positive(text: str) -> int:
    """Parse a whole number of at least 1 (an ``argparse`` type)."""
    return _whole(text, least=1)


def non_negative(text: str) -> int:
    """Parse a whole number of at least 0, such as a seed (an ``argparse`` type)."""
    return _whole(text, least=0)


def _whole(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if not least <= number < 2**32:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from {least} to {2**32 - 1}")
    return number


def progress(items: Iterable[T], what: str, total: int | None = None, unit: str = "image") -> "tqdm[T]":
    """Give the items with a progress bar that appears after two seconds, and only on a terminal."""
    return tqdm(items, desc=what, total=total, unit=unit, delay=2, disable=None, leave=False)
