import numpy as np
import pytest

from catpref.evaluation import learning_curve
from catpref.evaluation.learning_curve import LearningCurve

PAIRS = np.arange(4000).reshape(-1, 2)


def curve(
    half: float, limit: float = 0.8, sizes: tuple[int, ...] = (50, 100, 200, 400, 800)
) -> LearningCurve:
    random = np.random.default_rng(0)
    luck = random.random(len(PAIRS))  # the same trials are predicted, and more with more training
    hits = {float(n): (luck < 0.5 + (limit - 0.5) * n / (n + half)).astype(float) for n in sizes}
    return learning_curve.fit(hits, PAIRS)


@pytest.mark.parametrize("half", [20.0, 60.0])
def test_the_trials_needed_are_found(half: float) -> None:
    found = curve(half)
    assert found.limit == pytest.approx(0.8, abs=0.04)
    assert found.trials_for_90_percent == pytest.approx(9 * half, rel=0.3)
    assert found.trials_for_90_percent_ci95 is not None
    low, high = found.trials_for_90_percent_ci95
    assert low < 9 * half < high
    assert found.trials == [50, 100, 200, 400, 800]
    for accuracy, (least, most) in zip(found.accuracy, found.accuracy_ci95, strict=True):
        assert least < accuracy < most


@pytest.mark.parametrize("found", [
    curve(50, limit=0.5),  # nothing is gained
    curve(5000),  # still rising
    curve(50, sizes=(400, 800)),  # two points are no curve
])  # fmt: skip
def test_what_the_points_do_not_tell_is_not_made_up(found: LearningCurve) -> None:
    told = (found.limit, found.half, found.trials_for_90_percent, found.trials_for_90_percent_ci95)
    assert told == (None, None, None, None)
    assert len(found.accuracy) == len(found.trials)
