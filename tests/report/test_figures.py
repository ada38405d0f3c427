import io
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from catpref.report import figures, page
from catpref.report.faces import SIDE

NAMES = [f"{number}.png" for number in range(10)]
FACES: Any = {name: SimpleNamespace(grey=np.full((SIDE, SIDE), 128.0)) for name in NAMES}


def colourfulness(strength: float, cells: int) -> np.ndarray:
    """Draw contributions of some strength (logits a cell), and return how colourful each half of the faces is."""
    contributions = np.zeros((10, 8, 8))
    contributions[:, :cells, :cells] = strength * np.linspace(-1, 1, 10)[:, None, None]
    session = SimpleNamespace(images=NAMES)
    ranking = pd.DataFrame({"image": NAMES[::-1]})
    analysis: Any = SimpleNamespace(contributions=contributions, session=session, ranking=ranking)
    with mpl.rc_context(figures.STYLE):
        picture = page.png(figures.regions(analysis, FACES))
    colours = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), float)
    faces = np.ptp(colours[: int(0.8 * len(colours))], axis=2)  # above the colour bars
    return np.array([half.max() for half in np.array_split(faces, 2, axis=1)])


@pytest.mark.parametrize("cells", [1, 8])
def test_what_is_hardly_there_is_drawn_pale(cells: int) -> None:
    clear, faint, nothing = (colourfulness(strength, cells) for strength in (0.5, 0.02, 1e-6))
    assert (clear > 60).all()
    assert (faint < 0.6 * clear).all()
    assert (nothing < 10).all(), "the titles' ink has 8"


def test_models_are_told_apart_without_colours() -> None:
    assert set(figures.MARKERS) == set(figures.COLOURS)
    assert len({*figures.MARKERS.values(), "D"}) == 4
