"""Write a session as a folder ready for Pavlovia: a PsychoPy Builder experiment, its scripts, and the images."""

import csv
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import chdir
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from catpref._io.files import sha256_of
from catpref._io.outputs import output_folder
from catpref._io.parallel import parallel, threads
from catpref.command_line import Parser, log_to_terminal, non_negative, positive
from catpref.design.trial_list import COLUMNS, Trial, read_trial_list
from catpref.errors import BadInput, not_installed
from catpref.lab.options import PRACTICE
from catpref.lab.practice import count_practice, practice_pairs
from catpref.lab.texts import ENGLISH, Texts, load_texts
from catpref.pavlovia.preview import find_psychojs, preview
from catpref.stimuli.images import image_path, open_image
from catpref.stimuli.scrambling import scramble

NAME = "two_afc"
"""Of the Builder file and the scripts; PsychoPy makes it the name of the experiment."""

LARGEST = 1024
"""Pixels of the longer side, beyond which images are made smaller: no screen of a participant shows more."""

_AS_THEY_ARE = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}  # formats that every browser shows


class Row(NamedTuple):
    """A row of the manifest: a file in ``images/``, and the stimulus of which it was made."""

    file: str
    sha256: str
    source: str
    source_sha256: str
    scrambled: str
    width: int
    height: int


def main(arguments: Sequence[str]) -> None:
    """Export a trial list."""
    options = _parser().parse_args(arguments)
    log_to_terminal()
    psychojs = find_psychojs(options.psychojs) if options.preview else None
    if options.jpeg_quality and options.jpeg_quality > 95:
        raise BadInput(f"--jpeg-quality {options.jpeg_quality}: must be from 1 to 95")
    # Pavlovia adds .git to the folder, and participants data: neither was written here, so neither is replaced.
    with output_folder(options.out, "Pavlovia export", reads=[options.trials, options.stimuli]) as folder:
        trials = read_trial_list(options.trials, options.stimuli)
        texts = load_texts(options.texts)
        check_names(options.trials, trials)
        practice = count_practice(options.practice, options.stimuli, texts.question)
        export(trials, options.stimuli, folder, texts, practice, options.jpeg_quality)
    size = sum(path.stat().st_size for path in (options.out / "images").iterdir())
    print(
        f"{options.out}: {len(trials)} trials, {size / 2**20:.1f} MiB of images; see {options.out / 'README.md'}"
    )
    if psychojs:
        preview(options.out, psychojs, options.stimuli)


def _parser() -> Parser:
    parser = Parser(
        "python experiments/pavlovia.py",
        "Write a folder with the session of a trial list for Pavlovia, or for PsychoPy Builder.",
        "python experiments/pavlovia.py trials.csv --stimuli stimuli/cats --out web/cats --jpeg-quality 85",
    )
    parser.add_argument("trials", type=Path, metavar="TRIALS.csv", help="from python -m catpref.trials")
    parser.add_argument("--stimuli", type=Path, required=True, metavar="DIR", help="the stimulus folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    parser.add_argument(
        "--jpeg-quality",
        type=positive,
        metavar="N",
        help="re-encode the images as JPEG of this quality, 1 to 95 (default: keep them as they are)",
    )
    parser.add_argument(
        "--practice",
        type=non_negative,
        metavar="K",
        help=f"practice trials, which show drawn cats (default: {PRACTICE}, or none where the set does not show "
        "cat faces)",
    )
    parser.add_argument(
        "--texts",
        type=Path,
        default=ENGLISH,
        metavar="FILE",
        help="what participants read, and the keys (default: %(default)s)",
    )
    parser.add_argument(
        "--preview",
        action="store_true",
        help="then run the session in this computer's browser, until Ctrl-C; answers go to data/ beside --out",
    )
    parser.add_argument(
        "--psychojs",
        type=Path,
        metavar="DIR",
        help="the folder with PsychoJS, which --preview needs (default: what PSYCHOJS_DIR names)",
    )
    return parser


def check_names(path: Path, trials: Sequence[Trial]) -> None:
    """Refuse image names that PsychoJS would read from its conditions file as something else.

    Raises
    ------
    BadInput
        If a name has square brackets, which stand for a list, or begins like a formula.
    """
    for trial in trials:
        for name in (trial.left_image, trial.right_image):
            if "[" in name or "]" in name or name.startswith("="):
                raise BadInput(
                    f"{path}: trial {trial.trial}: PsychoJS reads '{name}' as a list or formula; rename the image"
                )


def export(
    trials: Sequence[Trial], stimuli: Path, folder: Path, texts: Texts, practice: int, quality: int | None
) -> None:
    """Write the whole folder.

    Parameters
    ----------
    trials, stimuli
        The trial list and its stimulus folder.
    folder
        An empty folder.
    texts
        What participants read.
    practice
        How many practice trials there are.
    quality
        The JPEG quality of the images; None keeps those that a browser shows as PsychoPy does.

    Raises
    ------
    BadInput
        If PsychoPy is not installed, or an image cannot be read.
    """
    try:
        from psychopy import logging
        from psychopy.scripts.psyexpCompile import compileScript

        from catpref.pavlovia.builder import PRACTICE_FILE, TRIALS_FILE, WebSession, build
    except ModuleNotFoundError as problem:
        raise BadInput(not_installed(problem, "experiment")) from problem
    logging.console.setLevel(logging.CRITICAL)

    folder = folder.resolve()
    (folder / "images").mkdir()
    shown = write_images(trials, stimuli, folder / "images", quality)
    files = {(row.source, row.scrambled): row.file for row in shown}
    drawn = list(_write_practice(practice, folder / "images"))
    _write_table(folder / "manifest.csv", Row._fields, [*shown, *drawn])
    if practice:
        pairs = zip(drawn[0::2], drawn[1::2], strict=True)
        names = ("practice_left_file", "practice_right_file")
        _write_table(folder / PRACTICE_FILE, names, [(left.file, right.file) for left, right in pairs])
    conditions = [
        [getattr(trial, name) for name in COLUMNS]
        + [files[image, _yes(mixed)] for image, mixed in _sides(trial)]
        for trial in trials
    ]
    _write_table(folder / TRIALS_FILE, (*COLUMNS, "left_file", "right_file"), conditions)

    key = f"{NAME} {sha256_of(folder / TRIALS_FILE)[:12]}"
    plan = WebSession(len(trials), trials[-1].block + 1, practice, key)
    builder = build(texts, plan).saveToXML(str(folder / f"{NAME}.psyexp"))
    with chdir(folder):  # or the script says where this folder is now
        compileScript(builder, outfile=f"{NAME}.py")
    compileScript(builder, outfile=str(folder / f"{NAME}.js"))
    readme = Path(__file__).with_name("readme.md").read_text(encoding="utf-8")
    (folder / "README.md").write_text(readme.format(name=NAME, trials=len(trials)), encoding="utf-8")


def write_images(trials: Sequence[Trial], stimuli: Path, folder: Path, quality: int | None) -> list[Row]:
    """Write every image that is shown, scrambled or not, numbered in the order in which they are needed.

    Parameters
    ----------
    trials, stimuli
        The trial list and its stimulus folder.
    folder
        An empty folder.
    quality
        As for `export`.

    Returns
    -------
    list of Row
        The manifest.
    """
    images = list(enumerate(dict.fromkeys(side for trial in trials for side in _sides(trial))))

    def write(image: tuple[int, tuple[str, bool]]) -> Row:
        number, (name, scrambled) = image
        source, stem = image_path(stimuli, name), folder / f"{number:04d}"
        suffix = None if quality or scrambled else _plain_suffix(source)
        shown = open_image(source)
        if suffix:
            file = stem.with_suffix(suffix)
            shutil.copyfile(source, file)
        else:
            shown.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
            file = _save(scramble(shown) if scrambled else shown, stem, quality)
        return Row(file.name, sha256_of(file), name, sha256_of(source), _yes(scrambled), *shown.size)

    return list(parallel(threads(), write, images, "writing the images"))


def _sides(trial: Trial) -> tuple[tuple[str, bool], ...]:
    """Return the left and right image of a trial, and whether they are shown scrambled."""
    return (trial.left_image, trial.catch == "left"), (trial.right_image, trial.catch == "right")


def _yes(condition: bool) -> str:
    return "yes" if condition else ""


def _plain_suffix(path: Path) -> str | None:
    """Return the ending of a file that a browser shows just as `open_image` does, and that has no other data."""
    with Image.open(path) as image:
        plain = image.mode == "RGB" and not image.getexif() and max(image.size) <= LARGEST
        still = not getattr(image, "is_animated", False)
        return _AS_THEY_ARE.get(image.format or "") if plain and still else None


def _save(image: Image.Image, stem: Path, quality: int | None) -> Path:
    file = stem.with_suffix(".jpg" if quality else ".png")
    if quality:
        image.save(file, quality=quality, optimize=True)
    else:
        image.save(file)
    return file


def _write_practice(pairs: int, folder: Path) -> Iterator[Row]:
    """Draw the practice images; gives their rows of the manifest."""
    for number, pair in enumerate(practice_pairs(pairs)):
        for side, image in zip(("left", "right"), pair, strict=True):
            file = _save(image, folder / f"practice_{number}_{side}", quality=90)
            yield Row(file.name, sha256_of(file), "drawn", "", "", *image.size)


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
