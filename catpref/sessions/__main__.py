"""``python -m catpref.sessions``: export sessions for sharing."""

from collections.abc import Sequence
from pathlib import Path

from catpref.command_line import Parser, log_to_terminal, run
from catpref.sessions import bids
from catpref.sessions.columns import asked
from catpref.sessions.session import read_trials


def main(arguments: Sequence[str]) -> None:
    """Export sessions."""
    parser = Parser(
        "python -m catpref.sessions",
        "Export sessions as behavioural files in the style of BIDS, a data set of its own.",
        "python -m catpref.sessions export sessions/p01_*/session.csv --stimuli stimuli/cats bids/",
    )
    parser.add_argument("command", choices=("export",), help="what to do")
    parser.add_argument("sessions", help="the choices")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the data set to write, replaced as a whole")
    parser.add_argument("--stimuli")
    parser.add_argument("--columns")
    parser.add_argument("--choices")
    parser.add_argument("--strict")
    options = parser.parse_intermixed_args(arguments)
    log_to_terminal()
    said = asked(options.columns, options.choices)
    trials, _ = read_trials(options.sessions, options.stimuli, said, options.strict)
    for path in bids.write(trials, options.folder, options.sessions):
        print(path)


if __name__ == "__main__":
    run(main)
