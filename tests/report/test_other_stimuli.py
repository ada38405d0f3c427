"""A study of something else than cats: no word of what is written speaks of cats or faces."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw
from support import all_pairs, hurry, use_own_cache

import catpref
from catpref.report import page

IMAGES = 24
CATS = re.compile(r"\b(cats?|faces?)\b", re.IGNORECASE)


def draw_shapes(folder: Path) -> list[str]:
    """Coloured rectangles and discs, from red to blue."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        red = round(255 * (1 - number / (IMAGES - 1)))
        image = Image.new("RGB", (128, 128), (red, 60, 255 - red))
        pen = ImageDraw.Draw(image)
        corner = rng.integers(8, 40, 2)
        shape = pen.rectangle if number % 2 else pen.ellipse
        shape((*corner.tolist(), *(corner + rng.integers(40, 80)).tolist()), fill="white")
        image.save(folder / f"house_{number:02d}.png")
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("participants", [1, 3])
def test_a_report_about_houses_speaks_of_no_cat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, participants: int
) -> None:
    use_own_cache(monkeypatch)
    hurry(monkeypatch)
    names = draw_shapes(tmp_path / "houses")
    pairs = np.concatenate([all_pairs(IMAGES, seed) for seed in range(participants)])
    logits = 1.0 * (pairs[:, 1] - pairs[:, 0])  # blue is liked
    table = pd.DataFrame({
        "participant": np.repeat([f"p{number}" for number in range(participants)], len(pairs) // participants),
        "left_image": [names[left] for left in pairs[:, 0]],
        "right_image": [names[right] for right in pairs[:, 1]],
        "choice": (np.random.default_rng(1).logistic(size=len(pairs)) < logits).astype(int),
    })  # fmt: skip
    options: dict[str, Any] = {"model": "utility"} if participants == 1 else {}
    taste = catpref.learn(catpref.read_session(table, stimuli=tmp_path / "houses"), folds=3, **options)
    taste.report(tmp_path / "fit")
    assert taste.analysis is not None and taste.analysis.better_than_chance, "so that everything is shown"
    html = (tmp_path / "fit" / "report.html").read_text(encoding="utf-8")
    texts = {path.name: path.read_text() for path in (tmp_path / "fit").glob("*.*") if path.suffix != ".png"}
    texts["report.html"] = re.sub(r"data:[^\"]*", "", html)
    texts["terminal"] = page.text_table(taste.analysis)
    assert "Where in the image the preference lives" in html or participants > 1
    assert "Images that they agree on" in html or participants == 1
    assert {name: CATS.findall(text) for name, text in texts.items() if CATS.search(text)} == {}


def test_no_template_speaks_of_cats() -> None:
    """What a small study's report leaves out, too."""
    for path in Path(page.__file__).parent.glob("*.html"):
        said = re.sub(r"\{[{%#].*?[}%#]\}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert CATS.findall(said) == [], path.name
