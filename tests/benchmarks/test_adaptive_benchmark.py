import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import FACES, Finished, call, faces, use_own_cache

from benchmarks import adaptive
from benchmarks.adaptive_ranking import Ranked, ask, swiss, trueskill
from benchmarks.adaptive_sessions import OBSERVERS, by_gain, simulate, told, trials_needed
from benchmarks.validity_sessions import Cats
from catpref.adaptive.prior import Prior


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_own_cache(monkeypatch)
    (tmp_path / f"cats-{FACES}").symlink_to(faces())  # drawn for other tests, too
    return tmp_path


def rows(done: Finished) -> dict[str, dict[str, object]]:
    assert done.code == 0, done
    return {row["method"]: row for row in map(json.loads, done.out.splitlines())}


@pytest.mark.thorough
def test_small_sessions_are_simulated_once(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptive, "OBSERVERS", adaptive.OBSERVERS[:1])
    asked = ["--small", "--sessions", 1, "--methods", "random", "ours", "uncertainty", "--out", out, "--json"]
    done = call(adaptive.main, *asked)
    found = rows(done)
    assert found["random"]["share_of_trials"] is not None and found["ours"]["target"] == 0.5
    assert all(0.4 < accuracy < 0.9 for row in found.values() for accuracy in row["accuracy"].values())  # pyright: ignore
    assert len({json.dumps(row["accuracy"]) for row in found.values()}) == 3  # each asked other pairs
    kept = (out / "adaptive.jsonl").read_bytes()
    with (out / "adaptive.jsonl").open("a") as file:
        file.write('\n{"of": ["simul')  # ended while it was written
    monkeypatch.setattr(adaptive, "_world", None)  # nothing is simulated anew
    assert rows(call(adaptive.main, *asked)) == found
    assert (out / "adaptive.jsonl").read_bytes().startswith(kept)


@pytest.mark.thorough
def test_people_are_replayed(out: Path) -> None:
    names = sorted(path.name for path in faces().glob("*.png"))
    random = np.random.default_rng(0)
    for kind, images in (("sessions", names[:50]), ("new_images", names[50:])):
        pairs = np.array([random.choice(images, 2, replace=False) for _ in range(20)])
        (out / kind).mkdir()
        table = pd.DataFrame(pairs, columns=["left_image", "right_image"])
        table.assign(trial=range(20), choice=random.integers(0, 2, 20)).to_csv(
            out / kind / "a.csv", index=False
        )
    for name in names:
        shutil.copy(faces() / name, out)
    found = rows(call(adaptive.main, "--small", "--sessions", 1, "--observers", out, "--out", out, "--json"))
    assert set(found) == {"random", "ours"} and found["ours"]["sessions"] == 1


@pytest.mark.thorough
def test_few_cats_are_put_in_order(out: Path) -> None:
    found = rows(call(adaptive.main, "--small", "--sessions", 1, "--rank", "--out", out, "--json"))
    assert set(found) == {"ours", "ours, unweighed", "random", "swiss", "asap"}
    assert all(set(row["tau"]) == {"10", "20"} for row in found.values())  # pyright: ignore


def test_the_trials_needed_are_counted_along_straight_lines() -> None:
    curve = {100: 0.6, 200: 0.7}
    assert trials_needed(curve, 0.55) == pytest.approx(50) and trials_needed(curve, 0.65) == pytest.approx(
        150
    )
    assert trials_needed(curve, 0.71) == np.inf


def test_a_lucky_point_is_not_all_that_is_needed() -> None:
    curves = [{50: 0.5, 100: 0.7, 200: 0.6}, {50: 0.6, 100: 0.7, 200: 0.6}]
    assert adaptive.rising(curves) == pytest.approx({50: 0.55, 100: 0.65, 200: 0.65})


def test_who_is_told_what_tastes_depend_on_learns_soon_and_sooner_by_chosen_pairs() -> None:
    parameters = np.random.default_rng(0).standard_normal((300, 5))
    names = [f"{number}.png" for number in range(300)]
    world = told(Cats(Path(), names, parameters, np.empty((300, 0))), shown=200)
    assert world.shown == 200 and np.var(world.prior.features @ np.ones(5)) == pytest.approx(1.5**2, rel=0.2)
    curves = [
        [simulate(world, OBSERVERS[0], choose, number, (15, 60)) for number in range(6)]
        for choose in (None, by_gain(world.prior))
    ]
    random, ours = (adaptive.rising(each) for each in curves)
    assert random[15] < random[60] < 0.9 and random[15] < ours[15]


@pytest.mark.thorough
def test_the_ideal_is_counted_likewise(out: Path) -> None:
    found = rows(call(adaptive.main, "--small", "--sessions", 2, "--ideal", "--out", out, "--json"))
    assert set(found) == {"random", "ours", adaptive.ALWAYS} and found["random"]["sessions"] == 2


def few(images: int) -> Ranked:
    prior = Prior(tuple(map(str, range(images))), np.eye(images), np.zeros(images), 1.0)
    return Ranked(prior, None, np.linspace(-3, 3, images), np.empty((0, 2), int), np.empty(0))  # pyright: ignore


def test_in_a_swiss_tournament_everybody_plays_in_each_round_and_meets_others() -> None:
    pairs, _ = ask(few(8), swiss, 12, seed=0)
    assert all(sorted(pairs[start : start + 4].ravel()) == list(range(8)) for start in (0, 4, 8))
    assert len({frozenset(pair) for pair in pairs.tolist()}) == 12


def test_messages_agree_with_the_posterior_of_two_scores() -> None:
    mean, variance = trueskill(np.array([[0, 1]]), np.array([1.0]), 3, prior_variance=2.0)
    scores = np.random.default_rng(0).normal(0, np.sqrt(2), (400_000, 2))
    noise = np.random.default_rng(1).normal(0, 1.7, 400_000)
    kept = scores[scores[:, 1] - scores[:, 0] + noise > 0]
    assert mean[:2] == pytest.approx(kept.mean(0), abs=0.01) and variance[:2] == pytest.approx(
        kept.var(0), abs=0.02
    )
    assert (mean[2], variance[2]) == pytest.approx((0, 2))
