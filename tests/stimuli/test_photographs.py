"""Stimulus sets from photographs.

The photographs are drawn cats on a larger canvas, which the cascades find, and scikit-image's cat Chelsea.
"""

import csv
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageDraw

from catpref._io.files import sha256_of
from catpref.errors import BadInput
from catpref.stimuli import photographs
from catpref.stimuli.catface import draw, sample_parameters
from catpref.stimuli.duplicates import near_duplicates
from catpref.stimuli.images import find_images, open_image
from catpref.stimuli.photographs import (
    SMALLEST,
    find_face,
    import_photographs,
    square_around,
    summary,
)
from catpref.stimuli.sets import shows_cat_faces

WALL = (150, 140, 130)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def photograph(face: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", (900, 700), WALL)
    canvas.paste(face.resize((300, 300), Image.Resampling.LANCZOS), (400, 150))
    return canvas


def seen_whole(face: Image.Image) -> bool:
    """Whether the cascades, which were made for real cats, see this drawn one from forehead to chin."""
    for scale in (1, 2, 3):
        found = find_face(photograph(face).resize((900 // scale, 700 // scale)))
        if found is None or not 150 < scale * (found[2] - found[0]) < 260:
            return False
    return True


@pytest.fixture(scope="module")
def faces() -> list[Image.Image]:
    drawn = (draw(row) for row in sample_parameters(60, seed=4).to_dict("records"))
    seen = list(itertools.islice(filter(seen_whole, drawn), 6))
    assert len(seen) == 6
    return seen


def box_of(row: dict[str, str]) -> tuple[int, ...]:
    return tuple(int(row[f"crop_{edge}"]) for edge in ("left", "top", "right", "bottom"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------------------------------------- finding faces


def test_a_real_cat_is_found():
    chelsea = Image.fromarray(skimage.data.chelsea())
    canvas = Image.new("RGB", (chelsea.width + 240, chelsea.height + 240), WALL)
    canvas.paste(chelsea, (120, 120))
    face = find_face(canvas.rotate(5, fillcolor=WALL))
    assert face is not None
    assert np.allclose(face, (205, 109, 537, 441), atol=15)  # forehead to chin, checked by eye


@pytest.mark.parametrize("scale", [1, 4])
def test_the_face_is_found_where_it_is_at_any_size_of_photograph(faces, scale):
    picture = photograph(faces[1]).resize((900 * scale, 700 * scale))
    face = find_face(picture)
    assert face is not None
    left, top, right, bottom = np.array(face) / scale
    assert (left + right) / 2 == pytest.approx(550, abs=15)
    assert 170 < (top + bottom) / 2 - 150 < 210  # below the middle of the drawing: the ears are above
    assert 150 < right - left < 260


def test_there_is_no_face_in_noise():
    noise = np.random.default_rng(1).integers(0, 256, (400, 500, 3), dtype=np.uint8)
    assert find_face(Image.fromarray(noise)) is None


@pytest.mark.parametrize(
    "face", [(0, 0, 100, 100), (450, 250, 500, 300), (200, 100, 300, 200), (0, 0, 300, 300)]
)
def test_the_square_lies_inside_the_picture_and_around_the_face(face):
    left, top, right, bottom = square_around(face, 500, 300)
    assert 0 <= left <= face[0] and 0 <= top <= face[1]
    assert face[2] <= right <= 500 and face[3] <= bottom <= 300
    assert right - left == bottom - top == min(300, round(1.6 * (face[2] - face[0])))


def test_the_square_has_room_for_ears_and_chin():
    assert square_around((200, 100, 300, 200), 500, 300) == (170, 65, 330, 225)


# -------------------------------------------------------------------------------------------------- importing


@pytest.fixture(scope="module")
def imported(faces, tmp_path_factory) -> tuple[Path, Path, subprocess.CompletedProcess[str]]:
    """Import one photograph of each kind, through the command."""
    source = tmp_path_factory.mktemp("photographs")
    folder = tmp_path_factory.mktemp("stimuli") / "cats"
    photograph(faces[0]).save(source / "plain.png")
    exif = Image.Exif()
    exif[0x0112] = 8  # rotate by 90 degrees anticlockwise to see it upright
    photograph(faces[1]).transpose(Image.Transpose.ROTATE_270).save(source / "turned.jpg", exif=exif)
    (source / "Süße Katzen").mkdir()
    photograph(faces[2]).save(source / "Süße Katzen/Mütze.jpg")
    photograph(faces[3]).save(source / "Süße Katzen/same.webp")
    photograph(faces[4]).save(source / "Süße Katzen/SAME.png")
    photograph(faces[0]).resize((675, 525)).save(source / "copy_smaller.jpg", quality=60)
    photograph(faces[5]).resize((300, 233)).save(source / "far.png")
    photograph(faces[0]).crop((0, 0, 300, 700)).save(source / "wall.png")
    whole = (source / "turned.jpg").read_bytes()
    (source / "damaged.jpg").write_bytes(whole[: len(whole) // 2])
    Image.new("1", (9500, 9500)).save(source / "bomb.png")  # Pillow warns; the command must not
    photograph(faces[0]).save(folder.parent / "secret.jpg")
    (source / "out.jpg").symlink_to(folder.parent / "secret.jpg")
    line = [sys.executable, "-m", "catpref.stimuli", "import", str(source), str(folder)]
    return source, folder, subprocess.run(line, capture_output=True, text=True, timeout=400)


def test_usable_photographs_become_stimuli_under_their_own_names(imported):
    _, folder, done = imported
    assert (done.returncode, done.stderr) == (0, "")
    names = [
        "Süße Katzen/Mütze.jpg",
        "Süße Katzen/SAME.jpg",
        "Süße Katzen/same_2.jpg",
        "plain.jpg",
        "turned.jpg",
    ]
    assert find_images(folder) == names
    assert all(open_image(folder / name).size == (512, 512) for name in names)
    assert near_duplicates(folder, names) == []


def test_what_is_left_out_is_listed_with_its_reason(imported):
    _, folder, done = imported
    reasons = {row["file"]: row["reason"].partition(" (")[0] for row in table(folder / "left_out.csv")}
    assert shows_cat_faces(folder) and "--no-crop" not in done.stdout
    assert reasons == {
        "bomb.png": "more than 64 megapixels",
        "copy_smaller.jpg": "near-duplicate",
        "damaged.jpg": "damaged or not an image",
        "far.png": "too small",
        "out.jpg": "not a file inside the folder",
        "wall.png": "no cat's face found",
    }
    for name, reason in reasons.items():
        assert f"1 {reason}: {name}" in done.stdout


def test_the_manifest_describes_each_stimulus(imported):
    source, folder, _ = imported
    manifest = table(folder / "manifest.csv")
    assert [row["file"] for row in manifest] == find_images(folder)
    for row in manifest:
        assert row["sha256"] == sha256_of(folder / row["file"])
        assert (row["width"], row["height"]) == ("512", "512")
        box = box_of(row)
        assert box[2] - box[0] == box[3] - box[1] >= SMALLEST
        cut = open_image(source / row["source"]).resize((512, 512), Image.Resampling.LANCZOS, box=box)
        stimulus = open_image(folder / row["file"])
        assert np.abs(np.asarray(cut, float) - np.asarray(stimulus, float)).mean() < 1.5
    sources = {row["file"]: row["source"] for row in manifest}
    assert sources["Süße Katzen/same_2.jpg"] == "Süße Katzen/same.webp"


def test_a_turned_photograph_gives_the_crop_of_the_upright_one(imported, faces):
    _, folder, _ = imported
    row = next(row for row in table(folder / "manifest.csv") if row["file"] == "turned.jpg")
    face = find_face(photograph(faces[1]))
    assert face is not None
    assert np.allclose(box_of(row), square_around(face, 900, 700), atol=8)


@pytest.mark.parametrize("seen", [True, False])
def test_workers_import_what_this_process_does(imported, tmp_path, monkeypatch, seen):
    """Whether they see the photographs or are sent them."""
    pytest.importorskip("torch")
    from engines_support import Scrambled

    source, folder, _ = imported
    if not seen:  # each look finds another file of that name
        looks = itertools.count()
        monkeypatch.setattr(photographs, "_status", lambda _: (next(looks), 0))
    engine = Scrambled()
    kept, left_out = import_photographs(source, tmp_path / "cats", engine=engine)
    assert (kept, len(left_out)) == (5, 6)
    assert len(engine.done) == (10 if seen else 20), (
        "one task a photograph, and one more where it is to be sent"
    )
    here, there = ({name: each[name] for name in each if name.endswith((".jpg", ".csv"))} for each in (
        contents(folder), contents(tmp_path / "cats"),
    ))  # fmt: skip
    assert here == there


def test_aligned_faces_are_only_made_square(tmp_path):
    picture = Image.new("RGB", (400, 300), "white")
    ImageDraw.Draw(picture).ellipse((100, 50, 300, 250), fill="orange")
    (tmp_path / "faces").mkdir()
    picture.save(tmp_path / "faces/wide.png")
    picture.resize((SMALLEST - 1, SMALLEST - 1)).save(tmp_path / "faces/tiny.png")
    kept, left_out = import_photographs(tmp_path / "faces", tmp_path / "set", crop=False)
    assert kept == 1
    assert [(one.file, one.reason[:9]) for one in left_out] == [("tiny.png", "too small")]
    assert box_of(table(tmp_path / "set/manifest.csv")[0]) == (50, 0, 350, 300)
    assert not shows_cat_faces(tmp_path / "set")


def test_of_copies_the_largest_is_kept(tmp_path, faces):
    (tmp_path / "faces").mkdir()
    faces[0].resize((200, 200)).save(tmp_path / "faces/a.jpg")
    faces[0].save(tmp_path / "faces/b.png")
    faces[0].resize((300, 300)).save(tmp_path / "faces/c.jpg")
    kept, left_out = import_photographs(tmp_path / "faces", tmp_path / "set", crop=False)
    assert (kept, find_images(tmp_path / "set")) == (1, ["b.jpg"])
    assert [one.reason for one in left_out] == ["near-duplicate (of b.png)"] * 2


def test_a_failed_import_leaves_the_earlier_set(tmp_path, faces):
    (tmp_path / "faces").mkdir()
    faces[0].save(tmp_path / "faces/a.png")
    import_photographs(tmp_path / "faces", tmp_path / "set", crop=False)
    before = contents(tmp_path / "set")
    (tmp_path / "walls").mkdir()
    Image.new("RGB", (400, 400), WALL).save(tmp_path / "walls/a.png")
    with pytest.raises(
        BadInput, match=r"none of 1 photographs can be used: 1 no cat's face found: a\.png; .*--no-crop"
    ):
        import_photographs(tmp_path / "walls", tmp_path / "set")
    assert contents(tmp_path / "set") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces", "set", "walls"]


def test_the_set_and_its_photographs_are_kept_apart(tmp_path, faces):
    (tmp_path / "all/sub").mkdir(parents=True)
    faces[0].save(tmp_path / "all/a.png")
    faces[1].save(tmp_path / "all/sub/b.png")
    (tmp_path / "way").symlink_to("all")
    before = contents(tmp_path)
    for source, folder in (("all", "all"), ("all/sub", "all"), ("all", "all/new"), ("way", "all")):
        with pytest.raises(BadInput, match="inside the other"):
            import_photographs(tmp_path / source, tmp_path / folder, crop=False)
    assert contents(tmp_path) == before


def test_missing_photographs_are_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "catpref.stimuli", "import", "no/such/folder", "set"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "catpref: no/such/folder: no such stimulus folder\n"
    assert not Path("set").exists()


def test_the_summary_gives_numbers_and_the_first_names():
    from catpref.stimuli.photographs import LeftOut

    left_out = [LeftOut(f"{index}.jpg", f"too small (a square of {index} pixels)") for index in range(5)]
    lines = summary([*left_out, LeftOut("x.jpg", "no cat's face found")])
    assert lines == ["5 too small: 0.jpg, 1.jpg, 2.jpg, …", "1 no cat's face found: x.jpg"]
