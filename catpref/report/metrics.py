"""The numbers of a fit, for programs."""

import dataclasses
import platform
from importlib.metadata import version
from typing import Any

from catpref.evaluation.analysis import Analysis
from catpref.evaluation.cross_validation import Result
from catpref.evaluation.scores import Scores
from catpref.perception.embeddings import SIZE
from catpref.sessions.chosen_by import ADAPTIVE, RANDOM
from catpref.sessions.session import Session
from catpref.version import __version__


def metrics_of(analysis: Analysis, total_seconds: float) -> dict[str, Any]:
    """Return what ``metrics.json`` says; unknown is None."""
    session, options = analysis.session, analysis.options
    return {
        "schema_version": 1,
        "data": {
            "trials": len(session.trials),
            "images": len(session.images),
            "participants": session.participants,
            "choice_right": session.choice_right,
            **(
                {}
                if session.has_preference.all()
                else {"no_preference": int((~session.has_preference).sum())}
            ),
            **_chosen_by(session),
            "excluded": session.excluded,
            "duplicates": analysis.pictures.duplicates,
            "catch": None if session.catch is None else session.catch._asdict(),
        },
        "noise_ceiling": dataclasses.asdict(analysis.noise_ceiling),
        "taste_ceiling": dataclasses.asdict(analysis.taste_ceiling),
        "embedding": {
            "backbone": analysis.backbone,
            "weights_sha256": analysis.weights_sha256,
            "size": SIZE,
        },
        "results": [_entry(result, analysis) for result in analysis.results],
        "baselines": {result.model: _entry(result, analysis) for result in analysis.baselines},
        "better_than_chance": analysis.better_than_chance,
        **_observers(analysis),
        "choice_model": {
            check.name: {name: value for name, value in dataclasses.asdict(check).items() if name != "name"}
            for check in analysis.choice_model
        },
        "reaction_times": None
        if analysis.reaction_times is None
        else dataclasses.asdict(analysis.reaction_times),
        "learning_curve": None
        if analysis.learning_curve is None
        else {"model": "utility", **dataclasses.asdict(analysis.learning_curve)},
        "map_agreement": analysis.map_agreement,
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
        "seed": options.seed,
    }


def _chosen_by(session: Session) -> dict[str, Any]:
    """Return how many pairs of adaptive sessions were chosen in each way; nothing of other sessions."""
    how = session.chosen_by
    if how is None:
        return {}
    return {"chosen_by": {each: int((how == each).sum()) for each in (ADAPTIVE, RANDOM)}}


def _scores(scores: Scores | None) -> dict[str, Any]:
    """Return the scores; None of each where there are none."""
    if scores is None:
        return dict.fromkeys(field.name for field in dataclasses.fields(Scores))
    return dataclasses.asdict(scores)


def _observers(analysis: Analysis) -> dict[str, Any]:
    """Return how the observer answers, or what several share."""
    if analysis.observer is not None:
        seen = dataclasses.asdict(analysis.observer)
        if not analysis.sides_known:
            seen |= {"side_bias": None, "side_bias_ci95": None}
        return {
            "observer": {
                name: value
                for name, value in seen.items()
                if not name.startswith(("noise_ceiling", "taste_ceiling"))
            }
        }
    several = analysis.observers
    assert several is not None
    rows = several.table.astype(object).where(several.table.notna(), None)
    return {
        "observers": {
            "count": len(rows),
            "shared_variance": several.shared_fraction,
            "shared_variance_ci95": several.shared_fraction_ci95,
            "agreement": several.agreement,
            "per_observer": rows.to_dict("records"),
        }
    }


def _entry(result: Result, analysis: Analysis) -> dict[str, Any]:
    difference, difference_ci95 = analysis.differences.get(result.model, (None, None))
    return {
        "model": result.model,
        "embedding": result.embedding,
        "split": analysis.options.split,
        "n_train": result.n_train,
        "n_test": result.n_test,
        "repeats": result.repeats,
        **_scores(result.scores),
        "accuracy_minus_first": difference,
        "accuracy_minus_first_ci95": difference_ci95,
        "fit_seconds": result.fit_seconds,
    }
