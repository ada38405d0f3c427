"""``catpref fit session.csv``: every command under one name, wherever catpref is installed."""

import importlib
from collections.abc import Sequence

from catpref.command_line import Parser, run

COMMANDS = {
    "demo": ("catpref.demo", "draw cats, let a simulated observer choose, and fit a model to it"),
    "stimuli": ("catpref.stimuli.__main__", "draw a stimulus set, or make one from photographs"),
    "plan": ("catpref.plan", "find out how many trials, images and people a study needs"),
    "trials": ("catpref.trials", "make a trial list"),
    "simulate": ("catpref.simulate", "let a simulated observer answer a trial list"),
    "fit": ("catpref.fit", "learn a person's taste from a session"),
    "predict": ("catpref.predict", "rank new images, or predict choices between them"),
    "sessions": ("catpref.sessions.__main__", "export sessions for sharing"),
}
"""Name, module and purpose of each."""


def main(arguments: Sequence[str]) -> None:
    """Hand over to a command."""
    parser = Parser(
        "catpref",
        "Learn one person's visual taste from two-alternative forced choices.\n\ncommands:\n"
        + "\n".join(f"  {name:10}{purpose}" for name, (_, purpose) in COMMANDS.items()),
        "catpref fit session.csv --stimuli stimuli/cats",
    )
    parser.add_argument("command", choices=COMMANDS, metavar="command", help="one of those above")
    options = parser.parse_args(arguments[:1])
    importlib.import_module(COMMANDS[options.command][0]).main(arguments[1:])


def script() -> None:
    """Run the command line of the ``catpref`` script."""
    run(main)


if __name__ == "__main__":
    script()
