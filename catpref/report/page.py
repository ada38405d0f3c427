"""What a fit shows: a table for the terminal, the figures, and one page that opens offline."""

import base64
import io
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image

from catpref.evaluation.analysis import Analysis
from catpref.evaluation.cross_validation import Result
from catpref.evaluation.reaction_times import ReactionTimes
from catpref.evaluation.sampling import PERMUTATIONS
from catpref.models.interface import map_name
from catpref.models.registry import MODELS
from catpref.perception.embeddings import SIZE
from catpref.report import figures, methods
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
    p_value = "" if first.scores.p_value is None else f"; p = {first.scores.p_value:.3f} (images permuted)"
    lines.append(
        f"{first.n_test} held-out trials, {_held_out(analysis)}; chance 0.500; noise ceiling {_ceiling(analysis)}"
        + p_value
    )
    seen = analysis.observer
    lines.append(
        f"side bias {_with_interval(seen.side_bias, seen.side_bias_ci95, '+.2f')} logits to the right; "
        f"lapse rate {_with_interval(seen.lapse, seen.lapse_ci95, '.3f')}"
    )
    return "\n".join([*lines, *_of_the_session(analysis), headline(analysis)])


def _of_the_session(analysis: Analysis) -> list[str]:
    """Return what else is to be known of the session: catch trials, reaction times, failed checks, a line each."""
    catch, times = analysis.session.catch, analysis.reaction_times
    lines = [] if catch is None else [f"catch trials passed: {catch.passed} of {catch.trials}"]
    if times is not None:
        lines.append(times.warning or f"reaction times: {reaction_times(times)}")
    return lines + [f"{check.name}: {check.finding}" for check in analysis.choice_model if check.failed]


def reaction_times(times: ReactionTimes) -> str:
    """Return reaction times in a line."""
    line = (
        f"median {times.median:.2f} s (quartiles {times.quartiles[0]:.2f} and {times.quartiles[1]:.2f}); "
        f"{100 * times.too_fast:.1f}% below 0.2 s, {100 * times.outliers:.1f}% outliers"
    )
    if times.median_by_difficulty is None:
        return line
    hard, middle, easy = times.median_by_difficulty
    return (
        f"{line}; hardest, middle and easiest third of the trials {hard:.2f}, {middle:.2f} and {easy:.2f} s"
    )


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
            "accuracy_with_side_bias": result.scores.accuracy_with_side_bias,
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
    """Return the fit in a sentence: what taste predicts, the side bias set aside."""
    scores = analysis.results[0].scores
    shown = "Predicts" if analysis.better_than_chance else "Not shown to be better than chance: predicts"
    return f"{shown} {100 * scores.accuracy:.0f}% of held-out choices (chance 50%{_beside(analysis)})"


def _beside(analysis: Analysis) -> str:
    """Return the noise ceiling, where it is known better than the gain that it is compared to."""
    ceiling = analysis.noise_ceiling
    if ceiling.accuracy is None:
        return ""
    width = 0.0 if ceiling.ci95 is None else ceiling.ci95[1] - ceiling.ci95[0]
    gain = abs(analysis.results[0].scores.accuracy - 0.5)
    return f", noise ceiling {100 * ceiling.accuracy:.0f}%" if width < gain else ""


def remarks(analysis: Analysis) -> list[str]:
    """Return what a reader of the headline should know beside it, a sentence each."""
    first, observer, ceiling = analysis.results[0].scores, analysis.observer, analysis.noise_ceiling
    found = [analysis.pictures.sentence] if analysis.pictures.sentence else []
    if observer.side_bias_ci95[0] > 0 or observer.side_bias_ci95[1] < 0:
        side = next(result for result in analysis.baselines if result.model == "majority_side").scores
        found.append(
            "The side bias is set aside in these figures. With it, "
            f"{100 * first.accuracy_with_side_bias:.0f}% of choices are predicted, where the side preference alone "
            f"reaches {100 * side.accuracy_with_side_bias:.0f}%."
        )
    if not analysis.better_than_chance:
        found.append(
            "No ranking by the model and no map of the face are shown, since they would show patterns where nothing "
            "was found."
        )
    if ceiling.accuracy is not None and ceiling.ci95 is not None and first.accuracy > ceiling.ci95[1]:
        found.append(
            "The model predicts more than the noise ceiling's interval allows: something is wrong, such as images "
            "that are shared between training and test trials under several names, or answers that depend on each "
            "other."
        )
    return found


def write(analysis: Analysis, folder: Path) -> None:
    """Write ``report.html``, and its figures as PNG, PDF and SVG."""
    faces = Faces(analysis.session.stimuli)
    (folder / "figures").mkdir()
    drawn = {}
    for name, figure in figures.draw_all(analysis, faces).items():
        drawn[name] = png(figure)
        (folder / "figures" / f"{name}.png").write_bytes(drawn[name])
        write_vectors(figure, folder / "figures" / name)
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
        permutations=PERMUTATIONS,
        remarks=remarks(analysis),
        reaction_times=None if analysis.reaction_times is None else reaction_times(analysis.reaction_times),
        methods=methods.paragraph(analysis),
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
        return ceiling.method
    if ceiling.ci95 is None:
        return f"{ceiling.accuracy:.3f}, {ceiling.method}"
    return f"{_with_interval(ceiling.accuracy, ceiling.ci95, '.3f')}"


def _strip(analysis: Analysis, faces: Faces) -> list[tuple[str, str, float]]:
    """Return faces along the ranking: name, picture, utility."""
    if analysis.contributions is None or not analysis.better_than_chance:
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


def write_vectors(figure: Figure, path: Path) -> None:
    """Write a figure, laid out when it became a PNG, as PDF and SVG beside it, whose text stays text."""
    figure.set_layout_engine("none")
    dpi = figure.dpi
    # The same session gives the same files: no dates, no random names. `savefig` would draw each of them twice.
    with mpl.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "catpref"}):
        FigureCanvasPdf(figure).print_pdf(path.with_suffix(".pdf"), metadata={"CreationDate": None})
        figure.dpi = dpi  # of the bitmaps in it; the canvas changes it
        FigureCanvasSVG(figure).print_svg(path.with_suffix(".svg"), metadata={"Date": None})


def data_url(picture: bytes) -> str:
    """Write a PNG file's content as a URL that holds it, for a page that opens offline."""
    return "data:image/png;base64," + base64.b64encode(picture).decode()


def _jpeg_url(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
