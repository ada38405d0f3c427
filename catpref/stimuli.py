"""A stimulus set is a folder of images: find, check and load them, tell copies of a picture, draw a set.

Any folder of images will do; one that catpref made has a ``manifest.csv`` as well.
"""

import csv
import io
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from catpref.commands import BadInput, Parser, is_out_of_memory, non_negative, positive, progress, run
from catpref.files import sha256_of
from catpref.outputs import output_folder
from catpref.reading import read_bytes
from catpref.stimulus_folder import StimulusFolder

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})

MAX_PIXELS = 64 * 2**20
"""No photograph for an experiment is larger (8192 × 8192); a decompression bomb is."""

SIZE = 512
"""Side in pixels of the square stimuli that catpref makes."""

STIMULUS_SET = "stimulus set"
"""What the folders that `render` and `import` write are, for `catpref.outputs`."""

MANIFEST = "manifest.csv"
MANIFEST_COLUMNS = (
    *("file", "sha256", "source"),
    *("crop_left", "crop_top", "crop_right", "crop_bottom"),
    *("width", "height"),
)
"""`source` is what `file` was made from. The crop box is in pixels of the upright source, its right and
bottom just outside, and empty for a drawn face. `width` and `height` are the file's, in pixels."""

HASH_SIZE = 24
HASH_BITS = 64
COLOUR_SIDE = 16
COLOUR_CHANGE = 0.2
BRIGHTNESS_CHANGE = 32.0

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
_BACKGROUND = (128, 128, 128)
_MOST_BYTES = 512 << 20  # of a file: twice what the largest image takes without compression

Item = TypeVar("Item")
Result = TypeVar("Result")

# Pillow warns about odd but readable files, which would break the promise of one clear line on stderr.
# A filter for good, because warnings.catch_warnings is not safe where images are read in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


def find_images(folder: Path) -> list[str]:
    """List the images of a stimulus folder and its subfolders.

    Parameters
    ----------
    folder
        The stimulus folder.

    Returns
    -------
    list of str
        Paths relative to `folder`, separated by ``/``, sorted. Hidden files and folders are left out.

    Raises
    ------
    BadInput
        If the folder does not exist, holds no image, or holds one whose name is not printable text.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such stimulus folder")
    names = []
    for parent, subfolders, files in os.walk(folder):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for file in files:
            if not file.startswith(".") and Path(file).suffix.lower() in SUFFIXES:
                names.append(Path(parent, file).relative_to(folder).as_posix())
    for name in names:
        if not name.isprintable():  # a line break, or bytes that are no UTF-8: nothing a CSV could carry
            raise BadInput(f"{folder}: the file name {name!a} is not plain text; rename it")
    if not names:
        raise BadInput(f"{folder}: holds no images (jpg, png, webp, bmp or tiff)")
    return sorted(names)


def image_path(folder: Path, name: str) -> Path:
    """Find one stimulus by name, without ever leaving the stimulus folder; see `StimulusFolder.file`."""
    return Path(StimulusFolder(folder).file(name))


def open_image(path: Path) -> Image.Image:
    """Load an image as the participant sees it: upright, RGB, 8 bits.

    EXIF orientation is applied, transparency is laid over the mid-grey of a PsychoPy window, 16-bit greys are
    scaled to 8, and of an animation the first frame is taken.

    Parameters
    ----------
    path
        The image file.

    Returns
    -------
    PIL.Image.Image
        Mode ``RGB``, not attached to the file.

    Raises
    ------
    BadInput
        If the file is not an image, is damaged or truncated, or declares more than `MAX_PIXELS` pixels (read
        from its header, before anything is decoded).
    """
    return _load(Path(path), None)


def near_duplicates(folder: Path, names: Sequence[str]) -> list[tuple[str, str]]:
    """Find images that are the same picture: re-encoded, resized or slightly brightened copies.

    Parameters
    ----------
    folder
        The stimulus folder.
    names
        Images in it.

    Returns
    -------
    list of (str, str)
        The pairs, each in the order of `names`.

    Raises
    ------
    BadInput
        If an image cannot be read.

    See Also
    --------
    same_pictures : the criterion, and how well it separates.
    """
    files = [image_path(folder, name) for name in names]
    looks = list(parallel(threads(), look_at, files, "looking for near-duplicates"))
    return [(names[first], names[second]) for first, second in same_pictures(looks)]


class Look(NamedTuple):
    """What is remembered of a picture to recognise it again."""

    bits: NDArray[np.bool_]
    """Perceptual hash, shape (576,)."""

    colours: NDArray[np.float32]
    """The picture reduced to 16 × 16 RGB, 0 to 255, shape (768,)."""


def look(image: Image.Image) -> Look:
    """Take what `same_pictures` compares from an RGB image."""
    bits = imagehash.phash(image, hash_size=HASH_SIZE).hash.ravel()
    colours = image.resize((COLOUR_SIDE, COLOUR_SIDE), Image.Resampling.BOX)
    return Look(bits, np.asarray(colours, dtype=np.float32).ravel())


def look_at(path: Path) -> Look:
    """Take what `same_pictures` compares from an image file (errors as `open_image`)."""
    return look(_load(path, least=256))


def same_pictures(looks: Sequence[Look]) -> list[tuple[int, int]]:
    """Pair what is the same picture.

    Aligned faces are alike in an ordinary 8 × 8 hash (down to 8 of 64 bits between different people), so the
    perceptual hash is 24 × 24, and the colours must agree as well. The same picture is where at most 64 of
    576 bits differ; the reduced pictures, each less its mean, differ by at most 0.2 of the larger one's norm;
    and mean brightness differs by at most 32 of 255. The worst cases measured:

    =======================================================  =============  ==================
    pairs of pictures                                        bits of 576    colours
    =======================================================  =============  ==================
    copies at JPEG quality 60, half size, brightness +5%     at most 24     at most 0.14
    copies at quarter size or brightness +10%                at most 40     at most 0.195
    504 faces of different people                            at least 166   at least 0.38
    155 faces of 18 cats (but for two pairs from bursts)     at least 150   at least 0.26
    300 photographs of cats                                  at least 234   at least 0.59
    2000 drawn faces                                         at least 68    at least 0.18
    =======================================================  =============  ==================

    No pair of different pictures came near both limits: the drawn faces nearest in colour, at 0.18 to 0.19,
    differ by 80 bits or more.

    Parameters
    ----------
    looks
        One for each picture.

    Returns
    -------
    list of (int, int)
        Positions in `looks`, the lower first, in order.
    """
    if len(looks) < 2:
        return []
    bits = np.array([one.bits for one in looks], dtype=np.float32)
    colours = np.array([one.colours for one in looks])
    brightness = colours.mean(1)
    colours -= brightness[:, None]
    ones = bits.sum(1)
    contrast = (colours**2).sum(1)
    rounding = 0.25 * colours.shape[1]  # half a grey level everywhere
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(looks), 1024):
        rows = slice(start, start + 1024)
        hamming = ones[rows, None] + ones - 2 * bits[rows] @ bits.T
        difference = contrast[rows, None] + contrast - 2 * colours[rows] @ colours.T
        allowed = COLOUR_CHANGE**2 * np.maximum(contrast[rows, None], contrast) + rounding
        same = (hamming <= HASH_BITS) & (difference <= allowed)
        same &= np.abs(brightness[rows, None] - brightness) <= BRIGHTNESS_CHANGE
        firsts, seconds = np.nonzero(np.triu(same, start + 1))
        pairs += zip((firsts + start).tolist(), seconds.tolist(), strict=True)
    return pairs


def threads() -> ThreadPoolExecutor:
    """Give a pool for reading images: decoders and resampling let other threads run."""
    return ThreadPoolExecutor(os.cpu_count())


def parallel(
    pool: Executor, function: Callable[[Item], Result], items: Sequence[Item], what: str
) -> Iterator[Result]:
    """Map in a pool, in order, with a progress bar; Ctrl-C or an error drops what has not begun."""
    with pool:
        yield from progress(pool.map(function, items), what, total=len(items))


def _load(path: Path, least: int | None) -> Image.Image:
    """Open an image; with `least`, JPEGs may come at 1/2, 1/4 or 1/8 of their size, no smaller than that."""
    try:
        with Image.open(io.BytesIO(read_bytes(path, _MOST_BYTES)), formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            if least is not None:
                image.draft("RGB", (least, least))
            upright = ImageOps.exif_transpose(image)
        if upright.mode == "F":
            raise BadInput(f"{path}: has floating-point pixels; save it with 8 bits per channel")
        return _to_rgb(upright)
    except Image.DecompressionBombError as problem:
        limit = f"{MAX_PIXELS // 2**20} megapixels"
        raise BadInput(f"{path}: more than {limit}; make it smaller or leave it out") from problem
    except BadInput:
        raise
    except Exception as problem:  # decoders raise anything on a damaged file
        if is_out_of_memory(problem):
            raise MemoryError(f"{path}: {problem}") from problem
        if isinstance(problem, OSError) and problem.strerror:
            raise BadInput(f"{path}: cannot be read ({problem.strerror})") from problem
        raise BadInput(f"{path}: damaged or not an image; replace it or leave it out") from problem


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit greys; Pillow's own conversion clips them at 255
        grey = np.asarray(image).astype(np.float64) / 257
        image = Image.fromarray(np.clip(grey.round(), 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        cut_out = image.convert("RGBA")
        image = Image.new("RGBA", cut_out.size, _BACKGROUND)
        image.alpha_composite(cut_out)
    return image.convert("RGB")


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
    from catpref.catface import sample_parameters

    parameters = sample_parameters(n, seed)
    names = [f"cat_{index:0{max(4, len(str(n)))}d}.png" for index in range(1, n + 1)]
    faces = list(zip(names, parameters.to_dict("records"), strict=True))
    with output_folder(folder, STIMULUS_SET) as building:
        # Fresh processes: a forked copy of one in which OpenCV or torch has started threads can hang.
        pool = ProcessPoolExecutor(
            os.cpu_count(), mp_context=multiprocessing.get_context("spawn"), initializer=_start_drawing
        )
        hashes = parallel(pool, partial(_draw_face, building), faces, "drawing faces")
        rows = [
            (name, sha256, f"catpref.catface, seed {seed}", "", "", "", "", SIZE, SIZE)
            for name, sha256 in zip(names, hashes, strict=True)
        ]
        parameters.insert(0, "file", names)
        parameters.to_csv(building / "parameters.csv", index=False, lineterminator="\n")
        write_table(building / MANIFEST, MANIFEST_COLUMNS, rows)


def _start_drawing() -> None:
    import cv2

    cv2.setNumThreads(1)  # the processes share the cores already
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _draw_face(folder: Path, face: tuple[str, dict[str, float]]) -> str:
    from catpref.catface import draw

    name, parameters = face
    draw(parameters, SIZE).save(folder / name, compress_level=3)  # half the time of 6, 6% larger
    return sha256_of(folder / name)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV: UTF-8, a header, one row a line."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        table.writerows(rows)


def _render_command(arguments: Sequence[str]) -> None:
    parser = Parser(
        "python -m catpref.stimuli render",
        "Draw a stimulus set of parametric cat faces.",
        "python -m catpref.stimuli render --n 2000 --seed 1 stimuli/drawn",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="where to write the set")
    parser.add_argument("--n", type=positive, default=50, metavar="N", help="number of faces (default: 50)")
    parser.add_argument(
        "--seed", type=non_negative, default=0, metavar="N", help="for all that is drawn (default: 0)"
    )
    options = parser.parse_args(arguments)
    render(options.folder, options.n, options.seed)
    print(f"{options.folder}: {options.n} cat faces, {MANIFEST}, parameters.csv")


def _import_command(arguments: Sequence[str]) -> None:
    from catpref.photographs import LEFT_OUT, import_photographs, summary

    parser = Parser(
        "python -m catpref.stimuli import",
        "Make a stimulus set from photographs of cats: one face cropped from each, in one size.",
        "python -m catpref.stimuli import ~/photos stimuli/cats",
    )
    parser.add_argument("source", type=Path, metavar="SRC", help="a folder of photographs; subfolders count")
    parser.add_argument("folder", type=Path, metavar="DEST", help="where to write the set")
    parser.add_argument(
        "--no-crop",
        action="store_true",
        help="faces aligned already: only make square and resize",
    )
    options = parser.parse_args(arguments)
    kept, left_out = import_photographs(options.source, options.folder, crop=not options.no_crop)
    print(
        f"{options.folder}: {kept} stimuli, {MANIFEST}; {len(left_out)} photographs left out, see {LEFT_OUT}"
    )
    for line in summary(left_out):
        print(f"  {line}")


def main(arguments: Sequence[str]) -> None:
    """Make a stimulus set."""
    commands = {"render": _render_command, "import": _import_command}
    if arguments and arguments[0] in commands:
        commands[arguments[0]](arguments[1:])
        return
    parser = Parser(
        "python -m catpref.stimuli",
        "Make a stimulus set: draw cat faces, or import photographs. Each command has its own --help.",
        "python -m catpref.stimuli render --n 50 --seed 1 stimuli/drawn",
    )
    parser.add_argument("command", choices=tuple(commands), help="how to make it")
    parser.parse_args(arguments)


if __name__ == "__main__":
    run(main)
