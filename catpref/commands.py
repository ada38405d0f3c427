"""What every command shares: one-line errors with exit code 2, and a progress bar that stays out of logs."""

import argparse
import contextlib
import errno
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any, NoReturn, TextIO, TypeVar, cast

from tqdm import tqdm

T = TypeVar("T")


class BadInput(ValueError):
    """The user's input cannot be used; the message is one line: the file, the place, what is wrong, what to do."""


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
    """Run a command on ``sys.argv`` and exit: 0 when it worked, 2 after bad input, 130 after Ctrl-C.

    A command whose output cannot be printed still does its work. Then it exits with 141 if nobody reads any more,
    as with ``| head``, or says what is wrong and exits with 2, as on a full disk.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # see `_begin`
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _open_closed_streams()
    if hasattr(sys.stdout, "reconfigure"):
        cast(Any, sys.stdout).reconfigure(errors="backslashreplace")  # for terminals that know no "─"
    output, errors = _Stream(sys.stdout), _Stream(sys.stderr)
    with contextlib.redirect_stdout(cast(TextIO, output)), contextlib.redirect_stderr(cast(TextIO, errors)):
        code = _code_of(command)
        output.flush()  # here, where it can still be told that nobody reads or the disk is full
        problem = output.problem
        if problem is not None and code == 0:
            code = 141 if isinstance(problem, BrokenPipeError) else _complain(f"output: {problem.strerror}")
        errors.flush()
    sys.exit(code)


def _code_of(command: Callable[[Sequence[str]], None]) -> int | str | None:
    """Run a command; return its exit code, after a line about what went wrong."""
    try:
        if not _has_current_folder():
            return _complain(_NO_FOLDER)
        for argument in sys.argv[1:]:
            argument.encode()  # a file name that is not UTF-8 could not be written to any table
        command(sys.argv[1:])
    except BadInput as problem:
        return _complain(str(problem))
    except SystemExit as ended:  # `Parser` has said why
        return ended.code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141
    except UnicodeEncodeError as problem:
        name = problem.object[max(0, problem.start - 40) : problem.end + 40]
        return _complain(f"{name!a}: is not plain text; rename the file or folder")
    except BrokenExecutor:
        return _complain(
            "a worker process was ended from outside; perhaps memory is short, close other programs"
        )
    except Exception as problem:
        if is_out_of_memory(problem):
            where = shown(str(problem), 300).rstrip(": ") or type(problem).__name__
            return _complain(f"not enough memory ({where}); use fewer or smaller images or maps")
        if not isinstance(problem, OSError):
            raise
        # Such as a path that is too long, or a folder that was removed while the command ran.
        place = problem.filename or ("output" if _has_current_folder() else "the current folder")
        return _complain(f"{place}: {problem.strerror or problem}")
    return 0


_NO_FOLDER = "the current folder is not there any more; change to one that is"


def _has_current_folder() -> bool:
    try:
        return bool(Path.cwd())
    except OSError:
        return False


class _Stream:
    """A standard stream that never fails: what can no longer be written is dropped, and the problem is kept."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.problem: OSError | None = None

    def write(self, text: str) -> int:
        with self._keeping_problem():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._keeping_problem():
            self._stream.flush()

    @contextlib.contextmanager
    def _keeping_problem(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            self.problem = self.problem or problem
            # Python would try what is left again on its way out, and complain.
            with contextlib.suppress(OSError), Path(os.devnull).open("w") as nothing:
                os.dup2(nothing.fileno(), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _open_closed_streams() -> None:
    """Open what the shell closed (``>&-``), or the next file that is opened would be in its place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115


def _complain(message: str) -> int:
    line = " ".join(message.split())
    print("catpref:", shown(line, len(line)), file=sys.stderr)
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


def _begin() -> None:
    """Make ready for what a command imports next, such as torch, which takes a second or two.

    Ctrl-C ends the process without a traceback until `run` waits for it, and torch does not get to die of a current
    folder that is not there any more.
    """
    main = getattr(sys.modules["__main__"], "__file__", None)
    package = Path(__file__).parent
    ours = main is not None and Path(main).parent in (package, package.parent / "experiments")
    if not ours and sys.argv[:1] != ["-m"]:  # which is there while Python looks for the module
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if not _has_current_folder():
        _open_closed_streams()
        sys.exit(_complain(_NO_FOLDER))


_begin()
