import io
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from catpref.models.interface import Epoch
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


def test_distances_that_are_hardly_there_are_drawn_dark() -> None:
    def brightness(distance: float) -> float:
        maps = np.zeros((7, 16, 16))
        maps[:, 4:8] = distance
        face: Any = SimpleNamespace(image=Image.new("RGB", (16, 16)))
        example: Any = SimpleNamespace(left="a", right="b", maps=maps)
        picture = page.png(figures.distance_maps(example, {"a": face, "b": face}))  # type: ignore[arg-type]
        colours = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), float)
        return float(colours[: int(0.35 * len(colours)), int(0.4 * colours.shape[1]) :, 0].mean())

    clear, nothing = brightness(0.1), brightness(1e-6)
    assert nothing < clear - 10


@pytest.mark.parametrize("half_width", [0.01, 0.3])
def test_axes_of_accuracies_do_not_magnify_what_is_near_chance(half_width: float) -> None:
    low, high = figures._reaching((0.5 - half_width, 0.5 + half_width))
    assert low == min(0.4, 0.5 - half_width) and high == 0.9


def test_figures_have_the_widths_of_the_report() -> None:
    histories = [[Epoch(0.7, 0.5, 0.7, 0.5), Epoch(0.6, 0.6, 0.7, 0.5)]]
    assert figures.training(histories).get_figwidth() == figures.PAGE
    flat = figures.training([[Epoch(0.693, 0.5, 0.694, 0.5), Epoch(0.692, 0.5, 0.694, 0.5)]])
    assert np.ptp(flat.axes[0].get_ylim()) >= 0.1, "what is flat looks flat"
    curve: Any = SimpleNamespace(
        trials=[10.0, 20.0], accuracy=[0.5, 0.6], accuracy_ci95=[(0.4, 0.6), (0.5, 0.7)], limit=None, half=None,
        trials_for_90_percent=None,
    )  # fmt: skip
    assert figures.learning_curve(curve, None).get_figwidth() == figures.COLUMN


def test_models_are_told_apart_without_colours() -> None:
    assert set(figures.MARKERS) == set(figures.COLOURS)
    assert len({*figures.MARKERS.values(), "D"}) == 4
