"""Figures and faces of several participants: how they lie to each other, and what knowing them together brings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from catpref.evaluation import people
from catpref.evaluation.people import Observers
from catpref.report.figures import BLUE, COLUMN, GREY, INK, ORANGE, PAGE, STYLE

_NAMED = 60  # participants whose codes a map has room for
_ROWS = 30  # participants who have a line each
_FACES = 6
_NAMES = 2  # of those who like a face that divides them, and of those who dislike it
_ROOM = 18  # characters below a face
_LEAST_COLOURS = 0.2  # agreements about their mean that colours reach, so that what is alike looks alike
_AROUND = np.array(
    [(1, 0), (-1, 0), (0, 1.3), (0, -1.3), (0.9, 1), (-0.9, -1)]
)  # a point, in sizes of a code
_LABEL = (0.2, 0.13)  # width and height of a code in inches


@dataclass(frozen=True)
class Shown:
    """A face, and what participants make of it."""

    image: str
    said: str


def draw(observers: Observers) -> dict[str, Figure]:
    """Draw the figures of several participants, by name; two have no map."""
    with mpl.rc_context(STYLE):
        drawn: dict[str, Figure] = {}
        if observers.table["held_out"].to_numpy().any():
            drawn["people_accuracy"] = accuracies(observers.table)
        if len(observers.table) > 2:
            drawn["people_map"] = map_of_people(observers)
    return drawn


def map_of_people(observers: Observers) -> Figure:
    """Draw participants in a plane, the nearer the more they agree, brighter where they agree with most."""
    places, _ = people.map_of(observers.agreements)
    codes, agreement = observers.table["participant"].to_list(), observers.table["agreement"].to_numpy()
    reach = 1.15 * max(float(np.abs(places).max()), 0.1)
    low, high = places[:, 1].min() - 0.15 * reach, places[:, 1].max() + 0.15 * reach
    width = COLUMN if len(codes) <= _ROWS else 0.64 * PAGE  # both whole on a telephone
    figure = Figure(figsize=(width, width * (high - low) / (2 * reach) + 0.8))
    axes = figure.subplots()
    shown = axes.scatter(
        *places.T, c=agreement, cmap="cividis", s=42, linewidths=0.6, edgecolors=INK, zorder=2
    )
    middle = float(agreement.mean())
    colours = max(float(np.abs(agreement - middle).max()), _LEAST_COLOURS)
    shown.set_clim(middle - colours, middle + colours)
    if len(codes) <= _NAMED:
        _label(axes, places, 2 * reach / width, codes)
    axes.axhline(0, color=GREY, linewidth=0.5, zorder=0)
    axes.axvline(0, color=GREY, linewidth=0.5, zorder=0)
    axes.set(xlim=(-reach, reach), ylim=(low, high), xticks=[], yticks=[], aspect="equal")
    for side in axes.spines.values():
        side.set_visible(False)
    bar = figure.colorbar(shown, ax=axes, orientation="horizontal", shrink=0.5, pad=0.02, aspect=30)
    bar.set_label("agreement with the others (r)")
    bar.outline.set_visible(False)  # type: ignore[union-attr]
    return figure


def _label(axes: Axes, places: np.ndarray, inch: float, codes: list[str]) -> None:
    """Write each code beside its point, where it covers the fewest points and codes; `inch` is one on the map."""
    taken = list(places)
    for place, code in zip(places, codes, strict=True):
        size = inch * np.array(_LABEL) * (max(1.0, len(code) / 4), 1)
        around = place + size * _AROUND
        apart = np.abs(around[:, None] - np.array(taken)) / size
        best = around[np.maximum(0, 1 - apart).prod(2).sum(1).argmin()]
        taken.append(best)
        axes.text(best[0], best[1], code, fontsize=7.5, ha="center", va="center")


def accuracies(table: pd.DataFrame) -> Figure:
    """Draw each participant's accuracy, learned alone and together: lines for a few, points for many."""
    ordered = table.dropna(subset=["accuracy_alone", "accuracy_together"])
    ordered = ordered.sort_values("accuracy_together", kind="stable")
    alone, together = (ordered[f"accuracy_{name}"].to_numpy() for name in ("alone", "together"))
    return _lines(ordered, alone, together) if len(ordered) <= _ROWS else _points(alone, together)


def _lines(table: pd.DataFrame, alone: np.ndarray, together: np.ndarray) -> Figure:
    rows = np.arange(len(table))
    figure = Figure(figsize=(COLUMN, 0.26 * len(table) + 1.3))
    axes = figure.subplots()
    axes.axvline(0.5, color=GREY, linestyle=":")
    axes.hlines(rows, alone, together, color=GREY, linewidth=1.5)
    ring: Any = {"markerfacecolor": "white", "markeredgewidth": 1.6, "markersize": 9}
    axes.plot(alone, rows, "o", color=ORANGE, label="alone", **ring)
    axes.plot(together, rows, "o", color=BLUE, label="together", markersize=5)  # seen where both are the same
    axes.set_yticks(rows, table["participant"].to_list())
    axes.set_ylim(-0.7, len(table) - 0.3)
    least, most = axes.get_xlim()
    axes.set_xlim(min(least, 0.4), max(most, 0.9))
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("accuracy on held-out trials (dotted: chance)")
    figure.legend(frameon=False, loc="outside upper center", ncols=2)
    return figure


def _points(alone: np.ndarray, together: np.ndarray) -> Figure:
    figure = Figure(figsize=(COLUMN, COLUMN))
    axes = figure.subplots()
    ends = min(0.4, float(np.minimum(alone, together).min()) - 0.02), 1.0
    axes.plot(ends, ends, color=GREY, linewidth=1)
    for line in (axes.axhline, axes.axvline):
        line(0.5, color=GREY, linestyle=":")
    axes.scatter(alone, together, s=24, color=BLUE, alpha=0.6, linewidths=0)
    axes.plot(
        alone.mean(), together.mean(), "D", color=ORANGE, markeredgecolor=INK, markersize=9, label="mean"
    )
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    axes.set(xlabel="accuracy alone", ylabel="accuracy together (dotted: chance)")
    axes.legend(frameon=False, loc="upper left")
    return figure


def agreed(
    observers: Observers, images: Sequence[str], seen_by: np.ndarray
) -> tuple[list[Shown], list[Shown]]:
    """Return the faces that most participants like, and those that most dislike, and how many saw each."""
    utilities = people.about_own_mean(observers.utilities)
    liked, disliked = people.agreed_on(utilities, _FACES)
    count = len(utilities)

    def of(chosen: np.ndarray, sign: int, word: str) -> list[Shown]:
        votes = (sign * utilities[:, chosen] > 0).sum(0)
        return [
            Shown(images[int(one)], f"{word} by {number} of {count}\nseen by {seen_by[one]}")
            for one, number in zip(chosen, votes, strict=True)
        ]

    return of(liked, 1, "liked"), of(disliked, -1, "disliked")


def divided(observers: Observers, images: Sequence[str], seen_by: np.ndarray) -> list[Shown]:
    """Return the faces that divide participants most, with who likes and who dislikes them, and how many saw them."""
    utilities = people.about_own_mean(observers.utilities)
    codes = observers.table["participant"].to_list()
    found = []
    for one in people.dividing(utilities, _FACES):
        order = np.argsort(-utilities[:, one], kind="stable")
        liking = [codes[each] for each in order if utilities[each, one] > 0]
        disliking = [codes[each] for each in order[::-1] if utilities[each, one] <= 0]
        found.append(
            Shown(images[int(one)], f"+ {_named(liking)}\n− {_named(disliking)}\nseen by {seen_by[one]}")
        )
    return found


def _named(codes: list[str]) -> str:
    """Name the first of some participants, and count them where there are more or codes are long."""
    names = ", ".join(codes[:_NAMES])
    if len(codes) > 1 and len(names) > _ROOM:
        return f"{len(codes)} participants"
    return names if len(codes) <= _NAMES else f"{len(codes)}: {names} …"
