"""A page on which to look through an import: what was kept, and what was left out and why."""

import base64
import io
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from catpref._io.parallel import parallel, threads
from catpref.errors import BadInput
from catpref.stimuli.images import image_path, load

CONTACT_SHEET = "contact_sheet.html"

MOST = 5000
"""Pictures on a page: about 20 MB, which browsers still open at once."""

_SIDE = 96  # pixels
_QUALITY = 75


def write(
    folder: Path, kept: Sequence[str], source: Path, left_out: Sequence[tuple[str, str]], title: str
) -> None:
    """Write `CONTACT_SHEET`, one file that opens offline.

    Parameters
    ----------
    folder, kept
        The stimulus set, and its files.
    source, left_out
        The folder of photographs, and those that did not become stimuli, each with the reason, of which what stands
        in brackets is of the one photograph.
    title
        What the set is called.
    """
    reasons = [reason.partition(" (") for _, reason in left_out]
    captions = [("", name, "") for name in kept] + [
        (reason, name, detail.removesuffix(")"))
        for (name, _), (reason, _, detail) in zip(left_out, reasons, strict=True)
    ]
    files = [(folder, name) for name in kept] + [(source, name) for name, _ in left_out]
    urls = [*parallel(threads(), _thumbnail, files[:MOST], "contact sheet"), *[""] * (len(files) - MOST)]
    pictures = [(*caption, url) for caption, url in zip(captions, urls, strict=True)]
    of_reasons = [
        (reason, [picture[1:] for picture in group])
        for reason, group in groupby(sorted(pictures[len(kept) :]), lambda picture: picture[0])
    ]
    environment = Environment(
        loader=PackageLoader("catpref.stimuli", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.get_template(CONTACT_SHEET).stream(
        title=title,
        kept=[picture[1:] for picture in pictures[: len(kept)]],
        left_out=sorted(of_reasons, key=lambda one: -len(one[1])),
        total=len(pictures),
        most=MOST,
    ).dump(str(folder / CONTACT_SHEET), encoding="utf-8")


def _thumbnail(file: tuple[Path, str]) -> str:
    """Return a small picture as a URL that holds it; an empty one where the file cannot be read."""
    try:
        image = load(image_path(*file), least=_SIDE)
    except BadInput:
        return ""
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
