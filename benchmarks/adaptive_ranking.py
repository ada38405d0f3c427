"""Simulated sessions for ``benchmarks.adaptive --rank``: how soon 50 cats are in the order that all pairs give."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit
from scipy.stats import kendalltau, norm

from catpref.adaptive.learner import learn
from catpref.adaptive.prior import Prior
from catpref.adaptive.selection import next_pair, unsure
from catpref.models import bradley_terry, learned
from catpref.models.kernels import Kernels

OWN = 0.6  # of the utility's standard deviation: what is an image's own, beside what is linear in its parameters
_LOGISTIC_SD = 1.7
_SWEEPS = 15


@dataclass(frozen=True)
class Ranked:
    """A few cats that are to be put in order, and their observer.

    Attributes
    ----------
    prior, kernels
        Of these images; the kernels are of all pairs of them.
    worth
        Their true utilities, in logits.
    all_pairs, all_choices
        Every pair, in random order and on random sides, and an answer to each.
    """

    prior: Prior
    kernels: Kernels
    worth: np.ndarray
    all_pairs: np.ndarray
    all_choices: np.ndarray


Order = Callable[[Ranked, np.ndarray, np.ndarray, int, int], tuple[int, int]]
"""Chooses left and right, given pairs, choices, seed and the number of the trial."""


def ask(ranked: Ranked, order: Order, trials: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs and choices of a session; a pair that comes again is answered anew."""
    random = np.random.default_rng([seed, 1])
    pairs, choices = np.empty((0, 2), int), np.empty(0)
    for trial in range(trials):
        left, right = order(ranked, pairs, choices, seed, trial)
        pairs = np.vstack([pairs, [left, right]])
        p_right = expit(ranked.worth[right] - ranked.worth[left])
        choices = np.append(choices, float(random.random() < p_right))
    return pairs, choices


def by_gain(weighed: bool) -> Order:
    """Return catpref's choice, with differences weighed by how unsure their sign is, or all alike."""

    def choose(
        ranked: Ranked, pairs: np.ndarray, choices: np.ndarray, seed: int, trial: int
    ) -> tuple[int, int]:
        posterior = learn(ranked.prior, pairs, choices)
        everything = np.arange(len(ranked.worth))
        to_know = unsure(ranked.prior, posterior) if weighed else None
        candidates = everything[~np.isin(everything, pairs[-1:])]
        return next_pair(ranked.prior, posterior, candidates, seed, trial, to_know)

    return choose


def at_random(
    ranked: Ranked, pairs: np.ndarray, choices: np.ndarray, seed: int, trial: int
) -> tuple[int, int]:
    """Return one of all pairs after the other, in random order."""
    left, right = ranked.all_pairs[trial % len(ranked.all_pairs)]
    return int(left), int(right)


def swiss(ranked: Ranked, pairs: np.ndarray, choices: np.ndarray, seed: int, trial: int) -> tuple[int, int]:
    """Return a pair of a Swiss tournament: in each round images meet that have won about as often.

    Nobody meets an opponent again before having met the others near them.
    """
    images = len(ranked.worth)
    in_round = images // 2
    start = trial // in_round * in_round
    won = np.zeros(images)
    winners = np.where(choices[:start] > 0.5, pairs[:start, 1], pairs[:start, 0])
    np.add.at(won, winners, 1)
    met = {frozenset(pair) for pair in pairs[:start].tolist()}
    tie_break = np.random.default_rng([seed, start]).random(images)
    waiting = np.lexsort([tie_break, -won]).tolist()
    matches: list[tuple[int, int]] = []
    while len(waiting) > 1:
        first = waiting.pop(0)
        fresh = (place for place, other in enumerate(waiting) if frozenset((first, other)) not in met)
        matches.append((first, waiting.pop(next(fresh, 0))))
    return matches[trial - start]


def asap(ranked: Ranked, pairs: np.ndarray, choices: np.ndarray, seed: int, trial: int) -> tuple[int, int]:
    """Return the pair with the greatest expected information about the scores, one pair at a time.

    References
    ----------
    Mikhailiuk et al. (2021). Active sampling for pairwise comparisons via approximate message passing and
    information gain maximization. ICPR 2020.
    """
    images = len(ranked.worth)
    mean, variance = trueskill(pairs, choices, images, float(np.var(ranked.worth)))
    left, right = np.triu_indices(images, 1)
    wide = variance[left] + variance[right] + _LOGISTIC_SD**2
    z = (mean[right] - mean[left]) / np.sqrt(wide)
    gain = np.zeros(len(left))
    for sign in (1.0, -1.0):
        p, ratio = norm.cdf(sign * z), _ratio(sign * z)
        taken = ratio * (ratio + sign * z)
        for own in (variance[left], variance[right]):
            new, moved = own * (1 - own / wide * taken), own / np.sqrt(wide) * ratio
            # Kullback and Leibler's divergence of the updated score from that before.
            gain += p * (np.log(own / new) + (new + np.square(moved)) / own - 1) / 2
    gain += 1e-9 * np.random.default_rng([seed, trial]).random(len(gain))
    best = int(np.argmax(gain))
    return int(left[best]), int(right[best])


def trueskill(
    pairs: np.ndarray, choices: np.ndarray, images: int, prior_variance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of each image's score by message passing (Herbrich, Minka & Graepel 2006)."""
    count = len(pairs)
    signs = 2 * choices - 1
    precision, shift = np.zeros((2, count, 2))  # messages to the left and right image
    for _ in range(_SWEEPS):
        total, total_shift = np.full(images, 1 / prior_variance), np.zeros(images)
        np.add.at(total, pairs, precision)
        np.add.at(total_shift, pairs, shift)
        without = total[pairs] - precision
        variance, mean = 1 / without, (total_shift[pairs] - shift) / without
        wide = variance.sum(1) + _LOGISTIC_SD**2
        z = signs * (mean[:, 1] - mean[:, 0]) / np.sqrt(wide)
        ratio = _ratio(z)
        taken = ratio * (ratio + z)
        moved = mean + variance * (signs * ratio / np.sqrt(wide))[:, None] * np.array([-1.0, 1.0])
        new = variance * (1 - variance / wide[:, None] * taken[:, None])
        wanted, wanted_shift = 1 / new - without, moved / new - mean * without
        precision, shift = (precision + wanted) / 2, (shift + wanted_shift) / 2
    total, total_shift = np.full(images, 1 / prior_variance), np.zeros(images)
    np.add.at(total, pairs, precision)
    np.add.at(total_shift, pairs, shift)
    return total_shift / total, 1 / total


def _ratio(z: np.ndarray) -> np.ndarray:
    return np.exp(norm.logpdf(z) - norm.logcdf(z))


ORDERS: dict[str, Order] = {
    "ours": by_gain(weighed=True),
    "ours, unweighed": by_gain(weighed=False),
    "random": at_random,
    "swiss": swiss,
    "asap": asap,
}


def taus(ranked: Ranked, pairs: np.ndarray, choices: np.ndarray) -> dict[str, float]:
    """Return Kendall's tau of the true order with that of the engine, of a fit, and of Bradley–Terry utilities."""
    engine = learn(ranked.prior, pairs, choices).utilities(ranked.prior)
    images = len(ranked.worth)
    against_first = np.column_stack([np.zeros(images, int), np.arange(images)])
    logits = bradley_terry.fit_and_predict(pairs, choices.astype(int), against_first)
    found = {"engine": engine, "fit": fitted(ranked.kernels, pairs, choices), "Bradley-Terry": logits}
    return {name: float(np.asarray(kendalltau(each, ranked.worth))[0]) for name, each in found.items()}


def fitted(kernels: Kernels, pairs: np.ndarray, choices: np.ndarray) -> np.ndarray:
    """Return the utilities of known images, as `catpref fit` ranks them, up to a constant."""
    asked = replace(kernels, images=pairs, pairs=pairs)
    taught = learned.learn(asked, choices, np.arange(len(pairs)))
    known = learned.of_known_images(taught, choices, lapse=0.0)
    gram = asked.gram(known.variances) + known.effect_variance * asked.effects()
    return gram @ known.span @ known.posterior.weights
