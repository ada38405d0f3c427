"""The figures of a report. Each function draws one and returns it, ready to be saved."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from scipy.stats import binomtest

from catpref.evaluation import attribution
from catpref.evaluation.analysis import Analysis, Example
from catpref.evaluation.cross_validation import Result, scores_of
from catpref.evaluation.learning_curve import LearningCurve
from catpref.evaluation.scores import reliability
from catpref.models.interface import Epoch
from catpref.models.registry import MODELS
from catpref.report.faces import SIDE, Faces
from catpref.report.sentences import ceiling_of_taste, has_curve, is_evaluated, ranked_by

BLUE, GREEN, ORANGE, GREY, INK = "#2f6db5", "#2f8f6b", "#d9742b", "#8b9098", "#24272c"
COLOURS = {"utility": BLUE, "siamese_cnn": GREEN, "study_cnn": ORANGE}
COLOURS |= {"shared_and_personal": BLUE, "shared": GREEN, "alone": ORANGE}
MARKERS = {"utility": "o", "siamese_cnn": "s", "study_cnn": "^"}  # for readers and printers without colours
MARKERS |= {"shared_and_personal": "o", "shared": "s", "alone": "^"}
COLUMN, PAGE = 5.0, 9.2
"""Widths of figures in inches: of a column of text, and of the report's page, whose text has the same size."""
MEAN_FACES = 100
"""Images of which the mean is drawn; enough for one."""

_LEAST_REACH = 0.1  # logits a cell, from which on colours are full: what is smaller is drawn pale
_LEAST_PEAK = 2  # times an even share, likewise
_LEAST_DISTANCE = 0.01  # of LPIPS, likewise
_LEAST_LOSS = 0.05  # nats from chance that axes of losses reach, so that what is flat looks flat
_LEAST_ACCURACIES = (0.4, 0.9)  # that axes of accuracies reach, so that what is near chance looks near chance

STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.dpi": 150,
    "figure.constrained_layout.use": True,
}


def draw_all(analysis: Analysis, faces: Faces) -> dict[str, Figure]:
    """Draw every figure that the analysis has something to show in, by name."""
    with mpl.rc_context(STYLE):
        drawn: dict[str, Figure] = {}
        if is_evaluated(analysis):
            drawn |= {"accuracy": accuracy(analysis), "calibration": calibration(analysis)}
        if ranked_by(analysis) == "utility":
            drawn["ranking"] = ranking(analysis, faces)
        if analysis.has_map:
            drawn["regions"] = regions(analysis, faces)
        if analysis.learning_curve is not None:
            drawn["learning_curve"] = learning_curve(analysis.learning_curve, ceiling_of_taste(analysis))
        for result in analysis.results:
            if has_curve(result):
                first = MODELS[result.model].first_epoch
                colour = COLOURS.get(result.model, GREY)
                drawn[f"training_{result.model}"] = training(result.histories, colour, first)
        drawn["layer_maps"] = distance_maps(analysis.example, faces)
        return drawn


def accuracy(analysis: Analysis) -> Figure:
    """Draw every model's held-out accuracy with its 95% interval, beside chance and the noise ceiling."""
    results: list[Result] = [*analysis.results, *analysis.baselines][::-1]
    figure = Figure(figsize=(COLUMN, 0.4 * len(results) + 1))
    axes = figure.subplots()
    axes.axvline(0.5, color=GREY, linestyle=":")
    axes.text(0.5, len(results) - 0.3, "chance", ha="right", va="bottom", color=GREY)
    ceiling = ceiling_of_taste(analysis)
    if ceiling is not None:
        axes.axvline(ceiling, color=INK, linestyle="--", linewidth=1)
        side = "left" if ceiling < 0.7 else "right"  # away from chance, and inside
        axes.text(ceiling, len(results) - 0.3, f"noise ceiling {ceiling:.3f}", ha=side, va="bottom")
    for row, result in enumerate(results):
        colour = COLOURS.get(result.model, GREY)
        scores = scores_of(result)
        low, high = scores.accuracy_ci95
        axes.plot([low, high], [row, row], color=colour, linewidth=2.5, solid_capstyle="round")
        axes.plot(scores.accuracy, row, MARKERS.get(result.model, "D"), color=colour, markersize=7)
    axes.set_yticks(range(len(results)), [MODELS[result.model].title for result in results])
    axes.set_ylim(-0.6, len(results) - 0.3)
    axes.set_xlim(_reaching(axes.get_xlim()))
    axes.set_xlabel("held-out accuracy, with 95% interval")
    axes.tick_params(axis="y", length=0)
    return figure


def _reaching(limits: tuple[float, float]) -> tuple[float, float]:
    """Return the limits of an axis of accuracies."""
    least, most = _LEAST_ACCURACIES
    return min(limits[0], least), max(limits[1], most)


def calibration(analysis: Analysis) -> Figure:
    """Draw how often the right was chosen against how probable the models said it was."""
    figure = Figure(figsize=(COLUMN, 4.6))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":")
    for result in analysis.results:
        held_out = result.held_out
        predicted, observed, count = reliability(held_out["p_right"], held_out["choice"]).T
        colour = COLOURS.get(result.model, GREY)
        axes.scatter(
            predicted,
            observed,
            s=20 + 200 * count / count.sum(),
            color=colour,
            marker=MARKERS.get(result.model, "D"),
            label=MODELS[result.model].title,
        )
        for x, part, trials in zip(predicted, observed, count, strict=True):
            interval = binomtest(round(part * trials), round(trials)).proportion_ci(method="wilson")
            axes.plot([x, x], [interval.low, interval.high], color=colour, linewidth=1.2)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set(xlabel="predicted P(right)", ylabel="proportion of right choices")
    axes.legend(frameon=False, loc="upper left", borderpad=0)
    return figure


def ranking(analysis: Analysis, faces: Faces, shown: int = 12) -> Figure:
    """Draw a strip of images from the least to the most preferred, with their utilities."""
    strip = spread(analysis, shown)
    figure = Figure(figsize=(PAGE * len(strip) / shown, 1.4))
    for axes, (name, utility) in zip(np.atleast_1d(figure.subplots(1, len(strip))), strip, strict=True):
        axes.imshow(faces[name].thumbnail)
        axes.set_title(f"{utility:+.1f}", fontsize=9)
        axes.axis("off")
    figure.supxlabel("← least preferred        utility (logits)        most preferred →", fontsize=9)
    return figure


def spread(analysis: Analysis, shown: int, by: str = "utility") -> list[tuple[str, float]]:
    """Pick images evenly along a column of the ranking, from the least to the most preferred, with its values."""
    table = analysis.ranking.sort_values(by, ascending=False, kind="stable")
    rows = np.unique(np.linspace(len(table) - 1, 0, min(shown, len(table))).round().astype(int))[::-1]
    names, utilities = table["image"].to_list(), table[by].to_numpy()
    return [(names[row], float(utilities[row])) for row in rows]


def chance_and_ceiling(axes: Axes, ceiling: float | None) -> None:
    """Draw what accuracies are compared with: chance, and the noise ceiling where it is known."""
    axes.axhline(0.5, color=GREY, linestyle=":")
    axes.annotate("chance", (1, 0.5), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                  va="center", color=GREY)  # fmt: skip
    if ceiling is not None:
        axes.axhline(ceiling, color=INK, linestyle="--", linewidth=1)
        axes.annotate("noise\nceiling", (1, ceiling), (4, 0), xycoords=("axes fraction", "data"),
                      textcoords="offset points", va="center")  # fmt: skip


def learning_curve(curve: LearningCurve, ceiling: float | None) -> Figure:
    """Draw accuracy on held-out trials against the number of training trials, with the saturating curve."""
    figure = Figure(figsize=(COLUMN, 3.6))
    axes = figure.subplots()
    chance_and_ceiling(axes, ceiling)
    most = curve.trials[-1]
    if curve.limit is not None and curve.half is not None:
        trials = np.linspace(curve.trials[0], most, 200)
        axes.plot(trials, 0.5 + (curve.limit - 0.5) * trials / (trials + curve.half), color=BLUE, linewidth=2)
    for number, (low, high) in zip(curve.trials, curve.accuracy_ci95, strict=True):
        axes.plot([number, number], [low, high], color=BLUE, linewidth=1.2)
    axes.plot(curve.trials, curve.accuracy, "o", color=BLUE, markersize=7)
    needed = curve.trials_for_90_percent
    if needed is not None and curve.limit is not None:
        reached = 0.5 + 0.9 * (curve.limit - 0.5)
        axes.plot([needed, needed], [0.5, reached], color=ORANGE, linewidth=1.2)
        axes.annotate(f"90% of the gain:\n{needed:.0f} trials", (needed, 0.5), (5, 14), color=ORANGE,
                      textcoords="offset points", va="bottom")  # fmt: skip
    axes.set_xlim(0, 1.1 * most)
    axes.set_ylim(_reaching(axes.get_ylim()))
    axes.set(xlabel="training trials", ylabel="accuracy on held-out trials")
    return figure


def regions(analysis: Analysis, faces: Faces, shown: int = 4) -> Figure:
    """Draw where in the image the preference lives, and what speaks for and against some images."""
    assert analysis.contributions is not None
    some = [faces[image].grey for image in analysis.session.images[:MEAN_FACES]]
    names = analysis.ranking["image"].to_list()
    shown = min(shown, len(names) // 2)
    rows = [("most preferred", names[:shown]), ("least preferred", names[::-1][:shown])]
    figure = Figure(figsize=(PAGE, 4.4))
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.05))  # type: ignore[misc]

    axes = left.subplots()
    parts = 100 * attribution.shares(analysis.contributions)
    most = max(float(parts.max()), min(100.0, 100 * _LEAST_PEAK / parts.size))
    apart = analysis.contributions - analysis.contributions.mean(0)
    pale = min(1.0, float(np.abs(apart).max()) / _LEAST_REACH)
    axes.imshow(np.mean(some, axis=0), cmap="gray", vmin=0, vmax=255, extent=(0, 1, 1, 0))
    even = 100 / parts.size if parts.size > 1 else 0.0  # below an even share, nothing is painted
    strength = np.clip(_smooth((parts - even) / (most - even)), 0, 1)
    shades = mpl.colormaps["Oranges"](0.35 + 0.65 * strength)
    shades[..., 3] = 0.85 * pale * strength
    axes.imshow(shades, extent=(0, 1, 1, 0))
    axes.set_title("over the mean image", fontsize=10)
    axes.axis("off")
    scale = ScalarMappable(Normalize(even, most), "Oranges")
    bar = left.colorbar(scale, ax=axes, orientation="horizontal", shrink=0.7, pad=0.02, alpha=pale)
    bar.set_label(f"share of the preference in a cell of {len(parts)} × {len(parts)} (%)", fontsize=9)
    bar.outline.set_visible(False)  # type: ignore[union-attr]

    order = {image: number for number, image in enumerate(analysis.session.images)}
    wanted = [order[name] for _, row in rows for name in row]
    reach = float(np.abs(apart[wanted]).max(initial=_LEAST_REACH))
    grid = np.atleast_2d(right.subplots(2, max(shown, 1), squeeze=False))
    for (title, row), line in zip(rows, grid, strict=True):
        for name, panel in zip(row, line, strict=False):
            signed = np.clip(_smooth(apart[order[name]] / reach), -1, 1)
            shades = mpl.colormaps["RdBu"](0.5 + 0.5 * signed)
            shades[..., 3] = np.clip(1.3 * np.abs(signed), 0, 0.85)
            panel.imshow(faces[name].grey, cmap="gray", vmin=0, vmax=255, extent=(0, 1, 1, 0))
            panel.imshow(shades, extent=(0, 1, 1, 0))
            # What speaks against is dashed, so that it is told from what speaks for without colours.
            levels = [level for level in (-0.5, 0.5) if signed.min() < level < signed.max()]
            if levels:
                panel.contour(signed, levels, extent=(0, 1, 0, 1), colors=INK, linewidths=0.7)
        line[0].set_title(title, fontsize=10, loc="left")
    for panel in grid.ravel():
        panel.axis("off")
    scale = ScalarMappable(Normalize(-reach, reach), "RdBu")
    bar = right.colorbar(scale, ax=list(grid.ravel()), orientation="horizontal", shrink=0.6, pad=0.02)
    bar.set_label("speaks against the image (dashed)  ·  speaks for it (logits a cell)", fontsize=9)
    bar.outline.set_visible(False)  # type: ignore[union-attr]
    return figure


def _smooth(cells: np.ndarray) -> np.ndarray:
    """Draw a grid of cells without their edges, shape (side, side)."""
    image = Image.fromarray(cells.astype(np.float32))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def training(histories: Sequence[Sequence[Epoch]], colour: str = ORANGE, first_epoch: int = 1) -> Figure:
    """Draw loss and accuracy over the epochs, thin for each fold and thick for their mean.

    A fold that trained for fewer epochs stays in the mean as it was when it stopped.
    """
    figure = Figure(figsize=(PAGE, 3.4))
    panels: tuple[Axes, Axes] = tuple(figure.subplots(1, 2))
    values = np.empty((len(histories), max(map(len, histories)), 4))
    for row, history in zip(values, histories, strict=True):
        row[: len(history)] = [
            (epoch.loss, epoch.test_loss, epoch.accuracy, epoch.test_accuracy) for epoch in history
        ]
        row[len(history) :] = row[len(history) - 1]
    epochs = first_epoch + np.arange(values.shape[1])
    for panel, first, name in zip(panels, (0, 2), ("loss (nats)", "accuracy"), strict=True):
        for column, shade, label in ((first, GREY, "training"), (first + 1, colour, "held out")):
            panel.plot(epochs, values[:, :, column].T, ".-", color=shade, alpha=0.35, linewidth=0.8)
            mean = values[:, :, column].mean(0)
            panel.plot(epochs, mean, ".-", color=shade, linewidth=2.2, label=label)
        panel.axhline(np.log(2) if first == 0 else 0.5, color=INK, linestyle=":", linewidth=1)
        panel.set(xlabel="epoch", ylabel=name)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(min(low, np.log(2) - _LEAST_LOSS), max(high, np.log(2) + _LEAST_LOSS))
    panels[1].set_ylim(min(0.3, np.nanmin(values[:, :, 2:]) - 0.02), 1.02)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    return figure


def distance_maps(example: Example, faces: Faces) -> Figure:
    """Draw two images, the mean distance map between them, and each layer's map with its colour scale."""
    layers = example.maps
    panels: list[tuple[str, Any]] = [
        ("left", faces[example.left].image),
        ("right", faces[example.right].image),
    ]
    panels += [("mean map", layers.mean(0))]
    panels += [(f"layer {number}", layer) for number, layer in enumerate(layers, start=1)]
    rows = 2
    figure = Figure(figsize=(PAGE, 4.3))
    grid = figure.subplots(rows, -(-len(panels) // rows)).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, (title, content) in zip(grid, panels, strict=False):
        most = max(float(np.max(content)), _LEAST_DISTANCE)
        shown = axes.imshow(content, cmap="magma", vmin=0, vmax=most)
        axes.set_title(title, fontsize=10)
        if isinstance(content, np.ndarray):
            bar = figure.colorbar(shown, ax=axes, orientation="horizontal", shrink=0.8, pad=0.02)
            bar.ax.locator_params(nbins=3)
            bar.ax.tick_params(labelsize=7)
            bar.outline.set_visible(False)  # type: ignore[union-attr]
    return figure
