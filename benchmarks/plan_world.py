"""Make the drawn cats that come with `catpref.plan` (``python -m benchmarks.plan_world``).

They are the first of those that `benchmarks.validity` draws, as the default backbone sees them, reduced.
"""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.validity import IMAGES
from benchmarks.validity_sessions import render_cats
from catpref._io.cache import default_folder
from catpref.command_line import Parser, run
from catpref.perception.backbones import DEFAULT as BACKBONE
from catpref.perception.backbones import load_backbone
from catpref.perception.embeddings import DEFAULT, blocks, embed
from catpref.plans import world

_SHOWN = 2150  # a session of 1000 random pairs, and new ones


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    parser = Parser(
        "python -m benchmarks.plan_world",
        "Draw cats, look at them through the default backbone, and keep a few numbers of each block.",
        "python -m benchmarks.plan_world --out stimuli/validity",
    )
    parser.add_argument(
        "--out", default=Path("stimuli/validity"), help="where faces are kept (default: %(default)s)"
    )
    folder, names = render_cats(parser.parse_args(arguments).out, IMAGES)
    backbone = load_backbone(BACKBONE)
    seen = embed([folder / name for name in names], backbone, DEFAULT, default_folder())[:_SHOWN]
    place = Path(world.__file__).with_name(world.SHIPPED)
    world.write_shipped(world.reduced(world.DRAWN_CATS, seen, blocks(backbone, DEFAULT)), place)
    print(f"{place}: {_SHOWN} images, {place.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    run(main)
