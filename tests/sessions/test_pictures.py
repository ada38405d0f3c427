import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from support import all_pairs, faces

from catpref.errors import BadInput
from catpref.sessions.pictures import pictures_of
from catpref.sessions.session import Session, read_sessions

NAMES = ["a.png", "b.png", "c.png", "d.png", "e.png"]


def session_of(folder: Path, copies: dict[str, str], pairs: np.ndarray) -> Session:
    """Write five faces, of which some are copies of others, and read a session that shows the pairs."""
    originals = sorted(faces().glob("*.png"))
    for name, original in zip(NAMES, originals, strict=False):
        (folder / name).write_bytes(original.read_bytes())
    for copy, original in copies.items():
        with Image.open(folder / original) as image:
            image.convert("RGB").resize((400, 400)).save(folder / copy, quality=70)
    trials = pd.DataFrame(np.array(NAMES)[pairs], columns=["left_image", "right_image"])
    return read_sessions([trials.assign(choice=np.arange(len(pairs)) % 2)], folder)


def test_a_session_without_copies_stays_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    session = session_of(tmp_path, {}, all_pairs(5))
    pictures = pictures_of(session)
    assert pictures.session is session and pictures.merged is session
    assert (pictures.duplicates, pictures.left_out, pictures.sentence) == ((), 0, "")
    np.testing.assert_array_equal(pictures.numbers, range(5))
    table = pd.DataFrame({"image": NAMES[::-1], "utility": range(5)})
    pd.testing.assert_frame_equal(pictures.with_every_name(table), table)
    assert not caplog.records


def test_copies_are_one_image_under_the_first_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    session = session_of(tmp_path, {"c.png": "a.png", "e.png": "c.png"}, all_pairs(5))
    pictures = pictures_of(session)
    assert pictures.duplicates == [["a.png", "c.png", "e.png"]]
    assert pictures.left_out == 3 and len(pictures.session.trials) == len(pictures.merged.trials) == 7
    assert pictures.session.images == NAMES and pictures.merged.images == ["a.png", "b.png", "d.png"]
    np.testing.assert_array_equal(pictures.numbers, [0, 1, 0, 2, 0])
    np.testing.assert_array_equal(pictures.session.trials["row"], pictures.merged.trials["row"])
    table = pictures.with_every_name(
        pd.DataFrame({"image": ["d.png", "a.png", "b.png"], "utility": [2, 1, 0]})
    )
    assert table.to_dict("list") == {
        "image": ["d.png", "a.png", "c.png", "e.png", "b.png"],
        "utility": [2, 1, 1, 1, 0],
    }
    (record,) = caplog.records
    assert record.getMessage() == (
        "The same picture (or nearly) under several names counts as one image: a.png = c.png = e.png. "
        "Such pictures: 1; trials left out since they showed one beside itself: 3."
    )


def test_a_name_that_only_met_its_copy_is_left_out(tmp_path: Path) -> None:
    session = session_of(tmp_path, {"b.png": "a.png"}, np.array([[0, 1], [1, 2], [2, 3]]))
    pictures = pictures_of(session)
    assert pictures.session.images == ["b.png", "c.png", "d.png"]
    assert pictures.merged.images == ["a.png", "c.png", "d.png"]
    table = pictures.with_every_name(pd.DataFrame({"image": pictures.merged.images, "utility": [0, 1, 2]}))
    assert list(table["image"]) == ["b.png", "c.png", "d.png"]


def test_a_session_of_one_picture_is_bad_input(tmp_path: Path) -> None:
    session = session_of(tmp_path, {"b.png": "a.png"}, np.array([[0, 1], [1, 0]]))
    with pytest.raises(BadInput, match="in every trial both images show the same picture"):
        pictures_of(session)


def test_what_is_remembered_of_images_is_kept_by_content(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    session = session_of(tmp_path / "set", {"c.png": "a.png"}, all_pairs(5))
    first = pictures_of(session, tmp_path / "cache")
    kept = sorted((tmp_path / "cache").rglob("*"))
    assert kept
    again = pictures_of(session, tmp_path / "cache")
    assert sorted((tmp_path / "cache").rglob("*")) == kept  # nothing was remembered anew
    assert again.duplicates == first.duplicates == [["a.png", "c.png"]]
