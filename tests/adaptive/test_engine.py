"""The engine of adaptive sessions, against other ways to the same numbers."""

import numpy as np
import pytest
from scipy.special import expit

from catpref.adaptive.learner import FIRST_TRIALS, LOG_SCALES, Posterior, learn
from catpref.adaptive.prior import Prior, read_prior, write_prior
from catpref.adaptive.progress import gained
from catpref.adaptive.selection import (
    FEWEST_FRESH,
    expected_gains,
    least_shown,
    next_pair,
    scrambled,
    spread,
    unsure,
)
from catpref.errors import BadInput
from catpref.models import laplace


def made_up(images: int = 40, dimensions: int = 6, seed: int = 0, mean: float = 0.0) -> Prior:
    random = np.random.default_rng(seed)
    features = random.standard_normal((images, dimensions)) * np.exp(-np.arange(dimensions) / 3)
    features = features.astype(np.float16).astype(float)
    utilities = (mean * random.standard_normal(images)).astype(np.float32).astype(float)
    return Prior(tuple(f"{image:03d}.png" for image in range(images)), features, utilities, 1.0)


def answered(
    prior: Prior, trials: int, strength: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pairs, choices and the weights of an observer who has the prior's taste, as strong as is said."""
    random = np.random.default_rng(seed)
    weights = strength * random.standard_normal(prior.features.shape[1])
    pairs = np.array([random.choice(len(prior.images), 2, replace=False) for _ in range(trials)])
    utilities = prior.mean + prior.features @ weights
    p_right = expit(utilities[pairs[:, 1]] - utilities[pairs[:, 0]])
    return pairs, (random.random(trials) < p_right).astype(float), weights


def test_the_posterior_is_that_of_the_toolkit():
    prior = made_up()
    pairs, choices, _ = answered(prior, FIRST_TRIALS - 1, 1.0, 1)
    choices[3] = 0.5
    ours = learn(prior, pairs, choices)
    differences = prior.features[pairs[:, 1]] - prior.features[pairs[:, 0]]
    # Half a choice is half the information of both: no preference has no third answer in an adaptive session's model.
    theirs = laplace.fit(differences[choices != 0.5], choices[choices != 0.5], prior_variance=1.0)
    without = learn(prior, pairs[choices != 0.5], choices[choices != 0.5])
    assert np.allclose(without.weights, theirs.weights, atol=1e-4)
    assert without.side_bias == pytest.approx(theirs.side_bias, abs=1e-4)
    assert np.allclose(without.covariance, np.linalg.inv(theirs.precision), atol=1e-4)
    assert not np.allclose(ours.weights, without.weights, atol=1e-4)


@pytest.mark.parametrize("strength", [np.exp(LOG_SCALES[0]), np.exp(LOG_SCALES[-1])])
def test_the_strength_of_a_taste_is_found(strength):
    prior = made_up(images=200, dimensions=20)
    scales = [learn(prior, *answered(prior, 400, strength, seed)[:2]).scale for seed in range(5)]
    assert abs(np.median(np.log(scales)) - np.log(strength)) <= LOG_SCALES[1] - LOG_SCALES[0]


def test_intervals_of_the_weights_cover_them():
    prior, inside = made_up(images=200, dimensions=20), []
    for seed in range(20):
        pairs, choices, weights = answered(prior, 150, 1.0, seed)
        posterior = learn(prior, pairs, choices)
        sds = np.sqrt(np.diag(posterior.covariance)[:-1])
        inside.append(np.abs(posterior.weights - weights) <= sds)
    assert 0.62 < np.mean(inside) < 0.75


def test_the_expected_gain_is_what_one_more_answer_of_that_information_takes_away():
    prior = made_up(images=12, mean=0.5)
    posterior = learn(prior, *answered(prior, 30, 1.0, 2)[:2])
    images = np.array([2, 5, 7, 11])
    gains = expected_gains(prior, posterior, images)
    covariance = posterior.covariance[:-1, :-1]
    everything = [(i, j) for i in range(12) for j in range(12)]
    for first, second in ((0, 1), (3, 2)):
        apart = prior.features[images[second]] - prior.features[images[first]]
        mean = prior.mean[images[second]] - prior.mean[images[first]] + apart @ posterior.weights
        # The side bias is not to be known: its variance is noise.
        variance = apart @ covariance @ apart + posterior.covariance[-1, -1]
        wide = variance + 1.7**2
        information = np.exp(-(mean**2) / (2 * wide)) / np.sqrt(2 * np.pi * wide)
        after = covariance - information * np.outer(covariance @ apart, covariance @ apart) / (
            1 + information * variance
        )
        taken = np.mean(
            [
                d @ (covariance - after) @ d
                for i, j in everything
                for d in [prior.features[i] - prior.features[j]]
            ]
        )
        assert gains[first, second] == pytest.approx(taken) == pytest.approx(gains[second, first])
    assert np.isneginf(np.diag(gains)).all()


def test_what_is_unsure_are_the_differences_near_nothing():
    prior = made_up(images=9)
    posterior = learn(prior, *answered(prior, 25, 1.0, 3)[:2])
    summed = np.zeros((6, 6))
    for i in range(9):
        for j in range(9):
            apart = prior.features[i] - prior.features[j]
            if i != j:
                variance = apart @ posterior.covariance[:-1, :-1] @ apart
                weight = np.exp(-((apart @ posterior.weights) ** 2) / (2 * variance)) / np.sqrt(variance)
                summed += weight * np.outer(apart, apart) / 81
    assert np.allclose(unsure(prior, posterior), summed)


def test_a_chosen_pair_teaches_more_than_pairs_at_random():
    """Of a taste that the features carry, two thirds as many chosen pairs are enough; the worst pairs are not."""
    prior = made_up(images=300, dimensions=30)
    errors = {"chosen": [], "random": [], "worst": []}
    for seed in range(8):
        random = np.random.default_rng(seed)
        weights = random.standard_normal(30)
        for way, of_way in errors.items():
            pairs, choices = np.empty((0, 2), int), np.empty(0)
            for trial in range(90 if way == "random" else 60):
                candidates = random.choice(300, 60, replace=False)
                posterior = learn(prior, pairs, choices)
                if way == "chosen":
                    pair = next_pair(prior, posterior, candidates, seed, trial)
                elif way == "random":
                    pair = tuple(candidates[:2])
                else:
                    gains = expected_gains(prior, posterior, candidates)
                    np.fill_diagonal(gains, np.inf)
                    pair = tuple(candidates[list(divmod(int(np.argmin(gains)), 60))])
                pairs = np.vstack([pairs, pair])
                p_right = expit((prior.features[pair[1]] - prior.features[pair[0]]) @ weights)
                choices = np.append(choices, random.random() < p_right)
            missed = learn(prior, pairs, choices).weights - weights
            of_way.append(missed @ spread(prior) @ missed)
    assert np.mean(errors["chosen"]) < np.mean(errors["random"]) < np.mean(errors["worst"])


def test_a_shuffle_looks_drawn_at_random_and_is_the_same_each_time():
    drawn = np.array([scrambled(500, 7, trial) for trial in range(400)]) / 2**32
    assert abs(drawn.mean() - 0.5) < 0.005
    assert np.abs(np.corrcoef(drawn[:, :60].T) - np.eye(60)).max() < 0.25
    assert np.abs(np.corrcoef(drawn[:60]) - np.eye(60)).max() < 0.25
    assert scrambled(3, 2**40 + 1, 5).tolist() == scrambled(3, 1, 5).tolist()


def test_images_shown_least_come_first_and_are_enough_to_choose_from():
    times = np.array([0] * 30 + [1] * 200 + [2] * 50)
    candidates = np.arange(20, 280)
    assert least_shown(candidates, times).tolist() == list(range(20, 230))
    few = np.arange(220, 280)
    assert len(few) < FEWEST_FRESH
    assert least_shown(few, times).tolist() == few.tolist()


def test_what_is_gained_is_told_as_by_drawing_tastes():
    prior = made_up(images=30, mean=0.3)
    posterior = learn(prior, *answered(prior, 60, 1.0, 5)[:2])
    pairs = np.array([[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]])
    random = np.random.default_rng(0)
    drawn = random.multivariate_normal(posterior.weights, posterior.covariance[:-1, :-1], 40_000)
    apart = prior.features[pairs[:, 1]] - prior.features[pairs[:, 0]]
    p_right = expit(prior.mean[pairs[:, 1]] - prior.mean[pairs[:, 0]] + drawn @ apart.T)
    told = np.abs(p_right.mean(0) - 0.5).mean() / np.abs(p_right - 0.5).mean()
    assert gained(prior, posterior, pairs) == pytest.approx(told, abs=0.02)


def test_nothing_is_gained_before_the_first_answer_and_all_when_the_taste_is_known():
    prior = made_up()
    pairs = np.array([[0, 1], [2, 3]])
    assert gained(prior, learn(prior, np.empty((0, 2), int), np.empty(0)), pairs) == 0
    known = Posterior(np.ones(6), 0.0, 1e-12 * np.eye(7), 1.0)
    assert gained(prior, known, pairs) == pytest.approx(1)


def test_a_prior_comes_back_from_its_file(tmp_path):
    prior = made_up(mean=1.0)
    write_prior(tmp_path / "prior.safetensors", prior)
    read = read_prior(tmp_path / "prior.safetensors")
    assert read.images == prior.images
    assert read.side_bias_variance == prior.side_bias_variance
    assert np.array_equal(read.features, prior.features)
    assert np.array_equal(read.mean, prior.mean)


@pytest.mark.parametrize("damage", [lambda content: content[:-5], lambda _: b"", lambda content: content[9:]])
def test_a_damaged_prior_is_refused(tmp_path, damage):
    file = tmp_path / "prior.safetensors"
    write_prior(file, made_up())
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(BadInput, match="is damaged"):
        read_prior(file)


def test_two_thousand_images_take_less_than_two_megabytes(tmp_path):
    file = tmp_path / "prior.safetensors"
    write_prior(file, made_up(images=2000, dimensions=256))
    assert file.stat().st_size < 2e6
