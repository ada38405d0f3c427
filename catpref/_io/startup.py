"""The first moments of a command, before it has imported what it needs."""

import os
import signal
import sys
from pathlib import Path

from catpref.errors import shown

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

    Ctrl-C ends the process without a traceback until `catpref.command_line.run` waits for it, and torch does not get
    to die of a current folder that is not there any more.
    """
    main = getattr(sys.modules["__main__"], "__file__", None)
    package = Path(__file__).parents[1]
    rooms = (package, package / "stimuli", package / "sessions", package.parent / "experiments")
    ours = main is not None and (Path(main).parent in rooms or Path(main).name == "catpref")
    if not ours and sys.argv[:1] != ["-m"]:  # which is there while Python looks for the module
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if not has_current_folder():
        open_closed_streams()
        sys.exit(complain(NO_FOLDER))
