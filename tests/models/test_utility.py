import dataclasses

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import spearmanr
from support import TRAINING_FACES, all_pairs, cache_home, faces, most, simulations, true_utilities

from catpref.models import kernels, utility
from catpref.models.kernels import kernels_of
from catpref.models.utility import Utility
from catpref.perception.backbones import load_backbone
from catpref.perception.embeddings import DEFAULT, Blocks, blocks, embed


@pytest.fixture(scope="module")
def embeddings() -> np.ndarray:
    """The faces, those for training first."""
    return embed(sorted(faces().glob("*.png")), load_backbone(), cache_folder=cache_home() / "catpref")


def answers(
    pairs: np.ndarray, worth: np.ndarray, seed: int | None = None, side_bias: float = 0.0
) -> np.ndarray:
    """The choices of an observer with these utilities, without noise if there is no seed."""
    logits = worth[pairs[:, 1]] - worth[pairs[:, 0]] + side_bias
    noise = 0 if seed is None else np.random.default_rng(seed).logistic(size=len(pairs))
    return (logits > noise).astype(int)


PAIRS = all_pairs(TRAINING_FACES)


@pytest.fixture(scope="module")
def noise_free(embeddings: np.ndarray) -> Utility:
    parts = blocks(load_backbone(), DEFAULT)
    return utility.fit(embeddings[:TRAINING_FACES], PAIRS, answers(PAIRS, true_utilities()), parts)


def test_the_taste_of_a_noise_free_observer_is_recovered(noise_free: Utility, embeddings: np.ndarray) -> None:
    learned, sd = noise_free.utilities(embeddings[:TRAINING_FACES])
    assert spearmanr(learned, true_utilities()[:TRAINING_FACES]).statistic > 0.9
    assert (sd > 0).all()


def test_choices_between_new_faces_are_predicted(noise_free: Utility, embeddings: np.ndarray) -> None:
    new = all_pairs(len(embeddings) - TRAINING_FACES) + TRAINING_FACES
    p_right = noise_free.p_right(embeddings, new)
    assert ((p_right > 0.5) == answers(new, true_utilities())).mean() > 0.65
    learned, sd = noise_free.utilities(embeddings)
    assert spearmanr(learned[TRAINING_FACES:], true_utilities()[TRAINING_FACES:]).statistic > 0.4
    assert sd[TRAINING_FACES:].mean() > sd[:TRAINING_FACES].mean(), "new faces are less certain"


def test_swapped_sides_swap_the_prediction(noise_free: Utility, embeddings: np.ndarray) -> None:
    pairs = all_pairs(len(embeddings))[::10]
    forth = noise_free.p_right(embeddings, pairs, side_bias=False)
    back = noise_free.p_right(embeddings, pairs[:, ::-1], side_bias=False)
    assert np.abs(forth + back - 1).max() < 1e-6
    same = noise_free.p_right(embeddings, np.array([(3, 3)]), side_bias=False)
    assert same == pytest.approx(0.5, abs=1e-9)


def test_the_gain_is_for_new_images_alone(noise_free: Utility, embeddings: np.ndarray) -> None:
    assert noise_free.gain > 0
    double = dataclasses.replace(noise_free, gain=2 * noise_free.gain)
    ours, theirs = double.utilities(embeddings)[0], noise_free.utilities(embeddings)[0]
    np.testing.assert_array_equal(ours[:TRAINING_FACES], theirs[:TRAINING_FACES])
    np.testing.assert_allclose(ours[TRAINING_FACES:], 2 * theirs[TRAINING_FACES:])


# Small embeddings of which all is known: 60 images in 8 dimensions.
WORTH_WEIGHTS = np.linspace(-1.5, 1.5, 8)


def made_up(seed: int = 0, images: int = 60) -> tuple[np.ndarray, np.ndarray]:
    known = np.random.default_rng(seed).normal(size=(images, 8)).astype(np.float32)
    return known, known @ WORTH_WEIGHTS


@pytest.mark.parametrize("side_bias", [-1.0, 0.0, 0.7])
def test_the_side_bias_lies_in_its_interval(side_bias: float) -> None:
    pairs, inside, runs = all_pairs(60), 0, simulations(4, 20)
    for seed in range(runs):
        known, worth = made_up(seed)
        model = utility.fit(known, pairs, answers(pairs, worth, seed, side_bias), seed=seed)
        inside += abs(model.side_bias - side_bias) < 1.96 * model.side_bias_sd
        assert abs(model.side_bias - side_bias) < 4 * model.side_bias_sd
    assert inside >= runs - most(runs)


def test_utilities_differ_by_the_logit() -> None:
    known, worth = made_up()
    pairs = all_pairs(60)
    model = utility.fit(known, pairs, answers(pairs, worth, 100, 0.5))
    learned, _ = model.utilities(known)
    difference = learned[pairs[:, 1]] - learned[pairs[:, 0]]
    plain = dataclasses.replace(model, shrinkage=np.ones_like(model.shrinkage))  # no doubt is left
    np.testing.assert_allclose(plain.p_right(known, pairs), expit(difference + model.side_bias), atol=1e-4)
    assert np.polyfit(worth[pairs[:, 1]] - worth[pairs[:, 0]], difference, 1)[0] == pytest.approx(1, abs=0.25)
    # Where there is doubt, predictions lean towards one half.
    assert (np.abs(model.p_right(known, pairs, False) - 0.5) <= np.abs(expit(difference) - 0.5) + 1e-9).all()


def test_predictions_for_new_images_are_calibrated() -> None:
    known, worth = made_up(images=160)
    pairs = all_pairs(60)[::6]
    model = utility.fit(known, pairs, answers(pairs, worth, 1))
    new = all_pairs(100) + 60
    p_right = model.p_right(known, new)
    truth = expit(worth[new[:, 1]] - worth[new[:, 0]])
    assert np.corrcoef(p_right, truth)[0, 1] > 0.9
    sure = p_right > 0.8
    assert truth[sure].mean() == pytest.approx(p_right[sure].mean(), abs=0.05)


def test_the_order_of_images_and_trials_does_not_matter() -> None:
    known, worth = made_up()
    pairs = np.random.default_rng(1).permutation(all_pairs(60))[:400]
    choices = answers(pairs, worth, 0)
    plain = utility.fit(known, pairs, choices)
    trials = np.random.default_rng(2).permutation(len(pairs))
    images = np.random.default_rng(3).permutation(60)
    place = np.argsort(images)
    for model, order in (
        (utility.fit(known, pairs[trials], choices[trials]), np.arange(60)),
        (utility.fit(known[images], place[pairs], choices), images),
    ):
        learned, sd = model.utilities(known)
        wanted, wanted_sd = plain.utilities(known)
        np.testing.assert_allclose(learned, wanted, atol=0.02)
        np.testing.assert_allclose(sd, wanted_sd, atol=0.02)
        # The gain is found on folds that are drawn at random, and may differ a little.
        assert model.gain == pytest.approx(plain.gain, rel=0.5)
        there = np.argsort(order)[pairs]  # the same pairs among images in this order
        p_right = model.p_right(known[order], there, side_bias=False)
        np.testing.assert_allclose(p_right, plain.p_right(known, pairs, side_bias=False), atol=0.01)
        assert model.side_bias == pytest.approx(plain.side_bias, abs=0.05)


def test_images_that_were_never_shown_play_no_part() -> None:
    known, worth = made_up()
    pairs = all_pairs(40)
    choices = answers(pairs, worth, 0)
    some, all_ = utility.fit(known[:40], pairs, choices), utility.fit(known, pairs, choices)
    for name, value in some.tensors().items():
        np.testing.assert_array_equal(value, all_.tensors()[name])


def test_fewer_trials_than_images_are_enough() -> None:
    known, worth = made_up(images=400)
    pairs = np.arange(400).reshape(-1, 2)
    model = utility.fit(known, pairs, answers(pairs, worth, 0))
    learned, _ = model.utilities(known)
    assert spearmanr(learned, worth).statistic > 0.85


def test_the_solution_is_the_same_in_the_span_of_images_and_of_trials() -> None:
    known, worth = made_up(images=40)
    pairs = all_pairs(40)[:39]
    choices = answers(pairs, worth, 0)
    few = utility.fit(known, pairs, choices)
    twice = utility.fit(known, np.concatenate([pairs, pairs]), np.concatenate([choices, choices]))
    assert np.corrcoef(few.utilities(known)[0], twice.utilities(known)[0])[0, 1] > 0.9


def test_blocks_that_matter_are_told_from_those_that_do_not() -> None:
    random = np.random.default_rng(0)
    known = random.normal(size=(60, 120)).astype(np.float32)
    worth = known[:, :6] @ np.linspace(-1.5, 1.5, 6)
    pairs = all_pairs(60)[::4]
    choices = answers(pairs, worth, 0)
    parts = Blocks(np.repeat(np.arange(20), 6), np.eye(20), ("layer",) * 20)
    models = [utility.fit(known, pairs, choices, each) for each in (parts, None)]
    slopes = [
        np.abs(model.weights / model.scale) for model in models
    ]  # a utility's change with each dimension
    told, plain = (each[:6].sum() / each.sum() for each in slopes)
    assert told > 0.6 > 0.5 > plain


@pytest.mark.parametrize("grouped", [True, False])
def test_identical_pictures_are_all_the_same(grouped: bool) -> None:
    known = np.repeat(np.random.default_rng(0).normal(size=(1, 50)).astype(np.float16), 12, axis=0)
    pairs = all_pairs(12)
    parts = Blocks(np.repeat([0, 1], 25), np.eye(2), ("layer",) * 2) if grouped else None
    model = utility.fit(known, pairs, np.arange(len(pairs)) % 2, parts)
    learned, sd = model.utilities(known)
    np.testing.assert_allclose(learned, 0, atol=1e-6)
    assert np.isfinite(sd).all()
    np.testing.assert_allclose(model.p_right(known, pairs, side_bias=False), 0.5, atol=1e-6)


def test_what_is_saved_is_restored(noise_free: Utility, embeddings: np.ndarray) -> None:
    tensors = noise_free.tensors()
    assert all(value.dtype in (np.float16, np.float32, np.int64) for value in tensors.values())
    restored = Utility.from_tensors(tensors, embeddings.shape[1])
    pairs = all_pairs(len(embeddings))[::10]
    np.testing.assert_allclose(
        restored.p_right(embeddings, pairs), noise_free.p_right(embeddings, pairs), atol=2e-3
    )
    for ours, theirs in zip(restored.utilities(embeddings), noise_free.utilities(embeddings), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-2)
    del tensors["gain"]
    with pytest.raises(ValueError, match="gain is missing"):
        Utility.from_tensors(tensors, embeddings.shape[1])


def test_the_seed_decides_the_folds_of_the_calibration_alone() -> None:
    known, worth = made_up()
    pairs = all_pairs(60)[::7]
    choices = answers(pairs, worth, 0)
    first, again, other = (utility.fit(known, pairs, choices, seed=seed) for seed in (0, 0, 1))
    for name, value in first.tensors().items():
        np.testing.assert_array_equal(value, again.tensors()[name])
        if name != "gain":
            np.testing.assert_array_equal(value, other.tensors()[name])


@pytest.mark.parametrize("images", [30, 200])
def test_what_was_learned_predicts_as_the_model_that_is_saved(images: int) -> None:
    """By inner products of images, or of trials where there are fewer."""
    known, worth = made_up(images=images)
    pairs = all_pairs(30) if images == 30 else np.arange(200).reshape(-1, 2)
    choices = answers(pairs, worth, 0, 0.5)
    train, test = np.split(np.random.default_rng(0).permutation(len(pairs)), [80])
    parts = Blocks(np.repeat([0, 1], 4), np.eye(2), ("layer",) * 2)
    learned = utility.learn(kernels_of(known, pairs, parts), choices, train)
    saved = utility.project(learned, known)
    for side_bias in (True, False):
        ours, theirs = learned.p_right(test, side_bias), saved.p_right(known, pairs[test], side_bias)
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    others = choices.copy()
    others[test] = 1 - others[test]
    again = utility.learn(kernels_of(known, pairs, parts), others, train)
    np.testing.assert_array_equal(again.p_right(test), learned.p_right(test), "held-out choices play no part")


def test_many_images_are_learned_by_hashed_features(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    known = random.normal(size=(80, 3000)).astype(np.float32) + random.normal(size=(80, 1))
    worth = (known @ random.normal(size=3000)) / 30
    pairs = all_pairs(80)[::4]
    choices = answers(pairs, worth, 0)
    train, test = np.split(np.random.default_rng(0).permutation(len(pairs)), [600])
    plain = utility.learn(kernels_of(known, pairs), choices, train).p_right(test)
    monkeypatch.setattr(kernels, "_MANY", 10)
    for products in (kernels._MOST_PRODUCTS, 10):  # inner products kept, or made when asked for
        monkeypatch.setattr(kernels, "_MOST_PRODUCTS", products)
        hashed = utility.learn(kernels_of(known, pairs), choices, train)
        assert len(hashed.kernels.grams) == (products > 10)
        assert np.corrcoef(hashed.p_right(test), plain)[0, 1] > 0.97
        saved = utility.project(hashed, known).p_right(known, pairs[test])
        assert np.corrcoef(saved, plain)[0, 1] > 0.9, "of the whole embedding"


def test_what_hardly_varied_in_training_does_not_make_unsure() -> None:
    """The flat background of drawn faces is not as flat once they have been saved as JPEG."""
    known, worth = made_up(images=40)
    flat = np.hstack([known, np.full((40, 8), 0.5, np.float32)])
    pairs = all_pairs(40)
    model = utility.fit(
        flat, pairs, answers(pairs, worth, 0), Blocks(np.repeat([0, 1], 8), np.eye(2), ("layer",) * 2)
    )
    noise = np.random.default_rng(0).normal(0, 0.01, (40, 8)).astype(np.float32)
    again = np.hstack([known, 0.5 + noise])
    mean, sd = model.utilities(flat)
    new_mean, new_sd = model.utilities(again)
    # As new images, they have lost their effects, and the gain is theirs.
    carried = dataclasses.replace(model, known=model.known + 1)
    np.testing.assert_allclose(new_mean, carried.utilities(flat)[0], atol=0.1 * np.abs(mean).max())
    assert (new_sd < 2.5 * np.maximum(sd, carried.utilities(flat)[1])).all()


@pytest.mark.parametrize("carried", [0.0, 1.0])
def test_known_images_have_an_effect_and_new_ones_its_uncertainty(carried: float) -> None:
    """A taste that the embedding does not carry is known of the images shown, and of no other."""
    known, worth = made_up(images=120)
    random = np.random.default_rng(5)
    worth = carried * worth + random.normal(0, 1.5, 120)
    pairs = all_pairs(60)
    model = utility.fit(known, pairs, answers(pairs, worth, 7))
    learned, sd = model.utilities(known)
    assert np.corrcoef(learned[:60], worth[:60])[0, 1] > 0.95
    apart = (learned[:60] - learned[:60].mean()) - (worth[:60] - worth[:60].mean())
    assert np.mean(np.abs(apart) < 1.96 * sd[:60]) > 0.85
    assert sd[60:].min() > 1.0 and np.median(sd[:60]) < 0.6
    new = all_pairs(60) + 60
    p_right = model.p_right(known, new)
    truth = expit(worth[new[:, 1]] - worth[new[:, 0]])
    assert np.abs(p_right - 0.5).mean() < np.abs(truth - 0.5).mean()
    if not carried:
        assert np.abs(p_right - 0.5).max() < 0.3, "nothing is known of new images"
