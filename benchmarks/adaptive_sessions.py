"""Simulated adaptive sessions for `benchmarks.adaptive`: whose taste, which pairs are asked, what has been learned.

Whatever chose the pairs, the same learner judges them: the signed utility as ``catpref fit`` learns it, on the whole
embedding, with relevances learned anew from all trials of the session. Only the gain is left out, which multiplies
all utilities and so changes no order. It predicts pairs of new images, and P(right) of these is known, so that its
expected accuracy can be computed without drawing choices.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array
from scipy.special import expit

from benchmarks.validity_sessions import Cats, Design, Row, worth_of
from benchmarks.validity_sessions import Observer as _Linear
from catpref.adaptive.learner import Posterior, learn
from catpref.adaptive.prior import Prior
from catpref.adaptive.selection import expected_gains_of_pairs, next_pair, scrambled
from catpref.models import learned
from catpref.models.kernels import Kernels, right_minus_left

EVERY = 5  # trials, as in a real session, one is a random pair of reserved images
UTILITY_SD = 1.5  # in logits, over images
_CANDIDATES = 300
_NEW_PAIRS = 1000


@dataclass(frozen=True)
class Observer:
    """How an observer answers.

    Attributes
    ----------
    name
        What results call it.
    worth
        Makes the utilities of all images, standardised, of the cats and a stream of random numbers.
    lapse, side_bias
        As in `catpref.design.simulated_observers`.
    changes
        After so many trials the taste is another one, which correlates with the former by about 0.5.
    """

    name: str
    worth: Callable[[Cats, np.random.Generator], np.ndarray]
    lapse: float = 0.0
    side_bias: float = 0.0
    changes: int | None = None


def _linear(cats: Cats, random: np.random.Generator) -> np.ndarray:
    return cats.parameters @ random.standard_normal(cats.parameters.shape[1])


def _carried(cats: Cats, random: np.random.Generator) -> np.ndarray:
    """Return what the embedding carries of a taste."""
    name = f"carried {random.integers(1 << 31)}"
    return worth_of(Row(Design("", "", 0, 0), _Linear(name, carried=1.0)), cats)


def _inverted_u(cats: Cats, random: np.random.Generator) -> np.ndarray:
    """Return a taste for a little more than usual of something, but not much more."""
    along = _linear(cats, random)
    return -np.square((along - along.mean()) / along.std() - 1)


OBSERVERS = (
    Observer("linear", _linear),
    Observer("carried", _carried),
    Observer("inverted U", _inverted_u),
    Observer("changing", _linear, changes=100),
    Observer("lapses", _linear, lapse=0.05),
    Observer("side bias", _linear, side_bias=0.3),
)


Judge = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class World:
    """What a session happens in.

    Attributes
    ----------
    cats
        All drawn cats.
    prior
        Of those that may be shown, which come first; the others are new.
    judge
        Predicts utility differences of new pairs, right minus left, given pairs, choices and the new pairs.
    components
        Leading principal components of the embedding, shape (images, components); for peers only.
    """

    cats: Cats
    prior: Prior
    judge: Judge
    components: np.ndarray | None = None

    @property
    def shown(self) -> int:
        """How many cats may be shown."""
        return len(self.prior.images)


def told(cats: Cats, shown: int) -> World:
    """Return a world whose prior is that of a linear observer's tastes, and whose judge is the engine itself."""
    features = UTILITY_SD * cats.parameters / np.sqrt(cats.parameters.shape[1])
    prior = Prior(tuple(cats.names[:shown]), features[:shown], np.zeros(shown), side_bias_variance=0.25)

    def judge(pairs: np.ndarray, choices: np.ndarray, new: np.ndarray) -> np.ndarray:
        return right_minus_left(features @ learn(prior, pairs, choices).weights, new)

    return World(cats, prior, judge)


Chooser = Callable[[np.ndarray, np.ndarray, np.ndarray, int, int], tuple[int, int]]
"""Chooses left and right of the next trial: given pairs, choices, candidates, seed and the number of the trial."""


def by_gain(prior: Prior) -> Chooser:
    """Return catpref's choice."""

    def choose(
        pairs: np.ndarray, choices: np.ndarray, candidates: np.ndarray, seed: int, trial: int
    ) -> tuple[int, int]:
        return next_pair(prior, learn(prior, pairs, choices), candidates, seed, trial)

    return choose


def by_uncertainty(prior: Prior) -> Chooser:
    """Return uncertainty sampling with the same learner: the pair whose P(right) is nearest to one half."""

    def choose(
        pairs: np.ndarray, choices: np.ndarray, candidates: np.ndarray, seed: int, trial: int
    ) -> tuple[int, int]:
        utilities = learn(prior, pairs, choices).utilities(prior)
        some = candidates[np.argsort(scrambled(len(prior.images), seed, trial)[candidates])[:_CANDIDATES]]
        unsure = np.abs(utilities[some][:, None] - utilities[some])
        np.fill_diagonal(unsure, np.inf)
        first, second = divmod(int(np.argmin(unsure)), len(some))
        return int(some[first]), int(some[second])

    return choose


def simulate(
    world: World,
    observer: Observer,
    choose: Chooser | None,
    seed: int,
    judged_after: Sequence[int],
    every: int | None = None,
) -> dict[int, float]:
    """Simulate a session, and return the expected accuracy on new images after some numbers of trials.

    Parameters
    ----------
    world, observer
        What is shown, and to whom.
    choose
        None shows random pairs, each image about as often as the others.
    seed
        Observers of the same seed have the same taste.
    judged_after
        Numbers of trials, the greatest of them last.
    every
        One trial in so many is a random pair of images that are reserved for such trials.
    """
    random = np.random.default_rng([seed, *observer.name.encode()])
    tastes = _tastes(world.cats, observer, random)
    new = np.arange(world.shown, len(world.cats.names))
    judge = random.choice(new, (_NEW_PAIRS, 2))
    judge = judge[judge[:, 0] != judge[:, 1]]
    order = random.permutation(world.shown)
    reserved, candidates = (
        (order[:0], order) if every is None else np.split(order, [2 * (judged_after[-1] // every)])
    )
    randoms = _endless_pairs(order if choose is None else reserved, random)
    pairs, choices, found = np.empty((0, 2), int), np.empty(0), {}
    for trial in range(judged_after[-1]):
        if choose is None or (every is not None and trial % every == every - 1):
            pair = next(randoms)
        else:
            free = candidates[~np.isin(candidates, pairs[-1:])]
            pair = choose(pairs, choices, free, seed, trial)
        worth = tastes[observer.changes is not None and trial >= observer.changes]
        p_right = observer.lapse / 2 + (1 - observer.lapse) * expit(
            worth[pair[1]] - worth[pair[0]] + observer.side_bias
        )
        pairs, choices = np.vstack([pairs, pair]), np.append(choices, float(random.random() < p_right))
        if trial + 1 in judged_after:
            truth = expit(right_minus_left(tastes[-1], judge))
            predicted = world.judge(pairs, choices, judge)
            found[trial + 1] = float((0.5 + np.sign(predicted) * (truth - 0.5)).mean())
    return found


def _tastes(cats: Cats, observer: Observer, random: np.random.Generator) -> list[np.ndarray]:
    """Return the utilities of all images before and after the taste changes, if it does."""

    def standardised(worth: np.ndarray) -> np.ndarray:
        return (worth - worth.mean()) / worth.std()

    first = standardised(observer.worth(cats, random))
    if observer.changes is None:
        return [UTILITY_SD * first]
    other = standardised(observer.worth(cats, random))
    return [UTILITY_SD * first, UTILITY_SD * standardised(0.5 * first + np.sqrt(0.75) * other)]


def _endless_pairs(images: np.ndarray, random: np.random.Generator) -> Iterator[np.ndarray]:
    while True:
        yield from random.permutation(images)[: len(images) // 2 * 2].reshape(-1, 2)


def predict(kernels: Kernels, pairs: np.ndarray, choices: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return the utility differences of new pairs, right minus left, as a fit to all trials predicts them.

    Parameters
    ----------
    kernels
        Over all images.
    pairs, choices
        The trials.
    new
        Other pairs of images, shape (pairs, 2).
    """
    every = np.vstack([pairs, new])
    of_these = _of_images(kernels, every)
    taught = learned.learn(of_these, np.append(choices, np.zeros(len(new))), np.arange(len(pairs)))
    return taught.differences[len(pairs) :] @ taught.posterior.weights


def _of_images(kernels: Kernels, pairs: np.ndarray) -> Kernels:
    """Return the kernels of other pairs of the same images."""
    shown, indices = np.unique(pairs, return_inverse=True)
    grams = kernels.grams[:, shown[:, None], shown] if len(kernels.grams) else kernels.grams
    return replace(
        kernels,
        images=pairs,
        pairs=indices.reshape(-1, 2),
        made_of=csr_array(np.eye(len(shown))),
        grams=grams,
        features=kernels.features[..., shown],
    )


def trials_needed(accuracy: Mapping[int, float], reached: float) -> float:
    """Return after how many trials an accuracy is reached, between those known by straight lines; ∞ if never."""
    before = (0, 0.5)
    for after in sorted(accuracy.items()):
        if after[1] >= reached:
            share = (reached - before[1]) / (after[1] - before[1])
            return before[0] + share * (after[0] - before[0])
        before = after
    return float("inf")


@dataclass(frozen=True)
class Person:
    """A real observer: trials whose answers are known, and others of new images, to judge on."""

    name: str
    pairs: np.ndarray
    choices: np.ndarray
    new: np.ndarray
    new_choices: np.ndarray


def replay(
    person: Person, prior: Prior, kernels: Kernels, adaptive: bool, seed: int, judged_after: Sequence[int]
) -> dict[int, float]:
    """Ask a real observer's known trials in an order, and return the accuracy on new images after some of them.

    Of an adaptive session every fifth trial is drawn at random among those not asked yet.
    """
    left = np.random.default_rng(seed).permutation(len(person.pairs))
    asked, found = np.empty(0, int), {}
    for trial in range(judged_after[-1]):
        place = 0
        if adaptive and trial % EVERY != EVERY - 1:
            posterior: Posterior = learn(prior, person.pairs[asked], person.choices[asked])
            place = int(np.argmax(expected_gains_of_pairs(prior, posterior, person.pairs[left])))
        asked, left = np.append(asked, left[place]), np.delete(left, place)
        if trial + 1 in judged_after:
            predicted = predict(kernels, person.pairs[asked], person.choices[asked], person.new)
            hits = np.where(predicted == 0, 0.5, (predicted > 0) == (person.new_choices > 0.5))
            found[trial + 1] = float(hits.mean())
    return found
