from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catpref.perception import low_level
from catpref.perception.low_level import crop_sizes, luminance_and_contrast


def test_luminance_and_contrast_are_those_of_the_luma(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (10, 200, 30)).save(tmp_path / "flat.png")
    half = Image.new("L", (4, 4), 0)
    half.paste(200, (0, 0, 4, 2))
    half.save(tmp_path / "half.png")
    looks = luminance_and_contrast([tmp_path / "flat.png", tmp_path / "half.png"])
    np.testing.assert_allclose(looks, [[0.299 * 10 + 0.587 * 200 + 0.114 * 30, 0], [100, 100]], atol=0.6)


def test_what_was_measured_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, kept = tmp_path / "image.png", tmp_path / "kept"
    Image.linear_gradient("L").save(image)
    first = luminance_and_contrast([image], kept)
    monkeypatch.setattr(low_level, "open_image", lambda path: pytest.fail("measured again"))
    np.testing.assert_array_equal(luminance_and_contrast([image], kept), first)


def test_crop_sizes_are_those_of_the_manifest(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(
        "file,crop_left,crop_right,other\na.png,10,138,x\nb/c.png,0,512,y\nunused.png,,,z\n", encoding="utf-8"
    )
    sizes = crop_sizes(tmp_path, ["b/c.png", "a.png"])
    assert sizes is not None
    np.testing.assert_allclose(sizes, np.log([512, 128]))


@pytest.mark.parametrize("content", [
    None, "", "file\na.png\n", "file,crop_left,crop_right\na.png,,\n", "file,crop_left,crop_right\nb.png,0,9\n",
    "file,crop_left,crop_right\na.png,9,9\n", "file,crop_left,crop_right\na.png,0,nan\n", "file,crop_left\na.png,0\n",
])  # fmt: skip
def test_unknown_crop_sizes_are_not_made_up(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "manifest.csv").write_text(content, encoding="utf-8")
    assert crop_sizes(tmp_path, ["a.png"]) is None
