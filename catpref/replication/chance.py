"""Choices of observers who know nothing of these images: what a network that knows nothing, either, comes up to."""

import numpy as np
from scipy.linalg import cho_factor, solve_triangular
from scipy.special import expit
from scipy.stats import binomtest

from catpref.evaluation.resampling import resampled
from catpref.models import laplace
from catpref.models.kernels import right_minus_left

UNRELATED = 999
_BOOTSTRAPS = 2000
_MOST_KNOWN_IMAGES = 500  # of which a Bradley–Terry model is fitted


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
    if images > _MOST_KNOWN_IMAGES or len(np.unique(pairs)) == 2 * len(pairs):
        return random.permuted(np.tile(choices.astype(np.int8), (observers, 1)), axis=1)
    utilities, biases = _known_image_posterior(pairs, choices, observers)
    utilities = random.permuted(utilities, axis=0)
    p_right = expit(utilities[pairs[:, 1]] - utilities[pairs[:, 0]] + biases)
    return (random.random(p_right.shape) < p_right).astype(np.int8).T


def _known_image_posterior(
    pairs: np.ndarray, choices: np.ndarray, draws: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one utility an image, shape (images, draws), and the side bias, shape (draws,), from their posterior."""
    differences = right_minus_left(np.eye(int(pairs.max()) + 1), pairs)
    posterior = laplace.fit(differences, choices)
    factor, lower = cho_factor(posterior.precision)
    noise = np.random.default_rng(0).standard_normal((len(factor), draws))
    drawn = solve_triangular(factor, noise, lower=lower)
    utilities = posterior.weights[:, None] + np.sqrt(posterior.prior_variance) * drawn[:-1]
    return utilities, posterior.side_bias + np.sqrt(laplace.BIAS_VARIANCE) * drawn[-1]


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


def p_value(answers: np.ndarray, choices: np.ndarray, unrelated: np.ndarray) -> float:
    """Return how often unrelated observers are predicted at least as accurately.

    Parameters
    ----------
    answers
        What was predicted, 1 for the right, shape (trials,).
    choices
        0 = left, 1 = right, shape (trials,).
    unrelated
        From `unrelated_choices`, shape (observers, trials).
    """
    by_chance = (unrelated == answers).sum(1)
    return float((1 + (by_chance >= (choices == answers).sum()).sum()) / (1 + len(unrelated)))
