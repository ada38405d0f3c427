"""``python -m catpref.fit session.csv``: learn one person's taste from a session, and report how well."""

import dataclasses
import json
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from catpref import __version__
from catpref._io.devices import DEVICES, choose_device
from catpref._io.outputs import output_folder
from catpref.command_line import Parser, add_cache_options, log_to_terminal, non_negative, positive, run
from catpref.errors import BadInput
from catpref.evaluation.analysis import DEFAULT_MODELS, MODELS, Analysis, Options, Result, analyse
from catpref.models import store
from catpref.perception.backbones import DEFAULT, NAMES, load_backbone
from catpref.perception.embeddings import SIZE
from catpref.report import page
from catpref.sessions.session import read_sessions

_METRICS = "metrics.json"


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
        choices=MODELS,
        default=list(DEFAULT_MODELS),
        metavar="NAME",
        help=(f"which models to fit: {', '.join(MODELS)} (default: {' '.join(DEFAULT_MODELS)})"),
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

    started = time.perf_counter()
    first = options.sessions[0]
    out = options.out or first.parent / f"{first.stem}_fit"
    with output_folder(out, "fit", reads=options.sessions) as folder:
        session = read_sessions(options.sessions, options.stimuli)
        if session.stimuli.resolve().is_relative_to(out.resolve()):
            raise BadInput(
                f"{out}: would be replaced whole, and {session.stimuli} is in it; choose another --out"
            )
        device = choose_device(options.device)
        settings = Options(
            models=options.model,
            embedding=options.embedding,
            map_size=options.map_size,
            split=options.split,
            folds=options.folds,
            seed=options.seed,
            device=device,
            cache=options.cache_dir,
        )
        analysis = analyse(session, load_backbone(options.backbone, options.weights, device), settings)
        page.write(analysis, folder)
        store.save(analysis, folder / "model")
        analysis.predictions.to_csv(folder / "predictions.csv", index=False)
        analysis.ranking.to_csv(folder / "ranking.csv", index=False)
        metrics = _metrics(analysis, time.perf_counter() - started)
        (folder / _METRICS).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    print(page.text_table(analysis))
    print(f"report: {out / 'page.html'}")


def _metrics(analysis: Analysis, total_seconds: float) -> dict[str, Any]:
    session, settings = analysis.session, analysis.settings
    return {
        "schema_version": 1,
        "data": {
            "trials": len(session.trials),
            "images": len(session.images),
            "participants": session.participants,
            "choice_right": float(session.trials["choice"].to_numpy().mean()),
            "excluded": session.excluded,
            "catch": None if session.catch is None else session.catch._asdict(),
        },
        "noise_ceiling": dataclasses.asdict(analysis.noise_ceiling),
        "embedding": {
            "backbone": analysis.backbone.name,
            "weights_sha256": analysis.backbone.weights_sha256,
            "size": SIZE,
        },
        "results": [_entry(result, settings.split) for result in analysis.results],
        "baselines": {result.model: _entry(result, settings.split) for result in analysis.baselines},
        "observer": None if analysis.observer is None else dataclasses.asdict(analysis.observer),
        "learning_curve": None
        if analysis.learning_curve is None
        else {"model": "utility", **dataclasses.asdict(analysis.learning_curve)},
        "seconds": {
            "embed": analysis.embed_seconds,
            "fit": analysis.fit_seconds,
            "total": total_seconds,
        },
        "versions": {
            "catpref": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "lpips", "numpy", "scipy", "scikit-learn", "choix")},
        },
        "seed": settings.seed,
    }


def _entry(result: Result, split: str) -> dict[str, Any]:
    return {
        "model": result.model,
        "embedding": result.embedding,
        "split": split,
        "n_train": result.n_train,
        "n_test": result.n_test,
        "repeats": result.repeats,
        **dataclasses.asdict(result.scores),
        "fit_seconds": result.fit_seconds,
    }


if __name__ == "__main__":
    run(main)
