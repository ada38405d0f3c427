import numpy as np
import pytest
from scipy.special import expit
from support import all_pairs, most, simulations

from catpref.models import expectation_propagation, psychometric
from catpref.models.psychometric import PsychometricFit


def estimated(
    seed: int, side_bias: float, lapse: float, pairs: np.ndarray, spread: float = 2.0
) -> PsychometricFit:
    """Estimates from the answers of an observer to images that nothing is known of."""
    random = np.random.default_rng(seed)
    worth = random.normal(0, spread, size=int(pairs.max()) + 1)
    looking = expit(worth[pairs[:, 1]] - worth[pairs[:, 0]] + side_bias)
    choices = (random.random(len(pairs)) < lapse / 2 + (1 - lapse) * looking).astype(int)
    return psychometric.fit(pairs, choices)


def test_side_bias_and_lapse_rate_lie_in_their_intervals() -> None:
    pairs, runs = all_pairs(40), simulations(5, 40)
    seen = [estimated(seed, 0.1, 0.05, pairs) for seed in range(runs)]
    assert sum(one.side_bias_ci95[0] <= 0.1 <= one.side_bias_ci95[1] for one in seen) >= runs - most(runs)
    assert sum(one.lapse_ci95[0] <= 0.05 <= one.lapse_ci95[1] for one in seen) >= runs - most(runs)
    assert np.mean([one.lapse for one in seen]) == pytest.approx(0.05, abs=0.02)
    assert np.mean([one.side_bias for one in seen]) == pytest.approx(0.1, abs=0.08)


@pytest.mark.parametrize(("side_bias", "lapse"), [(-1.0, 0.0), (1.5, 0.0)])
def test_strong_habits_are_seen(side_bias: float, lapse: float) -> None:
    seen = estimated(1, side_bias, lapse, all_pairs(50))
    assert seen.side_bias == pytest.approx(side_bias, abs=0.35)
    assert seen.lapse == pytest.approx(lapse, abs=0.06)


def test_images_seen_once_say_little_of_lapses_and_the_interval_says_so() -> None:
    few = estimated(0, 0.5, 0.05, np.arange(400).reshape(-1, 2))
    many = estimated(0, 0.5, 0.05, all_pairs(50))
    assert np.ptp(many.lapse_ci95) < np.ptp(few.lapse_ci95)
    assert np.ptp(many.side_bias_ci95) < np.ptp(few.side_bias_ci95)
    assert few.side_bias_ci95[0] < 0.5 < few.side_bias_ci95[1]


def test_directions_that_are_not_followed_make_a_side_bias_look_smaller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = estimated(2, 1.0, 0.0, all_pairs(40))
    monkeypatch.setattr(psychometric, "_DIRECTIONS", 25)
    part = estimated(2, 1.0, 0.0, all_pairs(40))
    assert part.side_bias == pytest.approx(whole.side_bias, abs=0.4), "and that is taken into account"


@pytest.mark.parametrize(
    "choices", [np.arange(45) % 2, np.ones(45, int), all_pairs(10)[:, 1] > all_pairs(10)[:, 0]]
)
def test_extreme_answers_give_finite_numbers(choices: np.ndarray) -> None:
    seen = psychometric.fit(all_pairs(10), choices.astype(int))
    numbers = [seen.side_bias, *seen.side_bias_ci95, seen.lapse, *seen.lapse_ci95, *seen.noise_ceiling_ci95]
    assert np.isfinite(numbers).all() and seen.side_bias_ci95[0] < seen.side_bias_ci95[1]


def test_few_trials_of_images_shown_once_invent_no_lapses() -> None:
    """A spurious mode at a huge spread once made 0.15 of a lapse rate of 0, and +0.1 of a side bias of +1."""
    pairs, runs = np.arange(200).reshape(-1, 2), simulations(5, 40)
    seen = [estimated(seed, 1.0, 0.0, pairs, spread=1.0) for seed in range(runs)]
    assert sum(one.lapse_ci95[0] < 0.01 for one in seen) >= runs - most(runs)
    assert sum(one.side_bias_ci95[0] <= 1.0 <= one.side_bias_ci95[1] for one in seen) >= runs - most(runs)
    assert np.mean([one.side_bias for one in seen]) == pytest.approx(1.0, abs=0.5)


def test_a_coin_flipper_may_be_one() -> None:
    """The prior of the spread once kept the ceiling's interval above 0.52, whatever the choices."""
    seen = [estimated(seed, 0.0, 0.0, all_pairs(50), spread=0.0) for seed in range(4)]
    assert np.mean([one.noise_ceiling for one in seen]) < 0.545
    assert sum(one.noise_ceiling_ci95[0] == 0.5 for one in seen) >= 3
    assert all(one.lapse_ci95[0] == 0 for one in seen), "no lapses is among what is possible"


def test_a_coin_flipper_may_be_one_though_each_image_is_shown_once() -> None:
    """The least of the draws was once taken for the least that may be: of 100 such intervals, 12 began above 0.5."""
    pairs, runs = np.arange(400).reshape(-1, 2), simulations(8, 60)
    seen = [estimated(seed, 0.0, 0.0, pairs, spread=0.0) for seed in range(runs)]
    assert sum(one.noise_ceiling_ci95[0] > 0.5 for one in seen) <= most(runs)
    assert sum(one.taste_ceiling_ci95[0] > 0.5 for one in seen) <= most(runs)


def test_a_side_presser_has_the_ceiling_of_the_side() -> None:
    seen = estimated(0, 1.0, 0.0, all_pairs(50), spread=0.0)
    assert 0.65 < seen.noise_ceiling_ci95[0] < expit(1.0) < seen.noise_ceiling_ci95[1] < 0.8
    assert seen.taste_ceiling_ci95[0] == 0.5, "of which nothing is taste"


@pytest.mark.parametrize(
    ("spread", "side_bias", "lapse"), [(1.0, 2.0, 0.0), (1.5, 0.5, 0.1), (0.0, 1.0, 0.0)]
)
def test_the_ceiling_of_taste_leaves_the_side_bias_out(spread: float, side_bias: float, lapse: float) -> None:
    pairs, errors, inside = all_pairs(50), [], 0
    runs = simulations(3, 40)
    for seed in range(runs):
        random = np.random.default_rng(seed)  # as `estimated` draws them
        worth = random.normal(0, spread, size=50)
        difference = worth[pairs[:, 1]] - worth[pairs[:, 0]]
        p_right = lapse / 2 + (1 - lapse) * expit(difference + side_bias)
        truth = float(np.where(difference > 0, p_right, 1 - p_right).mean()) if spread else 0.5
        seen = estimated(seed, side_bias, lapse, pairs, spread)
        low, high = seen.taste_ceiling_ci95
        inside += low <= truth <= high
        errors.append(seen.taste_ceiling - truth)
        assert seen.taste_ceiling < seen.noise_ceiling
    assert inside >= runs - most(runs)
    assert spread == 0 or abs(np.mean(errors)) < 0.02


def test_what_is_told_apart_depends_on_pairs_and_not_on_what_images_are_called() -> None:
    pairs = all_pairs(12)
    renamed = np.random.default_rng(0).permutation(40)[:12][pairs]
    choices = (np.arange(len(pairs)) % 3 == 0).astype(int)
    assert psychometric.fit(renamed, choices).noise_ceiling == pytest.approx(
        psychometric.fit(pairs, choices).noise_ceiling, abs=0.01
    )


def test_pairs_in_company_are_followed_whether_or_not_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of images, in which some pairs are shown twice: no pair has nothing to do with the rest."""
    chain = np.column_stack([np.arange(14), np.arange(1, 15)])
    pairs = np.concatenate([chain, chain[::2, ::-1], chain[::4]])
    choices = (np.arange(len(pairs)) % 3 > 0).astype(int)
    whole = psychometric.fit(pairs, choices)
    monkeypatch.setattr(psychometric, "_DIRECTIONS", 14)  # all that a chain has, but not as images
    turned = psychometric.fit(pairs, choices)
    numbers = [(one.side_bias, one.lapse, one.noise_ceiling, one.spread) for one in (whole, turned)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.02)


def test_a_logistic_is_the_mixture_that_stands_for_it() -> None:
    logits, variance = np.linspace(-8, 8, 201), np.linspace(0, 9, 201)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    means = [
        expit(mean + np.sqrt(spread) * nodes) @ weights / weights.sum()
        for mean, spread in zip(logits, variance, strict=True)
    ]
    found, slope, bend = expectation_propagation._log_likelihood(logits, variance, 0.0)
    np.testing.assert_allclose(np.exp(found), means, rtol=1e-3)
    ahead, _, _ = expectation_propagation._log_likelihood(logits + 1e-4, variance, 0.0)
    back, _, _ = expectation_propagation._log_likelihood(logits - 1e-4, variance, 0.0)
    np.testing.assert_allclose(slope, (ahead - back) / 2e-4, atol=1e-6)
    np.testing.assert_allclose(bend, -(ahead - 2 * found + back) / 1e-8, atol=1e-5)


def test_a_side_presser_s_bias_is_in_its_interval() -> None:
    """Lapses could hide a larger bias: an interval with equal tails began above the truth too often."""
    runs = simulations(6, 60)
    seen = [estimated(seed, 1.0, 0.0, all_pairs(20), spread=0.0) for seed in range(runs)]
    assert sum(one.side_bias_ci95[0] <= 1.0 <= one.side_bias_ci95[1] for one in seen) >= runs - most(runs)


@pytest.mark.parametrize(("offset", "lapse"), [(-4.0, 0.2), (-1.0, 0.05), (2.0, 0.1), (-4.0, 0.0)])
def test_an_unlikely_choice_can_make_a_logit_less_certain(offset: float, lapse: float) -> None:
    """As a lapse may explain it: once no trial could, and what was known seemed to be known better than it was."""
    one = expectation_propagation.Dense(np.ones((1, 1)))
    found = expectation_propagation.fit(one, np.ones(1), np.zeros(1), np.array([offset]), lapse)
    weights = np.linspace(-8, 8, 4001)
    masses = np.exp(-np.square(weights) / 2) * (lapse / 2 + (1 - lapse) * expit(offset + weights))
    mean = np.average(weights, weights=masses)
    variance = np.average(np.square(weights - mean), weights=masses)
    assert (found.mean[0], found.covariance[0, 0]) == pytest.approx((mean, variance), rel=0.01)
    assert (variance > 1) == (offset == -4.0 and lapse > 0)


def test_where_sites_find_no_rest_none_is_negative() -> None:
    """Six trials that only lapses explain, beginning where all of them together take away more than is known."""
    same, wide = expectation_propagation.Dense(np.ones((6, 1))), np.full(1, 100.0)
    unlikely, start = np.full(6, -30.0), np.array([np.full(6, -1.0), np.zeros(6)])
    found = expectation_propagation.fit(same, wide, np.zeros(6), unlikely, 0.3, start)
    assert np.isfinite(found.log_evidence) and (found.sites[0] > 0).all()
    assert 0 < found.covariance[0, 0] <= 100.0


def test_what_lies_between_lapse_rates_is_reckoned_to_the_nearest() -> None:
    """The rate of 0 once had twice its share."""
    density = psychometric._density(np.zeros(len(psychometric._LAPSES)))
    shares = psychometric._SHARES @ density
    assert shares.sum() == pytest.approx(1) and shares @ psychometric._LAPSES == pytest.approx(
        psychometric._lapse(density)[0]
    )
    assert shares[0] == pytest.approx(0.05, abs=0.005)


def test_how_often_the_right_is_chosen_says_nothing_of_how_much_utilities_differ() -> None:
    """With a prior of the side bias that did not know of utilities, 40 of 50 told 4.6 nats against larger ones."""
    pairs = np.arange(100).reshape(-1, 2)
    session = psychometric._session(pairs, (np.arange(50) < 40).astype(int), psychometric._NOTHING_KNOWN)
    evidence = [session.at(0.0, spread, None).posterior.log_evidence for spread in (-7.0, 0.0, 2.0, 4.0)]
    assert np.ptp(evidence) < 0.2
