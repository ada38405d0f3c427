"""Stimuli from photographs: find the cat's face, crop a square around it, bring every picture to one size."""

import io
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from catpref._io.files import portable_name, sha256_of
from catpref._io.outputs import output_folder
from catpref._io.parallel import parallel, threads
from catpref._io.progress import progress
from catpref._io.tasks import by_number, where_seen
from catpref.errors import BadInput
from catpref.stimuli import contact_sheet
from catpref.stimuli.duplicates import Look, look, look_at, same_pictures
from catpref.stimuli.images import find_images, image_path, open_image, read_image
from catpref.stimuli.sets import CAT_FACE, MANIFEST, MANIFEST_COLUMNS, SIZE, STIMULUS_SET, write_table

if TYPE_CHECKING:
    from catpref._io.engines import Engine  # which imports torch

LEFT_OUT = "left_out.csv"

OTHERWISE = "import looks for cat faces; for other stimuli, or faces cropped already, add --no-crop"
_NO_FACE = "no cat's face found"

SMALLEST = 128
"""Least side in pixels of a square that becomes a stimulus: enlarged over four times it is only a blur."""

MARGIN = 0.3
RAISED = 0.05
"""A detected square is widened by `MARGIN` on each side and moved up by `RAISED`, in units of its width, so
that ears and chin are inside."""

QUALITY = 95
"""JPEG quality of the stimuli, without chroma subsampling."""

_DETECTION_SIZE = 800  # pixels of the longer side: time per photograph is bounded
_SMALLEST_FACE = 48  # pixels, in the reduced photograph
_SCALE_STEP = 1.05
_NEIGHBOURS = 3

Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels; right and bottom lie just outside."""

_thread = threading.local()


class Stimulus(NamedTuple):
    """A photograph that became a stimulus."""

    file: str
    source: str
    box: Box
    photograph: Look
    face: Look


class LeftOut(NamedTuple):
    """A photograph that did not become a stimulus."""

    file: str
    reason: str


class _Photograph(NamedTuple):
    """A photograph to look at.

    Attributes
    ----------
    name, path
        In the source folder, and the file.
    file
        The stimulus that it may become.
    status
        Size and time of the file, by which a worker knows that it sees the same one.
    content
        What is in it; None where it is not sent.
    """

    name: str
    path: Path
    file: str
    status: tuple[int, int]
    content: bytes | None = None


def import_photographs(
    source: Path, folder: Path, crop: bool = True, engine: "Engine | None" = None
) -> tuple[int, list[LeftOut]]:
    """Make a stimulus set from a folder of photographs.

    Each photograph is turned upright (EXIF), cropped to a square around the cat's face and resized to `SIZE`.
    Where several faces are found, the one that the detector is surest of is taken. The stimuli keep the
    photographs' names and subfolders.

    Parameters
    ----------
    source
        The folder of photographs, subfolders included.
    folder
        Where to; replaced whole if catpref wrote all of it. Gets `MANIFEST`, `LEFT_OUT` (``file, reason``)
        and a contact sheet too.
    crop
        False for other stimuli than cats, and for faces that are aligned already: the largest centred square
        is taken.
    engine
        Who looks for faces and crops; None: this process.

    Returns
    -------
    kept : int
        Number of stimuli.
    left_out : list of LeftOut
        Photographs that are unreadable, too small, without a cat's face, or near-duplicates, of which the one
        with the largest crop is kept.

    Raises
    ------
    BadInput
        If `source` has no images or none that can be used, if one of the folders is inside the other, or if
        `folder` holds something that catpref did not write. Then nothing is changed.
    """
    inside, outside = source.resolve(), folder.resolve()
    if inside.is_relative_to(outside) or outside.is_relative_to(inside):
        raise BadInput(f"{folder}: neither it nor the photographs' folder {source} may be inside the other")
    names = find_images(source)
    with output_folder(folder, STIMULUS_SET, reads=[source]) as building:
        write = partial(_write, building)
        jobs = [_job(source, *each) for each in zip(names, _file_names(names), strict=True)]
        todo = [job for job in jobs if isinstance(job, _Photograph)]
        if engine is None:
            made = list(
                parallel(threads(), lambda job: write(_make(crop, job)), todo, "importing photographs")
            )
        else:
            done = progress(_by_engine(engine, crop, todo), "importing photographs", len(todo))
            made = by_number((number, write(one)) for number, one in done)
        made += [job for job in jobs if isinstance(job, LeftOut)]
        kept, copies = _part_copies([one for one in made if isinstance(one, Stimulus)])
        for copy, _ in copies:
            (building / copy.file).unlink()
        left_out = [one for one in made if isinstance(one, LeftOut)] + [reason for _, reason in copies]
        left_out.sort()
        if not kept:
            reasons = "; ".join(summary(left_out))
            instead = f"; {OTHERWISE}" if few_faces(left_out, 0) else ""
            raise BadInput(f"{source}: none of {len(names)} photographs can be used: {reasons}{instead}")
        shows = CAT_FACE if crop else ""
        rows = [
            (one.file, sha256_of(building / one.file), one.source, *one.box, SIZE, SIZE, shows)
            for one in kept
        ]
        write_table(building / MANIFEST, MANIFEST_COLUMNS, rows)
        write_table(building / LEFT_OUT, LeftOut._fields, left_out)
        contact_sheet.write(building, [one.file for one in kept], source, left_out, outside.name)
    return len(kept), left_out


def few_faces(left_out: Sequence[LeftOut], kept: int) -> bool:
    """Return whether in most photographs no cat's face was found, as where they show something else."""
    return sum(one.reason == _NO_FACE for one in left_out) > kept


def summary(left_out: Sequence[LeftOut]) -> list[str]:
    """Return what was left out: a line for each reason, with the number and the first names."""
    files = defaultdict(list)
    for one in left_out:
        files[one.reason.partition(" (")[0]].append(one.file)
    lines = []
    for reason, names in sorted(files.items(), key=lambda item: -len(item[1])):
        more = ", …" if len(names) > 3 else ""
        lines.append(f"{len(names)} {reason}: {', '.join(names[:3])}{more}")
    return lines


def find_face(image: Image.Image) -> Box | None:
    """Find the cat's face that OpenCV's cascades are surest of.

    The extended frontal-cat-face cascade proposes; the plain one, which was trained differently, must agree.
    Both look for upright faces seen from the front.

    Parameters
    ----------
    image
        An upright RGB image. Faces narrower than 1/16 of its longer side, or than 48 pixels, are not found.

    Returns
    -------
    Box or None
        A square from forehead to chin, or None when no face is found.
    """
    reduced = image.convert("L")
    reduced.thumbnail((_DETECTION_SIZE, _DETECTION_SIZE))
    grey = np.asarray(reduced)
    scale = image.width / reduced.width
    propose, confirm = _cascades()
    boxes, votes = propose.detectMultiScale2(
        grey, scaleFactor=_SCALE_STEP, minNeighbors=_NEIGHBOURS, minSize=(_SMALLEST_FACE, _SMALLEST_FACE)
    )
    proposals = [(int(vote), *map(int, box)) for vote, box in zip(votes, boxes, strict=True)]
    for _, left, top, side, _ in sorted(proposals, reverse=True):
        margin = side // 4
        rows = slice(max(0, top - margin), top + side + margin)
        columns = slice(max(0, left - margin), left + side + margin)
        least = int(0.6 * side)
        agreed, _ = confirm.detectMultiScale2(
            grey[rows, columns], scaleFactor=_SCALE_STEP, minNeighbors=_NEIGHBOURS, minSize=(least, least)
        )
        if len(agreed):
            face = np.rint(scale * np.array([left, top, left + side, top + side]))
            return tuple(face.astype(int).tolist())
    return None


def square_around(face: Box, width: int, height: int) -> Box:
    """Widen a face's box to the square to cut out, moved and if need be reduced to lie inside the image."""
    left, top, right, bottom = face
    side = min(round((right - left) * (1 + 2 * MARGIN)), width, height)
    left = min(max(0, (left + right - side) // 2), width - side)
    raised = round(RAISED * (bottom - top))
    top = min(max(0, (top + bottom - side) // 2 - raised), height - side)
    return left, top, left + side, top + side


def centre_square(width: int, height: int) -> Box:
    """Return the largest square in the middle of an image."""
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def save_stimulus(photograph: Image.Image, box: Box, to: Path | IO[bytes]) -> None:
    """Cut a square out of a photograph and write it as a stimulus."""
    stimulus = photograph.resize((SIZE, SIZE), Image.Resampling.LANCZOS, box=box)
    stimulus.save(to, "JPEG", quality=QUALITY, subsampling=0)


def _cascades() -> tuple[Any, Any]:
    """Load the two cascades: once for each thread, since a classifier keeps its working memory in itself."""
    if not hasattr(_thread, "cascades"):
        import cv2

        folder = Path(cv2.__file__).parent / "data"
        _thread.cascades = (
            cv2.CascadeClassifier(str(folder / "haarcascade_frontalcatface_extended.xml")),
            cv2.CascadeClassifier(str(folder / "haarcascade_frontalcatface.xml")),
        )
    return _thread.cascades


def _job(source: Path, name: str, file: str) -> _Photograph | LeftOut:
    try:
        path = image_path(source, name)
        return _Photograph(name, path, file, _status(path))
    except (BadInput, OSError):
        return LeftOut(name, "not a file inside the folder")


def _status(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _make(crop: bool, job: _Photograph) -> tuple[Stimulus, bytes] | LeftOut:
    """Return a stimulus and what is to be in its file."""
    name = job.name
    try:
        photograph = open_image(job.path, job.content)
    except BadInput as problem:
        return LeftOut(name, str(problem).removeprefix(f"{job.path}: ").partition(";")[0])
    if crop:
        face = find_face(photograph)
        if face is None:
            return LeftOut(name, _NO_FACE)
        box = square_around(face, *photograph.size)
    else:
        box = centre_square(*photograph.size)
    side = box[2] - box[0]
    if side < SMALLEST:
        return LeftOut(name, f"too small (a square of {side} pixels; {SMALLEST} are needed)")
    written = io.BytesIO()
    save_stimulus(photograph, box, written)
    # Looked at as written, so that a later check of the set sees the same.
    seen = look_at(Path(job.file), written.getvalue())
    return Stimulus(job.file, name, box, look(photograph), seen), written.getvalue()


def _write(folder: Path, made: tuple[Stimulus, bytes] | LeftOut) -> Stimulus | LeftOut:
    if isinstance(made, LeftOut):
        return made
    stimulus, content = made
    path = folder / stimulus.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return stimulus


def _by_engine(
    engine: "Engine", crop: bool, jobs: Sequence[_Photograph]
) -> Iterator[tuple[int, tuple[Stimulus, bytes] | LeftOut]]:
    """Let an engine make stimuli; workers that do not see a photograph's file are sent what is in it."""
    for number, made in where_seen(engine, _make_if_seen, crop, jobs, _with_content):
        yield number, made or _make(crop, jobs[number])  # one that could not be read is left out here


def _with_content(job: _Photograph) -> _Photograph:
    try:
        return job._replace(content=read_image(job.path))
    except BadInput:
        return job


def _make_if_seen(crop: bool, job: _Photograph) -> tuple[Stimulus, bytes] | LeftOut | None:
    try:
        seen = job.content is not None or _status(job.path) == job.status
    except OSError:
        seen = False
    return _make(crop, job) if seen else None


def _part_copies(made: Sequence[Stimulus]) -> tuple[list[Stimulus], list[tuple[Stimulus, LeftOut]]]:
    """Keep the largest crop of each picture; copies are told by the whole photograph or by the face alone."""
    alike: defaultdict[int, set[int]] = defaultdict(set)
    for looks in ([one.photograph for one in made], [one.face for one in made]):
        for first, second in same_pictures(looks):
            alike[first].add(second)
            alike[second].add(first)
    kept: set[int] = set()
    copies = []
    for index in sorted(range(len(made)), key=lambda index: (made[index].box[0] - made[index].box[2], index)):
        originals = alike[index] & kept
        if originals:
            reason = f"near-duplicate (of {made[min(originals)].source})"
            copies.append((made[index], LeftOut(made[index].source, reason)))
        else:
            kept.add(index)
    return [made[index] for index in sorted(kept)], copies


def _file_names(sources: Sequence[str]) -> list[str]:
    """Return stimulus names after the photographs, each once whatever a system takes for equal, and usable on all."""
    files: dict[str, str] = {}
    for source in sources:
        stem = PurePosixPath(*map(portable_name, PurePosixPath(source).with_suffix("").parts))
        file, count = f"{stem}.jpg", 1
        while file.casefold() in files:
            count += 1
            file = f"{stem}_{count}.jpg"
        files[file.casefold()] = file
    return list(files.values())
