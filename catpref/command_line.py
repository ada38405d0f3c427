"""What the commands share: parsers, options of several commands, one-line errors with exit code 2."""

import _thread
import argparse
import contextlib
import glob
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

from catpref._io import cache
from catpref._io.startup import NO_FOLDER, complain, has_current_folder, open_closed_streams
from catpref.design.trial_list import BLOCK
from catpref.errors import BadInput, is_out_of_memory, shown

_SOON = 0.01  # seconds, by when Python is out of where it ignored a Ctrl-C
_options: set[str] = set()  # of the command that runs, as Python calls them


def as_typed(message: str) -> str:
    """Call arguments as the user of the command typed them: ``--map-size 5``, not ``map_size=5``."""

    def spelt(found: re.Match[str]) -> str:
        name, value = found.groups()
        return f"--{name.replace('_', '-')}{' ' if value else ''}{value}" if name in _options else found[0]

    return re.sub(r"(?<![\w./,])([a-z_]+)=([\w./~'\"-]?)", spelt, message)


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

    def add_argument(self, *names: Any, **keywords: Any) -> argparse.Action:
        """Add an argument as argparse does, or one of `COMMON` by its name; remember what Python calls it."""
        action = super().add_argument(*names, **COMMON.get(names[0], {}) | keywords)
        _options.add(action.dest)
        return action

    def parse_known_args(self, *arguments: Any, **keywords: Any) -> tuple[Any, list[str]]:
        """Parse as argparse does; then find what ``~`` and ``*`` stand for, which not every shell does."""
        options, rest = super().parse_known_args(*arguments, **keywords)
        for action in self._actions:
            named = getattr(options, action.dest, None)
            if action.type is Path and isinstance(named, list):
                setattr(options, action.dest, [found for path in named for found in files_meant(path)])
            elif action.type is Path and isinstance(named, Path):
                setattr(options, action.dest, _at_home(named))
        return options, rest

    def error(self, message: str) -> NoReturn:
        """Exit with code 2 and one line, without argparse's usage block."""
        raise SystemExit(complain(f"{message} (see {self.prog} --help)"))


def files_meant(path: Path) -> list[Path]:
    """Return the files of which a path is the pattern, as in ``sessions/*.csv``; or itself, if there are none."""
    path = _at_home(path)
    return [path] if _exists(path) else sorted(map(Path, glob.glob(str(path)))) or [path]  # noqa: PTH207


def _at_home(path: Path) -> Path:
    with contextlib.suppress(RuntimeError):
        return path if _exists(path) else path.expanduser()
    return path


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long
        return False


def run(command: Callable[[Sequence[str]], None]) -> NoReturn:
    """Run a command on ``sys.argv`` and exit: 0 when it worked, 2 after bad input, 130 after Ctrl-C.

    A command whose output cannot be printed still does its work. Then it exits with 141 if nobody reads any more,
    as with ``| head``, or says what is wrong and exits with 2, as on a full disk.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # see `catpref._io.startup`
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.unraisablehook = _interrupt_again
    open_closed_streams()
    if hasattr(sys.stdout, "reconfigure"):
        cast(Any, sys.stdout).reconfigure(errors="backslashreplace")  # for terminals that know no "─"
    output, errors = _Stream(sys.stdout), _Stream(sys.stderr)
    with contextlib.redirect_stdout(cast(TextIO, output)), contextlib.redirect_stderr(cast(TextIO, errors)):
        code = _code_of(command)
        output.flush()  # here, where it can still be told that nobody reads or the disk is full
        problem = output.problem
        if problem is not None and code == 0:
            code = 141 if isinstance(problem, BrokenPipeError) else complain(f"output: {problem.strerror}")
        errors.flush()
    sys.exit(code)


def _interrupt_again(ignored: "sys.UnraisableHookArgs") -> None:
    """Repeat a Ctrl-C that came where Python ignores what is raised, as in a destructor; else it would be lost."""
    if not issubclass(ignored.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(ignored)
        return
    again = threading.Timer(_SOON, _thread.interrupt_main)
    again.daemon = True
    again.start()


def _code_of(command: Callable[[Sequence[str]], None]) -> int | str | None:
    """Run a command; return its exit code, after a line about what went wrong."""
    try:
        if not has_current_folder():
            return complain(NO_FOLDER)
        for argument in sys.argv[1:]:
            argument.encode()  # a file name that is not UTF-8 could not be written to any table
        command(sys.argv[1:])
    except BadInput as problem:
        return complain(as_typed(str(problem)))
    except SystemExit as ended:  # `Parser` has said why
        return ended.code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141
    except UnicodeEncodeError as problem:
        name = problem.object[max(0, problem.start - 40) : problem.end + 40]
        return complain(f"{name!a}: is not plain text; rename the file or folder")
    except BrokenExecutor:
        return complain(
            "a worker process was ended from outside; perhaps memory is short, close other programs"
        )
    except Exception as problem:
        if is_out_of_memory(problem):
            where = shown(str(problem), 300).rstrip(": ") or type(problem).__name__
            return complain(f"not enough memory ({where}); use fewer or smaller images or maps")
        if not isinstance(problem, OSError):
            raise
        # Such as a path that is too long, or a folder that was removed while the command ran.
        place = problem.filename or ("output" if has_current_folder() else "the current folder")
        return complain(f"{place}: {problem.strerror or problem}")
    return 0


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
            with contextlib.suppress(OSError), Path(os.devnull).open("wb") as nothing:
                os.dup2(nothing.fileno(), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def log_to_terminal() -> None:
    """Print what catpref's modules log, such as what was computed or left out."""
    log = logging.getLogger("catpref")
    log.setLevel(logging.INFO)
    if not log.handlers:
        log.addHandler(logging.StreamHandler(sys.stdout))


def warn_on_terminal() -> None:
    """Print the warnings of catpref's modules on stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("catpref: %(message)s"))
    handler.setLevel(logging.WARNING)
    logging.getLogger("catpref").handlers = [handler]


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


COMMON: dict[str, dict[str, Any]] = {
    "sessions": {"nargs": "+", "type": Path, "metavar": "session.csv", "help": "the choices; all are pooled"},
    "--stimuli": {"type": Path, "metavar": "DIR", "help": "folder that the image paths start from"},
    "--strict": {
        "action": "store_true",
        "help": "refuse files with a row that cannot be used, not leave it out",
    },
    "--columns": {
        "metavar": "left=COL,right=COL,choice=COL|FILE.toml",
        "help": "what the columns of files from elsewhere are, also rt and participant (default: as recognised)",
    },
    "--choices": {
        "metavar": "left=VALUE,right=VALUE[,none=VALUE]",
        "help": "what stands for each side there, and for no answer (default: as recognised)",
    },
    "--out": {"type": Path, "metavar": "DIR", "help": "where to write"},
    "--weights": {"type": Path, "metavar": "FILE", "help": "read an official backbone's weights from here"},
    "--seed": {
        "type": non_negative,
        "metavar": "N",
        "default": 0,
        "help": "of every random draw (default: 0)",
    },
    "--json": {"action": "store_true", "help": "print JSON instead of a table"},
}
"""Arguments that several commands have, and how they are declared unless a command does so otherwise."""


def add_network_options(parser: Parser) -> None:
    """Add the options that say where networks run, and where what they see is kept."""
    from catpref._io.devices import DEVICES  # imports torch, which few commands need

    parser.add_argument(
        "--device", choices=DEVICES, default="auto", help="where networks run (default: auto)"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--cache-dir", dest="cache", type=Path, metavar="DIR", default=cache.default_folder(),
        help="where features and embeddings are kept (default: %(default)s)",
    )  # fmt: skip
    where.add_argument(
        "--no-cache", dest="cache", action="store_const", const=None, help="compute and keep nothing"
    )


def add_cluster_option(parser: Parser) -> None:
    """Add the option that says who computes."""
    parser.add_argument(
        "--cluster", metavar="local[:N]|tcp://HOST:PORT",
        help="compute on N workers on this computer, or on those of a dask scheduler (default: none)",
    )  # fmt: skip


def add_list_options(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    repeats: str = "0",
    catch: str = "0",
    images: str = "2000 for random, 50 for full",
    trials: str = "1000 for random, all pairs for full, of which fewer are a balanced subset",
) -> None:
    """Add the options that say what a list has, all None by default; the help names what that stands for."""
    for option, least, metavar, what in [
        ("--images", positive, "N", f"images to draw (default: {images})"),
        ("--trials", positive, "N", f"trials, without repeats and catch trials (default: {trials})"),
        (
            "--repeats",
            non_negative,
            "K",
            f"trials shown again, sides swapped, in addition (default: {repeats})",
        ),
        ("--catch", non_negative, "K", f"catch trials, one image scrambled, in addition (default: {catch})"),
        ("--block", positive, "N", f"trials a block (default: {BLOCK})"),
    ]:
        parser.add_argument(option, type=least, metavar=metavar, help=what)
