"""``python -m catpref.fit session.csv``: learn taste from sessions of one person or several, and report how well."""

from collections.abc import Sequence

from catpref._io.outputs import output_folder
from catpref.command_line import (
    Parser,
    add_cluster_option,
    add_network_options,
    log_to_terminal,
    positive,
    run,
)
from catpref.errors import BadInput
from catpref.learning import learn
from catpref.models import registry
from catpref.perception.backbones import DEFAULT, NAMES
from catpref.report import page
from catpref.sessions.columns import asked
from catpref.sessions.session import read_sessions


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = vars(_parser().parse_args(arguments))
    sessions, stimuli, out, strict = (options.pop(name) for name in ("sessions", "stimuli", "out", "strict"))
    said = asked(options.pop("columns"), options.pop("choices"))
    log_to_terminal()
    out = out or sessions[0].parent / f"{sessions[0].stem}_fit"
    with output_folder(out, "fit", reads=sessions) as folder:
        session = read_sessions(sessions, stimuli, said, strict)
        if session.stimuli.resolve().is_relative_to(out.resolve()):
            raise BadInput(
                f"{out}: would be replaced whole, and {session.stimuli} is in it; choose another --out"
            )
        taste = learn(session, **options)
        taste.write(folder)
    print(taste)
    print(f"report: {out / page.REPORT}")


def _parser() -> Parser:
    """Return the parser, whose options are the arguments of `learn`."""
    parser = Parser(
        "python -m catpref.fit",
        "Learn a person's taste from their 2AFC choices, and report how well it predicts choices never seen.",
        "python -m catpref.fit sessions/p01/session.csv --stimuli stimuli/cats",
    )
    parser.add_argument("sessions")
    parser.add_argument("--stimuli")
    parser.add_argument("--columns")
    parser.add_argument("--choices")
    parser.add_argument("--strict")
    parser.add_argument("--out", help="where to write (default: session_fit/ beside it)")
    models, usual = registry.choosable(), list(registry.DEFAULT)
    parser.add_argument(
        "--model", nargs="+", choices=models, default=usual, metavar="NAME",
        help=f"which models to fit: {', '.join(models)} (default: {' '.join(usual)})",
    )  # fmt: skip
    parser.add_argument(
        "--backbone", default=DEFAULT, metavar="NAME|FILE",
        help=f"network: {', '.join(NAMES)}, a checkpoint, or your own network's JSON (default: {DEFAULT})",
    )  # fmt: skip
    parser.add_argument("--weights")
    parser.add_argument(
        "--embedding", metavar="NAME",
        help="grid8+late (default), grid8, grid4 or global for utility and siamese_cnn; "
        "mean-map (default) or layer-1-map … for study_cnn",
    )  # fmt: skip
    parser.add_argument(
        "--map-size", type=positive, metavar="N",
        help="side of the network's distance maps in pixels; the study's was 512 (default: what time allows)",
    )  # fmt: skip
    parser.add_argument(
        "--split", choices=("images", "trials"), default="images",
        help="hold out images never trained on (default), or trials of known images",
    )  # fmt: skip
    parser.add_argument(
        "--folds", type=positive, default=5, metavar="K", help="of cross-validation (default: 5)"
    )
    parser.add_argument(
        "--pool", action="store_true", help="take trials of several participants for one person's"
    )
    parser.add_argument("--seed")
    add_cluster_option(parser)
    add_network_options(parser)
    return parser


if __name__ == "__main__":
    run(main)
