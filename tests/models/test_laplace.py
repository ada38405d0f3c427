import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.special import expit, log_expit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from catpref.models import laplace


def session(
    trials: int, weights: np.ndarray, side_bias: float = 0.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    differences = random.normal(size=(trials, len(weights)))
    return differences, (random.random(trials) < expit(differences @ weights + side_bias)).astype(int)


@pytest.mark.parametrize(
    ("trials", "dimensions", "variance"), [(300, 5, 1.0), (40, 100, 0.1), (200, 3, 1000.0)]
)
def test_the_mode_is_that_of_penalised_logistic_regression(
    trials: int, dimensions: int, variance: float
) -> None:
    differences, choices = session(trials, np.linspace(-1, 1, dimensions), 0.4)
    ours = laplace.fit(differences, choices, variance)

    # scikit-learn penalises no intercept, and all weights alike; a scaled column of ones is the side bias.
    ones = np.full((trials, 1), np.sqrt(laplace.BIAS_VARIANCE / variance))
    peer = LogisticRegression(C=variance, fit_intercept=False, tol=1e-10, max_iter=10000)
    peer.fit(np.hstack([differences, ones]), choices)
    *weights, last = peer.coef_[0]
    np.testing.assert_allclose(ours.weights, weights, atol=2e-4)
    assert ours.side_bias == pytest.approx(last * ones[0, 0], abs=2e-4)

    signs = 2 * choices - 1

    def loss(point: np.ndarray) -> float:
        prior = point[:-1] @ point[:-1] / variance + point[-1] ** 2 / laplace.BIAS_VARIANCE
        return prior / 2 - log_expit(signs * (differences @ point[:-1] + point[-1])).sum()

    best = minimize(loss, np.zeros(dimensions + 1), method="BFGS", options={"gtol": 1e-6})
    np.testing.assert_allclose([*ours.weights, ours.side_bias], best.x, atol=2e-3)


@pytest.mark.parametrize(("trials", "variance"), [(1, 1.0), (10, 0.5), (60, 4.0)])
def test_the_evidence_is_that_of_brute_force_in_one_dimension(
    trials: int, variance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(laplace, "BIAS_VARIANCE", 1e-12)  # leaves one dimension
    differences, choices = session(trials, np.array([0.8]))
    signs = 2 * choices - 1

    def likelihood(weight: float) -> float:
        return float(np.exp(log_expit(signs * differences[:, 0] * weight).sum())) * norm.pdf(
            weight, 0, variance**0.5
        )

    ours = laplace.fit(differences, choices, variance)
    width = 8 * variance**0.5
    brute = quad(likelihood, -width, width, points=[float(ours.weights[0])], epsabs=0, limit=200)[0]
    assert ours.log_evidence == pytest.approx(np.log(brute), abs=0.04)


def test_the_prior_is_the_one_with_the_greatest_evidence() -> None:
    differences, choices = session(400, np.linspace(-1, 1, 8))
    chosen = laplace.fit(differences, choices)
    for factor in (0.3, 0.7, 1.4, 3.0):
        other = laplace.fit(differences, choices, chosen.prior_variance * factor)
        assert other.log_evidence < chosen.log_evidence + 0.01
    assert (
        laplace.fit(differences, choices, chosen.prior_variance * 100).log_evidence < chosen.log_evidence - 1
    )
    assert 0.1 < chosen.prior_variance < 2, "the variance of the weights is 0.43"


def test_noise_gets_a_tight_prior() -> None:
    differences, choices = session(400, np.zeros(50))
    assert np.abs(differences @ laplace.fit(differences, choices).weights).max() < 0.5


def test_the_scale_of_the_differences_does_not_matter() -> None:
    differences, choices = session(200, np.array([1.0, -0.5]))
    logits = differences @ laplace.fit(differences, choices).weights
    for scale in (1e-4, 255.0, 1e6):
        scaled = laplace.fit(differences * scale, choices)
        np.testing.assert_allclose(differences * scale @ scaled.weights, logits, rtol=1e-3, atol=1e-3)


def test_separable_choices_stay_finite() -> None:
    differences = np.linspace(-1, 1, 100)[:, None]
    posterior = laplace.fit(differences, (differences[:, 0] > 0).astype(int))
    assert np.isfinite([posterior.weights[0], posterior.side_bias, posterior.log_evidence]).all()
    assert posterior.weights[0] > 5


@pytest.mark.parametrize("differences", [np.zeros((30, 4)), np.zeros((30, 0))])
def test_without_differences_only_the_side_bias_is_learned(differences: np.ndarray) -> None:
    posterior = laplace.fit(differences, np.arange(30) % 3 > 0)
    assert not posterior.weights.any()
    assert 0.3 < posterior.side_bias < np.log(2)


def test_the_side_bias_lies_in_its_interval() -> None:
    covered = 0
    for seed in range(100):
        side_bias = np.random.default_rng(seed).normal()  # as the prior has it
        posterior = laplace.fit(*session(150, np.array([1.0, -1.0]), side_bias, seed), prior_variance=1.0)
        covered += abs(posterior.side_bias - side_bias) < 1.96 * posterior.side_bias_sd
    assert 90 <= covered <= 99
