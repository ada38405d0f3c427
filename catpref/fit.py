"""``python -m catpref.fit session.csv``: learn one person's taste from a session, and report how well."""

from collections.abc import Sequence
from pathlib import Path

from catpref._io.devices import DEVICES
from catpref._io.outputs import output_folder
from catpref.command_line import Parser, add_cache_options, log_to_terminal, non_negative, positive, run
from catpref.errors import BadInput
from catpref.models import registry
from catpref.perception.backbones import DEFAULT, NAMES
from catpref.report import page
from catpref.sessions.session import read_sessions
from catpref.taste import learn


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    parser = Parser(
        "python -m catpref.fit",
        "Learn a person's taste from their 2AFC choices, and report how well it predicts choices never seen.",
        "python -m catpref.fit sessions/p01/session.csv --stimuli stimuli/cats",
    )
    parser.add_argument(
        "sessions", nargs="+", type=Path, metavar="session.csv", help="the choices; all are pooled"
    )
    parser.add_argument("--stimuli", type=Path, metavar="DIR", help="folder that the image paths start from")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where to write (default: session_fit/ beside it)"
    )
    parser.add_argument(
        "--model",
        nargs="+",
        choices=registry.choosable(),
        default=list(registry.DEFAULT),
        metavar="NAME",
        help=(
            f"which models to fit: {', '.join(registry.choosable())} (default: {' '.join(registry.DEFAULT)})"
        ),
    )
    parser.add_argument(
        "--backbone",
        default=DEFAULT,
        metavar="NAME|FILE",
        help=(f"network: {', '.join(NAMES)}, a checkpoint, or your own network's JSON (default: {DEFAULT})"),
    )
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="read an official backbone's weights from here"
    )
    parser.add_argument(
        "--embedding",
        metavar="NAME",
        help=(
            "grid8 (default), grid4 or global for utility and siamese_cnn; "
            "mean-map (default) or layer-1-map … for study_cnn"
        ),
    )
    parser.add_argument(
        "--map-size",
        type=positive,
        metavar="N",
        help=(
            "side of the network's distance maps in pixels; the study's was 512 (default: what time allows)"
        ),
    )
    parser.add_argument(
        "--split",
        choices=("images", "trials"),
        default="images",
        help=("hold out images never trained on (default), or trials of known images"),
    )
    parser.add_argument(
        "--folds", type=positive, default=5, metavar="K", help="of cross-validation (default: 5)"
    )
    parser.add_argument(
        "--seed", type=non_negative, default=0, metavar="N", help="of every random draw (default: 0)"
    )
    parser.add_argument(
        "--device", choices=DEVICES, default="auto", help="where networks run (default: auto)"
    )
    add_cache_options(parser)
    options = parser.parse_args(arguments)
    log_to_terminal()

    first = options.sessions[0]
    out = options.out or first.parent / f"{first.stem}_fit"
    with output_folder(out, "fit", reads=options.sessions) as folder:
        session = read_sessions(options.sessions, options.stimuli)
        if session.stimuli.resolve().is_relative_to(out.resolve()):
            raise BadInput(
                f"{out}: would be replaced whole, and {session.stimuli} is in it; choose another --out"
            )
        taste = learn(
            session,
            model=options.model,
            backbone=options.backbone,
            weights=options.weights,
            embedding=options.embedding,
            map_size=options.map_size,
            split=options.split,
            folds=options.folds,
            seed=options.seed,
            device=options.device,
            cache=options.cache_dir,
        )
        taste.write(folder)
    print(taste)
    print(f"report: {out / page.REPORT}")


if __name__ == "__main__":
    run(main)
