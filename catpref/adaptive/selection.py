"""Which pair to ask about next: the one whose answer is expected to make the differences between images surest.

An answer about a pair with feature difference x has the information h = E[p (1 − p)] under the posterior; it takes
h · xᵀΣTΣx / (1 + h · xᵀΣx) off the variance of the differences that are to be known, added up, where Σ is the
posterior covariance of the weights, and T the mean of the outer products of those differences (a Bayesian V-optimal
design). Unlike the most uncertain pair, or the most informative one about the weights (BALD), it is not drawn to
outliers, whose differences nothing else depends on.

References
----------
Chaloner & Verdinelli (1995). Bayesian experimental design: a review. Statistical Science 10(3).
Bickford Smith et al. (2023). Prediction-oriented Bayesian active learning. AISTATS.
"""

from functools import lru_cache

import numpy as np

from catpref.adaptive.learner import Posterior
from catpref.adaptive.prior import Prior

CANDIDATES = 300
"""Images among which the next pair is sought, drawn anew for each trial: 45,000 pairs."""

FEWEST_FRESH = 100
"""Images that were shown least often, of which there are at least so many to choose from."""

LOGISTIC_VARIANCE = 1.7**2
"""Of the normal distribution whose density is most like the derivative of the logistic function."""


@lru_cache(maxsize=1)
def spread(prior: Prior) -> np.ndarray:
    """Return the mean outer product of the feature differences of two images.

    Returns
    -------
    ndarray
        Shape (dimensions, dimensions).
    """
    own = prior.features - prior.features.mean(0)
    return 2 * (own.T @ own) / len(own)


def unsure(prior: Prior, posterior: Posterior) -> np.ndarray:
    """Return the mean outer product of feature differences, each weighed by how unsure the order of its images is.

    The weight is the posterior density of no difference: what is known of the images' order depends on little else.

    Returns
    -------
    ndarray
        Shape (dimensions, dimensions).
    """
    features = prior.features
    variance = _of_differences(features @ posterior.covariance[:-1, :-1] @ features.T)
    np.fill_diagonal(variance, 1)
    utilities = posterior.utilities(prior)
    weights = np.exp(-np.square(utilities[:, None] - utilities) / (2 * variance)) / np.sqrt(variance)
    np.fill_diagonal(weights, 0)
    return 2 * features.T @ (weights.sum(1)[:, None] * features - weights @ features) / len(features) ** 2


def least_shown(candidates: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the images that were shown least often, and of those shown once more as few as must be.

    An image has an appeal of its own, too: new images are learned of from many others rather than from a few.

    Parameters
    ----------
    candidates
        Images, as indices.
    times
        How often each image was shown, shape (images,).
    """
    most = np.sort(times[candidates])[:FEWEST_FRESH][-1]
    return candidates[times[candidates] <= most]


def next_pair(
    prior: Prior,
    posterior: Posterior,
    candidates: np.ndarray,
    seed: int,
    trial: int,
    to_know: np.ndarray | None = None,
) -> tuple[int, int]:
    """Choose the next pair; on which side an image stands is drawn.

    Parameters
    ----------
    prior, posterior
        What is known.
    candidates
        The images that may be shown, as indices, at least two.
    seed, trial
        They say what is drawn at random.
    to_know
        As for `expected_gains`.

    Returns
    -------
    tuple of int
        The left and the right image.
    """
    drawn = scrambled(len(prior.images), seed, trial)
    some = candidates[np.argsort(drawn[candidates], kind="stable")[:CANDIDATES]]
    gains = expected_gains(prior, posterior, some, to_know)
    first, second = sorted(divmod(int(np.argmax(gains)), len(some)))  # which of the two is first is rounding
    left, right = int(some[first]), int(some[second])
    # The numbers of the chosen images decide nothing but the sides.
    return (left, right) if (drawn[left] ^ drawn[right]) & 1 else (right, left)


def expected_gains(
    prior: Prior, posterior: Posterior, images: np.ndarray, to_know: np.ndarray | None = None
) -> np.ndarray:
    """Return what an answer about each pair is expected to take off the variance, −∞ for an image and itself.

    Parameters
    ----------
    prior, posterior
        What is known.
    images
        As indices.
    to_know
        Mean outer product of the differences that are to be known: `spread`, if it is None, or `unsure`.

    Returns
    -------
    ndarray
        Shape (images, images), symmetric.
    """
    features = prior.features[images]
    spread_out = features @ posterior.covariance[:-1, :-1]
    variance = _of_differences(spread_out @ features.T) + posterior.covariance[-1, -1]
    directions = spread(prior) if to_know is None else to_know
    taught = _of_differences(spread_out @ directions @ spread_out.T)
    utilities = prior.mean[images] + features @ posterior.weights
    gains = _gains(utilities[:, None] - utilities, variance, taught)
    np.fill_diagonal(gains, -np.inf)
    return gains


def expected_gains_of_pairs(prior: Prior, posterior: Posterior, pairs: np.ndarray) -> np.ndarray:
    """Return what an answer about each of some pairs is expected to take off the variance, shape (pairs,)."""
    left, right = pairs.T
    apart = prior.features[right] - prior.features[left]
    spread_out = apart @ posterior.covariance[:-1, :-1]
    variance = (spread_out * apart).sum(1) + posterior.covariance[-1, -1]
    taught = (spread_out @ spread(prior) * spread_out).sum(1)
    return _gains(prior.mean[right] - prior.mean[left] + apart @ posterior.weights, variance, taught)


def _gains(differences: np.ndarray, variance: np.ndarray, taught: np.ndarray) -> np.ndarray:
    wide = variance + LOGISTIC_VARIANCE
    information = np.exp(-np.square(differences) / (2 * wide)) / np.sqrt(2 * np.pi * wide)
    return information * taught / (1 + information * variance)


def _of_differences(products: np.ndarray) -> np.ndarray:
    """Return the squared norm of the difference of each two, by their inner products."""
    own = np.diag(products)
    return own[:, None] + own - 2 * products


def scrambled(images: int, seed: int, trial: int) -> np.ndarray:
    """Return a number for each image that looks drawn at random, the same in every language.

    Returns
    -------
    ndarray of uint32
        Shape (images,).

    References
    ----------
    Appleby (2011). MurmurHash3: the mixing at its end.
    """
    mixed = np.arange(images, dtype=np.uint32) * np.uint32(0x9E3779B1)
    for key in (seed, trial):
        mixed ^= np.uint32(key & 0xFFFFFFFF)
        mixed ^= mixed >> np.uint32(16)
        mixed *= np.uint32(0x85EBCA6B)
        mixed ^= mixed >> np.uint32(13)
        mixed *= np.uint32(0xC2B2AE35)
        mixed ^= mixed >> np.uint32(16)
    return mixed
