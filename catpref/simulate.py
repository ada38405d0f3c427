"""Simulate an observer who answers a trial list (``python -m catpref.simulate``).

Beside ``NAME.csv`` it writes ``NAME.json`` (the stimulus folder, and that the session was simulated) and the
truth: ``NAME_truth.json`` (the observer) and ``NAME_utilities.csv`` (the utility of every image of the set).
"""

import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from catpref._io.outputs import output_files
from catpref.command_line import Parser, run
from catpref.design.simulated_observers import (
    NOISE,
    SimulatedObserver,
    draw_weights,
    read_parameters,
    simulate_session,
    utilities,
)
from catpref.design.trial_list import read_trial_list
from catpref.errors import BadInput
from catpref.version import __version__


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    parser = Parser(
        "python -m catpref.simulate",
        "Answer a trial list as a participant whose taste is known, and write that taste beside the session.",
        "python -m catpref.simulate trials.csv --stimuli stimuli/faces --out data/session.csv --seed 1",
    )
    parser.add_argument("trials", type=Path, help="a trial list, from python -m catpref.trials")
    parser.add_argument("--stimuli", required=True, help="a rendered stimulus set")
    parser.add_argument("--out", required=True, metavar="CSV", help="the session to write")
    parser.add_argument("--seed", help="draws taste and noise (default: 0)")
    for name, default, metavar, what in (
        ("--noise", NOISE, "X", "scale of the Gumbel noise"),
        ("--side-bias", 0.0, "X", "added to the log odds of right"),
        ("--lapse", 0.0, "P", "probability of a blind guess"),
    ):
        described = f"{what} (default: {default:g})"
        parser.add_argument(name, type=float, default=default, metavar=metavar, help=described)
    options = parser.parse_args(arguments)
    out: Path = options.out
    if out.suffix.lower() != ".csv":
        raise BadInput(f"{out}: --out must end in .csv")
    names = (f"{out.stem}.json", f"{out.stem}_truth.json", f"{out.stem}_utilities.csv", out.name)
    # The session comes last: as long as it is not there, the others mean nothing.
    with output_files("simulated session", *map(out.with_name, names)) as (about, truth, of_images, file):
        weights = draw_weights(options.seed)
        values = utilities(read_parameters(options.stimuli), weights)
        observer = SimulatedObserver(values, options.noise, options.side_bias, options.lapse)
        trials = read_trial_list(options.trials, options.stimuli)
        session = simulate_session(observer, trials, f"simulated-{options.seed}", options.seed)
        real = session[session["catch"] == ""]
        ceiling = observer.noise_ceiling(real["left_image"], real["right_image"])
        versions = {"catpref": __version__, "numpy": np.__version__, "python": platform.python_version()}
        _write_json(about, {
            "stimuli": str(options.stimuli.resolve()),
            "simulated": True,
            "seed": options.seed,
            "noise_ceiling": ceiling,
            "versions": versions,
        })  # fmt: skip
        _write_json(truth, {
            "weights": weights,
            "noise": observer.noise,
            "side_bias": observer.side_bias,
            "lapse": observer.lapse,
            "noise_ceiling": ceiling,
        })  # fmt: skip
        _write_csv(of_images, pd.DataFrame(values.items(), columns=pd.Index(["image", "utility"])))
        _write_csv(file, session)
    print(f"{out}: {len(session)} trials, noise ceiling {ceiling:.3f}")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    table.to_csv(path, index=False, lineterminator="\n")


if __name__ == "__main__":
    run(main)
