"""What a fit shows: a table for the terminal, the figures, and one page that opens offline."""

import base64
import io
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

from catpref.evaluation.analysis import Analysis
from catpref.evaluation.cross_validation import Result
from catpref.evaluation.noise_ceiling import LEAST_REPEATS
from catpref.evaluation.scores import UNRELATED
from catpref.models.interface import map_name
from catpref.models.registry import MODELS
from catpref.perception.embeddings import SIZE
from catpref.report import figures
from catpref.report.faces import Faces
from catpref.version import __version__

REPORT = "report.html"
"""Name of the page."""

_FACES = 12


def text_table(analysis: Analysis) -> str:
    """Lay the results out for a terminal: a line a model, then chance and the noise ceiling."""
    header = ("model", "reads", "accuracy", "95% interval", "log loss", "ECE", "AUC")
    rows = [header, *(_cells(result) for result in [*analysis.results, *analysis.baselines])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    lines.insert(1, "─" * (sum(widths) + 2 * len(widths) - 2))
    first = analysis.results[0]
    p_value = (
        "" if first.scores.p_value is None else f"; {first.model} by chance: p = {first.scores.p_value:.3f}"
    )
    lines.append(
        f"{first.n_test} held-out trials, {_held_out(analysis)}; chance 0.500; noise ceiling {_ceiling(analysis)}"
        + p_value
    )
    if analysis.observer is not None:
        seen = analysis.observer
        lines.append(
            f"side bias {_with_interval(seen.side_bias, seen.side_bias_ci95, '+.2f')} logits to the right; "
            f"lapse rate {_with_interval(seen.lapse, seen.lapse_ci95, '.3f')}"
        )
    return "\n".join(lines)


def score_table(analysis: Analysis) -> pd.DataFrame:
    """Return how each model did on held-out trials, a row a model, baselines last."""
    return pd.DataFrame([
        {
            "model": result.model,
            "embedding": result.embedding,
            "n_train": result.n_train,
            "n_test": result.n_test,
            "repeats": result.repeats,
            "accuracy": result.scores.accuracy,
            "accuracy_low": result.scores.accuracy_ci95[0],
            "accuracy_high": result.scores.accuracy_ci95[1],
            "log_loss": result.scores.log_loss,
            "brier": result.scores.brier,
            "ece": result.scores.ece,
            "auc": result.scores.auc,
            "p_value": result.scores.p_value,
        }
        for result in [*analysis.results, *analysis.baselines]
    ])  # fmt: skip


def notebook_view(analysis: Analysis) -> str:
    """Return what a notebook shows: the headline, the scores, and faces along the ranking."""
    strip = "".join(
        f'<td style="text-align:center"><img src="{url}" width="72"><br>{utility:+.1f}</td>'
        for _, url, utility in _strip(analysis, Faces(analysis.session.stimuli))
    )
    columns = ["model", "accuracy", "accuracy_low", "accuracy_high", "log_loss", "ece", "auc"]
    table = score_table(analysis)[columns].to_html(index=False, float_format="%.3f", na_rep="")
    return f"<p><b>{headline(analysis)}</b></p>{table}<table><tr>{strip}</tr></table>"


def headline(analysis: Analysis) -> str:
    """Return the fit in a sentence."""
    result = analysis.results[0]
    scores, ceiling = result.scores, analysis.noise_ceiling.accuracy
    beside = "" if ceiling is None else f", noise ceiling {100 * ceiling:.0f}%"
    shown = "Not shown to be better than chance: predicts" if scores.accuracy_ci95[0] <= 0.5 else "Predicts"
    return f"{shown} {100 * scores.accuracy:.0f}% of held-out choices (chance 50%{beside})"


def write(analysis: Analysis, folder: Path) -> None:
    """Write ``report.html`` and ``figures/*.png``."""
    faces = Faces(analysis.session.stimuli)
    drawn = {name: png(figure) for name, figure in figures.draw_all(analysis, faces).items()}
    (folder / "figures").mkdir()
    for name, picture in drawn.items():
        (folder / "figures" / f"{name}.png").write_bytes(picture)
    page = Environment(
        loader=PackageLoader("catpref.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    ).get_template(REPORT)
    html = page.render(
        analysis=analysis,
        # Named before looking at the results: the best of several would be a lucky one.
        headline=analysis.results[0],
        sentence=headline(analysis),
        signed=_signed,
        ceiling=_ceiling(analysis),
        faces=_strip(analysis, faces),
        figures={name: data_url(picture) for name, picture in drawn.items()},
        held_out=_held_out(analysis),
        size=SIZE,
        unrelated=UNRELATED,
        titles={name: model.title for name, model in MODELS.items()},
        map_name=map_name(analysis.map_layer),
        layers=len(analysis.example.maps),
        trained=[result.model for result in analysis.results if result.histories],
        version=__version__,
    )
    (folder / REPORT).write_text(html, encoding="utf-8")


def _signed(number: float) -> str:
    """Write a number with its sign, and zero without."""
    return f"{number:+.2f}".replace("+0.00", "0.00").replace("-0.00", "0.00")


def _with_interval(number: float, interval: tuple[float, float], form: str) -> str:
    return f"{number:{form}} ({interval[0]:{form}} to {interval[1]:{form}})"


def _cells(result: Result) -> tuple[str, ...]:
    scores = result.scores
    low, high = scores.accuracy_ci95
    return (
        result.model,
        result.embedding or "",
        f"{scores.accuracy:.3f}" + (" (collapsed)" if scores.collapsed and result.embedding else ""),
        f"{low:.3f} to {high:.3f}",
        f"{scores.log_loss:.3f}",
        f"{scores.ece:.3f}",
        "" if scores.auc is None else f"{scores.auc:.3f}",
    )


def _held_out(analysis: Analysis) -> str:
    what = {"images": "of images never trained on", "trials": "of known images"}[analysis.options.split]
    repeats = analysis.results[0].repeats
    times = f", {repeats} times" if repeats > 1 else ""
    return f"{what} ({analysis.options.folds} folds{times})"


def _ceiling(analysis: Analysis) -> str:
    ceiling = analysis.noise_ceiling
    if ceiling.accuracy is None:
        return f"unknown (it takes {LEAST_REPEATS} repeated trials, or 5 trials an image)"
    return f"{ceiling.accuracy:.3f}, {ceiling.method}"


def _strip(analysis: Analysis, faces: Faces) -> list[tuple[str, str, float]]:
    """Return faces along the ranking: name, picture, utility."""
    if analysis.contributions is None:
        return []
    return [
        (name, _jpeg_url(faces[name].thumbnail), utility)
        for name, utility in figures.spread(analysis, _FACES)
    ]


def png(figure: Figure) -> bytes:
    """Write a figure as a PNG file's content."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def data_url(picture: bytes) -> str:
    """Write a PNG file's content as a URL that holds it, for a page that opens offline."""
    return "data:image/png;base64," + base64.b64encode(picture).decode()


def _jpeg_url(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
