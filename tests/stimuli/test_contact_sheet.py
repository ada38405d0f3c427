"""The page on which an import is looked through, and sets from which a file was deleted."""

import base64
import html
import io
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from support import call, faces, hurry, small_study, use_own_cache

from catpref.fit import main as fit
from catpref.stimuli import contact_sheet
from catpref.stimuli.__main__ import main as stimuli
from catpref.stimuli.photographs import import_photographs
from catpref.trials import main as trials

PICTURE = re.compile(
    r'<figure>(?:<img src="data:image/jpeg;base64,([^"]+)"[^>]*>|<span class="none"></span>)'
)


def sections(page: str) -> dict[str, str]:
    parts = re.split(r"<h2[^>]*>(.*?)</h2>", page)
    return dict(zip(map(html.unescape, parts[1::2]), parts[2::2], strict=True))


def names(section: str) -> list[str]:
    return [html.unescape(name) for name in re.findall(r"<figcaption>([^<]*)", section)]


def test_the_page_shows_what_was_kept_and_left_out_and_why(tmp_path: Path) -> None:
    source, folder = tmp_path / "photographs", tmp_path / "Süße <b>cats"
    (source / "sub").mkdir(parents=True)
    for number in (1, 2):
        shutil.copy(faces() / f"cat_000{number}.png", source / "sub" / f"<i>{number}&.png")
    Image.open(faces() / "cat_0001.png").resize((300, 300)).save(source / "copy.jpg")
    Image.new("RGB", (400, 50)).save(source / "small.png")
    (source / "broken.png").write_text("no image")
    (tmp_path / "secret.png").write_bytes((faces() / "cat_0003.png").read_bytes())
    (source / "out.png").symlink_to(tmp_path / "secret.png")
    done = call(stimuli, "import", "--no-crop", source, folder)
    assert done.code == 0 and f"look through them: {folder / 'contact_sheet.html'}\n" in done.out
    page = (folder / "contact_sheet.html").read_text(encoding="utf-8")
    assert "<h1>Süße &lt;b&gt;cats: 2 of 6 photographs kept</h1>" in page
    parts = sections(page)
    assert {title: names(part) for title, part in parts.items()} == {
        "Kept (2)": ["sub/<i>1&.jpg", "sub/<i>2&.jpg"],
        "Left out: damaged or not an image (1)": ["broken.png"],
        "Left out: near-duplicate (1)": ["copy.jpg"],
        "Left out: not a file inside the folder (1)": ["out.png"],
        "Left out: too small (1)": ["small.png"],
    }
    assert "of sub/&lt;i&gt;1&amp;.png" in parts["Left out: near-duplicate (1)"]
    pictures = {title: PICTURE.findall(part)[0] for title, part in parts.items()}
    assert [title for title, picture in pictures.items() if not picture] == [
        "Left out: damaged or not an image (1)", "Left out: not a file inside the folder (1)"
    ]  # fmt: skip
    sizes = [
        Image.open(io.BytesIO(base64.b64decode(picture))).size for picture in pictures.values() if picture
    ]
    assert sizes == [(96, 96), (96, 96), (96, 12)]
    assert not re.search(r'(src|href)="(?!data:|#)', page), "it opens offline"


def test_a_page_has_so_many_pictures_and_then_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact_sheet, "MOST", 3)
    kept = [f"cat_000{number}.png" for number in range(1, 6)]
    contact_sheet.write(tmp_path, kept, tmp_path, [("a.png", "too small (x)")], "cats")
    page = (tmp_path / "contact_sheet.html").read_text()
    assert "The first 3 photographs are shown" in page and len(names(page)) == 6
    for name in kept:
        shutil.copy(faces() / name, tmp_path)
    contact_sheet.write(tmp_path, kept, tmp_path, [], "cats")
    page = (tmp_path / "contact_sheet.html").read_text()
    assert page.count("<img") == 3 and page.count('"none"') == 2
    assert len(page) < 3 * 6000 + 5000, "a picture takes about 4 kB"


def test_a_file_may_be_deleted_from_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_own_cache(monkeypatch)
    hurry(monkeypatch)
    session, folder = small_study(tmp_path / "study", images=13), tmp_path / "set"
    kept, _ = import_photographs(tmp_path / "study" / "cats", folder, crop=False)
    assert kept == 13
    (folder / "cat_0013.jpg").unlink()
    assert call(trials, "full", "--stimuli", folder, "--images", 12, "--out", tmp_path / "list.csv").code == 0
    shown = pd.read_csv(tmp_path / "list.csv")
    assert set(shown["left_image"]) | set(shown["right_image"]) == {
        path.name for path in folder.glob("*.jpg")
    }
    table = pd.read_csv(session).replace(".png", ".jpg", regex=True)
    seen = (table[["left_image", "right_image"]] != "cat_0013.jpg").all(axis=1)
    table[seen].to_csv(tmp_path / "session.csv", index=False)
    done = call(fit, tmp_path / "session.csv", "--stimuli", folder, "--model", "utility", "--folds", 3)
    assert (done.code, done.err) == (0, "")
    kept, _ = import_photographs(tmp_path / "study" / "cats", folder, crop=False)
    assert kept == 13, "a new import replaces what is left"
