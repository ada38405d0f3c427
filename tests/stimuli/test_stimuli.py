"""Finding, checking, loading and drawing stimuli."""

import csv
import io
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import simulations

from catpref._io.files import sha256_of
from catpref.errors import BadInput
from catpref.stimuli import duplicates
from catpref.stimuli.__main__ import main
from catpref.stimuli.catface import draw, sample_parameters
from catpref.stimuli.duplicates import Look, look, near_duplicates, same_pictures
from catpref.stimuli.images import MAX_PIXELS, find_images, image_path, open_image
from catpref.stimuli.sets import render, shows_cat_faces


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "catpref.stimuli", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=400)


def dot(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def faces() -> list[Image.Image]:
    return [draw(row) for row in sample_parameters(12, seed=4).to_dict("records")]


# -------------------------------------------------------------------------------------------- names and paths


def test_images_are_found_in_subfolders_and_hidden_files_are_not(tmp_path):
    for name in ("b.PNG", "süß/a.jpg", "a.tiff", ".hidden.png", ".cache/c.png", "._b.png"):
        dot(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    assert find_images(tmp_path) == ["a.tiff", "b.PNG", "süß/a.jpg"]


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(BadInput, match="holds no images"):
        find_images(tmp_path)
    with pytest.raises(BadInput, match="no such stimulus folder"):
        find_images(tmp_path / "missing")


@pytest.mark.parametrize("name", [b"line\nbreak.png", b"latin-\xe4.png"])
def test_a_name_that_no_csv_could_carry_is_refused(tmp_path, name):
    (tmp_path / os.fsdecode(name)).touch()
    with pytest.raises(BadInput, match="rename it"):
        find_images(tmp_path)


def test_a_name_is_resolved_inside_the_folder(tmp_path):
    inside = dot(tmp_path / "set/sub/a.png")
    (tmp_path / "set/link.png").symlink_to("sub/a.png")
    assert image_path(tmp_path / "set", "sub/a.png") == inside.resolve()
    assert image_path(tmp_path / "set", "sub/../sub/a.png") == inside.resolve()
    assert image_path(tmp_path / "set", "link.png") == inside.resolve()
    (tmp_path / "way").symlink_to("set")
    assert image_path(tmp_path / "way", "sub/a.png") == inside.resolve()


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", ".", "sub", "missing.png", "x" * 300, "loop.png", "nul\0.png"),
        *("../secret.png", "sub/../../secret.png", "../set/a.png", "out.png", "outer/secret.png"),
        *("/etc/hostname", "//server/a.png", "C:/a.png", "C:a.png", "sub\\a.png", "\\a.png"),
    ],
)
def test_a_name_that_is_no_file_in_the_folder_is_refused_in_one_line(tmp_path, name):
    dot(tmp_path / "secret.png")
    folder = dot(tmp_path / "set/a.png").parent
    dot(folder / "sub/a.png")
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "outer").symlink_to(tmp_path)
    (folder / "loop.png").symlink_to("loop.png")
    with pytest.raises(BadInput) as refusal:
        image_path(folder, name)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 160 + len(str(folder))


def test_an_absolute_name_is_refused_even_if_it_lies_inside(tmp_path):
    with pytest.raises(BadInput, match="relative"):
        image_path(tmp_path, str(dot(tmp_path / "a.png")))


# ---------------------------------------------------------------------------------------------------- loading


def test_exif_orientation_is_applied(tmp_path):
    picture = Image.new("RGB", (40, 20), "blue")
    picture.paste("red", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to see it upright
    picture.save(tmp_path / "turned.png", exif=exif)
    upright = open_image(tmp_path / "turned.png")
    assert upright.size == (20, 40)
    assert upright.getpixel((10, 5)) == (255, 0, 0)
    assert upright.getpixel((10, 35)) == (0, 0, 255)


@pytest.mark.parametrize(
    ("picture", "first_pixel"),
    [
        (Image.new("RGBA", (4, 4), (255, 0, 0, 0)), (128, 128, 128)),
        (Image.new("RGBA", (4, 4), (255, 0, 0, 255)), (255, 0, 0)),
        (Image.new("LA", (4, 4), (200, 0)), (128, 128, 128)),
        (Image.new("RGB", (4, 4), "lime").convert("P"), (0, 255, 0)),
        (Image.new("1", (4, 4), 1), (255, 255, 255)),
        (Image.fromarray(np.full((4, 4), 200 * 257, dtype=np.uint16)), (200, 200, 200)),
        (Image.fromarray(np.full((4, 4), 200 * 257, dtype=np.int32)), (200, 200, 200)),
    ],
    ids=["transparent", "opaque", "grey-alpha", "palette", "bilevel", "16-bit", "32-bit"],
)
def test_every_kind_of_pixel_becomes_rgb(tmp_path, picture, first_pixel):
    path = tmp_path / ("a.tif" if picture.mode == "I" else "a.png")
    picture.save(path)
    loaded = open_image(path)
    assert loaded.mode == "RGB"
    assert loaded.getpixel((0, 0)) == first_pixel


def test_of_an_animation_the_first_frame_is_taken(tmp_path):
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    red.save(tmp_path / "a.webp", save_all=True, append_images=[blue], lossless=True)
    assert open_image(tmp_path / "a.webp").getpixel((0, 0)) == (255, 0, 0)


def test_damaged_files_are_refused(tmp_path, faces):
    faces[0].save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("this is no image")
    (tmp_path / "empty.jpg").touch()
    Image.new("F", (4, 4)).save(tmp_path / "float.tif")
    for name in ("truncated.jpg", "text.jpg", "empty.jpg", "float.tif"):
        with pytest.raises(BadInput, match=name):
            open_image(tmp_path / name)
    with pytest.raises(BadInput, match="No such file"):
        open_image(tmp_path / "missing.jpg")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # pytest puts its own filters first
@pytest.mark.parametrize("side", [8193, 12_000, 60_000])
def test_a_bomb_is_refused_by_its_header(tmp_path, side):
    """The file has a header only, so that any attempt to decode it would find it damaged instead."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    chunks += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    assert side**2 > MAX_PIXELS
    with pytest.raises(BadInput, match="megapixels"):
        open_image(tmp_path / "bomb.png")


# -------------------------------------------------------------------------------------------- near-duplicates


def copies(picture: Image.Image) -> list[Image.Image]:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=60)
    half = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BILINEAR)
    return [Image.open(file).convert("RGB"), half, picture.point(lambda value: min(255, round(1.05 * value)))]


def test_copies_are_recognised_and_different_faces_are_not(faces):
    looks = [look(face) for face in faces]
    copied = [look(copy) for face in faces for copy in copies(face)]
    pairs = same_pictures(looks + copied)
    groups = list(range(len(faces))) + [index for index in range(len(faces)) for _ in range(3)]
    expected = {
        (first, second)
        for first in range(len(groups))
        for second in range(first + 1, len(groups))
        if groups[first] == groups[second]
    }
    assert set(pairs) == expected
    assert pairs == sorted(pairs)


def test_more_pictures_than_one_block_are_compared():
    rng = np.random.default_rng(1)
    noise = [look(Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))) for _ in range(1100)]
    assert same_pictures([*noise, noise[3], noise[1090]]) == [(3, 1100), (1090, 1101)]


def pairs_by_comparing_all(looks: list[Look]) -> list[tuple[int, int]]:
    """What `same_pictures` promises, pair by pair."""
    bits = np.unpackbits([one.bits for one in looks], axis=1).astype(np.int64)
    colours = np.array([one.colours for one in looks], np.int64)
    pairs = []
    for first in range(len(looks)):
        rest = slice(first + 1, len(looks))
        hamming = np.abs(bits[rest] - bits[first]).sum(1)
        brightness = colours.mean(1)
        centred = colours - brightness[:, None]
        contrast = np.square(centred).sum(1)
        apart = np.square(centred[rest] - centred[first]).sum(1)
        same = (hamming <= 64) & (np.abs(brightness[rest] - brightness[first]) <= 32)
        same &= apart <= 0.04 * np.maximum(contrast[rest], contrast[first]) + 0.25 * 768
        pairs += [(first, first + 1 + int(other)) for other in np.flatnonzero(same)]
    return pairs


def planted(kind: str, seed: int, count: int = 300) -> list[Look]:
    """Looks, many of which are others with about as many changes as the criterion allows."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (count, 576))
    if kind == "faces":  # all alike, but for a little
        colours = rng.normal(120, 40, 768) + rng.normal(0, 12, (count, 768))
    elif kind == "flat":  # what is the same but for rounding, in many greys
        colours = rng.integers(0, 256, (count, 1)) + rng.normal(0, 0.6, (count, 768))
    else:
        colours = rng.normal(0, 50, (count, 8)) @ rng.normal(0, 1, (8, 768)) + rng.normal(120, 30, (count, 1))
    for copy in range(count // 3, count):
        original = rng.integers(0, copy)
        bits[copy] = bits[original]
        bits[copy, rng.permutation(576)[: rng.integers(55, 72)]] ^= 1
        light, spread = rng.normal(0, 18), np.std(colours[original]) * rng.uniform(0.1, 0.24)
        colours[copy] = colours[original] + light + rng.normal(0, spread, 768)
    whole = np.clip(np.rint(colours), 0, 255).astype(np.uint8)
    return [Look(np.packbits(own), seen) for own, seen in zip(bits, whole, strict=True)]


@pytest.mark.parametrize("kind", ["pictures", "faces", "flat"])
def test_the_search_finds_what_comparing_all_with_all_finds(kind, monkeypatch):
    found = 0
    for seed in range(simulations(1, 3)):
        looks = planted(kind, seed)
        expected = pairs_by_comparing_all(looks)
        assert same_pictures(looks) == expected
        monkeypatch.setattr(duplicates, "_AT_ONCE", 50)  # several rounds
        assert same_pictures(looks) == expected
        monkeypatch.undo()
        found += len(expected)
    assert found > 20


def test_few_pairs_are_compared_one_by_one(monkeypatch):
    """Otherwise 100,000 pictures would take hours: that is five thousand million pairs."""
    looks = planted("pictures", 0, 3000)
    compared = []
    search = duplicates._near_in_colour

    def count(*arguments):
        for first, second in search(*arguments):
            compared.append(len(first))
            yield first, second

    monkeypatch.setattr(duplicates, "_near_in_colour", count)
    assert len(same_pictures(looks)) > 300
    assert sum(compared) < 0.02 * 3000 * 2999 / 2


def test_the_same_shape_in_other_colours_is_another_picture(faces):
    red, green, blue = faces[0].split()
    assert same_pictures([look(faces[0]), look(Image.merge("RGB", (blue, red, green)))]) == []
    greys = [look(Image.new("RGB", (64, 64), (grey,) * 3)) for grey in (40, 44, 120, 200)]
    assert same_pictures(greys) == [(0, 1)]


def test_the_same_light_on_other_detail_is_another_picture():
    rng = np.random.default_rng(1)
    light = np.linspace(40, 215, 480)[:, None]
    walls = [light + np.kron(rng.normal(0, 12, (48, 48)), np.ones((10, 10))) for _ in range(2)]
    pictures = [Image.fromarray(np.clip(wall, 0, 255).astype(np.uint8)).convert("RGB") for wall in walls]
    assert same_pictures([look(picture) for picture in pictures]) == []


def test_near_duplicates_gives_the_names(tmp_path, faces):
    for name, face in zip(("a.png", "b.png", "c.png"), faces, strict=False):
        face.save(tmp_path / name)
    faces[1].save(tmp_path / "sub.jpg", quality=60)  # large enough for the JPEG decoder's reduced size
    names = find_images(tmp_path)
    assert near_duplicates(tmp_path, names) == [("b.png", "sub.jpg")]
    assert near_duplicates(tmp_path, ["a.png"]) == []
    with pytest.raises(BadInput, match=r"missing\.png"):
        near_duplicates(tmp_path, ["a.png", "missing.png"])


# -------------------------------------------------------------------------------------------------- rendering


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "drawn"
    done = command("render", "--n", 5, "--seed", 1, folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def test_render_writes_faces_parameters_and_a_manifest(drawn):
    assert find_images(drawn) == [f"cat_000{index}.png" for index in range(1, 6)]
    manifest, parameters = table(drawn / "manifest.csv"), table(drawn / "parameters.csv")
    assert [row["file"] for row in manifest] == [row["file"] for row in parameters] == find_images(drawn)
    assert list(manifest[0]) == [
        *(
            "file",
            "sha256",
            "source",
            "crop_left",
            "crop_top",
            "crop_right",
            "crop_bottom",
            "width",
            "height",
        ),
        "shows",
    ]
    assert shows_cat_faces(drawn)
    assert all(row["sha256"] == sha256_of(drawn / row["file"]) for row in manifest)
    values = {name: float(value) for name, value in parameters[2].items() if name != "file"}
    assert np.array_equal(np.asarray(draw(values)), np.asarray(open_image(drawn / "cat_0003.png")))


def test_same_seed_same_pixels_and_a_longer_set_begins_with_the_shorter(drawn, tmp_path):
    render(tmp_path / "again", 3, 1)
    for name in find_images(tmp_path / "again"):
        assert sha256_of(tmp_path / "again" / name) == sha256_of(drawn / name)
    render(tmp_path / "again", 2, 2)
    assert find_images(tmp_path / "again") == ["cat_0001.png", "cat_0002.png"]
    assert sha256_of(tmp_path / "again/cat_0001.png") != sha256_of(drawn / "cat_0001.png")


def test_render_refuses_a_folder_that_is_not_its_own(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    done = command("render", "--n", 2, tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "not written by catpref" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.posix
def test_an_interrupted_render_leaves_what_was_there(tmp_path):
    folder = tmp_path / "drawn"
    line = [sys.executable, "-m", "catpref.stimuli", "render", "--n", "3000", str(folder)]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob(".drawn.*/*.png")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the command and its workers
    _, complaint = process.communicate(timeout=200)
    assert process.returncode == 130
    assert complaint == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["draw"],
        ["render"],
        ["render", "--n", "0", "x"],
        ["render", "--seed", "-1", "x"],
        ["import", "x"],
    ],
)
def test_a_wrong_command_line_is_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as ending:
        main(arguments)
    assert ending.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["render", "--help"], ["import", "--help"]])
def test_help_ends_with_an_example(arguments, capsys):
    with pytest.raises(SystemExit) as ending:
        main(arguments)
    assert ending.value.code == 0
    assert "example:\n  python -m catpref.stimuli" in capsys.readouterr().out


def test_opencv_is_not_loaded_to_read_images():
    line = "import sys, catpref.stimuli.sets, catpref.stimuli.photographs; sys.exit('cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", line]).returncode == 0
