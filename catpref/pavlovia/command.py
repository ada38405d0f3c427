"""Write a session as a folder ready for Pavlovia: a PsychoPy Builder experiment, its scripts, and the images."""

import csv
import hashlib
import json
import secrets
import shutil
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from catpref._io.files import sha256_of
from catpref._io.outputs import output_folder
from catpref._io.parallel import parallel, threads
from catpref.adaptive import schedule
from catpref.adaptive.prior import FILE as PRIOR_FILE
from catpref.command_line import Parser, log_to_terminal, non_negative, positive
from catpref.design.trial_list import ADAPTIVE, BLOCK, RANKING, Trial, columns_of, read_trial_list
from catpref.errors import BadInput, not_installed
from catpref.lab.options import PRACTICE, add_adaptive_options
from catpref.lab.practice import count_practice, practice_pairs
from catpref.lab.starting_prior import starting_prior
from catpref.lab.texts import ENGLISH, Texts, load_texts
from catpref.pavlovia.preview import find_psychojs, preview
from catpref.stimuli.images import image_path, open_image
from catpref.stimuli.scrambling import scramble

NAME = "two_afc"
"""Of the Builder file and the scripts; PsychoPy makes it the name of the experiment."""

LARGEST = 1024
"""Pixels of the longer side, beyond which images are made smaller: no screen of a participant shows more."""

_AS_THEY_ARE = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}  # formats that every browser shows


_ONLY_ADAPTIVE = (
    "rank", "start_from", "until", "minutes", "images", "trials", "repeats", "catch", "block", "seed"
)  # fmt: skip
"""Options that nothing else takes: a trial list says all this."""


@dataclass(frozen=True)
class Session:
    """What is exported: a trial list, and for an adaptive one what its pairs are chosen by.

    Attributes
    ----------
    trials
        All of them; those whose pairs are chosen in the session have no images.
    names, prior
        The images of the prior, in its order, and the content of its file; none where all pairs are fixed.
    seed, until, minutes
        As for a session in the lab.
    """

    trials: Sequence[Trial]
    names: Sequence[str] = ()
    prior: bytes = b""
    seed: int = 0
    until: float | None = None
    minutes: float | None = None


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
    """Export a trial list, or an adaptive session."""
    options = _parser().parse_args(arguments)
    _check_options(options)
    log_to_terminal()
    psychojs = find_psychojs(options.psychojs) if options.preview else None
    if options.jpeg_quality and options.jpeg_quality > 95:
        raise BadInput(f"--jpeg-quality {options.jpeg_quality}: must be from 1 to 95")
    # Pavlovia adds .git to the folder, and participants data: neither was written here, so neither is replaced.
    reads = [path for path in (options.list, options.stimuli, options.start_from) if path]
    with output_folder(options.out, "Pavlovia export", reads=reads) as folder:
        session = _adaptive(options) if options.adaptive else _fixed(options)
        texts = load_texts(options.texts)
        check_names(options.list or options.stimuli, session)
        practice = count_practice(options.practice, options.stimuli, texts.question)
        export(session, options.stimuli, folder, texts, practice, options.jpeg_quality)
    size = sum(path.stat().st_size for path in (options.out / "images").iterdir())
    chosen = f", {len(session.prior) / 1024:.0f} KiB to choose pairs by" if session.prior else ""
    print(
        f"{options.out}: {len(session.trials)} trials, {size / 2**20:.1f} MiB of images{chosen}; "
        f"see {options.out / 'README.md'}"
    )
    if psychojs:
        preview(options.out, psychojs, options.stimuli)


def _parser() -> Parser:
    parser = Parser(
        "python experiments/pavlovia.py",
        "Write a folder with the session of a trial list for Pavlovia, or for PsychoPy Builder; or with an adaptive "
        "session for Pavlovia.",
        "python experiments/pavlovia.py trials.csv --stimuli stimuli/cats --out web/cats --jpeg-quality 85",
    )
    parser.add_argument(
        "list",
        type=Path,
        nargs="?",
        metavar="TRIALS.csv",
        help="from python -m catpref.trials; none with --adaptive",
    )
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
    adaptive = parser.add_argument_group("adaptive sessions")
    adaptive.add_argument(
        "--adaptive",
        action="store_true",
        help="instead of a list, choose each next pair in the browser, from the answers so far",
    )
    add_adaptive_options(adaptive)
    adaptive.add_argument(
        "--seed", type=non_negative, metavar="N", help="for all that is drawn (default: a new one)"
    )
    return parser


def _check_options(options: Namespace) -> None:
    if options.adaptive and options.list:
        raise BadInput(f"{options.list}: --adaptive makes its own list; leave one of the two out")
    if not options.adaptive:
        for name in _ONLY_ADAPTIVE:
            given = getattr(options, name)
            if given is not None and given is not False:
                option = f"--{name.replace('_', '-')}"
                raise BadInput(f"{option}: is for adaptive sessions; add --adaptive, or leave it out")
        if not options.list:
            raise BadInput(
                "no TRIALS.csv is named; make one with python -m catpref.trials, or choose --adaptive"
            )


def _fixed(options: Namespace) -> Session:
    return Session(read_trial_list(options.list, options.stimuli))


def _adaptive(options: Namespace) -> Session:
    """Make the list of an adaptive session, and what its pairs are chosen by."""
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    names, trials = schedule.list_schedule(
        options.stimuli,
        RANKING if options.rank else ADAPTIVE,
        images=options.images,
        trials=options.trials,
        repeats=options.repeats or 0,
        block=options.block or BLOCK,
        seed=seed,
        catch=options.catch or 0,
    )
    prior = starting_prior(options.stimuli, names, options.start_from, for_order=options.rank)
    return Session(trials, names, prior, seed, options.until, options.minutes)


def check_names(path: Path, session: Session) -> None:
    """Refuse image names that PsychoJS would read from its conditions file as something else.

    Raises
    ------
    BadInput
        If a name has square brackets, which stand for a list, or begins like a formula.
    """
    where = {
        name: f"trial {one.trial}: " for one in session.trials for name in (one.left_image, one.right_image)
    }
    for name, trial in (dict.fromkeys(session.names, "") | where).items():
        if "[" in name or "]" in name or name.startswith("="):
            raise BadInput(f"{path}: {trial}PsychoJS reads '{name}' as a list or formula; rename the image")


def export(
    session: Session, stimuli: Path, folder: Path, texts: Texts, practice: int, quality: int | None
) -> None:
    """Write the whole folder.

    Parameters
    ----------
    session, stimuli
        What is exported, and its stimulus folder.
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

        from catpref.pavlovia import builder
    except ModuleNotFoundError as problem:
        raise BadInput(not_installed(problem, "experiment")) from problem
    logging.console.setLevel(logging.CRITICAL)

    folder, trials = folder.resolve(), session.trials
    (folder / "images").mkdir()
    shown = write_images(trials, stimuli, folder / "images", quality, session.names)
    files = {(row.source, row.scrambled): row.file for row in shown}
    drawn = list(_write_practice(practice, folder / "images"))
    _write_table(folder / "manifest.csv", Row._fields, [*shown, *drawn])
    if practice:
        pairs = zip(drawn[0::2], drawn[1::2], strict=True)
        names = ("practice_left_file", "practice_right_file")
        _write_table(
            folder / builder.PRACTICE_FILE, names, [(left.file, right.file) for left, right in pairs]
        )
    columns = columns_of(trials[0].design)
    conditions = [
        [getattr(trial, name) for name in columns]
        + ["" if trial.is_open else files[image, _yes(mixed)] for image, mixed in _sides(trial)]
        for trial in trials
    ]
    _write_table(folder / builder.TRIALS_FILE, (*columns, "left_file", "right_file"), conditions)

    digest, choosing = sha256_of(folder / builder.TRIALS_FILE), None
    if session.prior:
        (folder / PRIOR_FILE).write_bytes(session.prior)
        _write_images_file(session.names, files, folder / builder.IMAGES_FILE)
        choosing = builder.Choosing(session.seed, session.until, session.minutes)
        digest = hashlib.sha256(f"{digest} {choosing}".encode() + session.prior).hexdigest()
    plan = builder.WebSession(len(trials), trials[-1].block + 1, practice, f"{NAME} {digest[:12]}", choosing)
    experiment = builder.build(texts, plan).saveToXML(str(folder / f"{NAME}.psyexp"))
    with chdir(folder):  # or the script says where this folder is now
        compileScript(experiment, outfile=f"{NAME}.py")
    compileScript(experiment, outfile=str(folder / f"{NAME}.js"))
    readmes = ("readme.md", "readme_adaptive.md") if choosing else ("readme.md",)
    readme = "\n".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in readmes)
    (folder / "README.md").write_text(readme.format(name=NAME, trials=len(trials)), encoding="utf-8")


def write_images(
    trials: Sequence[Trial], stimuli: Path, folder: Path, quality: int | None, others: Sequence[str] = ()
) -> list[Row]:
    """Write every image that is shown, scrambled or not, numbered in the order in which they are needed.

    Parameters
    ----------
    trials, stimuli
        The trial list and its stimulus folder.
    folder
        An empty folder.
    quality
        As for `export`.
    others
        Images that may be shown beside those of the trials.

    Returns
    -------
    list of Row
        The manifest.
    """
    fixed = [side for trial in trials if not trial.is_open for side in _sides(trial)]
    images = list(enumerate(dict.fromkeys([*fixed, *((name, False) for name in others)])))

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


def _write_images_file(names: Sequence[str], files: Mapping[tuple[str, str], str], path: Path) -> None:
    """Write from which files the images are shown, and how large these are."""
    folder = path.with_name("images")
    images = [
        {"image": name, "file": files[name, ""], "bytes": (folder / files[name, ""]).stat().st_size}
        for name in names
    ]
    rows = ",\n".join(json.dumps(image, ensure_ascii=False) for image in images)
    path.write_text(f"[\n{rows}\n]\n", encoding="utf-8")


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
