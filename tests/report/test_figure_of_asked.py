from typing import Any

import numpy as np

from catpref.evaluation.asked import Asked, blocks
from catpref.report import asked
from catpref.report.sentences import of_asked


def session(random: bool = True, trials: int = 200) -> list[Asked]:
    draw = np.random.default_rng(0)
    return [
        Asked(
            trial, "random" if random and trial % 5 == 0 else "adaptive", float(draw.uniform(0.3, 0.7)),
            bool(draw.random() < 0.6), 0.5 + 0.2 * trial / trials,
        )
        for trial in range(1, trials + 1)
    ]  # fmt: skip


def axes_of(shown: list[Asked], ceiling: float | None = 0.8) -> Any:
    figure = asked.draw(shown, ceiling)["asked"]
    figure.canvas.draw()
    return figure.axes


def test_every_trial_is_a_point_and_adaptive_ones_are_told_apart() -> None:
    shown = session()
    above, below = axes_of(shown)
    points = {each.get_label(): each.get_offsets() for each in above.collections}
    assert {name: len(each) for name, each in points.items()} == {"adaptive pairs": 160, "random pairs": 40}
    for name, how in (("adaptive pairs", "adaptive"), ("random pairs", "random")):
        expected = [(one.trial, one.p_chosen_before) for one in shown if one.chosen_by == how]
        np.testing.assert_allclose(points[name], expected)
    markers = {len(each.get_paths()[0].vertices) for each in above.collections}
    assert len(markers) == 2, "for readers without colours"
    assert above.get_ylim() == (0, 1) and below.get_xlim()[1] > 200


def test_accuracies_are_of_random_trials_alone() -> None:
    shown = session()
    _, below = axes_of(shown)
    diamonds = [line for line in below.lines if line.get_marker() == "D"]
    assert [float(line.get_ydata()[0]) for line in diamonds] == [block.accuracy for block in blocks(shown)]
    lowest, highest = below.get_ylim()
    assert lowest <= 0.45 and highest >= 0.85
    texts = {text.get_text() for text in below.texts}
    assert texts == {"chance", "noise\nceiling"}
    assert {text.get_text() for text in axes_of(shown, None)[1].texts} == {"chance"}


def test_without_random_trials_only_what_the_model_expects_is_drawn() -> None:
    above, below = axes_of(session(random=False), None)
    assert len(above.collections) == 1 and not [line for line in below.lines if line.get_marker() == "D"]
    assert asked.draw([], None) == {}


def test_no_sentence_tells_the_accuracy_on_adaptive_trials() -> None:
    shown = session()
    said = of_asked(shown)
    hits = [one.hit for one in shown if one.chosen_by == "random"]
    early, late = (round(100 * np.mean(half)) for half in np.array_split(hits, 2))
    assert (
        f"{early}% of choices were as expected in the first half of the random trials, and {late}% in the"
        in said
    )
    assert (
        said.endswith("it expects to predict 70% of choices between new images.")
        and said.count("adaptive") == 1
    )
    assert "before adaptive trials and" in said and "random" not in of_asked(session(random=False))
    assert of_asked([]) == ""
