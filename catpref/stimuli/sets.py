"""Sets that catpref makes: what is in their folders, and how drawn ones are made.

Any folder of images is a stimulus set; one that catpref made has a ``manifest.csv`` as well.
"""

import csv
import io
import multiprocessing
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from catpref._io.files import sha256_of
from catpref._io.outputs import output_folder
from catpref._io.parallel import parallel, serve_parent
from catpref._io.reading import read_bytes

SIZE = 512
"""Side in pixels of the square stimuli that catpref makes."""

STIMULUS_SET = "stimulus set"
"""What the folders that `render` and `import` write are, for `catpref._io.outputs`."""

_LARGEST_MANIFEST = 256 * 2**20  # bytes
_MOST_PROCESSES = 61  # that Windows can wait for

MANIFEST = "manifest.csv"
MANIFEST_COLUMNS = (
    *("file", "sha256", "source"),
    *("crop_left", "crop_top", "crop_right", "crop_bottom"),
    *("width", "height", "shows"),
)
"""`source` is what `file` was made from. The crop box is in pixels of the upright source, its right and
bottom just outside, and empty for a drawn face. `width` and `height` are the file's, in pixels. `shows` is
`CAT_FACE` where one was drawn or found, and else empty."""

CAT_FACE = "cat face"


def shows_cat_faces(stimuli: Path) -> bool:
    """Return whether a set's manifest says that it shows cat faces, drawn or found by `import`."""
    rows = read_manifest(stimuli)
    return bool(rows) and all(row["shows"] == CAT_FACE for row in rows)


def read_manifest(stimuli: Path) -> list[dict[str, str]]:
    """Return the rows of a folder's manifest; none where it has no manifest of catpref's."""
    try:
        text = read_bytes(stimuli / MANIFEST, _LARGEST_MANIFEST).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except (OSError, ValueError, csv.Error):
        return []
    rows = [{"shows": CAT_FACE} | row for row in rows]  # catpref 0.2 made no others, and did not say so
    return rows if all(row.get(name) is not None for row in rows for name in MANIFEST_COLUMNS) else []


def render(folder: Path, n: int, seed: int) -> None:
    """Draw a stimulus set of parametric cat faces.

    Writes ``cat_0001.png`` and so on, `MANIFEST`, and ``parameters.csv``, a row for each file. The same seed
    gives the same pixels, and the first faces of a longer set are those of a shorter one.

    Parameters
    ----------
    folder
        Where to; replaced whole if catpref wrote all of it, and only when every face has been drawn.
    n
        Number of faces.
    seed
        Seed of the parameters' draw.

    Raises
    ------
    BadInput
        If `folder` holds something else or cannot be written.
    """
    from catpref.stimuli.catface import sample_parameters

    parameters = sample_parameters(n, seed)
    names = [f"cat_{index:0{max(4, len(str(n)))}d}.png" for index in range(1, n + 1)]
    faces = list(zip(names, parameters.to_dict("records"), strict=True))
    with output_folder(folder, STIMULUS_SET) as building:
        # Fresh processes: a forked copy of one in which OpenCV or torch has started threads can hang.
        pool = ProcessPoolExecutor(
            min(os.cpu_count() or 1, _MOST_PROCESSES),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_drawing,
        )
        hashes = parallel(pool, partial(_draw_face, building), faces, "drawing faces")
        rows = [
            (name, sha256, f"catpref.catface, seed {seed}", "", "", "", "", SIZE, SIZE, CAT_FACE)
            for name, sha256 in zip(names, hashes, strict=True)
        ]
        parameters.insert(0, "file", names)
        parameters.to_csv(building / "parameters.csv", index=False, lineterminator="\n")
        write_table(building / MANIFEST, MANIFEST_COLUMNS, rows)


def _start_drawing() -> None:
    import cv2

    cv2.setNumThreads(1)  # the processes share the cores already
    serve_parent()


def _draw_face(folder: Path, face: tuple[str, dict[str, float]]) -> str:
    from catpref.stimuli.catface import draw

    name, parameters = face
    draw(parameters, SIZE).save(folder / name, compress_level=3)  # half the time of 6, 6% larger
    return sha256_of(folder / name)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV: UTF-8, a header, one row a line."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        table.writerows(rows)
