"""The figure of what an adaptive session asked, and what it taught, trial by trial."""

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from catpref.evaluation.asked import Asked, blocks
from catpref.report.figures import BLUE, GREY, INK, ORANGE, PAGE, STYLE, chance_and_ceiling
from catpref.sessions.chosen_by import ADAPTIVE, RANDOM

_LEAST, _MOST = 0.45, 0.85  # that the axis of accuracies reaches
_FADED = 300  # adaptive trials, from which on their points are paler


def draw(asked: Sequence[Asked], ceiling: float | None) -> dict[str, Figure]:
    """Draw how probable each choice was before it was made, and what was known after it; nothing without trials."""
    if not asked:
        return {}
    with mpl.rc_context(STYLE):
        return {"asked": _figure(asked, ceiling)}


def _figure(asked: Sequence[Asked], ceiling: float | None) -> Figure:
    figure = Figure(figsize=(PAGE, 5.2))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1))
    _choices(above, asked)
    _knowledge(below, asked, ceiling)
    for axes in (above, below):  # above the points, which may be anywhere
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, ncols=2)
    below.set_xlim(0, 1.01 * asked[-1].trial)
    below.set_xlabel("trial")
    return figure


def _choices(axes: Axes, asked: Sequence[Asked]) -> None:
    axes.axhline(0.5, color=GREY, linestyle=":")
    pale = 0.35 if sum(one.chosen_by == ADAPTIVE for one in asked) > _FADED else 0.6
    for how, marker, size, colour, alpha in (
        (ADAPTIVE, "o", 14, ORANGE, pale), (RANDOM, "D", 24, BLUE, 0.9)
    ):  # fmt: skip
        some = [one for one in asked if one.chosen_by == how]
        if some:
            axes.scatter(
                [one.trial for one in some], [one.p_chosen_before for one in some], s=size, marker=marker,
                color=colour, alpha=alpha, linewidths=0, clip_on=False, label=f"{how} pairs",
            )  # fmt: skip
    axes.set(ylim=(0, 1), ylabel="P(choice), before it was made")


def _knowledge(axes: Axes, asked: Sequence[Asked], ceiling: float | None) -> None:
    chance_and_ceiling(axes, ceiling)
    axes.plot(
        [one.trial for one in asked], [one.expected_accuracy for one in asked], color=INK, linewidth=1.6,
        label="expected by the model, on new images",
    )  # fmt: skip
    label = "random pairs predicted from all trials before, 95% interval"
    for number, block in enumerate(blocks(asked)):
        axes.plot([block.trial, block.trial], [block.low, block.high], color=BLUE, linewidth=1.4)
        axes.plot(block.trial, block.accuracy, "D", color=BLUE, markersize=7, label="" if number else label)
    low, high = axes.get_ylim()
    axes.set(ylim=(min(low, _LEAST), max(high, _MOST)), ylabel="accuracy")
