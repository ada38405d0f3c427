import numpy as np
import pytest
from scipy.special import expit

from catpref.models import laplace, relevance
from catpref.models.davidson import TIE, expected, likelihood, tie_parameter

LOGITS = np.linspace(-6, 6, 25)
ANSWERS = (0.0, TIE, 1.0)


def answer(logits: np.ndarray, ties: float, random: np.random.Generator) -> np.ndarray:
    """Answer as Davidson's model has it, from its definition."""
    odds = np.stack([np.exp(-logits / 2), np.full(len(logits), ties), np.exp(logits / 2)])
    cumulative = odds.cumsum(0) / odds.sum(0)
    return (random.random(len(logits)) > cumulative[:2]).sum(0) / 2


@pytest.mark.parametrize("ties", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("lapse", [0.0, 0.1])
def test_value_gradient_and_information_belong_together(ties: float, lapse: float) -> None:
    step, informations, probabilities, information = 1e-5, [], [], LOGITS
    for answered in ANSWERS if ties else (0.0, 1.0):
        choices = np.full(len(LOGITS), answered)
        log, gradient, information = likelihood(LOGITS, choices, ties, lapse)
        above, below = (likelihood(LOGITS + move, choices, ties, lapse) for move in (step, -step))
        np.testing.assert_allclose(gradient, (above[0] - below[0]) / (2 * step), atol=1e-8)
        probabilities.append(np.exp(log))
        informations.append(np.exp(log) * gradient**2)
        if not lapse:  # observed and expected information are one
            np.testing.assert_allclose(information, (below[1] - above[1]) / (2 * step), atol=1e-8)
    np.testing.assert_allclose(np.sum(probabilities, axis=0), 1)
    np.testing.assert_allclose(information, np.sum(informations, axis=0), rtol=1e-9)
    if not lapse:
        mean = probabilities[-1] + (probabilities[1] / 2 if ties else 0)
        np.testing.assert_allclose(expected(LOGITS, ties), mean, rtol=1e-12)
        np.testing.assert_allclose(probabilities[-1] / (probabilities[0] + probabilities[-1]), expit(LOGITS))


def test_nothing_overflows_where_an_answer_is_certain() -> None:
    for logits in (np.array([800.0, -800.0]), np.array([40.0, -40.0])):
        for answered in ANSWERS:
            parts = likelihood(logits, np.full(2, answered), 0.5)
            assert np.isfinite(parts).all() and (parts[2] >= 0).all()


def test_the_tie_parameter_is_that_of_the_observer() -> None:
    logits = np.random.default_rng(0).normal(0, 2, 20000)
    for ties in (0.1, 1.0, 5.0):
        assert tie_parameter(logits, answer(logits, ties, np.random.default_rng(1))) == pytest.approx(
            ties, rel=0.12
        )
    assert tie_parameter(logits, (logits > 0).astype(float)) == 0
    assert tie_parameter(np.zeros(9), np.full(9, TIE)) < 100, "finite where all are ties"


def test_an_observer_with_ties_is_recovered_better_than_without_them() -> None:
    """Ties tell that two images are about as good: dropping them loses that, forcing them to a side biases."""
    weights, bias, nu = np.array([2.0, -1.2, 0.6, 0.0]), 0.3, 2.0
    found, dropped, forced, nus, biases = [], [], [], [], []
    for seed in range(60):
        random = np.random.default_rng(seed)
        differences = random.normal(size=(150, 4))
        choices = answer(differences @ weights + bias, nu, random)
        posterior = laplace.fit(differences, choices)
        found.append(posterior.weights)
        nus.append(posterior.ties)
        biases.append(posterior.side_bias)
        preferred = choices != TIE
        dropped.append(laplace.fit(differences[preferred], choices[preferred]).weights)
        drawn = np.where(preferred, choices, random.random(150) < 0.5)
        forced.append(laplace.fit(differences, drawn).weights)
    slopes = np.array(found) @ weights / (weights @ weights)
    assert slopes.mean() == pytest.approx(1, abs=0.08)
    assert np.mean(biases) == pytest.approx(bias, abs=0.08)
    assert np.exp(np.mean(np.log(nus))) == pytest.approx(nu, rel=0.08)
    squares = [np.square(np.array(each) - weights).sum(1).mean() for each in (found, dropped)]
    assert squares[0] < 0.9 * squares[1], "dropping ties loses"
    assert (np.array(forced) @ weights / (weights @ weights)).mean() < 0.8, "forcing ties biases"


def test_relevance_finds_the_taste_of_an_observer_with_ties() -> None:
    random = np.random.default_rng(0)
    images, trials = 40, 300
    blocks = random.normal(size=(2, images, 6)) / np.sqrt(6)
    utilities = 2.5 * blocks[0] @ random.normal(size=6)  # the second block does not matter
    pairs = np.array([random.choice(images, 2, replace=False) for _ in range(trials)])
    incidence = np.zeros((trials, images))
    incidence[np.arange(trials), pairs[:, 1]] = 1
    incidence[np.arange(trials), pairs[:, 0]] = -1
    choices = answer(incidence @ utilities, 1.0, random)
    grams = np.array([*(block @ block.T for block in blocks), np.eye(images)])
    prior = relevance.Prior(np.eye(3), np.zeros(3), np.full(3, 2.0), np.ones(3))
    variances, effects = relevance.block_variances(grams, prior, incidence, choices)
    assert variances[0] > 5 * max(variances[1], effects)
