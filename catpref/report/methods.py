"""A methods paragraph with every number filled in, ready to paste; what is unknown is left out."""

from importlib.metadata import version

import pandas as pd

from catpref.evaluation.analysis import Analysis
from catpref.evaluation.attribution import HALVINGS
from catpref.evaluation.cross_validation import scores_of, tests_of
from catpref.evaluation.people import Observers
from catpref.evaluation.sampling import PERMUTATIONS
from catpref.models.registry import MODELS
from catpref.perception.embeddings import GRIDS, SIZE, has_late_stages
from catpref.perception.late_stages import NETWORKS
from catpref.report.sentences import (
    ceiling_caveat,
    failed,
    is_evaluated,
    is_vague,
    no_preference,
    of_adaptive,
)
from catpref.version import __version__

_EXPLAINED = {
    "utility": "a utility that is linear in the embedding, plus an effect of each image that the embedding does not "
    "carry; their variances were chosen by marginal likelihood, and P(right) is a logistic function of the utility "
    "difference and a side bias",
    "shared_and_personal": "for each participant a utility that all share plus a departure of their own, both "
    "Gaussian processes over the embedding with an effect of each image; the variances of what is shared, of the "
    "departures and of the side biases were chosen by marginal likelihood (Rasmussen & Williams 2006; Birlutiu et "
    "al. 2010), and P(right) is a logistic function of the utility difference and a side bias",
}
_TRAINED = {
    "squeeze-caffe": "SqueezeNet v1.1 trained on ImageNet, with Caffe's weights; ",
    "squeeze": "SqueezeNet v1.1 trained on ImageNet; ",
    "alex": "AlexNet trained on ImageNet; ",
    "vgg": "VGG-16 trained on ImageNet; ",
}
"""What a backbone is; one of the user's own is known by its weights."""

_OF_SEVERAL = (
    "Birlutiu, Groot & Heskes (2010), Neurocomputing 73; "
    "Hönekopp (2006), Journal of Experimental Psychology: Human Perception and Performance 32; "
    "Aronow, Samii & Assenova (2015), Political Analysis 23; "
    "Rasmussen & Williams (2006), Gaussian Processes for Machine Learning"
)
_REFERENCES = (
    "Bates, Hastie & Tibshirani (2024), Journal of the American Statistical Association 119; "
    "Holm (1979), Scandinavian Journal of Statistics 6; "
    "Schütt, Harmeling, Macke & Wichmann (2016), Vision Research 122"
)


def paragraph(analysis: Analysis) -> str:
    """Return how the session was recorded, modelled and evaluated, and what came of it."""
    evaluated = (_evaluated, _found) if is_evaluated(analysis) else (_not_evaluated,)
    sections = (_recorded, _modelled, *evaluated, _observer, _versions)
    return " ".join(sentence for section in sections for sentence in section(analysis))


def _recorded(analysis: Analysis) -> list[str]:
    session = analysis.session
    trials, people = session.trials, session.participants
    designs = set(trials["design"].dropna()) if "design" in trials else set()
    design = f" ({next(iter(designs))} design)" if len(designs) == 1 else ""
    by = "" if people is None else f" by {people} participant{'s' * (people != 1)}"
    pairs = {frozenset(pair) for pair in zip(trials["left_image"], trials["right_image"], strict=True)}
    repeated = len(trials) - len(pairs)
    found = [
        f"In two-alternative forced-choice trials, one of two images was chosen{by}: {len(trials)} answered trials "
        f"of {len(session.images)} images{design}."
    ]
    if repeated:
        found.append(f"{repeated} of the trials repeated a pair.")
    if session.catch is not None:
        found.append(f"{session.catch.passed} of {session.catch.trials} catch trials were passed.")
    ties = no_preference(session)
    if ties is not None:
        found.append(ties)
    if session.excluded:
        found.append(f"{session.excluded} trials without a usable answer were left out.")
    if analysis.reaction_times is not None and analysis.reaction_times.warning is None:
        times = analysis.reaction_times
        low, high = times.quartiles
        found.append(
            f"The median reaction time was {times.median:.2f} s (quartiles {low:.2f} and {high:.2f} s)."
        )
    return found


def _modelled(analysis: Analysis) -> list[str]:
    first = analysis.results[0]
    explained = _EXPLAINED.get(first.model)
    found = []
    if first.embedding is not None:
        found.append(
            f"The model read {_what(first.embedding)} of the network {analysis.backbone} "
            f"({_TRAINED.get(analysis.backbone, '')}weights: sha256 {analysis.weights_sha256[:12]}), computed from "
            f"images of {SIZE} × {SIZE} pixels."
        )
        if has_late_stages(first.embedding):
            networks = " and ".join(f"{each.name} ({each.size} × {each.size} pixels)" for each in NETWORKS)
            found.append(
                "With them it read the last three stages and the head of two image classifiers trained on ImageNet, "
                f"{networks}, averaged over the image."
            )
    found.append(f"Model: {MODELS[first.model].title}{'' if explained is None else ', ' + explained}.")
    return found


def _what(embedding: str) -> str:
    """Return what an embedding is of a network, for readers who do not know its name."""
    if embedding not in GRIDS:
        return embedding
    cells = GRIDS[embedding]
    where = (
        "averaged over the image" if cells == 1 else f"averaged over the cells of a grid of {cells} × {cells}"
    )
    return f"the features of every layer, {where} (embedding {embedding}),"


def _evaluated(analysis: Analysis) -> list[str]:
    first, options = analysis.results[0], analysis.options
    times = f", repeated {first.repeats} times with other folds" if first.repeats > 1 else ""
    held_out = {
        "images": "no image of a test trial was in a training trial",
        "trials": "test trials showed images that were in training trials, too",
    }[options.split]
    drawn = (
        "simulated observers, cross-validated with the same folds (Bates et al. 2024)"
        if analysis.observers is None
        else "how hits that share a participant or an image vary together (Aronow et al. 2015)"
    )
    found = [
        f"It was cross-validated in {options.folds} folds{times}; {held_out} (on average {first.n_train} training "
        f"trials, {first.n_test} trials held out). Accuracy is that of taste alone, with the side bias set aside; "
        f"its interval is from {drawn}."
    ]
    adaptive = of_adaptive(analysis)
    found += [adaptive] if adaptive else []
    if scores_of(first).p_value is not None:
        found.append(
            f"The p-value is from {PERMUTATIONS} permutations of the images, with ridge regression refitted to each."
        )
    return found


def _not_evaluated(analysis: Analysis) -> list[str]:
    return [of_adaptive(analysis)]


def _found(analysis: Analysis) -> list[str]:
    scores, ceiling = scores_of(analysis.results[0]), analysis.taste_ceiling
    found = [
        f"Accuracy on held-out trials was {_percent(scores.accuracy, scores.accuracy_ci95)}; chance is 50%"
        f"{_p_value(analysis)}."
    ]
    if ceiling.accuracy is not None:
        found.append(
            f"The noise ceiling, with the side bias set aside, is {_percent(ceiling.accuracy, ceiling.ci95)}"
            f"{ceiling_caveat(analysis)}."
        )
    line = scores.calibration
    if line.slope is not None and line.intercept is not None:
        found.append(
            f"Calibration of taste, beside the side bias: slope {_number(line.slope, line.slope_ci95)}, "
            f"intercept {_number(line.intercept, line.intercept_ci95)}."
        )
    if analysis.has_map:
        found.append(
            "What each region of the image adds to the utilities was learned from two halves of the session that "
            f"share no image; they agreed at r = {analysis.map_agreement:.2f} (Spearman–Brown corrected, mean of "
            f"{HALVINGS} halvings)."
        )
    return found


def _p_value(analysis: Analysis) -> str:
    scores = scores_of(analysis.results[0])
    if scores.p_value is None:
        return ""
    tested = len(tests_of([*analysis.results, *analysis.baselines]))
    corrected = f" ({scores.p_value_corrected:.3f} if corrected for {tested} tests, Holm 1979)"
    return f"; p = {scores.p_value:.3f}{corrected if tested > 1 else ''}"


def _observer(analysis: Analysis) -> list[str]:
    seen, several = analysis.observer, analysis.observers
    if several is not None:
        return _participants(several)
    if seen is None:
        return []
    bias = f"The side bias was {_number(seen.side_bias, seen.side_bias_ci95)} logits (positive: right),"
    low, high = seen.lapse_ci95
    lapse = (
        f"not known better than {100 * low:.1f} to {100 * high:.1f}%"
        if is_vague(seen.lapse_ci95)
        else _percent(seen.lapse, seen.lapse_ci95)
    )
    return [
        f"{f'{bias} the lapse rate' if analysis.sides_known else 'Sides were not recorded. The lapse rate was'} "
        f"{lapse}, from one psychometric model of all trials (Schütt et al. 2016).",
        *(check.finding for check in failed(analysis)),
    ]


def _participants(several: Observers) -> list[str]:
    fraction, (low, high) = several.shared_fraction, several.shared_fraction_ci95
    table = several.table
    return [
        f"Of the variance of utilities, {_percent(fraction, (low, high))} was shared by the {len(table)} "
        f"participants, a beholder index of {_number(1 - fraction, (1 - high, 1 - low))} (Hönekopp 2006), with "
        "intervals from the curvature of the marginal likelihood. The utilities of two participants correlated at "
        f"r = {several.agreement:.2f} on average, the uncertainty of both taken into account.",
        *_accuracies(table),
    ]


def _accuracies(table: pd.DataFrame) -> list[str]:
    if not table["held_out"].to_numpy().any():
        return []
    return [
        f"With each participant's own trials alone, the mean of participants' accuracies was "
        f"{100 * table['accuracy_alone'].mean():.1f}%; with the shared taste alone, "
        f"{100 * table['accuracy_shared'].mean():.1f}%; with both, {100 * table['accuracy_together'].mean():.1f}%.",
    ]


def _versions(analysis: Analysis) -> list[str]:
    names = ("torch", "numpy", "scipy", "scikit-learn", "choix")
    used = ", ".join(f"{name} {version(name)}" for name in names)
    references = _REFERENCES if analysis.observers is None else _OF_SEVERAL
    return [
        f"Software: catpref {__version__} ({used}), seed {analysis.options.seed}. References: {references}."
    ]


def _number(number: float, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return f"{number:.2f}"
    return f"{number:.2f} (95% interval {interval[0]:.2f} to {interval[1]:.2f})"


def _percent(fraction: float, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return f"{100 * fraction:.1f}%"
    return f"{100 * fraction:.1f}% (95% interval {100 * interval[0]:.1f} to {100 * interval[1]:.1f}%)"
