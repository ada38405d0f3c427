from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, logit

from catpref.design.designs import make_trials
from catpref.design.simulated_observers import (
    BABY_SCHEMA,
    NOISE,
    TASTE,
    SimulatedObserver,
    draw_weights,
    read_parameters,
    simulate_session,
    utilities,
)
from catpref.design.trial_list import FULL, RANDOM
from catpref.errors import BadInput
from catpref.stimuli.catface import PARAMETERS, sample_parameters


def faces(n: int, seed: int = 1) -> pd.DataFrame:
    names = pd.Index([f"cat_{number:04d}.png" for number in range(n)], name="file")
    return sample_parameters(n, seed).set_index(names)


def random_pairs(names: list[str], n: int, seed: int = 0) -> tuple[list[str], list[str]]:
    drawn = [np.random.default_rng((seed, trial)).choice(names, 2, replace=False) for trial in range(n)]
    return [str(pair[0]) for pair in drawn], [str(pair[1]) for pair in drawn]


# ---- one trial ---------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.floats(-5, 5), st.floats(-5, 5), st.floats(0, 3), st.floats(-2, 2), st.floats(0, 1)
)  # fmt: skip
def test_p_right_follows_its_formula(
    left: float, right: float, noise: float, bias: float, lapse: float
) -> None:
    observer = SimulatedObserver({"l": left, "r": right}, noise, bias, lapse)
    if noise > 0:
        with np.errstate(over="ignore"):
            looking = expit(np.float64(right - left) / noise + bias)
    else:
        looking = expit(bias) if left == right else float(right > left)
    assert observer.p_right(["l"], ["r"])[0] == pytest.approx(lapse / 2 + (1 - lapse) * looking)
    without_bias = SimulatedObserver({"l": left, "r": right}, noise, 0.0, lapse)
    both = without_bias.p_right(["l", "r"], ["r", "l"])
    assert both.sum() == pytest.approx(1)


def test_gumbel_noise_on_each_utility_gives_p_right() -> None:
    observer = SimulatedObserver({"l": 0.3, "r": 0.8}, noise=0.7, side_bias=-0.2)
    noisy = np.array([0.3, 0.8 - 0.2 * 0.7]) + np.random.default_rng(0).gumbel(0, 0.7, (400_000, 2))
    share = (noisy[:, 1] > noisy[:, 0]).mean()
    assert observer.p_right(["l"], ["r"])[0] == pytest.approx(share, abs=4 * 0.5 / np.sqrt(400_000))


def test_without_noise_the_higher_utility_always_wins() -> None:
    table = faces(60)
    worth = utilities(table, draw_weights(3))
    left, right = random_pairs(list(worth), 500)
    observer = SimulatedObserver(worth, noise=0)
    choices = observer.choose(left, right, np.random.default_rng(0))
    assert (choices == [worth[b] > worth[a] for a, b in zip(left, right, strict=True)]).all()
    assert observer.noise_ceiling(left, right) == 1
    assert np.isfinite(observer.reaction_times(left, right, np.random.default_rng(0))).all()


def test_an_observer_that_always_lapses_flips_a_coin() -> None:
    observer = SimulatedObserver({"l": 0.0, "r": 9.0}, lapse=1, side_bias=3)
    choices = observer.choose(["l"] * 10_000, ["r"] * 10_000, np.random.default_rng(0))
    assert choices.mean() == pytest.approx(0.5, abs=0.02)


def test_easy_pairs_are_answered_faster() -> None:
    observer = SimulatedObserver({"a": 0.0, "b": 0.01, "z": 6.0})
    rng = np.random.default_rng(0)
    hard = observer.reaction_times(["a"] * 5000, ["b"] * 5000, rng)
    easy = observer.reaction_times(["z"] * 5000, ["a"] * 5000, rng)
    assert 1.4 < hard.mean() < 1.7
    assert 0.4 < easy.mean() < 0.8
    assert easy.min() > 0.1


@pytest.mark.parametrize(
    "wrong", [{"noise": -1}, {"noise": np.nan}, {"side_bias": np.inf}, {"lapse": 1.1}, {"lapse": np.nan}]
)
def test_impossible_observers(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput, match=next(iter(wrong)).replace("_", " ")):
        SimulatedObserver({}, **wrong)


def test_an_image_of_unknown_utility() -> None:
    with pytest.raises(BadInput, match=r"photo\.png"):
        SimulatedObserver({"a": 1.0}).p_right(["a"], ["photo.png"])


# ---- what can be recovered ---------------------------------------------------------------------------------


def test_the_noise_ceiling_is_the_accuracy_of_an_oracle() -> None:
    worth = utilities(faces(100), draw_weights(5))
    left, right = random_pairs(list(worth), 300)
    observer = SimulatedObserver(worth, side_bias=0.8, lapse=0.1)
    oracle = observer.p_right(left, right) > 0.5
    rng = np.random.default_rng(0)
    hits = np.mean([observer.choose(left, right, rng) == oracle for _ in range(1000)])
    assert observer.noise_ceiling(left, right) == pytest.approx(hits, abs=0.003)


@pytest.mark.parametrize("seed", range(2))
def test_the_default_noise_gives_a_ceiling_of_about_85_percent(seed: int) -> None:
    worth = utilities(faces(400, seed), draw_weights(seed))
    assert SimulatedObserver(worth).noise_ceiling(*random_pairs(list(worth), 4000)) == pytest.approx(
        0.85, abs=0.015
    )


def test_weights_noise_side_bias_and_lapse_are_recovered() -> None:
    table, weights = faces(500), draw_weights(2)
    worth = utilities(table, weights)
    left, right = random_pairs(list(worth), 20_000)
    choices = SimulatedObserver(worth, noise=0.5, side_bias=0.4, lapse=0.08).choose(
        left, right, np.random.default_rng(1)
    )
    standardised = (table - table.mean()) / table.std(ddof=0)
    signed = standardised.loc[right].to_numpy() - standardised.loc[left].to_numpy()
    inputs = np.c_[signed, np.ones(len(signed))]

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        lapse, looking = expit(at[-1]), expit(inputs @ at[:-1])
        p_right = lapse / 2 + (1 - lapse) * looking
        per_p = np.where(choices == 1, -1 / p_right, 1 / (1 - p_right))
        by_weight = (per_p * (1 - lapse) * looking * (1 - looking)) @ inputs
        by_lapse = (per_p * (0.5 - looking)).sum() * lapse * (1 - lapse)
        return -np.log(np.where(choices == 1, p_right, 1 - p_right)).sum(), np.append(by_weight, by_lapse)

    start = np.append(np.zeros(inputs.shape[1]), logit(0.02))
    found = minimize(loss, start, method="L-BFGS-B", jac=True).x
    truth = np.array([weights.get(name, 0.0) for name in table.columns]) / 0.5
    assert np.abs(found[:-2] - truth).max() < 0.15
    assert found[-2] == pytest.approx(0.4, abs=0.1)
    assert expit(found[-1]) == pytest.approx(0.08, abs=0.025)


# ---- taste and utilities -----------------------------------------------------------------------------------


def test_every_taste_follows_the_baby_schema_and_differs_in_the_rest() -> None:
    tastes = [draw_weights(seed) for seed in range(20)]
    assert draw_weights(7) == tastes[7]
    for taste in tastes:
        assert set(taste) <= set(PARAMETERS)
        assert np.linalg.norm(list(taste.values())) == pytest.approx(1)
        assert all(np.sign(taste[name]) == np.sign(weight) for name, weight in BABY_SCHEMA.items())
    for name in TASTE:
        signs = {np.sign(taste[name]) for taste in tastes}
        assert signs == {-1, 1}


def test_utilities_weigh_standardised_parameters() -> None:
    table = pd.DataFrame({"size": [10.0, 20.0, 30.0], "same": 5.0}, index=["a", "b", "c"])
    worth = utilities(table, {"size": 2.0, "same": 7.0})
    assert worth == pytest.approx({"a": -2 * np.sqrt(1.5), "b": 0, "c": 2 * np.sqrt(1.5)})
    with pytest.raises(BadInput, match="ears"):
        utilities(table, {"ears": 1.0})


def test_parameters_are_read_as_written(tmp_path: Path) -> None:
    table = faces(5)
    table.to_csv(tmp_path / "parameters.csv")
    pd.testing.assert_frame_equal(read_parameters(tmp_path), table)


BAD_TABLES = ["", "file,size", "name,size\na,1", "file,size\na,1\na,2", "file,size\na,big", "file,size\na,"]
BAD_TABLES += ["file,size\na,inf", "file,size\n,1", "file,size\na,1,2,3\nb,1", 'file,size\n"a']


@pytest.mark.parametrize("content", [None, b"\xff\xfe", *(table.encode() for table in BAD_TABLES)])
def test_bad_parameters(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "parameters.csv").write_bytes(content)
    with pytest.raises(BadInput, match=r"parameters\.csv.*render"):
        read_parameters(tmp_path)


# ---- a session ---------------------------------------------------------------------------------------------


def test_a_session_answers_every_trial_of_its_list_in_order() -> None:
    worth = utilities(faces(20), draw_weights(0))
    trials = make_trials(FULL, list(worth), repeats=20)
    session = simulate_session(SimulatedObserver(worth), trials, "p1", seed=4)
    assert [*zip(session["left_image"], session["right_image"], strict=True)] == [
        (trial.left_image, trial.right_image) for trial in trials
    ]
    assert set(session["participant"]) == {"p1"}
    assert session["repeat_of"].notna().sum() == 20
    assert set(session["choice"]) == {0, 1}
    gaps = session["onset"].diff()[1:] - session["rt"].shift()[1:]
    assert (gaps > 0.9).all()
    assert session["onset"][0] == 0
    pd.testing.assert_frame_equal(session, simulate_session(SimulatedObserver(worth), trials, "p1", seed=4))
    assert (
        session["choice"] != simulate_session(SimulatedObserver(worth), trials, "p1", seed=5)["choice"]
    ).any()


def test_repeats_are_answered_with_fresh_noise() -> None:
    worth = {f"{number}": 0.0 for number in range(400)}
    trials = make_trials(RANDOM, list(worth), repeats=100)
    choices = simulate_session(SimulatedObserver(worth, NOISE), trials, "p", seed=0)["choice"]
    same_image = [
        choices[trial.trial] != choices[trial.repeat_of] for trial in trials if trial.repeat_of is not None
    ]
    assert 0.3 < np.mean(same_image) < 0.7


def test_catch_trials_are_passed_except_by_lapses() -> None:
    worth = {f"{number}": 0.0 for number in range(1000)}
    trials = make_trials(RANDOM, list(worth), catch=500)

    def passed(lapse: float) -> float:
        session = simulate_session(SimulatedObserver(worth, lapse=lapse), trials, "p", seed=0)
        caught = session[session["catch"] != ""]
        assert len(caught) == 500
        return (caught["choice"] == (caught["catch"] == "left")).mean()

    assert passed(0.0) == 1
    assert 0.75 < passed(0.4) < 0.85
