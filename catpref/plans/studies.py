"""One simulated study: people answer, a model learns from them as in a fit, and what comes out is kept as numbers."""

import time
from typing import NamedTuple

import numpy as np

from catpref.adaptive import learner
from catpref.adaptive.schedule import EVERY
from catpref.adaptive.selection import next_pair
from catpref.design import incomplete
from catpref.design.designs import all_pairs, balance_sides, random_pairs
from catpref.design.splits import Fold, split
from catpref.design.trial_list import ADAPTIVE, FULL, INCOMPLETE, RANDOM
from catpref.evaluation.analysis import is_above_chance, repeats_of
from catpref.evaluation.cross_validation import Result, cross_validate, scores_of
from catpref.evaluation.people import CrossedSampling, agreements_of
from catpref.evaluation.sampling import simulate as simulate_sampling
from catpref.models import psychometric, shared_taste
from catpref.models.adaptive_prior import prior_of_anybody
from catpref.models.interface import Data
from catpref.models.learned import learn
from catpref.models.population import POPULATION
from catpref.models.utility import UTILITY
from catpref.plans.observers import Habits, People, draw_people
from catpref.plans.world import World

NEW_IMAGES = 100
"""Of the images that nobody saw, the most that are to be predicted."""

FEWEST_NEW = 20

_NEW_PAIRS = 400
_FOLDS = 5


class Cell(NamedTuple):
    """A study that might be done, and the people it might find.

    Attributes
    ----------
    design
        A design of `catpref.design.trial_list`.
    trials, images
        Of each person; the images are the same for all.
    people
        How many.
    noise
        What the people's differences of utility are divided by.
    """

    design: str
    trials: int
    images: int
    people: int
    noise: float

    @property
    def cost(self) -> float:
        """A rough measure of how long one takes to simulate, to compare it with others."""
        return self.people * (self.trials + self.images) + 300.0


class Study(NamedTuple):
    """What came out of one simulated study.

    Attributes
    ----------
    accuracy, low, high
        What a report would say: accuracy on held-out images, and its 95% interval.
    above
        Whether the report would call it above chance, 0 or 1.
    new
        Expected accuracy of the model of all trials, on pairs of images that nobody saw.
    best
        That of one who knows all that the embedding carries of the tastes.
    ceiling
        That of one who knows the utilities.
    agreement, agreement_found
        Mean correlation of two people's utilities, of the images shown and of new ones, and what the model says of
        it; NaN for one person.
    seconds
        What the study took to simulate.
    """

    accuracy: float
    low: float
    high: float
    above: float
    new: float
    best: float
    ceiling: float
    agreement: float
    agreement_found: float
    seconds: float

    @property
    def gain(self) -> float:
        """Accuracy over chance on new images, as a part of what knowing all that the embedding carries gives."""
        return (self.new - 0.5) / (self.best - 0.5)


class Setting(NamedTuple):
    """What all studies of a plan have in common."""

    world: World
    habits: Habits
    seed: int


def simulate(setting: Setting, of: tuple[Cell, int]) -> Study:
    """Simulate a study, given its cell and its number, of which alone its random numbers depend."""
    started = time.perf_counter()
    cell, number = of
    world = setting.world
    name = f"{cell.design} {cell.trials} {cell.images} {cell.people} {cell.noise:g}"
    random = np.random.default_rng([*name.encode(), number, setting.seed])
    order = random.permutation(len(world))
    shown, new = order[: cell.images], order[cell.images :][:NEW_IMAGES]
    people = draw_people(setting.habits.noisier(cell.noise), world, cell.people, random)
    sessions = [_session(cell, world, shown, people, one, random) for one in range(cell.people)]
    who = np.repeat(np.arange(cell.people), [len(pairs) for pairs, _ in sessions])
    pairs, choices = (np.concatenate(parts) for parts in zip(*sessions, strict=True))
    seed = int(random.integers(2**31))
    new_pairs = _pairs_of_new(new, random)
    splits = _splits(cell, pairs, seed)
    if cell.people == 1:
        found = _of_one(world, pairs, choices, splits, new_pairs, seed)
    else:
        found = _of_several(world, who, pairs, choices, splits[0], new_pairs, seed)
    accuracies = _on_new_images(people, new_pairs, found.favoured)
    agreement = _mean_agreement(people.agreements(np.append(shown, new))) if cell.people > 1 else np.nan
    scores = scores_of(found.result)
    return Study(
        scores.accuracy, *scores.accuracy_ci95, float(is_above_chance(scores)), *accuracies, agreement,
        found.agreement, time.perf_counter() - started,
    )  # fmt: skip


def _session(
    cell: Cell, world: World, shown: np.ndarray, people: People, one: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Let one person answer: the images of each trial, shape (trials, 2), and the choices."""

    def answer(pairs: np.ndarray) -> np.ndarray:
        p_right = people.p_right(np.full(len(pairs), one), pairs)
        return (random.random(len(pairs)) < p_right).astype(int)

    if cell.design != ADAPTIVE:
        pairs = shown[_pairs(cell, random)]
        return pairs, answer(pairs)
    judged = cell.trials // EVERY
    asked, reserved = np.split(shown, [cell.images - 2 * judged])
    prior = prior_of_anybody([str(image) for image in asked], world.features[asked], world.blocks)
    pairs, choices, seed = np.empty((0, 2), int), np.empty(0, int), int(random.integers(2**31))
    for trial in range(cell.trials - judged):
        posterior = learner.learn(prior, pairs, choices)
        pairs = np.vstack([pairs, next_pair(prior, posterior, np.arange(len(asked)), seed, trial)])
        choices = np.append(choices, answer(asked[pairs[-1:]]))
    of_judged = random.permutation(reserved).reshape(-1, 2)
    return np.vstack([asked[pairs], of_judged]), np.append(choices, answer(of_judged))


def _splits(cell: Cell, pairs: np.ndarray, seed: int) -> list[list[Fold]]:
    """Return the folds of each cross-validation; of an adaptive session, the trials that it is judged by."""
    if cell.design == ADAPTIVE:
        judged = np.arange(len(pairs)) % cell.trials >= cell.trials - cell.trials // EVERY
        return [[(np.flatnonzero(~judged), np.flatnonzero(judged))]]
    images, places = np.unique(pairs, return_inverse=True)
    # Several people's trials are so many that they are cross-validated once.
    repeats = repeats_of(len(images)) if cell.people == 1 else 1
    return [split(places.reshape(-1, 2), "images", _FOLDS, seed + repeat) for repeat in range(repeats)]


def _pairs(cell: Cell, random: np.random.Generator) -> np.ndarray:
    """Draw one person's pairs of the images 0 … `cell.images` − 1, shape (trials, 2); their order plays no part."""
    if cell.design == RANDOM:
        return np.array(random_pairs(cell.images, random))
    chosen = {
        FULL: lambda: all_pairs(cell.images),
        INCOMPLETE: lambda: incomplete.balanced_subset(cell.images, cell.trials, random),
    }[cell.design]()
    return np.array(balance_sides(chosen, random))


def _pairs_of_new(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    left = random.integers(len(images), size=_NEW_PAIRS)
    right = (left + random.integers(1, len(images), size=_NEW_PAIRS)) % len(images)
    return images[np.column_stack([left, right])]


class _Found(NamedTuple):
    """What a model made of the answers.

    Attributes
    ----------
    result
        Of its cross-validation.
    favoured
        Whether each person is predicted to take the right in each pair of new images, 1 or −1, shape (people, pairs).
    agreement
        Of two people, on average.
    """

    result: Result
    favoured: np.ndarray
    agreement: float


def _of_one(
    world: World,
    pairs: np.ndarray,
    choices: np.ndarray,
    splits: list[list[Fold]],
    new: np.ndarray,
    seed: int,
) -> _Found:
    """Learn one person's utility, as `catpref.evaluation.analysis.analyse` does."""
    data = _data(world, pairs, choices, seed)
    observer = psychometric.fit(data.pairs, choices)
    folds = [fold for each in splits for fold in each]
    sampling = simulate_sampling(data.components, data.pairs, folds, observer, seed)
    result = cross_validate(UTILITY, data, splits, sampling)
    everything = _data(world, np.vstack([pairs, new]), np.append(choices, np.zeros(len(new), int)), seed)
    known = np.arange(len(pairs))
    taste, _ = learn(everything.kernels, everything.choices, known, seed).moments(
        len(pairs) + np.arange(len(new)), side_bias=False
    )
    return _Found(result, np.sign(taste)[None], np.nan)


def _of_several(
    world: World,
    who: np.ndarray,
    pairs: np.ndarray,
    choices: np.ndarray,
    folds: list[Fold],
    new: np.ndarray,
    seed: int,
) -> _Found:
    """Learn a shared taste and departures from it, as `catpref.evaluation.several.analyse_several` does."""
    count = int(who.max()) + 1
    data = _data(world, pairs, choices, seed, who)
    rows = np.concatenate([test for _, test in folds])
    result = cross_validate(POPULATION, data, [folds], CrossedSampling(who[rows], data.pairs[rows]))
    of_all = np.append(who, np.repeat(np.arange(count), len(new)))
    unknown = np.zeros(count * len(new), int)
    everything = _data(
        world, np.vstack([pairs, np.tile(new, (count, 1))]), np.append(choices, unknown), seed, of_all
    )
    known = np.arange(len(pairs))
    learned = shared_taste.learn(everything.kernels, of_all, everything.choices, known, how_sure=False)
    taste, _ = learned.moments(len(pairs) + np.arange(len(unknown)))
    return _Found(result, np.sign(taste).reshape(count, -1), _mean_agreement(agreements_of(learned)[1]))


def _data(
    world: World, pairs: np.ndarray, choices: np.ndarray, seed: int, who: np.ndarray | None = None
) -> Data:
    """Return trials as models read them, of the images in them."""
    images, places = np.unique(pairs, return_inverse=True)
    return Data(world.some(images), places.reshape(-1, 2), choices, who=who, seed=seed)


def _on_new_images(people: People, pairs: np.ndarray, favoured: np.ndarray) -> tuple[float, float, float]:
    """Return the expected accuracy of predictions, of what the embedding carries, and of the utilities themselves."""
    count = len(favoured)
    who, shown = np.repeat(np.arange(count), len(pairs)), np.tile(pairs, (count, 1))
    advantage = people.p_right(who, shown).reshape(favoured.shape) - 0.5
    left, right = pairs.T
    signs = (favoured, *(np.sign(of[:, right] - of[:, left]) for of in (people.carried, people.utilities)))
    new, best, ceiling = (float(0.5 + (sign * advantage).mean()) for sign in signs)
    return new, best, ceiling


def _mean_agreement(agreements: np.ndarray) -> float:
    count = len(agreements)
    return float((agreements.sum() - np.trace(agreements)) / (count * (count - 1)))
