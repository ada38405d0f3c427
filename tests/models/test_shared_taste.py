"""What several people share, and how each departs from it: against a plain reference, and on planted populations."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.special import expit, log_expit

from catpref.models import answers, population, shared_taste, store
from catpref.models.kernels import kernels_of, right_minus_left
from catpref.models.people import People, Variances, person_of
from catpref.models.population import Population

IMAGES, DIMENSIONS = 60, 12


@cache
def embeddings() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((IMAGES, DIMENSIONS)).astype(np.float32)


def planted(
    people: int, trials: int, shared: float, personal: float, seed: int, side_bias: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Let people choose whose tastes are linear in the embedding: person, pair and choice of each trial."""
    random = np.random.default_rng(seed)
    scale = 1 / np.sqrt(DIMENSIONS)
    common = np.sqrt(shared) * random.standard_normal(DIMENSIONS)
    own = np.sqrt(personal) * random.standard_normal((people, DIMENSIONS))
    who = np.repeat(np.arange(people), trials)
    pairs = np.array([random.choice(IMAGES, 2, replace=False) for _ in who])
    utilities = scale * embeddings() @ (common + own).T
    logits = utilities[pairs[:, 1], who] - utilities[pairs[:, 0], who] + side_bias
    return who, pairs, (random.random(len(who)) < expit(logits)).astype(int)


def learned(data: tuple[np.ndarray, np.ndarray, np.ndarray], variances: Variances | None = None) -> People:
    who, pairs, choices = data
    kernels = kernels_of(embeddings(), pairs, of_images=True)
    return shared_taste.learn(kernels, who, choices, np.arange(len(who)), variances)


def test_the_posterior_is_that_of_a_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one covariance of all trials, by elliptical slice sampling (Murray, Adams & MacKay 2010)."""
    monkeypatch.setattr(answers, "SCALE_SD", 1e-6)
    who, _, choices = data = planted(4, 25, 1.0, 1.0, seed=2)
    given = Variances(0.8, 0.5, 0.2, 0.3, 0.4, late=0.0)
    people = learned(data, given)
    incidence = right_minus_left(np.eye(len(people.gram)), people.kernels.pairs)
    taste, effects = incidence @ people.gram @ incidence.T, incidence @ incidence.T
    same = who[:, None] == who
    covariance = given.shared * taste + given.shared_effect * effects
    covariance += same * (given.personal * taste + given.personal_effect * effects + given.side_bias)
    random = np.random.default_rng(0)
    root = np.linalg.cholesky(covariance + 1e-9 * np.eye(len(who)))
    signs, logits, drawn = 2 * choices - 1, np.zeros(len(who)), []
    for _ in range(20_000):
        other, least = root @ random.standard_normal(len(who)), log_expit(signs * logits).sum()
        least += np.log(random.random())
        angle = random.uniform(0, 2 * np.pi)
        low, high = angle - 2 * np.pi, angle
        while log_expit(signs * (logits * np.cos(angle) + other * np.sin(angle))).sum() < least:
            low, high = (angle, high) if angle < 0 else (low, angle)
            angle = random.uniform(low, high)
        logits = logits * np.cos(angle) + other * np.sin(angle)
        drawn.append(logits)
    means, _ = people.moments(np.arange(len(who)))
    np.testing.assert_allclose(means + people.side_bias, np.mean(drawn, axis=0), atol=0.25)
    apart = means + people.side_bias - np.mean(drawn, axis=0)
    assert np.sqrt(np.square(apart).mean()) < 0.08


def test_the_gradient_of_the_evidence_is_that_of_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_taste, "_SWEEPS_OF_POINT", 30)
    monkeypatch.setattr(shared_taste, "_SETTLED", 0)
    random = np.random.default_rng(0)
    parts = random.standard_normal((2, 20, 5))
    grams, effects = parts @ parts.swapaxes(1, 2) / 5, np.eye(20)
    people = [
        person_of(
            grams,
            effects,
            np.array([random.choice(20, 2, replace=False) for _ in range(30)]),
            random.integers(0, 2, 30),
        )
        for _ in range(3)
    ]

    def at_rest(point: np.ndarray) -> tuple[float, np.ndarray]:
        for one, scale in zip(people, point[6:], strict=True):
            one.scale = float(scale)
        value, by_variances, by_scales = shared_taste._log_likelihood(
            grams, effects, people, Variances(*point[:6])
        )
        return value, np.append(by_variances, by_scales / point[6:])

    point = np.array([0.5, 0.3, 0.2, 0.4, 0.1, 0.6, 1.2, 0.8, 1.0])
    slope = at_rest(point)[1]
    for place, step in enumerate(1e-3 * np.eye(9)):
        above, below = (at_rest(point + sign * step)[0] for sign in (1, -1))
        assert slope[place] == pytest.approx((above - below) / 2e-3, rel=1e-3, abs=1e-3)


def test_what_choices_say_of_strong_tastes_comes_to_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scored given sites that are yet to follow, scales would be too small by half when the sweeps end."""
    given = Variances(20.0, 20.0, 2.0, 20.0, 0.1, late=0.0)
    data = planted(8, 120, 40.0, 40.0, seed=2)
    found = learned(data, given)
    monkeypatch.setattr(shared_taste, "MOST_SWEEPS", 100)
    monkeypatch.setattr(shared_taste, "ENOUGH", 1e-6)
    at_rest = learned(data, given)
    np.testing.assert_allclose(found.scales, at_rest.scales, rtol=0.05)
    everything = np.arange(len(data[0]))
    np.testing.assert_allclose(found.p_right(everything), at_rest.p_right(everything), atol=0.02)


def test_who_chooses_more_consistently_has_the_greater_scale() -> None:
    who, pairs, choices = planted(10, 150, 3.0, 1.0, seed=8)
    at_random = np.flatnonzero(who < 3)
    choices[at_random] = np.random.default_rng(1).integers(0, 2, len(at_random))
    scales = learned((who, pairs, choices)).scales
    assert scales[:3].max() < scales[3:].min()


@pytest.mark.parametrize(("shared", "personal"), [(1.6, 0.4), (0.4, 1.6)])
def test_what_is_shared_is_told_from_what_is_personal(shared: float, personal: float) -> None:
    people = learned(planted(12, 150, shared, personal, seed=3))
    assert people.variances.shared_fraction == pytest.approx(shared / (shared + personal), abs=0.2)


@pytest.mark.parametrize("lapse", [0.0, 0.15])
def test_the_shared_part_of_tastes_that_few_trials_tell_is_found_without_bias(lapse: float) -> None:
    """Laplace's method finds it 0.15 too large here, since it says too little of what is personal."""
    people, images, dimensions, apart = 10, 120, 80, []
    for seed in range(12):
        random = np.random.default_rng(seed)
        features = random.standard_normal((images, dimensions)).astype(np.float32)
        common = features @ random.standard_normal(dimensions) / np.sqrt(dimensions)
        own = features @ random.standard_normal((dimensions, people)) / np.sqrt(dimensions)
        who = np.repeat(np.arange(people), 100)
        left, right = np.array([random.choice(images, 2, replace=False) for _ in who]).T
        utilities = common[:, None] + own
        looking = expit(utilities[right, who] - utilities[left, who])
        choices = (random.random(len(who)) < lapse / 2 + (1 - lapse) * looking).astype(int)
        kernels = kernels_of(features, np.column_stack([left, right]), of_images=True)
        found = shared_taste.learn(kernels, who, choices, np.arange(len(who)), how_sure=False)
        realised = common.var() / (common.var() + own.var(0).mean())
        apart.append(found.variances.shared_fraction - realised)
    assert np.mean(apart) == pytest.approx(0, abs=0.07)


@pytest.mark.parametrize(("shared", "personal"), [(1.6, 0.4), (0.4, 1.6)])
def test_trials_between_some_of_many_images_tell_it_too(
    shared: float, personal: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_taste, "_MOST_IMAGES", 40)
    data = planted(20, 150, shared, personal, seed=3)
    telling = shared_taste._telling(data[1], data[0], np.arange(len(data[0])))
    assert len(np.unique(data[1][telling])) == 40
    assert set(data[0][telling]) == set(range(20)), "all people's"
    found = learned(data).variances.shared_fraction
    assert found == pytest.approx(shared / (shared + personal), abs=0.2)


def test_images_that_nobody_saw_have_the_shared_taste_of_those_seen() -> None:
    who, pairs, choices = planted(6, 100, 1.0, 0.5, seed=7)
    train = np.flatnonzero((pairs >= 10).all(1))
    kernels = kernels_of(embeddings(), pairs, of_images=True)
    people = shared_taste.learn(kernels, who, choices, train)
    assert not people.shared[:10].any() and not people.certainty[:10].any()
    unseen = np.flatnonzero((pairs < 10).all(1))
    mean, variance = people.moments(unseen)
    assert np.abs(mean).min() > 0 and variance.min() > 0
    assert all((one.pairs >= 10).all() for one in people.trials)


def test_someone_who_answered_little_is_predicted_by_what_is_shared() -> None:
    who, pairs, choices = planted(12, 150, 2.0, 0.2, seed=4)
    few = np.flatnonzero((who > 0) | (np.cumsum(who == 0) <= 5))
    kernels = kernels_of(embeddings(), pairs, of_images=True)
    together = shared_taste.learn(kernels, who, choices, few)
    alone = shared_taste.alone(together)
    rest = np.setdiff1d(np.arange(len(who)), few)
    hits = [((each.p_right(rest) > 0.5) == choices[rest]).mean() for each in (together, alone)]
    assert hits[0] > 0.65
    assert hits[0] > hits[1] + 0.05


def test_where_nothing_is_shared_people_are_predicted_as_well_as_alone() -> None:
    who, pairs, choices = planted(10, 200, 0.0, 2.0, seed=5)
    train = np.flatnonzero(np.arange(len(who)) % 2)
    kernels = kernels_of(embeddings(), pairs, of_images=True)
    together = shared_taste.learn(kernels, who, choices, train)
    assert together.variances.shared_fraction < 0.2
    rest = np.setdiff1d(np.arange(len(who)), train)
    loss = [
        -np.log(np.where(choices[rest] == 1, p_right, 1 - p_right)).mean()
        for p_right in (each.p_right(rest) for each in (together, shared_taste.alone(together)))
    ]
    assert loss[0] < loss[1] + 0.01


def test_alone_each_is_learned_as_if_nothing_were_shared() -> None:
    data = planted(5, 80, 1.0, 1.0, seed=3)
    given = Variances(0.8, 0.5, 0.2, 0.3, 0.4, late=0.0)
    alone = shared_taste.alone(learned(data, given))
    together = learned(data, Variances(1e-9, 1.3, 0.0, 0.5, 0.4, late=0.0))
    np.testing.assert_allclose(alone.scales, together.scales, rtol=0.05)
    everything = np.arange(len(data[0]))
    np.testing.assert_allclose(alone.p_right(everything), together.p_right(everything), atol=0.01)


def test_a_preference_for_a_side_is_each_persons_own() -> None:
    who, pairs, choices = planted(6, 200, 1.0, 0.5, seed=6)
    chosen = np.where((who == 0) & (np.random.default_rng(0).random(len(who)) < 0.5), 1, choices)
    biases = learned((who, pairs, chosen)).side_biases
    assert biases[0] > 0.6
    assert np.abs(biases[1:]).max() < 0.5


@cache
def projected() -> tuple[People, Population]:
    people = learned(planted(6, 120, 1.5, 0.5, seed=7))
    people = replace(people, gain=1.3)
    return people, population.project(people, embeddings(), [f"p{number:02}" for number in range(6)])


def test_weights_predict_as_inner_products_do() -> None:
    people, written = projected()
    trials = np.arange(0, 720, 60)
    given = replace(people, gain=1.0)
    for trial in trials:  # of images that are known, so that no gain is applied
        code = f"p{people.who[trial]:02}"
        ours = written.of(code).p_right(embeddings(), people.kernels.images[trial : trial + 1])
        assert ours[0] == pytest.approx(given.p_right(np.array([trial]))[0], abs=0.01)


def test_a_newcomer_is_learned_as_beside_the_others() -> None:
    who, pairs, choices = data = planted(7, 120, 1.5, 0.8, seed=8)
    others, own = who < 6, who == 6
    known = learned((who[others], pairs[others], choices[others]))
    written = population.project(known, embeddings(), [f"p{number:02}" for number in range(6)])
    updated = written.with_participant("new", embeddings(), pairs[own], choices[own])
    joint = population.project(
        learned(data, known.variances), embeddings(), [f"p{number:02}" for number in range(7)]
    )
    new = np.random.default_rng(9).standard_normal((40, DIMENSIONS)).astype(np.float32)
    some = np.array([np.random.default_rng(number).choice(40, 2, replace=False) for number in range(200)])
    ours, wanted, shared = (
        each.p_right(new, some) for each in (updated.of("new"), joint.of("p06"), written.of(None))
    )
    assert np.corrcoef(ours, wanted)[0, 1] > 0.97
    assert np.corrcoef(ours, wanted)[0, 1] > np.corrcoef(shared, wanted)[0, 1]
    again = updated.with_participant("new", embeddings(), pairs[own], choices[own])
    assert again.participants == updated.participants
    np.testing.assert_allclose(again.of("new").p_right(new, some), ours, atol=1e-4)


def test_who_is_unknown_has_the_shared_taste() -> None:
    _, written = projected()
    pairs = np.array([[0, 1], [2, 3]])
    assert (written.of("nobody").p_right(embeddings(), pairs) == written.p_right(embeddings(), pairs)).all()
    assert (written.of("p01").p_right(embeddings(), pairs) != written.p_right(embeddings(), pairs)).all()


def test_what_is_saved_is_restored() -> None:
    _, written = projected()
    restored = Population.from_tensors(written.tensors(), DIMENSIONS)
    assert restored.participants == written.participants
    pairs = np.array([[0, 1], [2, 3], [4, 5]])
    for code in (None, "p03"):
        np.testing.assert_allclose(
            restored.of(code).p_right(embeddings(), pairs),
            written.of(code).p_right(embeddings(), pairs),
            atol=1e-3,
        )


def test_the_model_of_as_many_people_as_are_fitted_may_be_read() -> None:
    personal = np.zeros((population.MOST_PEOPLE, DIMENSIONS), np.float32)
    tensors = replace(projected()[1], personal=personal).tensors()
    allowed = store._most_bytes(population.POPULATION, DIMENSIONS, None) - store._MOST_ARRAYS
    assert tensors["personal"].nbytes + tensors["shared.weight_directions"].nbytes <= allowed


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("participants", np.frombuffer(b'["p00"]', np.uint8)),
        ("participants", np.frombuffer(b"[" * 40, np.uint8)),
        ("personal", np.zeros((6, 3), np.float32)),
        ("departure", np.array([-1, 0], np.float32)),
        ("side_bias_variance", np.zeros(1, np.float32)),
        ("shared.weights", np.zeros(3, np.float32)),
    ],
)
def test_damaged_tensors_are_refused(name: str, value: np.ndarray) -> None:
    tensors = projected()[1].tensors() | {name: value}
    with pytest.raises(ValueError, match=r"must|is|are"):
        Population.from_tensors(tensors, DIMENSIONS)
