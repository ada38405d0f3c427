from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.special import expit
from support import simulations

from catpref.errors import BadInput
from catpref.evaluation import people, several
from catpref.evaluation.analysis import Options
from catpref.evaluation.people import AGAINST, AT_RANDOM, PREFERS, CrossedSampling
from catpref.models.kernels import kernels_of
from catpref.models.shared_taste import alone, learn, shared_alone
from catpref.sessions.session import read_sessions


def table_of(count: int, **changes: Any) -> pd.DataFrame:
    """Make up inconspicuous participants; changes are of the first."""
    usual = {"trials": 200, "right": 0.5, "held_out": 60, "lapse_rate_high": 0.1, "agreement": 0.4}
    usual |= {"accuracy_alone": 0.7, "accuracy_together": 0.75}
    return pd.DataFrame([usual | changes, *[usual] * (count - 1)])


def agreements_of(count: int, first: float = 0.4) -> np.ndarray:
    """Make up agreements; those of the first with the others are given."""
    found = np.full((count, count), 0.4)
    found[0] = found[:, 0] = first
    np.fill_diagonal(found, 1)
    return found


@pytest.mark.parametrize(("changes", "first", "remark"), [
    ({}, 0.4, None),
    ({"accuracy_alone": 0.5, "accuracy_together": 0.55, "lapse_rate_high": 0.43}, 0.4, AT_RANDOM),
    ({"accuracy_alone": 0.5, "accuracy_together": 0.55}, 0.4, None),  # consistent, if unpredictable
    ({"accuracy_alone": 0.5, "lapse_rate_high": 0.43}, 0.4, None),  # the shared taste predicts them
    ({"held_out": 0, "accuracy_alone": np.nan, "accuracy_together": np.nan, "lapse_rate_high": 0.43}, 0.4, AT_RANDOM),
    ({"agreement": -0.4}, -0.4, AGAINST),
    ({"agreement": -0.05}, -0.05, None),  # half are, where nothing is shared
    ({"right": 0.65}, 0.4, f"{PREFERS} right"),
    ({"right": 0.0, "lapse_rate_high": np.nan}, 0.4, f"{PREFERS} left"),
    ({"right": 0.56}, 0.4, None),
    ({"agreement": -0.4, "right": 0.3}, -0.4, f"{AGAINST}; {PREFERS} left"),
])  # fmt: skip
def test_remarks_are_on_who_is_conspicuous(changes: dict[str, Any], first: float, remark: str | None) -> None:
    found = people.remarks(table_of(5, **changes), agreements_of(5, first))
    assert found == [remark, None, None, None, None]


def test_planted_faults_are_found_and_nobody_else_is_suspected() -> None:
    random = np.random.default_rng(5)
    codes, signs, biases = ["a", "b", "c", "coin", "foe", "side"], [1, 1, 1, 0, -1, 1], [0, 0, 0, 0, 0, 2]
    embeddings = random.standard_normal((40, 8)).astype(np.float32)
    who = np.repeat(np.arange(len(codes)), 250)
    pairs = np.array([random.choice(40, 2, replace=False) for _ in who])
    utilities = embeddings @ random.standard_normal(8)
    logits = np.array(signs)[who] * np.diff(utilities[pairs], axis=1)[:, 0] + np.array(biases)[who]
    choices = (random.random(len(who)) < expit(logits)).astype(int)
    train, test = np.arange(0, len(who), 2), np.arange(1, len(who), 2)
    kernels = kernels_of(embeddings, pairs, of_images=True)
    halves = learn(kernels, who, choices, train)
    models = {
        "shared_and_personal": halves, "shared": shared_alone(halves), "alone": alone(halves),
    }  # fmt: skip
    held_out = {
        name: pd.DataFrame({
            "row_index": test, "p_right_by_taste": expit(model.moments(test)[0]), "choice": choices[test],
        })
        for name, model in models.items()
    }  # fmt: skip
    everything = learn(kernels, who, choices, np.arange(len(who)))
    images = [str(number) for number in range(40)]
    found = people.describe(everything, codes, pairs, choices, held_out, images, np.ones(len(pairs), bool))
    remarks = ["", "", "", AT_RANDOM, AGAINST, f"{PREFERS} right"]
    assert found.table["remark"].fillna("").to_list() == remarks
    table = found.table.set_index("participant")
    assert table["gain_of_personal"].to_dict()["foe"] > 0.3, "the shared taste predicts the contrary"
    assert set(table["held_out"]) == {125} and table["reliability"].to_dict()["coin"] < 0.6
    gains = table["accuracy_together"] - table["accuracy_shared"]
    assert table["gain_of_personal"].to_numpy() == pytest.approx(gains.to_numpy())


def test_who_disagrees_with_few_is_not_against_the_others() -> None:
    agreements = agreements_of(5)
    agreements[0, 1:] = -0.9, -0.3, 0.3, 0.3
    assert people.remarks(table_of(5, agreement=-0.15), agreements) == [None] * 5


def test_of_two_nobody_is_against_everyone() -> None:
    assert people.remarks(table_of(2, agreement=-0.6), agreements_of(2, -0.6)) == [None, None]


def test_coins_that_are_flipped_by_many_are_not_taken_for_side_preferences() -> None:
    trials, count = 200, 200
    right = np.random.default_rng(0).binomial(trials, 0.5, count) / trials
    found = people.remarks(table_of(count).assign(right=right), agreements_of(count))
    assert sum(one is not None for one in found) <= 1


def test_the_map_has_the_distances_that_a_plane_can_have() -> None:
    angles = np.radians([0, 10, 90, 180])
    profiles = np.column_stack([np.cos(angles), np.sin(angles)])
    places, shown = people.map_of(profiles @ profiles.T)
    distances = np.linalg.norm(places[:, None] - places, axis=2)
    assert distances == pytest.approx(np.linalg.norm(profiles[:, None] - profiles, axis=2), abs=1e-9)
    assert shown == pytest.approx(1)


def test_a_map_of_those_who_have_nothing_in_common_owns_to_how_little_it_shows() -> None:
    assert people.map_of(np.eye(41))[1] == pytest.approx(2 / 40)


def test_a_map_of_those_who_are_all_alike_is_a_point() -> None:
    places, _ = people.map_of(np.ones((5, 5)))
    assert places == pytest.approx(np.zeros((5, 2)), abs=1e-6)


def test_what_is_agreed_on_and_what_divides_is_found() -> None:
    random = np.random.default_rng(0)
    utilities = random.normal(0, 0.1, (20, 30))
    utilities[:, 0] += 2  # liked by all
    utilities[:, 1] -= 2  # disliked by all
    utilities[:10, 2] += 2  # dividing
    utilities[10:, 2] -= 2
    utilities[0, 3] += 5  # liked by one alone
    utilities += random.normal(0, 3, (20, 1))  # a person's mean says nothing
    liked, disliked = people.agreed_on(utilities, 3)
    assert list(liked) == [0] and list(disliked) == [1]
    assert people.dividing(utilities, 3)[0] in (2, 3)
    assert 2 in people.dividing(utilities, 3) and not {0, 1} & set(people.dividing(utilities, 30))


def test_those_of_opposite_taste_agree_on_no_face() -> None:
    taste = np.random.default_rng(1).normal(size=60)
    liked, disliked = people.agreed_on(np.stack([taste, -taste]) + 0.05 * taste[::-1], 6)
    assert len(liked) == len(disliked) == 0


def hits_of_people(
    random: np.random.Generator, count: int, images: int, trials: int, logit: float, spread: float
) -> tuple[CrossedSampling, np.ndarray]:
    """Make up who was predicted how often, where people and images differ in how easily they are."""
    who = np.repeat(np.arange(count), trials)
    pairs = np.array([random.choice(images, 2, replace=False) for _ in range(len(who))])
    easy = spread * random.standard_normal(count)[who] + spread * random.standard_normal(images)[pairs].sum(1)
    return CrossedSampling(who, pairs), (random.random(len(who)) < expit(logit + easy)).astype(float)


@pytest.mark.parametrize(("count", "images", "trials"), [(3, 12, 30), (15, 40, 40)])
@pytest.mark.parametrize("logit", [0.0, 2.5])
def test_intervals_over_people_and_images_cover(count: int, images: int, trials: int, logit: float) -> None:
    random, spread, runs = np.random.default_rng(count), 0.4, simulations(30, 120)
    truth = expit(logit + np.sqrt(3) * spread * random.standard_normal(100_000)).mean()
    covered, widths, accuracies = [], [], []
    for _ in range(runs):
        sampling, hits = hits_of_people(random, count, images, trials, logit, spread)
        low, high = sampling.interval(float(hits.mean()), hits)
        assert 0 <= low < hits.mean() < high <= 1
        covered.append(low <= truth <= high)
        widths.append(high - low)
        accuracies.append(hits.mean())
    assert np.mean(covered) >= 0.9
    least = 2 * 1.96 * np.std(accuracies)
    assert np.mean(widths) < (1.3 if count > 10 else 1.7) * least, "no wider than they have to be"


@pytest.mark.parametrize(("count", "trials"), [(2, 1), (2, 40), (30, 40)])
@pytest.mark.parametrize("hit", [0.0, 0.5, 1.0])
def test_an_accuracy_of_all_or_nothing_has_an_interval_that_it_is_in(
    count: int, trials: int, hit: float
) -> None:
    sampling, hits = hits_of_people(np.random.default_rng(0), count, 12, trials, 0.0, 0.0)
    low, high = sampling.interval(hit, np.full(len(hits), hit))
    assert 0 <= low <= hit <= high <= 1 and high - low > 0.003


def test_more_people_than_one_model_holds_are_refused_before_anything_is_embedded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(several, "MOST_PEOPLE", 2)
    for number, name in enumerate("abc"):
        Image.fromarray(np.full((8, 8), 80 * number, np.uint8)).save(tmp_path / f"{name}.png")
    rows = [["p1", "a.png", "b.png", 1], ["p2", "b.png", "c.png", 0], ["p3", "a.png", "c.png", 1]]
    table = pd.DataFrame(rows, columns=["participant", "left_image", "right_image", "choice"])
    table.to_csv(tmp_path / "three.csv", index=False)
    session, backbone = read_sessions([tmp_path / "three.csv"]), cast("Any", None)
    with pytest.raises(BadInput, match=r"^3 participants, more than the 2 that are fitted together"):
        several.analyse_several(session, backbone, Options())
