"""What a plan shows: a table for the terminal, plan.csv, and one page with curves that opens offline."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, PrefixLoader, StrictUndefined, Template

from catpref.plans import figures, summary
from catpref.plans.studies import Setting
from catpref.plans.summary import Expected
from catpref.report.page import data_url, png
from catpref.version import __version__

PAGE, TABLE = "plan.html", "plan.csv"
"""Names of the files."""

_CSS_DPI = 96


@dataclass(frozen=True)
class Plan:
    """All that a plan says.

    Attributes
    ----------
    expected, table
        Of each cell, and the rows of plan.csv.
    setting
        What was simulated.
    like
        Whether people are those of a pilot.
    gain, confidence
        What was asked for.
    left_out
        Combinations that could not be simulated, and why.
    """

    expected: Sequence[Expected]
    table: pd.DataFrame
    setting: Setting
    like: bool
    gain: float
    confidence: float
    left_out: Sequence[str]

    @property
    def sentences(self) -> list[tuple[float, str]]:
        """For each noise what a study takes; first the noise that is nearest to the usual."""
        by_noise = summary.by_noise(self.expected)
        return [
            (noise, summary.sentence(by_noise[noise], self.gain, self.confidence))
            for noise in sorted(by_noise, key=lambda noise: (abs(noise - 1), noise))
        ]


def text_table(plan: Plan) -> str:
    """Lay the plan out for a terminal: a line a cell, then what a study takes."""
    header = ("design", "trials", "images", "people", "noise", "accuracy", "95% of studies", "width", "power", "gain",
              "at least")  # fmt: skip
    rows: list[tuple[str, ...]] = [header]
    for one in plan.expected:
        low, high = one.accuracy_ci95
        rows.append((
            one.cell.design, str(one.cell.trials), str(one.cell.images), str(one.cell.people), f"{one.cell.noise:g}",
            f"{one.accuracy:.3f}", f"{low:.2f} to {high:.2f}", f"{one.width:.2f}", f"{one.power:.2f}",
            f"{one.gain:.2f}", f"{one.gain_low:.2f}",
        ))  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    lines.insert(1, "─" * (sum(widths) + 2 * len(widths) - 2))
    several = len(plan.sentences) > 1
    said = [f"noise {noise:g}: {one}" if several else one for noise, one in plan.sentences]
    return "\n".join([*lines, *(f"left out: {line}" for line in plan.left_out), *said])


def write(plan: Plan, folder: Path) -> None:
    """Write ``plan.csv``, ``plan.html`` and ``figures/*.png``."""
    plan.table.to_csv(folder / TABLE, index=False, lineterminator="\n")
    (folder / "figures").mkdir()
    drawn = {}
    for name, figure in figures.draw_all(plan.expected, plan.gain).items():
        picture = png(figure)
        (folder / "figures" / f"{name}.png").write_bytes(picture)
        drawn[name] = {"url": data_url(picture), "width": round(_CSS_DPI * figure.get_figwidth())}
    first = summary.by_noise(plan.expected)[plan.sentences[0][0]]
    found = [summary.enough(each, plan.gain) for each in summary.by_noise(plan.expected).values()]
    html = _template().render(
        expected=plan.expected,
        sentences=plan.sentences,
        setting=_setting(plan),
        method=_method(plan),
        simulated=sum(one.studies for one in plan.expected),
        studies=plan.expected[0].studies,
        ceiling=sum(one.ceiling for one in first) / len(first),
        best=sum(one.best for one in first) / len(first),
        chosen=[one.cell for one in found if one is not None],
        confidence=plan.confidence,
        left_out=plan.left_out,
        figures=drawn,
        seed=plan.setting.seed,
        version=__version__,
    )
    (folder / PAGE).write_text(html, encoding="utf-8")


@cache
def _template() -> Template:
    loader = PrefixLoader(
        {"report": PackageLoader("catpref.report", "."), "plan": PackageLoader("catpref.plans", ".")}
    )
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return pages.get_template("plan/plan.html")


def _setting(plan: Plan) -> str:
    """Return in a sentence who was simulated, on which images."""
    world = plan.setting.world
    who = "as in the pilot" if plan.like else "as people usually are"
    return f"Simulated people, {who}, who chose between images of {world.name} ({len(world)} images)."


def _method(plan: Plan) -> str:
    """Return how it was simulated, as a methods section says it."""
    given = plan.setting.habits
    of = given.variances
    total = of.shared + of.personal + of.shared_effect + of.personal_effect
    return (
        f"Each study has people of its own and images of its own. A person's utility of an image has a variance of "
        f"{total:.2f} squared logits between images (at noise 1): {of.shared:.2f} are a taste that the network's "
        f"features carry and all people share, {of.personal:.2f} one that they carry and that is a person's own, and "
        f"{of.shared_effect:.2f} and {of.personal_effect:.2f} likewise are of the images alone, which no network "
        f"tells. Side biases have a variance of {of.side_bias:.2f}; lapse rates lie evenly between 0 and "
        f"{200 * given.lapse:.0f}%. Answers are fitted and cross-validated as catpref fit does it, with features "
        "that are reduced by random projection. What a new study has at least, or within an interval, is a tolerance "
        "interval from the studies that were simulated: it holds its part of new studies in 90 of 100 plans "
        "(Hahn & Meeker 1991)."
    )
