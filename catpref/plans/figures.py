"""The curves of a plan: what a study finds, by the trials of each person."""

from collections.abc import Callable, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from catpref.design.trial_list import ADAPTIVE, FULL, INCOMPLETE, RANDOM
from catpref.plans.summary import Expected
from catpref.report.figures import BLUE, GREEN, GREY, INK, ORANGE, PAGE, STYLE

_LOOKS = {RANDOM: (BLUE, "o"), FULL: (ORANGE, "s"), INCOMPLETE: (GREEN, "^"), ADAPTIVE: (INK, "D")}
_HEIGHT = 2.7  # inches a row of panels
_LEAST_POWER = 0.8  # that studies are usually asked for


def draw_all(expected: Sequence[Expected], gain: float) -> dict[str, Figure]:
    """Draw every figure that the plan has something to show in, by name."""
    with mpl.rc_context(STYLE):
        drawn = {
            "gain": _panels(expected, lambda axes, some: _gain(axes, some, gain), "part of the gain reached"),
            "accuracy": _panels(expected, _accuracy, "accuracy in the report"),
            "power": _panels(expected, _power, "chance to be above chance"),
        }
        several = [one for one in expected if one.agreement is not None]
        if several:
            drawn["agreement"] = _panels(several, _agreement, "agreement of two people")
        return drawn


def _panels(
    expected: Sequence[Expected], draw: Callable[[Axes, Sequence[Expected]], None], what: str
) -> Figure:
    """Draw a panel for each number of people, and a row of them for each noise."""
    people = sorted({one.cell.people for one in expected})
    noises = sorted({one.cell.noise for one in expected})
    wide = min(PAGE, 1.6 + 3.2 * len(people))
    figure = Figure(figsize=(wide, _HEIGHT * len(noises) + 0.4))
    grid = figure.subplots(len(noises), len(people), sharex=True, sharey=True, squeeze=False)
    for row, noise in zip(grid, noises, strict=True):
        for axes, count in zip(row, people, strict=True):
            draw(axes, [one for one in expected if (one.cell.noise, one.cell.people) == (noise, count)])
            title = "one person" if count == 1 else f"{count} people"
            axes.set_title(title if len(noises) == 1 else f"{title}, noise {noise:g}", fontsize=10)
    ticks = sorted({one.cell.trials for one in expected})
    for axes in grid.ravel():
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(_apart(ticks)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
    figure.supxlabel("trials of each person", fontsize=10)
    figure.supylabel(what, fontsize=10)
    handles = {
        label: line
        for axes in grid.ravel()
        for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    columns = 2 if len(people) == 1 else 3  # as many as there is room for
    figure.legend(handles.values(), handles.keys(), frameon=False, loc="outside upper center", ncols=columns)
    return figure


def _apart(ticks: Sequence[int]) -> list[int]:
    """Return ticks of a logarithmic axis that are far enough from each other to be read, round numbers first."""
    kept: list[int] = []
    for tick in sorted(ticks, key=_digits):
        if all(max(tick, other) > 1.4 * min(tick, other) for other in kept):
            kept.append(tick)
    return kept


def _digits(number: int) -> int:
    """Return the digits of a number up to its last one that is not 0."""
    return len(str(number).rstrip("0"))


def _lines(expected: Sequence[Expected]) -> list[tuple[str, str, str, list[Expected]]]:
    """Return the points of each line, by trials: label, colour, marker, points."""
    found: dict[tuple[str, int], list[Expected]] = {}
    for one in sorted(expected, key=lambda one: one.cell.trials):
        # A balanced subset is of a given number of images, and so is what all pairs of them are its end.
        images = one.cell.images if one.cell.design == INCOMPLETE else 0
        found.setdefault((one.cell.design, images), []).append(one)
    return [
        (f"{design}, {images} images" if images else design, *_LOOKS[design], points)
        for (design, images), points in found.items()
    ]


def _gain(axes: Axes, expected: Sequence[Expected], wanted: float) -> None:
    axes.axhline(wanted, color=INK, linestyle="--", linewidth=1, label="wanted")
    for label, colour, marker, points in _lines(expected):
        trials = [one.cell.trials for one in points]
        axes.plot(
            trials, [one.gain for one in points], color=colour, marker=marker, markersize=6, label=label
        )
        axes.fill_between(
            trials, [one.gain_low for one in points], [one.gain for one in points], color=colour, alpha=0.15
        )
    axes.set_ylim(min(0, axes.get_ylim()[0]), max(1, axes.get_ylim()[1]))


def _accuracy(axes: Axes, expected: Sequence[Expected]) -> None:
    axes.axhline(0.5, color=GREY, linestyle=":", label="chance")
    for label, colour, marker, points in _lines(expected):
        trials = [one.cell.trials for one in points]
        axes.plot(
            trials, [one.accuracy for one in points], color=colour, marker=marker, markersize=6, label=label
        )
        axes.fill_between(trials, *_ends([one.accuracy_ci95 for one in points]), color=colour, alpha=0.15)
    ceiling = sum(one.ceiling for one in expected) / len(expected)
    axes.axhline(ceiling, color=INK, linestyle="--", linewidth=1, label="noise ceiling")


def _power(axes: Axes, expected: Sequence[Expected]) -> None:
    axes.axhline(_LEAST_POWER, color=INK, linestyle="--", linewidth=1, label="80%")
    for label, colour, marker, points in _lines(expected):
        trials = [one.cell.trials for one in points]
        axes.plot(
            trials, [one.power for one in points], color=colour, marker=marker, markersize=6, label=label
        )
        axes.fill_between(trials, *_ends([one.power_ci95 for one in points]), color=colour, alpha=0.15)
    axes.set_ylim(-0.02, 1.02)


def _agreement(axes: Axes, expected: Sequence[Expected]) -> None:
    true = sum(one.agreement or 0.0 for one in expected) / len(expected)
    axes.axhline(true, color=INK, linestyle="--", linewidth=1, label="true")
    for label, colour, marker, points in _lines(expected):
        trials = [one.cell.trials for one in points]
        found = [one.agreement_found or 0.0 for one in points]
        errors = [one.agreement_error or 0.0 for one in points]
        axes.errorbar(
            trials, found, errors, color=colour, marker=marker, markersize=6, label=label, elinewidth=1.2
        )
    axes.set_ylim(min(0, axes.get_ylim()[0]), max(1, axes.get_ylim()[1]))


def _ends(intervals: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [low for low, _ in intervals], [high for _, high in intervals]
