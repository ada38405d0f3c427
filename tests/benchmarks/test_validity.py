import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from support import FACES, call, faces, use_own_cache

from benchmarks import validity
from benchmarks.validity_choices import rows_of_choices, run_choices
from benchmarks.validity_sessions import BINS, SMALL, Row, rows_of
from benchmarks.validity_summary import TABLES, Column, missed, summarise

ROWS = {row.name: row for row in rows_of(SMALL)}
CARRIED, COIN = ROWS["full-12/carried"], ROWS["full-12/coin-flipper"]


def made_up(gain: float = 1.0, **changes: Any) -> dict[str, Any]:
    """A session whose intervals all hold the truth, and whose new predictions are too extreme by a gain."""
    p_right = (np.arange(BINS) + 0.5) / BINS
    logits = np.log(p_right / (1 - p_right))
    intervals = {key: [0.5, 0.4, 0.6] for key in ("accuracy", "auc")}
    intervals |= {key: [0.0, -1.0, 1.0] for key in ("difference", "slope", "side_bias", "log_loss")}
    new = {"accuracy": 0.7, "best": 0.8, "bins": [p_right, expit(logits / gain), np.ones(BINS)]}
    session = {"p_value": 0.5, "better_than_chance": False, "ceiling": [0.75, 0.7, 0.8], "true_ceiling": 0.76}
    session |= {"taste_ceiling": [0.7, 0.5, 0.75], "true_taste_ceiling": 0.7, "taste_ceiling_is_told": False}
    session |= {"ceiling_is_told": True, "lapse": [0.01, 0.0, 0.05], "utility_covered": 0.9, "new": new}
    return intervals | session | changes


@pytest.mark.thorough
def test_a_few_small_sessions_are_as_they_should_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_own_cache(monkeypatch)
    (tmp_path / f"cats-{FACES}").symlink_to(faces())  # drawn for other tests, too
    rows = ["full-12/carried", "random-25/side-presser"]
    asked = ["--small", "--sessions", 1, "--rows", *rows, "--out", tmp_path, "--json"]
    done = call(validity.main, *asked, "--page", tmp_path / "page.md")
    assert done.code == 0, done
    carried, null = (json.loads(line) for line in done.out.splitlines())
    assert (carried["row"], carried["sessions"], null["row"]) == (rows[0], 1, rows[1])
    assert 0.7 < carried["new_best"][0] < 0.9 and 0.5 < carried["new_accuracy"][0] < carried["new_best"][0]
    assert 0.6 < carried["ceiling_true"][0] < 0.95 and carried["utility_coverage"][0] > 0.6
    assert abs(null["new_accuracy"][0] - 0.5) < 0.02 and null["new_best"][0] == 0.5
    assert null["p_05"][0] < 0.5 and null["better"][0] < 0.5 and null["side_bias_coverage"][0] > 0.5
    page = (tmp_path / "page.md").read_text()
    assert all(title in page for title in TABLES) and page.count(f"| {rows[0]} | 1 |") == len(TABLES)
    kept = (tmp_path / "sessions.jsonl").read_bytes()
    assert call(validity.main, *asked) == done  # nothing is simulated anew
    assert (tmp_path / "sessions.jsonl").read_bytes() == kept


def test_choices_alone_tell_of_ceilings(tmp_path: Path) -> None:
    row = next(row for row in rows_of_choices(SMALL) if row.name == "full-12/t-1.5-bias-1-lapse-0")
    one = {"row": row.name, "number": 0, "code": validity._code()} | run_choices(row, 0)
    (tmp_path / "sessions.jsonl").write_text(json.dumps(one))
    asked = ["--ceilings", "--small", "--sessions", 1, "--rows", row.name, "--out", tmp_path, "--json"]
    done = call(validity.main, *asked, "--page", tmp_path / "page.md")
    assert done.code == 0, done
    found = json.loads(done.out)
    assert found["ceiling_rms"][0] < 0.15 and 0.6 < found["ceiling_true"][0] < 0.95
    page = (tmp_path / "page.md").read_text()
    assert page.count(f"| {row.name} | 1 |") == 3, (
        "of both ceilings, and of lapses and side bias; none of embeddings"
    )


def test_every_spread_meets_every_lapse_rate_and_every_side_bias_once() -> None:
    observers = [row.observer for row in rows_of_choices(SMALL[:1])]
    for pairs in (
        [(one.own, one.lapse) for one in observers],
        [(one.own, one.side_bias) for one in observers],
    ):
        assert len(set(pairs)) == len(observers) == 16
    assert len({(one.side_bias, one.lapse) for one in observers}) == 16


def test_choices_between_images_shown_once_hardly_tell_their_own_appeal_from_a_weaker_taste() -> None:
    places = np.linspace(-5, 5, 201)
    weights = np.exp(-np.square(places) / 2) / np.exp(-np.square(places) / 2).sum()
    differences = np.sqrt(2) * places
    weaker, own = expit(1.5 * differences), 1.0 * differences
    stronger = expit(1.31 * 1.5 * differences[:, None] + own) @ weights
    of_right, of_left = (part * np.log(part / other) for part, other in (
        (weaker, stronger), (1 - weaker, 1 - stronger)
    ))  # fmt: skip
    assert 300 * weights @ (of_right + of_left) < 0.1, "of log likelihood, in 300 trials"


def test_sessions_of_other_code_and_cut_lines_do_not_count(tmp_path: Path) -> None:
    kept = tmp_path / "sessions.jsonl"
    line = {"row": CARRIED.name, "number": 0, "code": validity._code()}
    kept.write_text(f'\n{json.dumps(line)}\n{json.dumps(line | {"number": 1, "code": "?"})}\n{{"row": "fu')
    assert set(validity._finished(kept)) == {(CARRIED.name, 0)}


def test_coverage_counts_intervals_that_hold_the_truth() -> None:
    outside = made_up(accuracy=[0.8, 0.7, 0.9], slope=None, lapse=[0.1, 0.05, 0.2], p_value=0.03)
    found = summarise(COIN, [made_up()] * 9 + [outside])
    assert found["accuracy_coverage"][0] == found["lapse_coverage"][0] == 0.9
    assert found["slope_coverage"][0] == 1.0 and found["p_05"][0] == 0.1 and found["p_01"][0] == 0.0
    assert found["ceiling_bias"][0] == pytest.approx(-0.01) == -found["ceiling_rms"][0]
    assert np.isnan(found["taste_ceiling_bias"][0]), "of no number that was told"
    assert found["taste_ceiling_told"][0] == 0 and found["taste_ceiling_coverage"][0] == 1
    # With signal, the truth is the mean of all sessions.
    assert summarise(CARRIED, [made_up()] + [outside] * 9)["accuracy_coverage"][0] == 0.9


def test_predictions_that_are_too_extreme_have_a_small_slope() -> None:
    for gain in (1.0, 2.0):
        found = summarise(CARRIED, [made_up(gain)] * 3)
        assert found["new_slope"][0] == pytest.approx(1 / gain, abs=0.01)
        assert (found["new_ece"][0] < 0.001) == (gain == 1.0)


@pytest.mark.parametrize(("row", "measure", "expected"), [
    (COIN, (0.08, 0.015), False),
    (COIN, (0.10, 0.015), True),
    (CARRIED, (0.10, 0.015), False),  # a true positive
])  # fmt: skip
def test_a_target_is_missed_by_more_than_two_standard_errors(
    row: Row, measure: tuple[float, float], expected: bool
) -> None:
    p_05 = next(column for column in TABLES["False positives"][1] if column.key == "p_05")
    assert isinstance(p_05, Column) and missed(p_05, row, measure) == expected
