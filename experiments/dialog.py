"""PsychoPy's dialog, asking whose session this is."""

import subprocess
import sys
from argparse import ArgumentTypeError

from psychopy import gui

from catpref.commands import BadInput, positive
from catpref.participants import check_participant

CODE, SESSION = "Participant code (letters, digits, - and _; no name)", "Session"


def ask_participant(session: int) -> tuple[str, int] | None:
    """Ask for the participant code and the session number until both can be used; None if cancelled.

    Raises
    ------
    BadInput
        If libraries for the dialog are missing.
    """
    _check_dialog()
    answers = {CODE: "", SESSION: str(session)}
    title = "Whose session is this?"
    while gui.DlgFromDict(answers, title=title, order=[CODE, SESSION]).OK:
        try:
            return check_participant(answers[CODE].strip()), positive(answers[SESSION])
        except (BadInput, ArgumentTypeError) as problem:
            title = str(problem)
    return None


def _check_dialog() -> None:
    """Try a dialog in another process first: without its libraries Qt aborts the process it is in."""
    attempt = [sys.executable, "-c", "from psychopy import gui; gui.Dlg()"]
    if sys.platform == "linux" and subprocess.run(attempt, capture_output=True, check=False).returncode:
        raise BadInput(
            "PsychoPy's dialog cannot be shown; use --participant CODE, or on Debian install libxcb-cursor0, "
            "libxcb-icccm4 and libxcb-keysyms1"
        )
