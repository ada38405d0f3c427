"""Whatever was chosen, and of whatever images: numbers are finite and within their bounds, without a warning."""

import os
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from support import all_pairs

from catpref.evaluation import learning_curve
from catpref.evaluation.noise_ceiling import noise_ceiling
from catpref.evaluation.sampling import simulate
from catpref.evaluation.scores import hits_of, score
from catpref.models import bradley_terry, expectation_propagation, newton, psychometric, relevance, utility
from catpref.models.kernels import kernels_of, right_minus_left
from catpref.perception.embeddings import Blocks

pytestmark = pytest.mark.filterwarnings("error")

DESIGNS = ("full", "random", "repeated", "few", "one image against all")
TASTES = ("features", "other", "noise", "always right", "alternating", "order")
LOOKS = ("usual", "constant features", "all the same", "copies", "far apart", "tiny")


@dataclass(frozen=True)
class Session:
    """A made-up session; what Hypothesis prints of it is enough to make it again."""

    design: str
    taste: str
    looks: str
    images: int
    strength: float
    blocks: int
    seed: int

    def embeddings(self) -> np.ndarray:
        random = np.random.default_rng(self.seed)
        known = random.normal(size=(self.images, 24)).astype(np.float32)
        if self.looks == "constant features":
            known[:, : 24 - 4] = 0.3
        elif self.looks == "all the same":
            known[:] = known[0]
        elif self.looks == "copies":
            known[1::2] = known[: len(known[1::2]) * 2 : 2]
        elif self.looks == "far apart":
            known *= np.float32(10) ** random.uniform(-4, 4, 24).astype(np.float32)
        elif self.looks == "tiny":
            known *= np.float32(1e-20)
        return known

    def pairs(self) -> np.ndarray:
        if self.design == "random":
            return (
                np.random.default_rng(self.seed)
                .permutation(self.images)[: self.images // 2 * 2]
                .reshape(-1, 2)
            )
        if self.design == "one image against all":
            return np.column_stack([np.zeros(self.images - 1, int), np.arange(1, self.images)])
        pairs = all_pairs(min(self.images, 40), self.seed)
        if self.design == "few":
            return pairs[: max(4, self.images // 2)]
        return np.tile(pairs, (4, 1)) if self.design == "repeated" else pairs

    def choices(self, embeddings: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        random = np.random.default_rng(self.seed + 1)
        if self.taste == "always right":
            return np.ones(len(pairs), int)
        if self.taste == "alternating":
            return np.arange(len(pairs)) % 2
        if self.taste == "noise":
            return random.integers(2, size=len(pairs))
        worth = {
            "features": embeddings.astype(float)[:, -1] / (np.abs(embeddings[:, -1]).max() or 1),
            "other": random.normal(size=self.images),
            "order": np.arange(self.images) / self.images,
        }[self.taste]
        logits = self.strength * right_minus_left(worth, pairs)
        return (random.random(len(pairs)) < expit(logits)).astype(int)


def sessions(most_images: int) -> st.SearchStrategy[Session]:
    return st.builds(
        Session,
        st.sampled_from(DESIGNS),
        st.sampled_from(TASTES),
        st.sampled_from(LOOKS),
        st.integers(6, most_images),
        st.sampled_from([0.5, 5.0, 50.0, 1e6]),
        st.sampled_from([1, 3, 24]),
        st.integers(0, 2**20),
    )


def check(session: Session) -> None:
    """Run everything that a fit computes from embeddings and choices, and look at every number."""
    embeddings, pairs = session.embeddings(), session.pairs()
    choices = session.choices(embeddings, pairs)
    blocks = Blocks(np.arange(24) % session.blocks, np.eye(session.blocks), ("layer",) * session.blocks)
    everything = np.arange(len(pairs))
    random = np.random.default_rng(session.seed)
    train, test = np.split(random.permutation(len(pairs)), [max(3, 4 * len(pairs) // 5)])

    learned = utility.learn(kernels_of(embeddings, pairs, blocks), choices, train, session.seed)
    assert np.isfinite(learned.variances).all() and (learned.variances > 0).all()
    taste = utility.project(learned, embeddings)
    for name, value in taste.tensors().items():
        assert np.isfinite(value).all(), name
    assert (taste.scale > 0).all() and taste.gain > 0 and taste.side_bias_sd > 0 and taste.farthest >= 0
    mean, sd = taste.utilities(embeddings)
    assert np.isfinite(mean).all() and np.isfinite(sd).all() and (sd >= 0).all()

    known = bradley_terry.fit_and_predict(pairs[train], choices[train], pairs)
    for p_right in (learned.p_right(everything), taste.p_right(embeddings, pairs), known):
        assert ((p_right >= 0) & (p_right <= 1)).all()
    there = taste.p_right(embeddings, pairs, side_bias=False)
    back = taste.p_right(embeddings, pairs[:, ::-1], side_bias=False)
    np.testing.assert_allclose(there + back, 1, atol=1e-6)

    observer = psychometric.fit(pairs, choices)
    for middle, (low, high) in (
        (observer.side_bias, observer.side_bias_ci95),
        (observer.lapse, observer.lapse_ci95),
        (observer.noise_ceiling, observer.noise_ceiling_ci95),
        (observer.taste_ceiling, observer.taste_ceiling_ci95),
    ):
        assert np.isfinite(middle) and low <= middle <= high, observer
    assert observer.lapse_ci95[0] >= 0 and observer.lapse_ci95[1] <= 1

    features = np.random.default_rng(0).normal(size=(len(embeddings), 4))
    sampling = simulate(features, pairs, [(train, test)] if len(test) else [(train, train)], observer)
    p_right, taste = learned.p_right(everything), learned.p_right(everything, side_bias=False)
    found = score(p_right, taste, choices, pairs, everything % 2, everything, sampling)
    assert 0 <= found.accuracy_ci95[0] <= found.accuracy <= found.accuracy_ci95[1] <= 1
    assert np.isfinite([found.log_loss, *found.log_loss_ci95, found.brier, found.ece]).all()
    ceiling = noise_ceiling(None, observer).accuracy
    assert ceiling is None or 0.5 <= ceiling <= 1
    hits = hits_of(learned.p_right(test), choices[test])
    if len(test):
        curve = learning_curve.fit({len(train) / 2: hits * 0 + 0.5, float(len(train)): hits}, pairs[test])
        assert np.isfinite(curve.accuracy_ci95).all()


@settings(max_examples=8, deadline=None, derandomize=True)
@given(sessions(most_images=12))
def test_every_session_has_numbers(session: Session) -> None:
    check(session)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.skipif("CATPREF_FUZZ" not in os.environ, reason="CATPREF_FUZZ says how many sessions to make up")
@settings(max_examples=int(os.environ.get("CATPREF_FUZZ", "1")), deadline=None)
@given(sessions(most_images=120))
def test_every_larger_session_has_numbers(session: Session) -> None:
    check(session)


@pytest.mark.parametrize("looks", LOOKS)
def test_separable_choices_have_numbers(looks: str) -> None:
    check(Session("full", "order", looks, 10, 1e6, 3, 0))


def strong_taste(images: int, repeats: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A taste that the features do not carry: log odds are an eighth of the difference of the images' numbers."""
    random = np.random.default_rng(0)
    pairs = np.tile(all_pairs(images), (repeats, 1))
    known = random.normal(size=(images, 400)).astype(np.float32)
    return known, pairs, (random.random(len(pairs)) < expit((pairs[:, 1] - pairs[:, 0]) / 8)).astype(int)


@pytest.mark.parametrize("copies", [0, 10])
def test_thousands_of_trials_of_a_strong_taste_that_the_features_do_not_carry(copies: int) -> None:
    known, pairs, choices = strong_taste(50, 3)
    known[:copies] = known[copies : 2 * copies]
    incidence = right_minus_left(np.eye(50), pairs)
    parts = [*np.split(known - known.mean(0), 100, axis=1), np.eye(50)]
    grams = np.array([part @ part.T / part.shape[1] for part in parts])
    blocks = Blocks(np.zeros(0, int), np.kron(np.eye(10), np.ones((10, 1))), ("layer",) * 10)
    variances, effect = relevance.block_variances(grams, relevance.prior_of(blocks), incidence, choices)
    assert np.isfinite([*variances, effect]).all() and (variances > 0).all()


def test_a_prior_that_was_rounded_gets_no_evidence_for_that() -> None:
    """Twenty features of fifty images: what rounding makes of the other directions must not look like evidence."""
    random = np.random.default_rng(0)
    _, pairs, choices = strong_taste(50, 3)
    known = random.normal(size=(50, 20)).astype(np.float32)
    known -= known.mean(0)
    gram = (known @ known.T / 20).astype(float)
    incidence = right_minus_left(np.eye(50), pairs)
    utilities = (np.arange(50) - 24.5) / 8
    p_right = expit(incidence @ utilities)
    information = incidence.T @ (incidence * (p_right * (1 - p_right))[:, None])
    root = known.astype(float).T / 20**0.5
    pull = root @ (information @ utilities + incidence.T @ (choices - p_right))
    seen = relevance._observe(incidence, choices, utilities)
    values = []
    for log_scale in range(0, 37, 3):
        precision = np.exp(-log_scale) * np.eye(20) + root @ information @ root.T
        _, log_determinant = np.linalg.slogdet(precision)
        exact = pull @ np.linalg.solve(precision, pull) / 2 - (log_determinant + 20 * log_scale) / 2
        value, gradient = seen.log_likelihood(np.exp(log_scale) * gram)
        assert np.isfinite(gradient).all() and value < exact + 0.1
        assert log_scale > 6 or value == pytest.approx(exact, abs=0.1)
        values.append(value)
    assert (np.diff(values) < 0).all(), "the search turns back"


def test_newton_s_steps_do_not_overshoot() -> None:
    """Of log cosh, they double in length from 1.2 on: the plain method leaves for infinity."""

    def step_at(point: np.ndarray) -> tuple[np.ndarray, float, None]:
        slope = np.tanh(point)
        step = slope * np.cosh(point) ** 2
        return step, float(slope @ step), None

    def loss(point: np.ndarray) -> float:
        return float(np.logaddexp(point, -point).sum())

    least, _, _ = newton.minimise(np.array([3.0, -8.0]), loss, step_at, 1e-12)
    np.testing.assert_allclose(least, 0, atol=1e-5)


@pytest.mark.parametrize("lapse", [0.0, 0.005, 0.6])
def test_ten_thousand_answers_of_one_kind_have_a_posterior(lapse: float) -> None:
    design = expectation_propagation.Dense(np.full((10_000, 1), 2.0))
    found = expectation_propagation.fit(design, np.ones(1), np.zeros(10_000), np.zeros(10_000), lapse)
    assert np.isfinite([found.log_evidence, *found.mean]).all() and 0 < found.covariance[0, 0] <= 1
    assert found.mean[0] > 1
