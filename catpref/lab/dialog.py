"""PsychoPy's dialogs, asking whose session this is and whether to go on with one that stopped."""

import subprocess
import sys
from argparse import ArgumentTypeError

from psychopy import gui

from catpref.command_line import positive
from catpref.errors import BadInput
from catpref.sessions.participants import check_participant

CODE, SESSION = "Participant code, such as p01 (no name)", "Session (empty: what comes next)"


def ask_participant(session: int | None) -> tuple[str, int | None] | None:
    """Ask for the participant code and the session number until both can be used; None if cancelled.

    Raises
    ------
    BadInput
        If libraries for the dialog are missing.
    """
    _check_dialog()
    answers = {CODE: "", SESSION: str(session or "")}
    title = "Whose session is this?"
    while gui.DlgFromDict(answers, title=title, order=[CODE, SESSION]).OK:
        try:
            number = answers[SESSION].strip()
            return check_participant(answers[CODE].strip()), positive(number) if number else None
        except (BadInput, ArgumentTypeError) as problem:
            title = str(problem)
    return None


def ask_to_go_on(question: str) -> bool:
    """Ask whether to go on with a session that stopped."""
    dialog = gui.Dlg(title="Go on?")
    dialog.addText(question)
    dialog.show()
    return bool(dialog.OK)


def _check_dialog() -> None:
    """Try a dialog in another process first: without its libraries Qt aborts the process it is in."""
    attempt = [sys.executable, "-c", "from psychopy import gui; gui.Dlg()"]
    if sys.platform == "linux" and subprocess.run(attempt, capture_output=True, check=False).returncode:
        raise BadInput(
            "PsychoPy's dialog cannot be shown; use --participant CODE, or on Debian install libxcb-cursor0, "
            "libxcb-icccm4 and libxcb-keysyms1"
        )
