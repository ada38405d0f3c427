import numpy as np
import pytest

from catpref.evaluation.reaction_times import summarise


def test_it_is_what_is_worked_out_by_hand() -> None:
    rt = np.array([0.1, 1.0, 1.1, 1.2, 0.9, 1.0, 0.8, 1.1, 60.0, np.nan])
    easiness = np.array([3.0, 0.1, 0.2, 0.0, 1.0, 1.1, 5.0, 6.0, 1.2, 0.0])
    found = summarise(rt, easiness)
    assert found is not None and found.warning is None
    assert found.trials == 9 and found.median == 1.0 and found.quartiles == pytest.approx((0.9, 1.1))
    assert found.too_fast == pytest.approx(1 / 9) and found.outliers == pytest.approx(1 / 9)
    assert found.median_by_difficulty == (1.1, 1.0, 0.8)


def test_equal_times_have_no_outliers() -> None:
    found = summarise(np.ones(10), np.zeros(10))
    assert found is not None and found.outliers == 0


def test_milliseconds_are_noticed() -> None:
    found = summarise(np.array([800.0, 900.0]), np.zeros(2))
    assert found is not None and found.warning is not None and "850" in found.warning
    assert found.median_by_difficulty is None


def test_unknown_times_are_unknown() -> None:
    assert summarise(np.full(4, np.nan), np.zeros(4)) is None
