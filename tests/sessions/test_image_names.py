"""Images are found however an experiment reached them, and never outside the stimulus folder."""

import time
import unicodedata
from pathlib import Path

import pytest

from catpref.errors import BadInput
from catpref.sessions.image_names import ImageNames
from catpref.sessions.session import read_pairs, read_sessions


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.fixture
def cats(tmp_path: Path) -> Path:
    make(tmp_path, "secret.png", "cats/.hidden.png", "cats/._a.png")
    return make(tmp_path / "cats", "a.png", "my cat.png", "new/B.JPG", "new/twice.png", "old/twice.png")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.png", "a.png"),
        ("./a.png", "./a.png"),
        ("new/../a.png", "new/../a.png"),
        ("exp/stim/a.png", "a.png"),
        ("../stimuli/a.png", "a.png"),
        (r"C:\Users\lab\stim\a.png", "a.png"),
        ("C:a.png", "a.png"),
        (r"\\server\share\a.png", "a.png"),
        ("/home/lab/a.png", "a.png"),
        ("https://lab.example.org/stim/a.png?v=3#x", "a.png"),
        ("file:///C:/stim/my%20cat.png", "my cat.png"),
        ("img/my%20cat.png", "my cat.png"),
        ("A.PNG", "a.png"),
        ("b.jpg", "new/B.JPG"),
        ("a", "a.png"),
        ("img/My Cat", "my cat.png"),
        (" a.png ", "a.png"),
        ("['a.png']", "a.png"),
        ("stim/old/twice.png", "old/twice.png"),
        ("OLD/Twice", "old/twice.png"),
    ],
)
def test_a_name_is_found_by_its_last_parts(cats: Path, name: str, found: str) -> None:
    called, file = ImageNames(cats).find(name)
    assert called == found
    assert Path(file) == (cats / found).resolve()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("stim/twice.png", ["may be any of new/twice.png, old/twice.png"]),
        ("gone.png", ["'gone.png' is not in"]),
        ("stim/a.gif", ["is not in", "there is a.png"]),
        ("hidden.png", ["is not in"]),
        ("", ["empty"]),
        ("..", ["outside"]),
        ("../secret.png", ["outside"]),
        (r"..\secret.png", []),
        ("x/../../secret.png", ["outside"]),
        ("/etc/passwd", ["is not in"]),
        ("nul\0.png", ["not a usable file name"]),
        ("x/" * 3000 + "a.png", ["not a usable file name"]),
        ("\ud800.png", ["is not in"]),
    ],
)
def test_what_is_not_found_or_may_be_several_is_named(cats: Path, name: str, words: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        ImageNames(cats).find(name)
    assert all(word in str(caught.value) for word in words), caught.value
    assert len(str(caught.value)) < 400


def test_a_name_that_leads_to_another_file_outside_is_not_taken_for_one_inside(cats: Path) -> None:
    make(cats, "secret.png", "more/leak.png")
    (cats / "leak.png").symlink_to("../secret.png")
    for name in ("../secret.png", "leak.png"):
        with pytest.raises(BadInput, match="leads outside"):
            ImageNames(cats).find(name)
    assert ImageNames(cats).find(str(cats.parent / "secret.png"))[1] == str(cats.resolve() / "secret.png")
    assert ImageNames(cats).find("stim/more/leak.png")[0] == "more/leak.png"
    (cats / "only.png").symlink_to("../secret.png")
    with pytest.raises(BadInput, match="is not in"):
        ImageNames(cats).find("stim/only.png")


def test_the_better_of_two_is_taken_if_folders_and_letters_agree_on_it(tmp_path: Path) -> None:
    images = ImageNames(make(tmp_path, "a.png", "old/a.png", "old/A.png", "x.png", "x.jpg", "y/x.png"))
    assert images.find("stim/a.png")[0] == "a.png"
    assert images.find("stim/old/A.png")[0] == "old/A.png"
    assert images.find("z/x.PNG")[0] == "x.png"
    for name, candidates in {"x": "x.jpg, x.png", "OLD/a.PNG": "old/A.png, old/a.png"}.items():
        with pytest.raises(BadInput, match=candidates):
            images.find(name)


def test_two_links_to_one_file_are_one_image(tmp_path: Path) -> None:
    make(tmp_path, "one/a.png", "two/b.png")
    (tmp_path / "two" / "a.png").symlink_to("../one/a.png")
    assert ImageNames(tmp_path).find("stim/a.png")[0] == "one/a.png"


@pytest.mark.parametrize(("form", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_composed_and_decomposed_names_are_the_same(tmp_path: Path, form: str, other: str) -> None:
    make(tmp_path, unicodedata.normalize(form, "é_01.png"), "b.png")
    name = unicodedata.normalize(other, "é_01.png")
    (tmp_path / "session.csv").write_text(f"left_image,right_image,choice\n{name},b.png,1\nb.png,{name},0\n")
    session = read_sessions([tmp_path / "session.csv"])
    assert list(session.trials["choice"]) == [1, 0] and len(session.images) == 2


def test_heic_is_called_by_its_name(tmp_path: Path) -> None:
    images = ImageNames(make(tmp_path, "IMG_1.HEIC"))
    for name in ("IMG_1.HEIC", "stim/img_1.heic", "IMG_1"):
        with pytest.raises(BadInput, match="is HEIC, which is not read; convert it to JPEG or PNG"):
            images.find(name)
    with pytest.raises(BadInput, match=r"there is IMG_1\.HEIC"):
        images.find("IMG_1.jpg")


@pytest.mark.parametrize("keys", ["choice", "key_resp.keys"])
@pytest.mark.parametrize("prefix", ["stimuli/", "C:\\lab\\"])
def test_every_dialect_finds_images_alike(
    cats: Path, caplog: pytest.LogCaptureFixture, keys: str, prefix: str
) -> None:
    caplog.set_level("INFO", "catpref")
    path = cats.parent / "data.csv"
    path.write_text(
        f"left_image,right_image,{keys}\n{prefix}a.png,{prefix}my cat.png,0\n{prefix}a.png,{prefix}new\\b.jpg,1\n"
    )
    assert read_sessions([path], cats).images == ["a.png", "my cat.png", "new/B.JPG"]
    assert list(read_pairs(path, cats)[0]["right_image"]) == ["my cat.png", "new/B.JPG"]
    assert (
        f"image names taken for others: 3 ({prefix}a.png is a.png, {prefix}new\\b.jpg is new/B.JPG)"
        in caplog.text
    )
    caplog.clear()
    path.write_text(f"left_image,right_image,{keys}\n{prefix}a.png,{prefix}my cat.png,0\n")
    read_sessions([path], cats)
    assert "image names" not in caplog.text, "the same folders before all names go without saying"


def test_ids_without_endings_are_found(tmp_path: Path) -> None:
    make(tmp_path, "faces/001.png", "faces/002.png")
    (tmp_path / "session.csv").write_text("left_image,right_image,choice\n001,002,1\n002,001,0\n")
    assert read_sessions([tmp_path / "session.csv"]).images == ["faces/001.png", "faces/002.png"]


def test_a_thousand_trials_on_ten_thousand_images_are_read_at_once(tmp_path: Path) -> None:
    for folder in range(100):
        (tmp_path / "set" / f"{folder:02d}").mkdir(parents=True)
        for number in range(100):
            (tmp_path / "set" / f"{folder:02d}" / f"{number:03d}.png").touch()
    names = [f"https://lab.example.org/{one % 100:02d}/{one // 100:03d}.PNG" for one in range(2000)]
    rows = [f"{left},{right},1\n" for left, right in zip(names[::2], names[1::2], strict=True)]
    (tmp_path / "session.csv").write_text("left_image,right_image,choice\n" + "".join(rows))
    start = time.process_time()
    session = read_sessions([tmp_path / "session.csv"], tmp_path / "set")
    assert len(session.images) == 2000
    assert time.process_time() - start < 4  # 0.4 s, or 1.1 s on a slow computer


def test_a_folder_of_countless_files_is_not_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catpref.sessions.image_names._MOST_FILES", 3)
    make(tmp_path, "a.png", "1.txt", "2.txt", "3.txt")
    assert ImageNames(tmp_path).find("a.png")[0] == "a.png"
    with pytest.raises(BadInput, match="over 3 files"):
        ImageNames(tmp_path).find("stim/a.png")
