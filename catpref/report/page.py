"""What a fit shows: a table for the terminal, the figures, and one page that opens offline."""

import base64
import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from catpref.evaluation.analysis import CURVE_REPEATS, Analysis
from catpref.evaluation.attribution import HALVINGS
from catpref.evaluation.cross_validation import Result, scores_of
from catpref.evaluation.people import LAPSING, OPPOSED, Observers, map_of
from catpref.evaluation.sampling import PERMUTATIONS
from catpref.evaluation.scores import Scores
from catpref.models.interface import map_name
from catpref.models.registry import MODELS
from catpref.perception.embeddings import SIZE
from catpref.report import asked, figures, methods, people, people_sentences, sentences
from catpref.report.faces import Faces
from catpref.version import __version__

REPORT = "report.html"
"""Name of the page."""

_FACES = 12
_VAGUE_SLOPE = 2  # a wider interval holds nearly all that calibration may be
_CSS_DPI = 96  # so that figures' text has the size that it is given


def text_table(analysis: Analysis) -> str:
    """Lay the results out for a terminal: a line a model, then chance and the noise ceiling."""
    header = ("model", "reads", "accuracy", "95% interval", "log loss", "ECE", "AUC")
    rows = [header, *(_cells(result) for result in [*analysis.results, *analysis.baselines])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    lines.insert(1, "─" * (sum(widths) + 2 * len(widths) - 2))
    if sentences.collapsed(analysis):
        lines.append("collapsed: the same answer to every trial in most folds")
    lines.append(
        _of_held_out(analysis) if sentences.is_evaluated(analysis) else sentences.of_adaptive(analysis)
    )
    lines.append(sentences.of_observers(analysis))
    if analysis.observers is not None:
        lines.append(people_sentences.of_remarks(analysis))
    return "\n".join([*lines, *_of_the_session(analysis), sentences.headline(analysis)])


def _of_held_out(analysis: Analysis) -> str:
    """Return which trials were held out, chance, noise ceiling and p."""
    first, session = analysis.results[0], analysis.session
    p_value = scores_of(first).p_value
    p_said = "" if p_value is None else f"; p = {p_value:.3f} (images permuted)"
    fair = int(session.is_fair.sum())
    of = f"{fair} random" if fair < len(session.trials) else str(fair)
    beside = sentences.learned_only(session)
    return (
        f"{first.n_test} of {of} trials held out{beside}, {sentences.held_out(analysis)}; "
        f"chance 0.500; noise ceiling {sentences.ceiling(analysis.taste_ceiling)}"
        f"{sentences.ceiling_caveat(analysis)}{p_said}"
    )


def _of_the_session(analysis: Analysis) -> list[str]:
    """Return what else is to be known of the session: catch trials, reaction times, failed checks, a line each."""
    catch, times = analysis.session.catch, analysis.reaction_times
    lines = [] if catch is None else [f"catch trials passed: {catch.passed} of {catch.trials}"]
    ties = sentences.no_preference(analysis.session)
    lines += [] if ties is None else [ties]
    if times is not None:
        lines.append(times.warning or f"reaction times: {sentences.reaction_times(times)}")
    return lines + [f"{check.name}: {sentences.of_check(check)}" for check in sentences.failed(analysis)]


def score_table(analysis: Analysis) -> pd.DataFrame:
    """Return how each model did on held-out trials, a row a model, baselines last."""
    return pd.DataFrame([
        {
            "model": result.model,
            "embedding": result.embedding,
            "n_train": result.n_train,
            "n_test": result.n_test,
            "repeats": result.repeats,
            **_columns(result.scores),
        }
        for result in [*analysis.results, *analysis.baselines]
    ])  # fmt: skip


def _columns(scores: Scores | None) -> dict[str, float | None]:
    """Return a model's scores as they stand in a table; NaN where it was not evaluated."""
    unknown = float("nan")
    low, high = (unknown, unknown) if scores is None else scores.accuracy_ci95
    names = ("accuracy", "accuracy_with_side_bias", "log_loss", "brier", "ece", "auc", "p_value")
    others = {name: unknown if scores is None else getattr(scores, name) for name in names}
    return {"accuracy": others.pop("accuracy"), "accuracy_low": low, "accuracy_high": high, **others}


def notebook_view(analysis: Analysis) -> str:
    """Return what a notebook shows: the headline, the scores, and faces along the ranking."""
    strip = "".join(
        f'<td style="text-align:center"><img src="{url}" width="72"><br>{utility:+.1f}</td>'
        for _, url, utility in _strip(analysis, Faces(analysis.session.stimuli))
    )
    columns = ["model", "accuracy", "accuracy_low", "accuracy_high", "log_loss", "ece", "auc"]
    table = score_table(analysis)[columns].to_html(index=False, float_format="%.3f", na_rep="")
    return f"<p><b>{sentences.headline(analysis)}</b></p>{table}<table><tr>{strip}</tr></table>"


def write(analysis: Analysis, folder: Path) -> None:
    """Write ``report.html``, and its figures as PNG, PDF and SVG."""
    faces = Faces(analysis.session.stimuli)
    if analysis.has_map:
        faces.read(analysis.session.images[: figures.MEAN_FACES])
    (folder / "figures").mkdir()
    drawn = {}
    several = analysis.observers
    of_people = {} if several is None else people.draw(several)
    of_asked = asked.draw(analysis.asked, sentences.ceiling_of_taste(analysis))
    for name, figure in (figures.draw_all(analysis, faces) | of_asked | of_people).items():
        picture = png(figure)
        drawn[name] = {"url": data_url(picture), "width": round(_CSS_DPI * figure.get_figwidth())}
        (folder / "figures" / f"{name}.png").write_bytes(picture)
        write_vectors(figure, folder / "figures" / name)
    html = (
        environment()
        .get_template(REPORT)
        .render(
            analysis=analysis,
            # Named before looking at the results: the best of several would be a lucky one.
            headline=analysis.results[0],
            sentence=sentences.headline(analysis),
            signed=_signed,
            ceiling=sentences.ceiling(analysis.taste_ceiling),
            no_preference=sentences.no_preference(analysis.session),
            ceiling_caveat=sentences.ceiling_caveat(analysis),
            faces=_strip(analysis, faces),
            by_wins=sentences.ranked_by(analysis) == sentences.BY_WINS,
            figures=drawn,
            people=None if several is None else _of_people(analysis, several, faces),
            held_out=sentences.held_out(analysis),
            size=SIZE,
            permutations=PERMUTATIONS,
            failed=sentences.failed(analysis),
            of_adaptive=sentences.of_adaptive(analysis),
            of_asked=sentences.of_asked(analysis.asked),
            fair=int(analysis.session.is_fair.sum()),
            is_evaluated=sentences.is_evaluated(analysis),
            remarks=([] if several is None else people_sentences.remarks(analysis))
            + sentences.remarks(analysis),
            vague_slope=_VAGUE_SLOPE,
            is_vague=sentences.is_vague,
            ceiling_in_short=sentences.ceiling_in_short,
            prefers_a_side=sentences.prefers_a_side(analysis),
            of_check=sentences.of_check,
            of_map=None if analysis.contributions is None or several else sentences.of_map(analysis),
            halvings=HALVINGS,
            curve_repeats=CURVE_REPEATS,
            collapsed=sentences.collapsed(analysis),
            reaction_times=None
            if analysis.reaction_times is None
            else sentences.reaction_times(analysis.reaction_times),
            methods=methods.paragraph(analysis),
            titles={name: model.title for name, model in MODELS.items()},
            map_name=map_name(analysis.map_layer),
            layers=len(analysis.example.maps),
            trained={
                result.model: sentences.of_training(result) for result in analysis.results if result.histories
            },
            version=__version__,
        )
    )
    (folder / REPORT).write_text(html, encoding="utf-8")


def environment() -> Environment:
    """Return what reads the page's templates."""
    return Environment(
        loader=PackageLoader("catpref.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )


def _of_people(analysis: Analysis, several: Observers, faces: Faces) -> dict[str, Any]:
    """Return what the page says of several participants."""
    images = analysis.pictures.merged.images
    seen_by = people_sentences.seen_by(analysis)
    liked, disliked = people.agreed(several, images, seen_by)
    strips = {"liked": liked, "disliked": disliked, "divided": people.divided(several, images, seen_by)}
    return {
        **people_sentences.of_page(analysis),
        **{
            name: [(_jpeg_url(faces[face.image].thumbnail), face) for face in shown]
            for name, shown in strips.items()
        },
        "shown": map_of(several.agreements)[1],
        "lapsing": LAPSING,
        "opposed": f"{OPPOSED:.1f}".replace("-", "−"),
    }


def _signed(number: float) -> str:
    """Write a number with its sign, and zero without."""
    return f"{number:+z.2f}".replace("+0.00", "0.00").replace("-", "−")


def _cells(result: Result) -> tuple[str, ...]:
    scores = result.scores
    first = (result.model, result.embedding or "")
    if scores is None:
        return (*first, "", "", "", "", "")
    low, high = scores.accuracy_ci95
    return (
        *first,
        f"{scores.accuracy:.3f}" + (" (collapsed)" if scores.collapsed and result.embedding else ""),
        f"{low:.3f} to {high:.3f}",
        f"{scores.log_loss:.3f}",
        f"{scores.ece:.3f}",
        "" if scores.auc is None else f"{scores.auc:.3f}",
    )


def _strip(analysis: Analysis, faces: Faces) -> list[tuple[str, str, float]]:
    """Return faces along the ranking: name, picture, utility."""
    if (by := sentences.ranked_by(analysis)) is None:
        return []
    return [
        (name, _jpeg_url(faces[name].thumbnail), utility)
        for name, utility in figures.spread(analysis, _FACES, by)
    ]


def png(figure: Figure) -> bytes:
    """Write a figure as a PNG file's content; `savefig` would draw it twice."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def write_vectors(figure: Figure, path: Path) -> None:
    """Write a figure, laid out when it became a PNG, as PDF and SVG beside it, whose text stays text."""
    # Which take long to import, and most processes draw nothing.
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    figure.set_layout_engine("none")
    dpi = figure.dpi
    # The same session gives the same files: no dates, no random names.
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
