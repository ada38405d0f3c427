"""``python -m catpref.plan``: how many trials, images and people a study needs, by simulating studies."""

import logging
import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from catpref._io.cluster import connected
from catpref._io.engines import Processes
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
from catpref.plans import grid, page, summary
from catpref.plans.grid import DESIGNS, Grid
from catpref.plans.observers import usual_habits
from catpref.plans.page import Plan
from catpref.plans.pilot import habits_like
from catpref.plans.studies import Setting
from catpref.plans.world import FEWEST_IMAGES, World, drawn_cats, world_of
from catpref.sessions.columns import asked
from catpref.sessions.session import Session, read_sessions
from catpref.stimuli.images import find_images

_LOG = logging.getLogger("catpref.plan")  # not __main__, which nobody listens to
_TRIALS, _PEOPLE, _STUDIES = (50, 100, 200, 400), (1, 10, 20), 40
_QUICK_PEOPLE, _QUICK_STUDIES = (1,), 12


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = _parser().parse_args(arguments)
    for name, number in (("gain", options.gain), ("confidence", options.confidence)):
        if not 0 < number < 1:
            raise BadInput(f"{name}={number:g}: must be between 0 and 1")
    if options.studies is not None and options.studies < 2:
        raise BadInput(f"studies={options.studies}: at least 2 are needed to know how much studies differ")
    said = asked(options.columns, options.choices)
    log_to_terminal()
    with output_folder(options.out, "plan", reads=options.like or []) as folder:
        pilot = read_sessions(options.like, options.stimuli, said) if options.like else None
        world = _world(options, pilot)
        habits = usual_habits(world.blocks)
        if pilot is not None:
            habits = habits_like(pilot, options.device, options.cache)
        asked_for = Grid(
            options.design or (DESIGNS[:2] if options.quick else DESIGNS),
            options.trials,
            options.images or (),
            options.people or (_QUICK_PEOPLE if options.quick else _PEOPLE),
            options.noise,
        )
        cells, left_out = grid.cells_of(asked_for, world)
        studies = options.studies or (_QUICK_STUDIES if options.quick else _STUDIES)
        setting = Setting(world, habits, options.seed)
        if options.cluster is None:
            found = grid.run(cells, setting, studies, Processes(os.cpu_count() or 1), options.cache)
        else:
            with connected(options.cluster) as cluster:
                found = grid.run(cells, setting, studies, cluster, options.cache)
        expected, table = summary.table(found, options.confidence)
        plan = Plan(expected, table, setting, pilot is not None, options.gain, options.confidence, left_out)
        page.write(plan, folder)
    print(page.text_table(plan))
    print(f"page: {options.out / page.PAGE}")


def _world(options: Namespace, pilot: Session | None) -> World:
    """Return the images that simulated people see: those asked for, the pilot's, or drawn cats."""
    stimuli = options.stimuli
    if stimuli is None and pilot is not None:
        if (few := len(find_images(pilot.stimuli))) >= FEWEST_IMAGES:
            stimuli = pilot.stimuli
        else:
            _LOG.info(
                "%s: holds %d images, and a plan takes at least %d; drawn cats are taken in their place",
                pilot.stimuli, few, FEWEST_IMAGES,
            )  # fmt: skip
    return drawn_cats() if stimuli is None else world_of(stimuli, options.device, options.cache)


def _parser() -> Parser:
    parser = Parser(
        "python -m catpref.plan",
        "Simulate studies, and say how many trials, images and people are enough.",
        "python -m catpref.plan --people 20 --trials 100 250 500",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"one person, {_QUICK_STUDIES} studies of each design: some minutes",
    )
    parser.add_argument(
        "--design", nargs="+", choices=DESIGNS, metavar="NAME",
        help=f"{', '.join(DESIGNS)} (default: all; with --quick the first two)",
    )  # fmt: skip
    parser.add_argument(
        "--trials", nargs="+", type=positive, default=list(_TRIALS), metavar="N",
        help=f"of each person (default: {' '.join(map(str, _TRIALS))})",
    )  # fmt: skip
    parser.add_argument(
        "--images", nargs="+", type=positive, metavar="N",
        help="of fully-sampled designs; fewer trials than pairs are a balanced subset (default: all pairs are shown)",
    )  # fmt: skip
    parser.add_argument(
        "--people", nargs="+", type=positive, metavar="N", help=f"(default: {' '.join(map(str, _PEOPLE))})"
    )
    parser.add_argument(
        "--noise", nargs="+", type=float, default=[1.0], metavar="X",
        help="how much less than usual, or than in the pilot, a difference is worth (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--like", nargs="+", type=Path, metavar="session.csv",
        help="a pilot: noise, lapses, shared taste and stimulus set are as in it",
    )  # fmt: skip
    parser.add_argument("--columns")
    parser.add_argument("--choices")
    parser.add_argument("--stimuli", help="the stimulus set (default: the pilot's, else drawn cats)")
    parser.add_argument(
        "--studies", type=positive, metavar="N", help=f"simulated of each design (default: {_STUDIES})"
    )
    parser.add_argument(
        "--gain", type=float, default=0.8, metavar="P",
        help="part of what can be gained that is wanted (default: 0.8)",
    )  # fmt: skip
    parser.add_argument(
        "--confidence", type=float, default=0.95, metavar="P",
        help="with which a study is to reach it (default: 0.95)",
    )  # fmt: skip
    parser.add_argument("--out", default=Path("plan"), help="where to write (default: plan)")
    parser.add_argument("--seed")
    add_cluster_option(parser)
    add_network_options(parser)
    return parser


if __name__ == "__main__":
    run(main)
