"""``python -m catpref.predict DIR/model IMAGES…``: rank new images, or predict the choice between pairs of them."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from catpref._io.outputs import output_file
from catpref.command_line import Parser, add_network_options, run, warn_on_terminal
from catpref.learning import load


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    parser = Parser(
        "python -m catpref.predict",
        "Rank images by the utility that a fitted model predicts, or predict the choice between pairs of images.",
        "python -m catpref.predict sessions/p01/session_fit/model new_cats/ --out ranking.csv",
    )
    parser.add_argument(
        "model", type=Path, metavar="DIR/model", help="the folder model/ that catpref.fit wrote"
    )
    parser.add_argument(
        "images", nargs="*", type=Path, metavar="IMAGES", help="images, or folders of images, to rank"
    )
    parser.add_argument("--pairs", type=Path, metavar="pairs.csv", help="columns left_image, right_image")
    parser.add_argument("--stimuli", help="folder that the paths in --pairs start from")
    parser.add_argument("--strict", help="refuse --pairs with a row that cannot be used, not leave it out")
    parser.add_argument(
        "--columns", metavar="left=COL,right=COL|FILE.toml",
        help="what the columns of --pairs are (default: as recognised)",
    )  # fmt: skip
    parser.add_argument(
        "--participant", metavar="CODE",
        help="whose taste, of several (default: the column participant of --pairs, else the shared one)",
    )  # fmt: skip
    parser.add_argument(
        "--no-crop", dest="crop", action="store_false",
        help="take photographs as they are, even if the model's stimuli were cropped around the face",
    )  # fmt: skip
    parser.add_argument("--out", metavar="FILE", help="where to write (default: to the terminal)")
    parser.add_argument(
        "--backbone", type=Path, metavar="FILE",
        help="the checkpoint or network that the model was fitted with, where the model does not hold it",
    )  # fmt: skip
    parser.add_argument("--weights")
    add_network_options(parser)
    options = parser.parse_args(arguments)
    if bool(options.images) == (options.pairs is not None):
        parser.error("give either images to rank or --pairs")
    for name in ("stimuli", "columns", "strict"):
        if getattr(options, name) and options.pairs is None:
            parser.error(f"--{name} goes with --pairs")

    warn_on_terminal()
    if options.out is None:
        print(_table(options).to_csv(index=False, lineterminator="\n"), end="")
        return
    with output_file(options.out, "table of predictions") as file:
        file.write_text(
            _table(options).to_csv(index=False, lineterminator="\n"), encoding="utf-8", newline="\n"
        )
    print(options.out)


def _table(options: argparse.Namespace) -> pd.DataFrame:
    networks = {name: getattr(options, name) for name in ("backbone", "weights", "device", "cache")}
    taste = load(options.model, **networks)
    if options.images:
        return taste.rank(options.images, options.participant, options.crop)
    return taste.predict(
        options.pairs,
        options.stimuli,
        options.participant,
        columns=options.columns,
        strict=options.strict,
        crop=options.crop,
    )


if __name__ == "__main__":
    run(main)
