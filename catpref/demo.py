"""``catpref demo``: the whole way from drawn cats to a report, in about a minute."""

from collections.abc import Sequence
from pathlib import Path

from catpref import fit, simulate, trials
from catpref.command_line import Parser, run
from catpref.stimuli import __main__ as stimuli


def main(arguments: Sequence[str]) -> None:
    """Draw cats, make a trial list, let a simulated observer answer it, and fit a model to the answers."""
    parser = Parser(
        "catpref demo",
        "Draw 50 cats, let a simulated observer choose between all pairs, and fit a model to the choices.",
        "catpref demo demo",
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path("demo"), metavar="DIR",
        help="where to write (default: demo)",
    )  # fmt: skip
    folder = parser.parse_args(arguments).folder
    cats, listed, session = (str(folder / name) for name in ("stimuli", "trials.csv", "session.csv"))
    stimuli.main(["render", "--n", "50", "--seed", "1", cats])
    trials.main(["full", "--stimuli", cats, "--out", listed, "--seed", "1"])
    simulate.main([listed, "--stimuli", cats, "--out", session, "--seed", "1"])
    fit.main([session])


if __name__ == "__main__":
    run(main)
