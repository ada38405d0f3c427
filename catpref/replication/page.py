"""What `catpref.replication.command` shows: a table for the terminal, study.json, and one page that opens offline."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
from jinja2 import Environment, PackageLoader, PrefixLoader, StrictUndefined, Template
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from catpref.replication import verdicts
from catpref.replication.results import AT_RANDOM, HALVES, MAPS, ORDER, Run, Study
from catpref.replication.runs import LEAK_EPOCHS
from catpref.report.faces import Face
from catpref.report.figures import BLUE, GREY, INK, ORANGE, STYLE
from catpref.report.page import data_url, png
from catpref.version import __version__


def text_table(study: Study) -> str:
    """Lay the runs out for a terminal, a line each."""
    runs = [run for run, _ in study.experiments]
    runs += study.controls.runs[1:]
    runs += [run for leak in study.leaks for run in (leak.network, leak.linear)]
    width = max(len(run.title) for run in runs)
    lines = [f"{'':{width}}  accuracy  95% interval   frequent side  classes  p"]
    lines += [
        f"{run.title:{width}}  {run.accuracy:.3f}     {run.accuracy_ci95[0]:.3f} to {run.accuracy_ci95[1]:.3f}"
        f"  {run.majority:.3f}          {run.classes}        {run.p_value:.3f}"
        for run in runs
    ]
    return "\n".join(lines)


def write(study: Study, folder: Path, seconds: float) -> None:
    """Write ``report.html``, ``study.json`` and ``figures/*.png``."""
    with mpl.rc_context(STYLE):
        drawn = {
            "histories": histories([run for run, _ in study.experiments]),
            "controls": accuracies(study.controls.runs),
            "swap": swapped(study),
        }
        if study.leaks:
            drawn["leaks"] = leaks(study)
        pictures = {name: png(figure) for name, figure in drawn.items()}
    (folder / "figures").mkdir()
    for name, picture in pictures.items():
        (folder / "figures" / f"{name}.png").write_bytes(picture)
    html = page(study, {name: data_url(picture) for name, picture in pictures.items()}, seconds)
    (folder / "report.html").write_text(html, encoding="utf-8")
    (folder / "study.json").write_text(json.dumps(_numbers(study), indent=2) + "\n", encoding="utf-8")


def page(study: Study, figures: Mapping[str, str], seconds: float) -> str:
    """Lay out the report, with the sentences that this study's numbers bear out.

    Parameters
    ----------
    study
        What was found.
    figures
        The address of each figure.
    seconds
        How long it took.
    """
    return _template().render(
        study=study,
        verdicts=verdicts,
        maps=list(MAPS),
        sides={"random": AT_RANDOM, "order": ORDER, "halves": HALVES},
        figures=figures,
        seconds=seconds,
        leak_epochs=LEAK_EPOCHS,
        version=__version__,
    )


@cache
def _template() -> Template:
    loader = PrefixLoader(
        {"report": PackageLoader("catpref.report", "."), "study": PackageLoader("catpref.replication", ".")}
    )
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return pages.get_template("study/study.html")


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
        colour = BLUE if verdicts.above_chance(run) else ORANGE
        axes.plot(run.accuracy_ci95, [row, row], color=colour, linewidth=2.5, solid_capstyle="round")
        axes.plot(run.accuracy, row, "o", color=colour, markersize=7)
        axes.plot(run.majority, row, "|", color=INK, markersize=14)
    axes.set_yticks(range(len(runs)), [run.title for run in reversed(runs)])
    axes.set_ylim(-0.6, len(runs) - 0.4)
    axes.set_xlim(min(0.35, *(run.accuracy_ci95[0] for run in runs)), 1)
    axes.set_xlabel("test accuracy, with 95% interval\n| always the more frequent side")
    axes.tick_params(axis="y", length=0)
    return figure


def leaks(study: Study) -> Figure:
    """Draw how well choices are predicted by where the sides come from, on known and on new images."""
    figure = Figure(figsize=(8.4, 3.6))
    panels = figure.subplots(1, len(MAPS), sharey=True)
    shown = [
        (0, AT_RANDOM, "trials", BLUE),
        (1, ORDER, "trials", BLUE),
        (1.85, HALVES, "trials", BLUE),
        (2.35, HALVES, "images", ORANGE),
    ]
    for panel, name in zip(panels, MAPS, strict=True):
        panel.axhline(0.5, color=GREY, linestyle=":")
        for place, sides, by, colour in shown:
            leak = verdicts.leak(study, name, sides, by)
            readers = ((place - 0.08, leak.network, "o", colour), (place + 0.08, leak.linear, "D", "white"))
            for x, run, marker, face in readers:
                panel.plot([x, x], run.accuracy_ci95, color=colour, linewidth=2, solid_capstyle="round")
                panel.plot(x, run.accuracy, marker, color=colour, markersize=6, markerfacecolor=face)
            ends = [place - 0.2, place + 0.2]
            panel.plot(ends, [leak.network.majority] * 2, color=INK, linewidth=1)
            if by == "trials" and sides != AT_RANDOM:
                panel.plot(ends, [leak.recognised] * 2, color=INK, linestyle="--", linewidth=1)
        panel.set_xticks(
            [0, 1, 2.1], ["sides\nat random", "sides by a\nlist's order", "each image\non one side"]
        )
        panel.set_xlim(-0.4, 2.7)
        panel.set_title(name, fontsize=10)
    panels[0].set_ylabel("accuracy")
    key = [
        Line2D([], [], color=BLUE, linewidth=4, label="pairs of known images"),
        Line2D([], [], color=ORANGE, linewidth=4, label="pairs of new images"),
        Line2D([], [], color=GREY, linestyle="", marker="o", label="the study's network"),
        Line2D([], [], color=GREY, linestyle="", marker="D", mfc="white", label="a linear reader"),
        Line2D([], [], color=INK, linewidth=1, label="always the more frequent side"),
        Line2D([], [], color=INK, linewidth=1, linestyle="--", label="recognising both faces"),
    ]
    figure.legend(handles=key, frameon=False, loc="outside upper center", ncols=3)
    return figure


def swapped(study: Study) -> Figure:
    """Draw a pair and its maps, and the same pair with the sides exchanged."""
    left, right, maps = study.example
    faces = [Face.read(left).thumbnail, Face.read(right).thumbnail]
    figure = Figure(figsize=(8.4, 4.4))
    grid = figure.subplots(2, 2 + len(maps))
    for number, (row, order) in enumerate(zip(grid, (faces, faces[::-1]), strict=True)):
        for panel, face, side in zip(row, order, ("left", "right"), strict=False):
            panel.imshow(face)
            panel.set_title(side, fontsize=10)
        for panel, (name, content) in zip(row[2:], maps.items(), strict=True):
            panel.imshow(content[number], cmap="magma", vmin=0, vmax=content.max())
            panel.set_title(name, fontsize=10)
        for panel in row:
            panel.axis("off")
    return figure


def _numbers(study: Study) -> dict[str, object]:
    return {
        "schema_version": 2,
        "conclusion": verdicts.conclusion(study),
        "above_chance": [run.title for run in verdicts.successes(study)],
        "experiments": [
            dataclasses.asdict(run) | {"swap": dataclasses.asdict(swap)} for run, swap in study.experiments
        ],
        "controls": dataclasses.asdict(study.controls),
        "sidedness": None if study.sidedness is None else dataclasses.asdict(study.sidedness),
        "leaks": [dataclasses.asdict(leak) for leak in study.leaks],
        "map_size": study.map_size,
        "backbone": study.backbone,
        "seed": study.seed,
        "versions": {"catpref": __version__},
    }
