"""What `experiments.study` shows: a table for the terminal, study.json, and one page that opens offline."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from jinja2 import Environment, PackageLoader, PrefixLoader, StrictUndefined
from matplotlib.figure import Figure

from catpref import __version__
from catpref.figures import BLUE, GREY, INK, ORANGE, STYLE, thumbnail
from catpref.report import data_url, png
from experiments.study_runs import LEAK_EPOCHS, Run, Study


def text_table(study: Study) -> str:
    """Lay the runs out for a terminal, a line each."""
    runs = [run for run, _ in study.experiments] + study.controls[1:] + list(study.leaks.values())
    width = max(len(run.title) for run in runs)
    lines = [f"{'':{width}}  accuracy  95 % interval   classes  p"]
    lines += [
        f"{run.title:{width}}  {run.accuracy:.3f}     {run.accuracy_ci95[0]:.3f} to {run.accuracy_ci95[1]:.3f}"
        f"  {run.classes}        {run.p_value:.3f}"
        for run in runs
    ]
    return "\n".join(lines)


def write(study: Study, folder: Path, seconds: float) -> None:
    """Write ``report.html``, ``study.json`` and ``figures/*.png``."""
    with mpl.rc_context(STYLE):
        drawn = {
            "histories": histories([run for run, _ in study.experiments]),
            "controls": accuracies(study.controls),
            "swap": swapped(study),
        }
        if study.leaks:
            drawn["leaks"] = leaks(study)
        pictures = {name: png(figure) for name, figure in drawn.items()}
    (folder / "figures").mkdir()
    for name, picture in pictures.items():
        (folder / "figures" / f"{name}.png").write_bytes(picture)
    loader = PrefixLoader(
        {"catpref": PackageLoader("catpref", "."), "study": PackageLoader("experiments", ".")}
    )
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    html = pages.get_template("study/study.html").render(
        study=study,
        figures={name: data_url(picture) for name, picture in pictures.items()},
        seconds=seconds,
        leak_epochs=LEAK_EPOCHS,
        version=__version__,
    )
    (folder / "report.html").write_text(html, encoding="utf-8")
    (folder / "study.json").write_text(json.dumps(_numbers(study), indent=2) + "\n", encoding="utf-8")


def histories(runs: Sequence[Run]) -> Figure:
    """Draw loss and accuracy over the epochs, a row a run, as the study did."""
    figure = Figure(figsize=(8.4, 2.2 * len(runs) + 0.3))
    rows = figure.subplots(len(runs), 2, sharex=True, squeeze=False)
    for run, panels in zip(runs, rows, strict=True):
        epochs = np.arange(1, len(run.history) + 1)
        values = np.array(
            [(epoch.loss, epoch.test_loss, epoch.accuracy, epoch.test_accuracy) for epoch in run.history],
            float,
        )
        for panel, first, name in zip(panels, (0, 2), ("loss (nats)", "accuracy"), strict=True):
            panel.plot(epochs, values[:, first], color=GREY, linewidth=2, label="training")
            panel.plot(epochs, values[:, first + 1], color=ORANGE, linewidth=2, label="test")
            panel.axhline(np.log(2) if first == 0 else 0.5, color=INK, linestyle=":", linewidth=1)
            panel.set_ylabel(name)
        panels[0].set_ylim(min(0.55, values[:, :2].min() - 0.02), max(0.8, values[:, :2].max() + 0.02))
        panels[1].set_ylim(min(0.35, values[:, 2:].min() - 0.02), max(0.75, values[:, 2:].max() + 0.02))
        panels[0].set_title(run.title, loc="left", fontsize=10)
    for panel in rows[-1]:
        panel.set_xlabel("epoch")
    rows[0, 1].legend(frameon=False, ncols=2, loc="upper left")
    return figure


def accuracies(runs: Sequence[Run]) -> Figure:
    """Draw each run's accuracy with its interval, beside chance and the more frequent answer."""
    figure = Figure(figsize=(8.4, 0.5 * len(runs) + 1))
    axes = figure.subplots()
    axes.axvline(0.5, color=GREY, linestyle=":")
    for row, run in enumerate(reversed(runs)):
        colour = BLUE if run.accuracy_ci95[0] > max(0.5, run.majority) else ORANGE
        axes.plot(run.accuracy_ci95, [row, row], color=colour, linewidth=2.5, solid_capstyle="round")
        axes.plot(run.accuracy, row, "o", color=colour, markersize=7)
        axes.plot(run.majority, row, "|", color=INK, markersize=14)
    axes.set_yticks(range(len(runs)), [run.title for run in reversed(runs)])
    axes.set_ylim(-0.6, len(runs) - 0.4)
    axes.set_xlim(min(0.35, *(run.accuracy_ci95[0] for run in runs)), 1)
    axes.set_xlabel("test accuracy, with 95 % interval\n| always the more frequent side")
    axes.tick_params(axis="y", length=0)
    return figure


def leaks(study: Study) -> Figure:
    """Draw the accuracy where sides are by lot or fixed, and tested on known or on new images."""
    maps = list(dict.fromkeys(name for name, _, _ in study.leaks))
    figure = Figure(figsize=(8.4, 3.2))
    panels = figure.subplots(1, len(maps), sharey=True, squeeze=False)[0]
    for panel, name in zip(panels, maps, strict=True):
        panel.axhline(0.5, color=GREY, linestyle=":")
        for place, sides in enumerate(("by lot", "fixed")):
            for shift, by, colour in ((-0.14, "trials", BLUE), (0.14, "images", ORANGE)):
                run = study.leaks[name, sides, by]
                x = place + shift
                panel.plot([x, x], run.accuracy_ci95, color=colour, linewidth=2.5, solid_capstyle="round")
                label = f"tested on {'new pairs of known' if by == 'trials' else 'new'} images"
                panel.plot(x, run.accuracy, "o", color=colour, markersize=7, label=None if place else label)
                panel.plot(x, run.majority, "_", color=INK, markersize=14)
        if study.recognised is not None:
            panel.plot([0.7, 1.3], [study.recognised] * 2, color=INK, linestyle="--", linewidth=1)
            panel.annotate("recognising both faces", (1, study.recognised), (0, 3),
                           textcoords="offset points", ha="center", fontsize=8)  # fmt: skip
        panel.set_xticks([0, 1], ["sides by lot", "each image on one side"])
        panel.set_xlim(-0.5, 1.5)
        panel.set_title(name, fontsize=10)
    panels[0].set_ylabel("accuracy")
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside upper center", ncols=2)
    return figure


def swapped(study: Study) -> Figure:
    """Draw a pair and its maps, and the same pair with the sides exchanged."""
    left, right, maps = study.example
    faces = [("left", thumbnail(left)), ("right", thumbnail(right))]
    figure = Figure(figsize=(8.4, 4.4))
    grid = figure.subplots(2, 2 + len(maps))
    for row, order in zip(grid, (faces, faces[::-1]), strict=True):
        for panel, (_, face), side in zip(row, order, ("left", "right"), strict=False):
            panel.imshow(face)
            panel.set_title(side, fontsize=10)
        for panel, (name, content) in zip(row[2:], maps.items(), strict=True):
            panel.imshow(content, cmap="magma", vmin=0)
            panel.set_title(name, fontsize=10)
        for panel in row:
            panel.axis("off")
    return figure


def _numbers(study: Study) -> dict[str, object]:
    return {
        "schema_version": 1,
        "experiments": [
            dataclasses.asdict(run) | {"swap": dataclasses.asdict(swap)} for run, swap in study.experiments
        ],
        "controls": [dataclasses.asdict(run) for run in study.controls],
        "leaks": [
            {"map": name, "sides": sides, "split": by} | dataclasses.asdict(run)
            for (name, sides, by), run in study.leaks.items()
        ],
        "recognised": study.recognised,
        "map_size": study.map_size,
        "backbone": study.backbone,
        "seed": study.seed,
        "versions": {"catpref": __version__},
    }
