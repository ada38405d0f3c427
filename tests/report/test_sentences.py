from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from catpref.evaluation.choice_model import Check
from catpref.evaluation.noise_ceiling import NoiseCeiling
from catpref.models.interface import Epoch
from catpref.report import sentences

CIRCULAR = Check("transitivity", 0.24, 0.005, "Choices are not transitive.", "Ask what was compared.")
DRIFT = Check("drift", -0.9, 0.001, "The taste changes: r = -0.90.", "Fit the halves separately.")
FINE = Check("deviance", 50.0, 0.4, "No sign of a poor fit.", None)
SIDES = Check("choice repetition", 0.6, 0.001, "The previous choice matters.", "Look at the keys.")


def fitted(
    accuracy: float = 0.8, interval: tuple[float, float] = (0.75, 0.85), p_value: float = 0.001,
    ceiling: float | None = 0.85, ceiling_ci95: tuple[float, float] | None = (0.83, 0.87), by_side: float = 0.5,
    side_bias: float = 0.0, sides_known: bool = True,
    checks: tuple[Check, ...] = (FINE,), agreement: float | None = 0.8,
) -> Any:  # fmt: skip
    """Make up what sentences read of an analysis."""
    scores = SimpleNamespace(
        accuracy=accuracy,
        accuracy_ci95=interval,
        p_value=p_value,
        accuracy_with_side_bias=accuracy,
        collapsed=False,
    )
    side = SimpleNamespace(
        model="majority_side",
        embedding=None,
        scores=SimpleNamespace(accuracy_with_side_bias=by_side, collapsed=True),
    )
    better = interval[0] > 0.5 and p_value <= 0.05
    of_taste = SimpleNamespace(accuracy=ceiling, ci95=ceiling_ci95, method="one model of all trials")
    return SimpleNamespace(
        results=[SimpleNamespace(model="utility", embedding="grid8", scores=scores)],
        baselines=[side],
        better_than_chance=better,
        noise_ceiling=SimpleNamespace(accuracy=0.9, ci95=(0.88, 0.92), method="one model of all trials"),
        taste_ceiling=of_taste,
        observers=None,
        sides_known=sides_known,
        observer=SimpleNamespace(side_bias=side_bias, side_bias_ci95=(side_bias - 0.3, side_bias + 0.3)),
        pictures=SimpleNamespace(sentence=""),
        choice_model=list(checks),
        contributions=1,
        map_agreement=agreement,
        has_map=better and (agreement or 0) >= 0.5,
    )


def test_no_side_bias_is_spoken_of_where_sides_are_not_known() -> None:
    drift = Check("side bias drift", 0.6, 0.001, "The side bias changes.", "Check the keys.")
    known, unknown = (fitted(side_bias=2.0, sides_known=known, checks=(drift,)) for known in (True, False))
    assert "prefers the right side" in " ".join(sentences.remarks(known)) and sentences.failed(known) == [
        drift
    ]
    (said,) = sentences.remarks(unknown)
    assert "does not say on which side an image was, so that no side bias is estimated" in said
    assert sentences.failed(unknown) == []


def test_the_headline_names_the_ceiling_only_of_a_taste_that_was_shown() -> None:
    assert sentences.headline(fitted()) == (
        "Predicts 80% of held-out choices (chance 50%, noise ceiling 85%)"
    )
    for other in (
        fitted(p_value=0.2),
        fitted(ceiling=None),
        fitted(ceiling_ci95=(0.6, 0.95)),
        fitted(checks=(DRIFT,)),
        fitted(checks=(CIRCULAR,)),
    ):
        assert "ceiling" not in sentences.headline(other)
    assert sentences.headline(fitted(p_value=0.2)).startswith("Not shown to be better than chance: predicts")


@pytest.mark.parametrize(("changes", "said"), [
    ({}, ""),
    ({"checks": (DRIFT,)}, "which takes the change of taste for noise"),
    ({"checks": (CIRCULAR, DRIFT)}, "which takes the change of taste for noise"),
    ({"checks": (CIRCULAR,)}, "which takes what no scale of utility describes for noise"),
    ({"checks": (DRIFT,), "ceiling": None, "ceiling_ci95": (0.5, 0.55)}, "the change of taste for noise"),
    ({"checks": (DRIFT,), "ceiling_ci95": None}, ""),
])  # fmt: skip
def test_a_ceiling_that_takes_more_than_noise_for_noise_says_so(changes: dict[str, Any], said: str) -> None:
    analysis = fitted(**changes)
    assert sentences.ceiling_caveat(analysis).endswith(said)
    assert bool(sentences.ceiling_caveat(analysis)) == bool(said)
    above = fitted(accuracy=0.95, **changes)
    assert any("Something is wrong" in each for each in sentences.remarks(above)) == (not changes)


def test_a_ceiling_that_may_be_chance_is_the_most_that_it_may_be() -> None:
    known, narrow, wide = (
        NoiseCeiling(number, interval, "not known better")
        for number, interval in ((0.85, (0.83, 0.87)), (None, (0.5, 0.56)), (None, (0.5, 0.8)))
    )
    assert [sentences.ceiling_in_short(each) for each in (known, narrow, wide)] == [
        "85%",
        "at most 56%",
        "unknown",
    ]
    assert sentences.ceiling(known) == "0.850 (0.830 to 0.870)"
    assert sentences.ceiling(narrow) == "not known better"


def test_checks_that_failed_come_with_advice_and_drift_first() -> None:
    failed = sentences.failed(fitted(checks=(FINE, SIDES, DRIFT)))
    assert [each.name for each in failed] == ["drift", "choice repetition"]
    assert sentences.of_check(failed[0]) == "The taste changes: r = −0.90. Fit the halves separately."
    assert sentences.of_check(FINE) == FINE.finding


def test_an_interval_above_chance_that_permutations_reach_is_explained() -> None:
    remarks = sentences.remarks(fitted(p_value=0.39))
    assert any("39% of its fits" in each and "p = 0.390" in each for each in remarks)
    assert not any(
        "permuted" in each for each in sentences.remarks(fitted(interval=(0.45, 0.55), p_value=0.39))
    )


@pytest.mark.parametrize(("side_bias", "side"), [(1.0, "right side (+1.00"), (-1.0, "left side (−1.00")])
def test_a_side_bias_is_named(side_bias: float, side: str) -> None:
    (remark,) = sentences.remarks(fitted(side_bias=side_bias, by_side=0.73))
    assert side in remark and "80% of choices (noise ceiling 90%); the side bias alone predicts 73%" in remark
    assert sentences.remarks(fitted()) == []


def test_a_map_is_trusted_where_halves_agree() -> None:
    assert "agree (r = 0.80" in sentences.of_map(fitted())
    assert "do not agree (r = 0.30" in sentences.of_map(fitted(agreement=0.3))
    assert "too short" in sentences.of_map(fitted(agreement=None))


def test_images_are_shown_by_their_wins_where_these_alone_tell() -> None:
    def ranked(spread: float, error: float, **changes: Any) -> str | None:
        analysis = fitted(**changes)
        table = {"bradley_terry": np.linspace(-spread, spread, 20), "bradley_terry_se": np.full(20, error)}
        analysis.ranking = pd.DataFrame(table)
        return sentences.ranked_by(analysis)

    assert ranked(2, 0.3) == "utility"
    assert ranked(2, 0.3, p_value=0.4) == "bradley_terry"
    assert ranked(0.5, 0.3, p_value=0.4) is None, "a coin-flipper"
    assert ranked(0.0, 0.9, p_value=0.4) is None, "random-sampled, each image shown once"
    assert ranked(2, 0.3, p_value=0.4, checks=(DRIFT,)) is None


@pytest.mark.parametrize(("ends", "said"), [
    ([(0.693, 0.693), (0.690, 0.694)], "flat"),
    ([(0.69, 0.69), (0.30, 0.95)], "does not carry over"),
    ([(0.69, 0.69), (0.30, 0.40)], "carries over"),
    ([(0.5, 0.6)], "No pass of training helped"),
    ([(0.69, None), (0.30, None)], "to 0.300 nats"),
])  # fmt: skip
def test_training_histories_are_put_in_words(ends: list[tuple[float, float | None]], said: str) -> None:
    history = [Epoch(loss, 0.5, held_out, 0.5) for loss, held_out in ends]
    result: Any = SimpleNamespace(histories=[history, history])
    sentence = sentences.of_training(result)
    assert said in sentence and "nan" not in sentence
    assert sentences.has_curve(result) == (len(ends) > 1), "one point is no curve"


def test_what_collapsed_is_named_unless_it_reads_nothing() -> None:
    analysis = fitted()
    assert sentences.collapsed(analysis) == []
    analysis.results[0].scores.collapsed = True
    assert sentences.collapsed(analysis) == ["signed utility"]
