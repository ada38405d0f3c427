"""The first moments of a command, before it has imported what it needs."""

import gc
import os
import signal
import sys
from pathlib import Path
from types import TracebackType

from catpref.errors import not_installed, shown

_OBJECTS = 50_000  # that are made between two searches for cycles; 700 by default

NO_FOLDER = "the current folder is not there any more; change to one that is"


def has_current_folder() -> bool:
    try:
        return bool(Path.cwd())
    except OSError:
        return False


def open_closed_streams() -> None:
    """Open what the shell closed (``>&-``), or the next file that is opened would be in its place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115


def complain(message: str) -> int:
    line = " ".join(message.split())
    print("catpref:", shown(line, len(line)), file=sys.stderr)
    return 2


def begin() -> None:
    """Make ready for what a command imports next, such as torch, which takes a second or two.

    A package that is not installed is one line: who only runs sessions has no torch. Ctrl-C ends the process without
    a traceback until `catpref.command_line.run` waits for it, and torch does not get to die of a current folder that
    is not there any more. Python searches less often for cycles of objects, since what is imported and drawn mostly
    stays; but not in experiments, where no longer search may hold up a stimulus.
    """
    main = getattr(sys.modules["__main__"], "__file__", None)
    package = Path(__file__).parents[1]
    rooms = (package, package / "stimuli", package / "sessions", package.parent / "experiments")
    # Installed, a command is a file catpref or, on Windows, the __main__.py in a catpref.exe.
    ours = main is not None and (
        Path(main).parent in rooms or Path(main).name == "catpref" or Path(main).parent.name == "catpref.exe"
    )
    if not ours and sys.argv[:1] != ["-m"]:  # which is there while Python looks for the module
        return
    if main is None or Path(main).parent != rooms[-1]:
        gc.set_threshold(_OBJECTS)
    sys.excepthook = _end
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if not has_current_folder():
        open_closed_streams()
        sys.exit(complain(NO_FOLDER))


def _end(kind: type[BaseException], problem: BaseException, traceback: TracebackType | None) -> None:
    """End a command that failed, with one line where a package is not installed."""
    if isinstance(problem, ModuleNotFoundError) and not str(problem.name).startswith("catpref"):
        sys.exit(complain(not_installed(problem, "fit")))
    sys.__excepthook__(kind, problem, traceback)
