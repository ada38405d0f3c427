import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import multivariate_normal
from support import all_pairs

from catpref.models import relevance
from catpref.perception.embeddings import Blocks


def grams_of(known: np.ndarray, blocks: int, effects: np.ndarray) -> np.ndarray:
    parts = np.split(known, blocks, axis=1)
    return np.array([*(part @ part.T / part.shape[1] for part in parts), effects @ effects.T])


def independent(blocks: int) -> relevance.Prior:
    """Return a prior under which each block is a layer of its own."""
    return relevance.prior_of(Blocks(np.zeros(0, int), np.eye(blocks), ("layer",) * blocks))


@pytest.mark.parametrize("by_images", [True, False])
def test_the_block_that_matters_gets_the_variance(by_images: bool) -> None:
    random = np.random.default_rng(0)
    known = random.normal(size=(40, 50))
    worth = known[:, 10:15] @ np.linspace(-2, 2, 5)
    pairs = all_pairs(40)[:: 1 if by_images else 8]
    differences = np.eye(40)[pairs[:, 1]] - np.eye(40)[pairs[:, 0]]
    choices = (random.random(len(pairs)) < expit(differences @ worth)).astype(int)
    images = np.eye(40) if by_images else differences
    grams = grams_of(images @ known, 10, images)
    incidence = differences if by_images else np.eye(len(pairs))
    variances, effect = relevance.block_variances(grams, independent(10), incidence, choices)
    assert 0 < effect < variances[2]
    assert variances.shape == (10,) and (variances > 0).all()
    assert variances[2] > 10 * np.delete(variances, 2).max()


@pytest.mark.parametrize(
    "choices", [np.ones(45, int), np.arange(45) % 2, (all_pairs(10)[:, 1] > all_pairs(10)[:, 0])]
)
def test_extreme_answers_give_finite_variances(choices: np.ndarray) -> None:
    known = np.arange(10.0)[:, None] * np.ones((1, 4)) - 4.5
    pairs = all_pairs(10)
    incidence = np.eye(10)[pairs[:, 1]] - np.eye(10)[pairs[:, 0]]
    for grams in (grams_of(known, 2, np.eye(10)), np.zeros((3, 10, 10))):
        variances, effect = relevance.block_variances(grams, independent(2), incidence, choices.astype(int))
        assert np.isfinite([*variances, effect]).all() and (variances > 0).all() and effect > 0


def test_the_evidence_is_the_gaussian_one_and_its_gradient_right() -> None:
    random = np.random.default_rng(0)
    known = random.normal(size=(12, 8))
    pairs = all_pairs(12)
    incidence = np.eye(12)[pairs[:, 1]] - np.eye(12)[pairs[:, 0]]
    choices = (random.random(len(pairs)) < 0.5).astype(int)
    utilities = random.normal(size=12)
    evidence = relevance._observe(incidence, choices, utilities)
    p_right = expit(incidence @ utilities)
    noise = 1 / (p_right * (1 - p_right))
    seen = incidence @ utilities + (choices - p_right) * noise  # the choices as measurements of differences

    def exact(gram: np.ndarray) -> float:
        covariance = incidence @ gram @ incidence.T + np.diag(noise)
        nothing = multivariate_normal.logpdf(seen, cov=np.diag(noise))
        return float(multivariate_normal.logpdf(seen, cov=covariance) - nothing)

    gram = known @ known.T / 8
    value, gradient = evidence.log_likelihood(gram)
    gradient = np.tril(gradient) + np.tril(gradient, -1).T
    assert value == pytest.approx(exact(gram), abs=1e-8)
    step = np.cov(random.normal(size=(12, 40))) * 1e-5
    slope = (evidence.log_likelihood(gram + step)[0] - evidence.log_likelihood(gram - step)[0]) / 2
    assert slope == pytest.approx((gradient * step).sum() / 2, rel=1e-4)


def test_what_no_block_carries_is_an_effect_of_the_image() -> None:
    random = np.random.default_rng(0)
    pairs = all_pairs(40)
    differences = np.eye(40)[pairs[:, 1]] - np.eye(40)[pairs[:, 0]]
    choices = (random.random(len(pairs)) < expit(differences @ random.normal(0, 1.5, 40))).astype(int)
    grams = grams_of(random.normal(size=(40, 6)), 2, np.eye(40))
    variances, effect = relevance.block_variances(grams, independent(2), differences, choices)
    assert effect > 5 * variances.sum()
