"""How good predictions are, how sure one can be of that, and how good they could be."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from scipy.stats import binomtest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from catpref.design.splits import connected_groups
from catpref.evaluation.noise_ceiling import MOST_KNOWN_IMAGES, known_image_posterior

_BOOTSTRAPS = 2000
_LEAST_GROUPS = 20
_LEAST_FOLD = 10  # trials, of which a model that works would hardly say the same side of all
UNRELATED = 999
_BINS = 10


@dataclass(frozen=True)
class Scores:
    """How predictions did on held-out trials.

    Attributes
    ----------
    accuracy
        Part of the choices predicted; a prediction of exactly one half counts as half a hit.
    accuracy_ci95
        95% interval of the accuracy.
    log_loss
        Mean −log P(what was chosen), in nats.
    brier
        Mean squared difference of P(right) and the choice.
    ece
        Expected calibration error over ten bins of P(right).
    auc
        Area under the ROC curve; None if only one side was chosen.
    collapsed
        Whether in most folds the model gave all trials the same answer; folds of few trials do not count, unless
        all are.
    p_value
        How often observers who know nothing of these images are predicted as well (`unrelated_choices`); None if
        not asked for.
    """

    accuracy: float
    accuracy_ci95: tuple[float, float]
    log_loss: float
    brier: float
    ece: float
    auc: float | None
    collapsed: bool
    p_value: float | None


def score(
    p_right: np.ndarray,
    choices: np.ndarray,
    pairs: np.ndarray,
    folds: np.ndarray,
    trials: np.ndarray | None = None,
    unrelated: np.ndarray | None = None,
    seed: int = 0,
) -> Scores:
    """Score predictions of held-out trials.

    Parameters
    ----------
    p_right
        Predicted P(right), shape (predictions,).
    choices
        0 = left, 1 = right, shape (predictions,).
    pairs
        The images of each trial as indices, shape (predictions, 2).
    folds
        Which fold each trial was held out in, shape (predictions,).
    trials
        Which trial each prediction is of, where some were held out more than once, shape (predictions,).
    unrelated
        What unrelated observers chose, shape (observers, predictions); see `unrelated_choices`.
    seed
        Seed of the bootstrap.
    """
    hit = hits_of(p_right, choices)
    names, sizes = np.unique(folds, return_counts=True)
    large = names[sizes >= min(_LEAST_FOLD, sizes.max())]
    sides = [np.unique(p_right[folds == fold] > 0.5).size for fold in large]
    accuracy = float(hit.mean())
    p_value = None
    if unrelated is not None:
        sure = p_right != 0.5
        by_chance = ((unrelated == 1) == (p_right > 0.5))[:, sure].sum(1) + 0.5 * (~sure).sum()
        p_value = float((1 + (by_chance >= hit.sum()).sum()) / (1 + len(unrelated)))
    return Scores(
        accuracy=accuracy,
        accuracy_ci95=accuracy_interval(hit, pairs, trials, seed),
        log_loss=float(log_loss(choices, np.clip(p_right, 1e-12, 1 - 1e-12), labels=[0, 1])),
        brier=float(brier_score_loss(choices, p_right)),
        ece=calibration_error(p_right, choices),
        auc=float(roc_auc_score(choices, p_right)) if np.unique(choices).size == 2 else None,
        collapsed=bool(np.mean(np.array(sides) == 1) > 0.5),
        p_value=p_value,
    )


def hits_of(p_right: np.ndarray, choices: np.ndarray) -> np.ndarray:
    """Return which choices were predicted, 1 or 0; a prediction of exactly one half is half a hit."""
    return np.where(p_right == 0.5, 0.5, (p_right > 0.5) == (choices == 1))


def accuracy_interval(
    hits: np.ndarray, pairs: np.ndarray, trials: np.ndarray | None = None, seed: int = 0
) -> tuple[float, float]:
    """Return the 95% interval of an accuracy.

    Where every image is in one trial only, trials are independent: Wilson's interval. Otherwise trials that
    share an image rise and fall together, and counting them as independent would flatter: see `resampled`. The
    interval is never narrower than Wilson's, which knows that a few trials without a miss are no proof.

    Parameters
    ----------
    hits
        1 for a hit, 0 for a miss, shape (predictions,).
    pairs
        The images of each trial as indices, shape (predictions, 2).
    trials
        Which trial each prediction is of, where some were held out more than once, shape (predictions,).
    seed
        Seed of the bootstrap.
    """
    once = np.arange(len(pairs)) if trials is None else np.unique(trials, return_index=True)[1]
    wilson = binomtest(round(float(hits.mean() * len(once))), len(once)).proportion_ci(method="wilson")
    if len(np.unique(pairs)) == 2 * len(once):
        return float(wilson.low), float(wilson.high)
    accuracies = [np.average(hits, weights=weights) for weights in resampled(pairs, _BOOTSTRAPS, seed)]
    low, high = np.quantile(accuracies, [0.025, 0.975])
    return min(float(low), float(wilson.low)), max(float(high), float(wilson.high))


def resampled(pairs: np.ndarray, draws: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Resample a session: how often each trial counts, in one draw after the other.

    Where trials fall into many groups that share no image, groups are drawn. Else images are, and each trial
    counts as often as both its images were drawn (the node bootstrap of dyadic data, Snijders & Borgatti 1999).

    Parameters
    ----------
    pairs
        The images of each trial as indices, shape (trials, 2).
    draws
        Number of draws; those in which no trial is left are not given.
    seed
        Seed of the draws.
    """
    images, indices = np.unique(pairs, return_inverse=True)
    left, right = indices.reshape(-1, 2).T
    group = connected_groups(indices.reshape(-1, 2))
    groups = int(group.max()) + 1
    units = groups if groups >= _LEAST_GROUPS else len(images)
    random = np.random.default_rng(seed)
    for _ in range(draws):
        drawn = np.bincount(random.integers(units, size=units), minlength=units)
        weights = drawn[group[left]] if units == groups else drawn[left] * drawn[right]
        if weights.any():
            yield weights


def unrelated_choices(
    pairs: np.ndarray, choices: np.ndarray, observers: int = UNRELATED, seed: int = 0
) -> np.ndarray:
    """Let observers choose who are as consistent as this one, but whose taste has nothing to do with the images.

    Choices that share an image depend on each other, so that shuffling them would not do. Instead a Bradley–Terry
    model of the session is drawn from its posterior, its utilities are shuffled among the images, and its choices
    are drawn: a parametric version of the permutation of nodes in dyadic data (QAP, Krackhardt 1988). The side
    bias stays. Where images are too many for such a model, or each is in one trial, the choices are shuffled.

    Parameters
    ----------
    pairs
        Left and right image of each trial as indices, shape (trials, 2).
    choices
        0 = left, 1 = right, shape (trials,).
    observers
        Number of such observers.
    seed
        Seed of all that is drawn.

    Returns
    -------
    ndarray of int8
        Their choices, shape (observers, trials).
    """
    random = np.random.default_rng(seed)
    images = int(pairs.max()) + 1
    if images > MOST_KNOWN_IMAGES or len(np.unique(pairs)) == 2 * len(pairs):
        return random.permuted(np.tile(choices.astype(np.int8), (observers, 1)), axis=1)
    utilities, biases = known_image_posterior(pairs, choices, observers)
    utilities = random.permuted(utilities, axis=0)
    p_right = expit(utilities[pairs[:, 1]] - utilities[pairs[:, 0]] + biases)
    return (random.random(p_right.shape) < p_right).astype(np.int8).T


def reliability(p_right: ArrayLike, choices: ArrayLike) -> np.ndarray:
    """Bin predictions by P(right) into tenths.

    Returns
    -------
    ndarray
        Shape (occupied bins, 3): mean P(right), proportion of right choices, number of trials.
    """
    p_right, choices = np.asarray(p_right), np.asarray(choices)
    bins = np.minimum((p_right * _BINS).astype(int), _BINS - 1)
    return np.array(
        [
            (p_right[bins == one].mean(), choices[bins == one].mean(), (bins == one).sum())
            for one in np.unique(bins)
        ]
    )


def calibration_error(p_right: np.ndarray, choices: np.ndarray) -> float:
    """Return the expected calibration error: the bins' |predicted − observed|, weighted by their trials."""
    predicted, observed, count = reliability(p_right, choices).T
    return float(np.average(np.abs(predicted - observed), weights=count))
