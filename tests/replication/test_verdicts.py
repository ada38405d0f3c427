import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from support import all_pairs

from catpref.replication import leaks, page
from catpref.replication.results import (
    AT_RANDOM,
    HALVES,
    MAPS,
    ORDER,
    Answers,
    Controls,
    Leak,
    Run,
    Sidedness,
    Study,
    Swap,
)
from catpref.replication.verdicts import above_chance, conclusion, doubts, points, reading, successes


def run(accuracy: float, majority: float = 0.5, p_value: float | None = None, title: str = "run") -> Run:
    """A run whose interval is 0.08 to both sides, and whose p-value fits its accuracy unless it is given."""
    likely = 0.001 if accuracy > max(0.5, majority) + 0.08 else 0.4
    interval = accuracy - 0.08, accuracy + 0.08
    return Run(title, 980, 245, accuracy, interval, likely if p_value is None else p_value, majority, 2, [])


SAME = Swap(200, 0.0, 1.0, 1e-7, 1e-7)
BY_LOT = Sidedness(0.55, 0.55, 0.5)
KEPT = Sidedness(0.8, 0.55, 0.001)
LEAKS = {
    (AT_RANDOM, "trials"): 0.5,
    (ORDER, "trials"): 0.6,
    (HALVES, "trials"): 0.75,
    (HALVES, "images"): 0.5,
}


def planted(**changes: object) -> Study:
    """A study that went as the explanation predicts: of a fully-sampled list, nothing but leaks above chance."""
    names = [Path(f"{number}.png") for number in range(50)]
    answers = Answers("fully-sampled", names, all_pairs(50), np.zeros(1225, int), 0.85)
    study = Study(
        answers=[answers],
        experiments=[(run(0.51, title="mean map"), SAME), (run(0.49, title="first-layer map"), SAME)],
        controls=Controls(run(0.51), run(0.5), run(0.48), run(0.97)),
        sidedness=BY_LOT,
        leaks=[
            Leak(name, sides, by, run(accuracy), run(accuracy), 0.85)
            for name in MAPS
            for (sides, by), accuracy in LEAKS.items()
        ],
        example=(names[0], names[1], {}),
        map_size=48,
        seed=0,
        backbone="squeeze-caffe",
    )
    return replace(study, **changes)  # type: ignore[arg-type]


def with_accuracies(*accuracies: float, majority: float = 0.5) -> Study:
    runs = [run(each, majority, title=name) for each, name in zip(accuracies, MAPS, strict=True)]
    return planted(experiments=[(each, SAME) for each in runs])


def with_control(name: str, accuracy: float) -> Study:
    return planted(controls=replace(planted().controls, **{name: run(accuracy)}))


def with_leak(sides: str, by: str, **readers: float) -> Study:
    runs = {reader: run(accuracy) for reader, accuracy in readers.items()}
    return planted(
        leaks=[
            replace(each, **runs) if (each.sides, each.split) == (sides, by) else each  # type: ignore[arg-type]
            for each in planted().leaks
        ]
    )


def said(study: Study) -> str:
    """The report's words."""
    figures = ["histories", "controls", "swap", "leaks"]
    html = page.page(study, dict.fromkeys(figures, ""), 1.0).split("<main>")[1]
    return " ".join(unescape(re.sub("<[^>]+>", "", html)).split())


def test_above_chance_is_above_the_frequent_side_too() -> None:
    assert above_chance(run(0.6)) and not above_chance(run(0.57))
    assert not above_chance(run(0.8, majority=0.8)), "who presses one key is predicted by pressing it"
    assert not above_chance(run(0.6, p_value=0.06))
    assert above_chance(run(0.6, p_value=0.02)) and not above_chance(run(0.6, p_value=0.02), together=4)
    assert points(run(0.6)) == pytest.approx(10) and points(run(0.6, majority=0.55)) == pytest.approx(5)


def test_a_study_as_predicted_is_explained() -> None:
    study = planted()
    assert (conclusion(study), successes(study)) == ("explained", [])
    text = said(study)
    assert "A distance map does not say which face is on which side" in text
    assert "none of the 2 experiments is above chance, and the controls agree" in text
    assert "choose the same side in both orders, without exception" in text
    assert "not predicted better than chance either" in text and "the fault is not the observer's" in text
    assert "That is a leak of 25 points" in text and "does not show by itself" in text
    assert "it would have gained 10 points where they follow a list's order, and 25 points" in text
    assert "not above chance here, and there is nothing to explain" in text


def test_an_experiment_above_chance_contradicts_the_explanation() -> None:
    study = with_accuracies(0.51, 0.7)
    assert conclusion(study) == "contradicted" and [each.title for each in successes(study)] == [
        "first-layer map"
    ]
    text = said(study)
    assert "does not explain" in text and "1 of 2 experiments is above chance: first-layer map." in text
    assert "The first-layer experiment is 20 points above chance" in text
    assert "none of the result is explained by it" in text
    for denied in ("does not say which face", "none of the 2", "nothing to explain", "controls agree"):
        assert denied not in text
    study = with_accuracies(0.7, 0.51)
    study = replace(study, controls=replace(study.controls, made=study.experiments[0][0]))
    assert "the real ones are: 70.0%" in said(study)


def test_above_chance_in_a_list_whose_images_keep_to_their_sides_may_be_a_leak() -> None:
    study = replace(with_accuracies(0.51, 0.7), sidedness=KEPT)
    assert conclusion(study) == "leaked"
    text = said(study)
    assert "may come from the sides" in text and "that much of the result may be a leak" in text
    assert "Images keep to their sides in this list" in text and "none of the result" not in text


def test_sides_of_one_list_do_not_explain_what_is_predicted_in_another() -> None:
    of_last = planted().experiments
    other = run(0.7, title="mean map, random-sampled"), SAME
    study = planted(experiments=[other, *of_last], sidedness=KEPT)
    assert conclusion(study) == "contradicted"
    assert "Images that keep to one side do not explain it" in said(study)


def test_a_strong_side_bias_is_no_success() -> None:
    assert conclusion(with_accuracies(0.8, 0.8, majority=0.8)) == "explained"


@pytest.mark.parametrize(
    ("name", "accuracy", "doubt", "sentence"),
    [
        ("apart", 0.52, "untaught", "from its failures nothing follows"),
        ("shuffled", 0.65, "shuffled", "That is luck or a fault"),
        ("noiseless", 0.65, "noiseless", "The maps tell something of the sides after all"),
    ],
)
def test_a_control_that_fails_leaves_it_open(name: str, accuracy: float, doubt: str, sentence: str) -> None:
    study = with_control(name, accuracy)
    assert doubts([SAME], study.controls, BY_LOT) == [doubt] and conclusion(study) == "open"
    text = said(study)
    assert sentence in text and "this run does not show why" in text and "controls agree" not in text
    assert ("the fault is not the observer's" in text) == (doubt == "shuffled")


def test_a_swap_that_is_noticed_leaves_it_open() -> None:
    noticed = Swap(200, 0.3, 0.7, 0.4, 0.2)
    study = planted(experiments=[(run(0.5), SAME), (run(0.5), noticed)])
    assert conclusion(study) == "open" and "does depend on the order" in said(study)
    unseen = Swap(200, 0.0, 1.0, 1e-7, 0.2)
    study = planted(experiments=[(run(0.5), SAME), (run(0.5), unseen)])
    assert conclusion(study) == "open", "a network that says one thing of all maps tells nothing of them"
    assert "does depend on the order" in said(study) and "the same map twice" not in said(study)
    rounding = Swap(200, 0.005, 0.995, 1e-6, 1e-7)
    study = planted(experiments=[(run(0.5), SAME), (run(0.5), rounding)])
    assert conclusion(study) == "explained" and "but where they were undecided" in said(study)


def test_what_leaks_is_said_as_it_was_found() -> None:
    assert [reading(run(known), run(new)) for known, new in ((0.7, 0.5), (0.7, 0.7), (0.5, 0.5))] == [
        "images", "taste", "nothing",
    ]  # fmt: skip
    text = said(with_leak(HALVES, "trials", network=0.5))
    assert "After 30 epochs that is not above chance" in text and "does not surely find" in text
    text = said(with_leak(HALVES, "trials", network=0.5, linear=0.5))
    assert "does not find the leak either" in text and "the maps hold what leaks" not in text
    assert "and nothing that is above chance where each image is on one side" in text
    text = said(with_leak(HALVES, "images", network=0.7))
    assert "New images are predicted too" in text and "new ones are not" not in text
    text = said(with_leak(AT_RANDOM, "trials", network=0.7))
    assert "sides drawn at random do not explain" in text and "does not show by itself" not in text
    text = said(planted(leaks=[]))
    assert "too few of these trials share images" in text and "points" not in text


def test_whether_images_keep_to_their_sides() -> None:
    pairs = all_pairs(20)
    by_lot, ordered = leaks.sidedness(pairs, 0), leaks.sidedness(np.sort(pairs, axis=1), 0)
    assert by_lot is not None and by_lot.p_value > 0.05 and abs(by_lot.part - by_lot.by_lot) < 0.05
    assert ordered is not None and ordered.p_value < 0.01 and ordered.part == pytest.approx(0.7632, abs=1e-4)
    assert leaks.sidedness(np.arange(20).reshape(10, 2), 0) is None
