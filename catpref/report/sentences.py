"""What a fit comes to, in sentences: for the page, the terminal and notebooks alike."""

from collections.abc import Sequence

import numpy as np

from catpref.evaluation.analysis import Analysis
from catpref.evaluation.asked import Asked
from catpref.evaluation.attribution import RELIABLE
from catpref.evaluation.choice_model import Check
from catpref.evaluation.cross_validation import Result, scores_of
from catpref.evaluation.noise_ceiling import VAGUE, NoiseCeiling
from catpref.evaluation.reaction_times import ReactionTimes
from catpref.models.psychometric import PsychometricFit
from catpref.models.registry import MODELS
from catpref.sessions.chosen_by import ADAPTIVE, RANDOM
from catpref.sessions.session import Session

ADAPTIVE_IS_UNFAIR = (
    "Adaptive trials show pairs that were chosen for what their answers would teach, not at random: accuracy on them "
    "would be too low or too high to compare with other sessions, depending on the method that chose them."
)
"""Why nothing is judged on adaptive trials."""

BY_WINS = "bradley_terry"
"""The column of the ranking that says what images' wins alone do."""

_SIDES_UNKNOWN = "The session does not say on which side an image was, so that no side bias is estimated."
_OF_SIDES = "side bias drift"  # the check of a side bias that changes
_DRIFT = "drift"  # the check of a taste that changes
_TAKEN_FOR_NOISE = {  # by a ceiling of one lasting scale of utility, where a check of it failed
    _DRIFT: "the change of taste",
    "transitivity": "what no scale of utility describes",
    "deviance": "what no scale of utility describes",
}
_ENOUGH_HITS = 40  # of random trials, whose halves are compared
_FLAT = 0.01  # nats: a loss that changes by less from the first epoch to the last has not changed


def headline(analysis: Analysis) -> str:
    """Return the fit in a sentence: what taste predicts, the side bias set aside."""
    if not is_evaluated(analysis):
        return (
            f"Learned from {len(analysis.session.trials)} choices between {len(analysis.session.images)} images; how "
            "well it predicts others is not known"
        )
    predicts = (
        f"predicts {100 * scores_of(analysis.results[0]).accuracy:.0f}% of held-out choices (chance 50%"
    )
    if not analysis.better_than_chance:
        return f"Not shown to be better than chance: {predicts})"
    return f"{predicts[0].upper()}{predicts[1:]}{_beside(analysis)})"


def is_evaluated(analysis: Analysis) -> bool:
    """Return whether there were trials to judge models by."""
    return analysis.results[0].scores is not None


def _beside(analysis: Analysis) -> str:
    """Return the noise ceiling, where it is known better than the gain that it is compared to."""
    ceiling = ceiling_of_taste(analysis)
    if ceiling is None:
        return ""
    low, high = analysis.taste_ceiling.ci95 or (ceiling, ceiling)
    gain = abs(scores_of(analysis.results[0]).accuracy - 0.5)
    return f", noise ceiling {100 * ceiling:.0f}%" if high - low < gain else ""


def ceiling_of_taste(analysis: Analysis) -> float | None:
    """Return the noise ceiling that accuracies are compared to: with the side bias set aside, as it is from these.

    None where it is unknown, where there is no accuracy to compare to it, and where more than noise is taken for it.
    """
    if not is_evaluated(analysis) or ceiling_caveat(analysis):
        return None
    return analysis.taste_ceiling.accuracy


def _drifts(analysis: Analysis) -> bool:
    return any(check.name == _DRIFT for check in failed(analysis))


def _by_side_alone(analysis: Analysis) -> float:
    side = next(result for result in analysis.baselines if result.model == "majority_side")
    return scores_of(side).accuracy_with_side_bias


def remarks(analysis: Analysis) -> list[str]:
    """Return what a reader of the headline should know beside it, a sentence or two each."""
    first, ceiling = analysis.results[0].scores, analysis.taste_ceiling
    found = [analysis.pictures.sentence] if analysis.pictures.sentence else []
    seen = analysis.observer
    if not analysis.sides_known:
        found.append(_SIDES_UNKNOWN)
    elif seen is not None and prefers_a_side(analysis):
        found.append(_of_side_bias(analysis, seen))
    if first is None:
        return found
    if not analysis.better_than_chance:
        found += _of_chance(analysis)
    if ceiling.ci95 is not None and first.accuracy > ceiling.ci95[1] and not ceiling_caveat(analysis):
        found.append(
            "The model predicts more than the noise ceiling's interval allows. Something is wrong: the same image "
            "may be in training and test trials under several names, or answers may depend on each other."
        )
    return found


def prefers_a_side(analysis: Analysis) -> bool:
    """Return whether the observer was shown to have a side bias."""
    seen = analysis.observer
    if seen is None or not analysis.sides_known:
        return False
    low, high = seen.side_bias_ci95
    return not low <= 0 <= high


def failed(analysis: Analysis) -> list[Check]:
    """Return the checks of the model of choice that failed, a taste that changes first."""
    checks = [each for each in analysis.choice_model if analysis.sides_known or each.name != _OF_SIDES]
    return sorted((each for each in checks if each.failed), key=lambda each: each.name != _DRIFT)


def of_check(check: Check) -> str:
    """Return what a check found, and what to do."""
    said = " ".join(part for part in (check.finding, check.advice) if part is not None)
    return said.replace(" -", " −")


def of_observers(analysis: Analysis) -> str:
    """Return how the observer answers, or what several share, in a line."""
    seen, several = analysis.observer, analysis.observers
    if seen is not None:
        low, high = seen.lapse_ci95
        lapse = (
            f"lapse rate not known better than {low:.3f} to {high:.3f}"
            if is_vague(seen.lapse_ci95)
            else f"lapse rate {with_interval(seen.lapse, seen.lapse_ci95, '.3f')}"
        )
        if not analysis.sides_known:
            return lapse
        return (
            f"side bias {with_interval(seen.side_bias, seen.side_bias_ci95, '+z.2f')} logits to the right; "
            f"{lapse}"
        )
    assert several is not None
    low, high = several.shared_fraction_ci95
    return (
        f"{len(several.table)} participants: {100 * several.shared_fraction:.0f}% "
        f"({100 * low:.0f} to {100 * high:.0f}) of the variance of taste is shared; "
        f"two of them agree with r = {several.agreement:.2f}"
    )


def _of_side_bias(analysis: Analysis, seen: PsychometricFit) -> str:
    side = "right" if seen.side_bias > 0 else "left"
    prefers = f"The observer prefers the {side} side ({seen.side_bias:+.2f} logits)".replace("-", "−")
    if not is_evaluated(analysis):
        return f"{prefers}."
    with_bias = scores_of(analysis.results[0]).accuracy_with_side_bias
    ceiling = analysis.noise_ceiling.accuracy
    beside = "" if ceiling is None or ceiling_caveat(analysis) else f" (noise ceiling {100 * ceiling:.0f}%)"
    return (
        f"{prefers}, which is set aside in these figures. With the side bias, the model predicts "
        f"{100 * with_bias:.0f}% of choices{beside}; the side bias alone predicts "
        f"{100 * _by_side_alone(analysis):.0f}%."
    )


def _of_chance(analysis: Analysis) -> list[str]:
    scores = scores_of(analysis.results[0])
    found = []
    if scores.accuracy_ci95[0] > 0.5 and scores.p_value is not None:
        found.append(
            "Although its interval lies above 50%, this is not taken for evidence of a taste. The test is that of a "
            "ridge regression on the leading components of the embedding, which can be fitted again quickly: "
            f"with the images permuted, {100 * scores.p_value:.0f}% of its fits predict as many choices as it "
            f"does with each image in its place (p = {scores.p_value:.3f})."
        )
    if analysis.contributions is not None and analysis.observers is None:
        found.append(
            "No ranking by the model and no map of the image are shown, since they would show patterns where nothing "
            "was found."
        )
    return found


def of_map(analysis: Analysis) -> str:
    """Return whether the map of the image can be read: whether two halves of the session agree on it."""
    if analysis.map_agreement is None:
        return "The session is too short to be halved, which would tell whether a map can be trusted; none is shown."
    halves = "Maps from two halves of the session that share no image"
    if analysis.has_map:
        return f"{halves} agree (r = {analysis.map_agreement:.2f}; 1 would be perfect agreement)."
    return (
        f"{halves} do not agree (r = {analysis.map_agreement:.2f}, less than the {RELIABLE:.1f} required). None is "
        "shown, since its pattern would owe more to chance than to taste."
    )


def has_curve(result: Result) -> bool:
    """Return whether a network's training went beyond its first recorded epoch in any fold."""
    return any(len(history) > 1 for history in result.histories)


def of_training(result: Result) -> str:
    """Return what the training histories of a network come to, from the first epoch to the last."""
    if not has_curve(result):
        return (
            "No pass of training helped it to predict choices between training images that were left out, so that it "
            "stays as it begins."
        )
    ends = np.array([
        [(each.loss, np.nan if each.test_loss is None else each.test_loss) for each in (history[0], history[-1])]
        for history in result.histories
    ])  # fmt: skip
    (before, held_before), (after, held_after) = ends.mean(0)
    said = f"From first to last epoch, the mean training loss goes from {before:.3f} to {after:.3f} nats"
    if before - after < _FLAT:
        return f"{said}: such flat curves mean that training found nothing more in the training trials."
    if np.isnan(held_after):
        return f"{said}."
    said += f" and the held-out loss from {held_before:.3f} to {held_after:.3f}"
    if held_before - held_after < _FLAT:
        return f"{said}: what the network learns of its training trials does not carry over to held-out ones."
    return f"{said}: what the network learns carries over to held-out trials."


def ranked_by(analysis: Analysis) -> str | None:
    """Return the column of the ranking that images are shown by: the model's, else that of wins alone.

    None where neither tells the images apart, and where several participants have utilities, but share none. Errors
    add their variance to that of what was estimated.
    """
    if analysis.better_than_chance:
        known = analysis.contributions is not None and not _nothing_is_shared(analysis)
        return "utility" if known else None
    estimates, errors = (analysis.ranking[name].to_numpy() for name in (BY_WINS, f"{BY_WINS}_se"))
    reliability = 1 - np.square(errors).mean() / max(float(estimates.var()), np.finfo(float).tiny)
    return BY_WINS if reliability >= RELIABLE and not _drifts(analysis) else None


def _nothing_is_shared(analysis: Analysis) -> bool:
    """Return whether a shared taste, where one was looked for, was not shown to be better than chance."""
    return any(
        result.model == "shared" and scores_of(result).accuracy_ci95[0] <= 0.5
        for result in analysis.baselines
    )


def held_out(analysis: Analysis) -> str:
    """Return which trials were held out, and how often."""
    what = {"images": "of images never trained on", "trials": "of known images"}[analysis.options.split]
    repeats = analysis.results[0].repeats
    times = f", {repeats} repeats" if repeats > 1 else ""
    return f"{what} ({analysis.options.folds}-fold cross-validation{times})"


def of_adaptive(analysis: Analysis) -> str:
    """Return which trials of an adaptive session the results are of, or why there are none; "" of other sessions."""
    fair = analysis.session.is_fair
    adaptive, random = int((~fair).sum()), int(fair.sum())
    if not adaptive:
        return ""
    if is_evaluated(analysis):
        return (
            f"Of {len(fair)} trials, {adaptive} were chosen adaptively. The models learn from all of them, but "
            f"accuracies, their intervals, p, calibration, noise ceiling and learning curve are of the {random} "
            f"random trials alone, whose images no adaptive trial of the training showed. {ADAPTIVE_IS_UNFAIR}"
        )
    there = f"are {random}, too few" if random else "are none"
    return f"Accuracy is judged on random trials, and of these there {there}. {ADAPTIVE_IS_UNFAIR}"


def of_asked(asked: Sequence[Asked]) -> str:
    """Return what an adaptive session asked and what it taught; "" where that is not known."""
    if not asked:
        return ""
    sure = [
        f"{100 * np.mean([max(one.p_right_before, 1 - one.p_right_before) for one in some]):.0f}% before {how} trials"
        for how in (ADAPTIVE, RANDOM)
        if (some := [one for one in asked if one.chosen_by == how])
    ]
    found = [f"On average, the model gave the answer that it expected a probability of {' and '.join(sure)}."]
    hits = [one.hit for one in asked if one.chosen_by == RANDOM]
    if len(hits) >= _ENOUGH_HITS:
        early, late = (100 * float(np.mean(half)) for half in np.array_split(hits, 2))
        found.append(
            f"Each predicted from all trials before it, {early:.0f}% of choices were as expected in the first half "
            f"of the random trials, and {late:.0f}% in the second."
        )
    expected = 100 * asked[-1].expected_accuracy
    return " ".join(
        [*found, f"At the end, it expects to predict {expected:.0f}% of choices between new images."]
    )


def learned_only(session: Session) -> str:
    """Return how many trials were only learned from, since they were chosen adaptively; "" of other sessions."""
    adaptive = int((~session.is_fair).sum())
    return f" (and {adaptive} adaptive ones only learned from)" if adaptive else ""


def no_preference(session: Session) -> str | None:
    """Return what is done with trials without a preference; None where there are none."""
    ties = int((~session.has_preference).sum())
    if not ties:
        return None
    return (
        f"In {ties} of {len(session.trials)} trials there was no preference. Utilities were learned from these, too, "
        "by Davidson's model of ties (1970); networks, ridge regression and all scores are of the other trials."
    )


def ceiling(found: NoiseCeiling) -> str:
    """Return a noise ceiling with its interval, or why it is not known."""
    if found.accuracy is None:
        return found.method
    if found.ci95 is None:
        return f"{found.accuracy:.3f}, {found.method}"
    return with_interval(found.accuracy, found.ci95, ".3f")


def ceiling_in_short(found: NoiseCeiling) -> str:
    """Return a noise ceiling in a word or three; where it may be chance, the most that it may be."""
    if found.accuracy is not None:
        return f"{100 * found.accuracy:.0f}%"
    return "unknown" if found.ci95 is None or is_vague(found.ci95) else f"at most {100 * found.ci95[1]:.0f}%"


def ceiling_caveat(analysis: Analysis) -> str:
    """Return why a noise ceiling that was estimated is not to be compared with the accuracies; "" where it is."""
    if analysis.taste_ceiling.ci95 is None:
        return ""
    taken = [_TAKEN_FOR_NOISE[check.name] for check in failed(analysis) if check.name in _TAKEN_FOR_NOISE]
    return f", which takes {taken[0]} for noise" if taken else ""


def reaction_times(times: ReactionTimes) -> str:
    """Return reaction times in a line."""
    line = (
        f"median {times.median:.2f} s (quartiles {times.quartiles[0]:.2f} and {times.quartiles[1]:.2f}); "
        f"{100 * times.too_fast:.1f}% below 0.2 s, {100 * times.outliers:.1f}% outliers"
    )
    if times.median_by_difficulty is None:
        return line
    hard, middle, easy = times.median_by_difficulty
    return (
        f"{line}; medians of the hardest, middle and easiest third of the trials {hard:.2f}, {middle:.2f} and "
        f"{easy:.2f} s"
    )


def collapsed(analysis: Analysis) -> list[str]:
    """Return the titles of the models that gave the same answer to every trial in most folds.

    One that reads no image, such as the more frequent side, can do nothing else.
    """
    return [
        MODELS[result.model].title
        for result in [*analysis.results, *analysis.baselines]
        if result.scores is not None and result.scores.collapsed and result.embedding
    ]


def is_vague(interval: tuple[float, float]) -> bool:
    """Return whether an interval of a probability tells next to nothing."""
    return interval[1] - interval[0] > VAGUE


def with_interval(number: float, interval: tuple[float, float], form: str) -> str:
    """Write a number with its interval in brackets."""
    return f"{number:{form}} ({interval[0]:{form}} to {interval[1]:{form}})"
