"""The figures of a report. Each function draws one and returns it, ready to be saved."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from scipy.stats import binomtest

from catpref.analysis import Analysis, Result
from catpref.evaluation import reliability
from catpref.lpips_maps import layer_maps
from catpref.models.study_cnn import Epoch
from catpref.stimuli import image_path, open_image

BLUE, ORANGE, GREY, INK = "#2f6db5", "#d9742b", "#8b9098", "#24272c"
COLOURS = {"utility": BLUE, "study_cnn": ORANGE}
TITLES = {
    "utility": "signed utility",
    "study_cnn": "study's CNN",
    "majority_side": "more frequent side",
    "luminance": "luminance",
    "contrast": "contrast",
    "bradley_terry": "Bradley–Terry",
}
THUMBNAIL = 144  # pixels

_STYLE: Any = {
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


def draw_all(analysis: Analysis) -> dict[str, Figure]:
    """Draw every figure that the analysis has something to show in, by name."""
    with mpl.rc_context(_STYLE):
        drawn = {"accuracy": accuracy(analysis), "calibration": calibration(analysis)}
        if analysis.utility is not None:
            drawn["ranking"] = ranking(analysis)
        if analysis.histories:
            drawn["training"] = training(analysis.histories)
        drawn["layer_maps"] = distance_maps(analysis)
        return drawn


def accuracy(analysis: Analysis) -> Figure:
    """Draw every model's held-out accuracy with its 95 % interval, beside chance and the noise ceiling."""
    results: list[Result] = [*analysis.results, *analysis.baselines][::-1]
    figure = Figure(figsize=(5.8, 0.4 * len(results) + 1))
    axes = figure.subplots()
    axes.axvline(0.5, color=GREY, linestyle=":")
    axes.text(0.5, len(results) - 0.3, "chance", ha="center", va="bottom", color=GREY)
    ceiling = analysis.noise_ceiling.accuracy
    if ceiling is not None:
        axes.axvline(ceiling, color=INK, linestyle="--", linewidth=1)
        axes.text(ceiling, len(results) - 0.3, f"noise ceiling {ceiling:.3f}", ha="center", va="bottom")
    for row, result in enumerate(results):
        colour = COLOURS.get(result.model, GREY)
        low, high = result.scores.accuracy_ci95
        axes.plot([low, high], [row, row], color=colour, linewidth=2.5, solid_capstyle="round")
        axes.plot(result.scores.accuracy, row, "o", color=colour, markersize=7)
    axes.set_yticks(range(len(results)), [TITLES[result.model] for result in results])
    axes.set_ylim(-0.6, len(results) - 0.3)
    axes.set_xlabel("accuracy on held-out trials, with 95 % interval")
    axes.tick_params(axis="y", length=0)
    return figure


def calibration(analysis: Analysis) -> Figure:
    """Draw how often the right was chosen against how probable the models said it was."""
    figure = Figure(figsize=(4.6, 4.4))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":")
    for result in analysis.results:
        held_out = analysis.predictions[analysis.predictions["model"] == result.model]
        predicted, observed, count = reliability(held_out["p_right"], held_out["choice"]).T
        colour = COLOURS[result.model]
        axes.scatter(
            predicted, observed, s=20 + 200 * count / count.sum(), color=colour, label=TITLES[result.model]
        )
        for x, part, trials in zip(predicted, observed, count, strict=True):
            interval = binomtest(round(part * trials), round(trials)).proportion_ci(method="wilson")
            axes.plot([x, x], [interval.low, interval.high], color=colour, linewidth=1.2)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set(xlabel="predicted P(right)", ylabel="part of right choices")
    axes.legend(frameon=False, loc="upper left", borderpad=0)
    return figure


def ranking(analysis: Analysis, shown: int = 12) -> Figure:
    """Draw a strip of faces from the least to the most preferred, with their utilities."""
    strip = spread(analysis, shown)
    figure = Figure(figsize=(len(strip) * 1.1, 1.6))
    for axes, (name, utility) in zip(np.atleast_1d(figure.subplots(1, len(strip))), strip, strict=True):
        axes.imshow(thumbnail(image_path(analysis.session.stimuli, name)))
        axes.set_title(f"{utility:+.1f}", fontsize=9)
        axes.axis("off")
    figure.supxlabel("← least preferred        utility (logits)        most preferred →", fontsize=9)
    return figure


def spread(analysis: Analysis, shown: int) -> list[tuple[str, float]]:
    """Pick images evenly along the ranking, from the least to the most preferred, with their utilities."""
    table = analysis.ranking
    rows = np.unique(np.linspace(len(table) - 1, 0, min(shown, len(table))).round().astype(int))[::-1]
    names, utilities = table["image"].to_list(), table["utility"].to_numpy()
    return [(names[row], float(utilities[row])) for row in rows]


def thumbnail(path: Path) -> Image.Image:
    """Load an image small."""
    image = open_image(path)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return image


def training(histories: Sequence[Sequence[Epoch]]) -> Figure:
    """Draw loss and accuracy over the epochs, thin for each fold and thick for their mean."""
    figure = Figure(figsize=(8, 3.2))
    panels: tuple[Axes, Axes] = tuple(figure.subplots(1, 2))
    values = np.array([
        [(epoch.loss, epoch.test_loss, epoch.accuracy, epoch.test_accuracy) for epoch in history]
        for history in histories
    ], dtype=float)  # fmt: skip
    epochs = np.arange(1, values.shape[1] + 1)
    for panel, first, name in zip(panels, (0, 2), ("loss (nats)", "accuracy"), strict=True):
        for column, colour, label in ((first, GREY, "training"), (first + 1, ORANGE, "held out")):
            panel.plot(epochs, values[:, :, column].T, color=colour, alpha=0.35, linewidth=0.8)
            panel.plot(epochs, values[:, :, column].mean(0), color=colour, linewidth=2.2, label=label)
        panel.axhline(np.log(2) if first == 0 else 0.5, color=INK, linestyle=":", linewidth=1)
        panel.set(xlabel="epoch", ylabel=name)
    panels[1].set_ylim(min(0.3, np.nanmin(values[:, :, 2:]) - 0.02), 1.02)
    panels[0].legend(frameon=False)
    return figure


def distance_maps(analysis: Analysis) -> Figure:
    """Draw two faces, the mean distance map between them, and each layer's map with its colour scale."""
    if analysis.utility is None:
        first = analysis.session.trials.iloc[0]
        names = [first["left_image"], first["right_image"]]
    else:
        names = [analysis.ranking["image"].iloc[-1], analysis.ranking["image"].iloc[0]]
    left, right = (image_path(analysis.session.stimuli, name) for name in names)
    layers = layer_maps(left, right, analysis.backbone, 256)
    panels = [("left", open_image(left)), ("right", open_image(right)), ("mean map", layers.mean(0))]
    panels += [(f"layer {number}", layer) for number, layer in enumerate(layers, start=1)]
    rows = 2
    figure = Figure(figsize=(10, 4.6))
    grid = figure.subplots(rows, -(-len(panels) // rows)).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, (title, content) in zip(grid, panels, strict=False):
        shown = axes.imshow(content, cmap="magma", vmin=0)
        axes.set_title(title, fontsize=10)
        if isinstance(content, np.ndarray):
            bar = figure.colorbar(shown, ax=axes, orientation="horizontal", shrink=0.8, pad=0.02)
            bar.ax.locator_params(nbins=3)
            bar.ax.tick_params(labelsize=7)
            bar.outline.set_visible(False)  # type: ignore[union-attr]
    return figure
