"""The study of 2021, run again to the letter, with the controls that show why its experiments failed.

``python -m experiments.study --simulate DIR`` lets a simulated observer answer the study's lists;
``python -m experiments.study session.csv`` takes a person's answers.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from catpref._io.cluster import connected
from catpref._io.devices import choose_device
from catpref._io.outputs import output_folder
from catpref.command_line import Parser, add_cluster_option, add_network_options, log_to_terminal, positive
from catpref.design.designs import make_trials
from catpref.design.simulated_observers import SimulatedObserver, draw_weights, read_parameters, utilities
from catpref.design.trial_list import FULL, RANDOM
from catpref.errors import BadInput
from catpref.models import study_cnn
from catpref.perception.backbones import load_backbone
from catpref.replication import page
from catpref.replication.results import Answers
from catpref.replication.runs import repeat_study
from catpref.sessions.session import check_both_sides_chosen, read_sessions
from catpref.stimuli.images import find_images

_MAP_SIZE = 48
_FULL_IMAGES = 50
_RANDOM_TRIALS = 1000, 2000
_LEAST_IMAGES = 20
_LEAST_TRIALS = 40


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    parser = Parser(
        "python -m experiments.study",
        "Repeat the experiments of 2021 with the study's network, and show what they can and cannot find.",
        "python -m catpref.stimuli render --n 4000 --seed 1 stimuli/drawn\n"
        "  python -m experiments.study --simulate stimuli/drawn --out study",
    )
    parser.add_argument("sessions", nargs="*", help="one person's choices; all are pooled")
    parser.add_argument("--stimuli")
    parser.add_argument("--strict")
    parser.add_argument(
        "--simulate", type=Path, metavar="DIR",
        help="instead of a session: a rendered stimulus set, whose faces a simulated observer judges",
    )  # fmt: skip
    parser.add_argument("--out", default=Path("study"), help="where to write (default: study)")
    parser.add_argument(
        "--map-size", type=positive, default=_MAP_SIZE, metavar="N",
        help="side of the distance maps in pixels; the study's was 512 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--seed")
    add_cluster_option(parser)
    add_network_options(parser)
    options = parser.parse_args(arguments)
    if bool(options.sessions) == (options.simulate is not None):
        parser.error("give either a session or --simulate DIR")
    if options.map_size not in study_cnn.SIZES:
        raise study_cnn.bad_size(options.map_size)
    if options.cluster is None:
        logging.getLogger("catpref").setLevel(logging.WARNING)
    else:
        log_to_terminal()  # which workers there are
    with output_folder(options.out, "study", reads=options.sessions) as folder:
        started = time.perf_counter()
        if options.simulate is None:
            answered = [_read(options.sessions, options.stimuli, options.strict)]
        else:
            answered = _simulate(options.simulate, options.seed)
        device = choose_device(options.device)
        backbone = load_backbone(device=device)
        with nullcontext() if options.cluster is None else connected(options.cluster) as engine:
            study = repeat_study(
                answered, backbone, options.map_size, options.seed, device, options.cache, engine
            )
        page.write(study, folder, time.perf_counter() - started)
    print(page.text_table(study))
    print(f"report: {options.out / 'report.html'}")


def _read(paths: Sequence[Path], stimuli: Path | None, strict: bool) -> Answers:
    session = read_sessions(paths, stimuli, strict=strict)
    check_both_sides_chosen(session)
    if not session.has_preference.all():
        raise BadInput(f"{paths[0]}: has trials without a preference, and the study had none; leave them out")
    images = session.images
    pairs = session.pairs
    if len(pairs) < _LEAST_TRIALS:
        raise BadInput(f"{paths[0]}: {len(pairs)} answered trials; the study takes at least {_LEAST_TRIALS}")
    design = "session"
    if len(images) == 2 * len(pairs):
        design = RANDOM
    elif 2 * len(pairs) >= len(images) * (len(images) - 1):
        design = FULL
    paths = [session.stimuli / image for image in images]
    return Answers(design, paths, pairs, session.trials["choice"].to_numpy(), None)


def _simulate(folder: Path, seed: int) -> list[Answers]:
    """Answer the study's lists, as far as the set has images for them; the fully-sampled one comes last."""
    values = utilities(read_parameters(folder), draw_weights(seed))
    observer = SimulatedObserver(values)
    names = find_images(folder)
    if len(names) < _LEAST_IMAGES:
        raise BadInput(
            f"{folder}: holds {len(names)} images; the study takes {_LEAST_IMAGES} at least, render more"
        )
    random = np.random.default_rng(seed)
    order = [names[index] for index in random.permutation(len(names))]
    lists = [(RANDOM, 2 * trials) for trials in _RANDOM_TRIALS if 2 * trials <= len(order)]
    answered = []
    for design, images in [*lists, (FULL, min(_FULL_IMAGES, len(order)))]:
        trials = make_trials(design, order[:images], seed=random)
        left, right = [trial.left_image for trial in trials], [trial.right_image for trial in trials]
        shown = sorted({*left, *right})
        answered.append(Answers(
            design,
            [folder / name for name in shown],
            np.column_stack([np.searchsorted(shown, left), np.searchsorted(shown, right)]),
            observer.choose(left, right, random),
            observer.noise_ceiling(left, right),
        ))  # fmt: skip
    return answered
