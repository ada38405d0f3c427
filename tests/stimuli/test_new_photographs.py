"""New photographs are seen as those of the stimulus set were, and stimuli are left as they are."""

import csv
import json
import shutil
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from support import call, hurry, small_study, use_own_cache

from catpref.errors import BadInput
from catpref.fit import main as fit
from catpref.predict import main as predict
from catpref.stimuli import sets
from catpref.stimuli.catface import draw, sample_parameters
from catpref.stimuli.new_photographs import Cropping, is_cropped_around_faces
from catpref.stimuli.photographs import find_face, import_photographs

WALL = (150, 140, 130)


def photograph(face: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", (900, 700), WALL)
    canvas.paste(face.resize((300, 300), Image.Resampling.LANCZOS), (400, 150))
    return canvas


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, and the set that was made of them."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "photographs").mkdir()
    drawn = (photograph(draw(row)) for row in sample_parameters(60, seed=4).to_dict("records"))
    for number, picture in zip(range(4), filter(find_face, drawn), strict=False):
        picture.save(folder / "photographs" / f"{number}.png")
    kept, _ = import_photographs(folder / "photographs", folder / "set")
    assert kept == 4
    return folder


def test_the_manifest_tells_how_a_set_was_made(lab: Path, tmp_path: Path) -> None:
    assert is_cropped_around_faces(lab / "set")
    assert not is_cropped_around_faces(lab / "photographs"), "any folder"
    import_photographs(lab / "photographs", tmp_path / "whole", crop=False)
    sets.render(tmp_path / "drawn", 1, 0)
    for name in ("whole", "drawn"):
        assert (tmp_path / name / "manifest.csv").exists() and not is_cropped_around_faces(tmp_path / name)
    for text in (
        "",
        "file,crop_left\na,1\n",
        ",".join(sets.MANIFEST_COLUMNS) + "\n" + "x," * 9 + "x\n",
        "\0",
    ):
        (tmp_path / "manifest.csv").write_text(text)
        assert not is_cropped_around_faces(tmp_path), text


def test_a_photograph_becomes_what_an_import_makes_of_it(lab: Path, tmp_path: Path) -> None:
    photographs = sorted((lab / "photographs").iterdir())
    seen = Cropping().see(photographs, tmp_path)
    for photograph, one in zip(photographs, seen, strict=True):
        assert one.is_cropped and one.has_face
        assert one.file.read_bytes() == (lab / "set" / f"{photograph.stem}.jpg").read_bytes()


def test_a_stimulus_is_not_cropped_again(lab: Path, tmp_path: Path) -> None:
    copy, listed, square = tmp_path / "copy.jpg", tmp_path / "other/deep/listed.png", tmp_path / "square.png"
    shutil.copy(lab / "set" / "0.jpg", copy)
    listed.parent.mkdir(parents=True)
    shutil.copy(lab / "photographs" / "0.png", listed)
    row = ["deep/listed.png", *["1"] * 8, sets.CAT_FACE]
    with (tmp_path / "other/manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([sets.MANIFEST_COLUMNS, row])
    Image.open(lab / "photographs" / "0.png").crop((200, 0, 900, 700)).resize((512, 512)).save(square)
    images = [lab / "set" / "0.jpg", copy, listed, square]
    seen = Cropping().see(images, tmp_path)
    assert [one.is_cropped for one in seen] == [False, False, False, True], "a square photograph is no crop"
    assert [one.file for one in seen[:3]] == images[:3]


def test_what_has_no_face_or_cannot_be_read_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.new("RGB", (400, 300), WALL).save(tmp_path / "wall.png")
    cropping = Cropping()
    assert cropping.see([tmp_path / "wall.png"], tmp_path) == [(tmp_path / "wall.png", False, False)]
    cropping.warn()
    assert cropping.faces == [0]
    assert "in 1 of 1 images no cat's face is found" in caplog.text and "cropped" not in caplog.text
    (tmp_path / "no.png").write_text("no image")
    with pytest.raises(BadInput, match=r"no\.png: damaged"):
        Cropping().see([tmp_path / "no.png"], tmp_path)


def test_photographs_are_ranked_as_their_own_crops(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_own_cache(monkeypatch)
    hurry(monkeypatch)
    session = small_study(tmp_path / "study")
    cats = tmp_path / "study" / "cats"
    rows = [
        [path.name, "", path.name, 10, 20, 300, 310, 512, 512, sets.CAT_FACE]
        for path in sorted(cats.iterdir())
    ]
    sets.write_table(cats / "manifest.csv", sets.MANIFEST_COLUMNS, rows)
    assert call(fit, session, "--model", "utility", "--folds", 3).code == 0
    model = tmp_path / "study" / "session_fit" / "model"
    assert json.loads((model / "model.json").read_text())["cropped"] is True
    shutil.copytree(lab / "photographs", tmp_path / "new")
    Image.fromarray(np.asarray(Image.open(cats / "cat_0001.png"))[:100]).save(tmp_path / "new" / "ears.png")

    def ranking(*arguments: object) -> pd.DataFrame:
        done = call(predict, model, *arguments)
        assert done.code == 0, done
        table = pd.read_csv(StringIO(done.out))
        return table.set_index(pd.Index([Path(name).stem for name in table["image"]])).drop(columns="image")

    crops, photographs, whole = (
        ranking(lab / "set"), ranking(tmp_path / "new"), ranking(tmp_path / "new", "--no-crop")
    )  # fmt: skip
    assert list(crops) == list(photographs) == [*whole, "face"] and set(crops["face"]) == {1}
    assert photographs.index[-1] == "ears" and list(photographs["face"]) == [1] * 4 + [0]
    pd.testing.assert_frame_equal(photographs.drop(index="ears"), crops, atol=1e-6)
    assert np.abs((whole["utility"] - photographs["utility"]).drop("ears")).min() > 1e-3
    ears = [table["utility"].to_dict()["ears"] for table in (whole, photographs)]
    assert ears[0] == pytest.approx(ears[1], abs=1e-6), "taken whole"

    (tmp_path / "pairs.csv").write_text("left_image,right_image\n0.png,1.png\n")
    (tmp_path / "crops.csv").write_text("left_image,right_image\n0.jpg,1.jpg\n")
    p_right = [
        pd.read_csv(StringIO(call(predict, model, "--pairs", tmp_path / name, "--stimuli", where, *how).out))
        for name, where, how in (
            ("pairs.csv", tmp_path / "new", []), ("crops.csv", lab / "set", []),
            ("pairs.csv", tmp_path / "new", ["--no-crop"]),
        )
    ]  # fmt: skip
    of_photographs, of_crops, of_whole = (table["p_right"].to_list()[0] for table in p_right)
    assert of_photographs == pytest.approx(of_crops, abs=1e-6) and of_photographs != of_whole
