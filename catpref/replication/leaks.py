"""Lists whose sides are given out anew, to see what images that keep to one side give away, and to whom."""

from typing import NamedTuple

import numpy as np
from sklearn.linear_model import RidgeClassifierCV

from catpref.design.splits import Fold, split
from catpref.errors import BadInput
from catpref.evaluation import scores
from catpref.models.bradley_terry import fit_and_predict
from catpref.replication.results import AT_RANDOM, HALVES, ORDER, Answers, Sidedness

_LEAKS = ((AT_RANDOM, "trials"), (ORDER, "trials"), (HALVES, "trials"), (HALVES, "images"))
_LEAST_CROSSING = 100  # pairs of an image of the one half with one of the other, to show a leak with
_FOLDS = {"trials": 5, "images": 3}  # one of which is the test
_DRAWS = 1000  # of sides
_PENALTIES = np.logspace(-3, 1, 9)  # of a linear reader of maps with unit spread


def sidedness(pairs: np.ndarray, seed: int) -> Sidedness | None:
    """Compare the sides of a list with sides drawn at random; None where each image is shown once."""
    shown = np.bincount(pairs.ravel())
    if shown.max() == 1:
        return None

    def part(left: np.ndarray) -> float:
        count = np.bincount(left, minlength=len(shown))
        return float(np.maximum(count, shown - count).sum() / shown.sum())

    random = np.random.default_rng(seed)
    rows = np.arange(len(pairs))
    drawn = np.array([part(pairs[rows, random.integers(0, 2, len(pairs))]) for _ in range(_DRAWS)])
    here = part(pairs[:, 0])
    return Sidedness(here, float(drawn.mean()), float((1 + (drawn >= here).sum()) / (1 + _DRAWS)))


class Arrangement(NamedTuple):
    """Some trials with sides given out anew; the same faces stay chosen."""

    sides: str
    split: str
    trials: np.ndarray
    pairs: np.ndarray
    choices: np.ndarray
    fold: Fold


def arrange(answers: Answers, random: np.random.Generator, seed: int) -> list[Arrangement]:
    """Assign the sides at random, by a list's order, and so that each image is on one side.

    By a list's order, an image is on the left of all that come after it, as where two loops over a list of images
    write down the pairs. Of those pairs, the ones of an image of the first half with one of the second have each
    image on one side always. Of two images that win about equally often, one comes into either half, since
    otherwise a side would win, and who knows no image would predict that.

    Returns
    -------
    list of Arrangement
        Nothing where too few trials share images.
    """
    images = len(answers.paths)
    wins = np.bincount(answers.pairs[np.arange(len(answers.pairs)), answers.choices], minlength=images)
    couples = np.array_split(np.argsort(wins), images // 2)
    first = np.zeros(images, bool)
    first[[random.choice(couple) for couple in couples]] = True
    place = random.random(images) + ~first
    left, right = place[answers.pairs].T
    crossing = np.flatnonzero(first[answers.pairs].sum(1) == 1)
    if len(crossing) < _LEAST_CROSSING:
        return []
    arranged = []
    for sides, by in _LEAKS:
        swap = random.random(len(left)) < 0.5 if sides == AT_RANDOM else left > right
        trials = crossing if sides == HALVES else np.arange(len(left))
        pairs = np.where(swap[:, None], answers.pairs[:, ::-1], answers.pairs)[trials]
        choices = np.where(swap, 1 - answers.choices, answers.choices)[trials]
        try:
            fold = split(pairs, by, _FOLDS[by], seed)[0]
        except BadInput:  # almost every image is in one trial only
            return []
        arranged.append(Arrangement(sides, by, trials, pairs, choices, fold))
    return arranged


def recognised(pairs: np.ndarray, choices: np.ndarray, fold: Fold) -> float:
    """Return the accuracy on the test trials of one who knows, from the training trials, who wins."""
    train, test = fold
    p_right = fit_and_predict(pairs[train], choices[train], pairs[test])
    return float(scores.hits_of(p_right, choices[test]).mean())


def linear_reader(maps: np.ndarray, choices: np.ndarray, fold: Fold) -> np.ndarray:
    """Answer the test trials by ridge regression on the maps' pixels, its penalty chosen in the training trials."""
    train, test = fold
    pixels = maps.reshape(len(maps), -1) / maps.shape[1]
    return RidgeClassifierCV(_PENALTIES).fit(pixels[train], choices[train]).predict(pixels[test]) == 1
