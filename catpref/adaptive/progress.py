"""How much of the accuracy that can be gained has been gained, as the posterior sees it."""

import numpy as np
from scipy.special import expit

from catpref.adaptive.learner import Posterior
from catpref.adaptive.prior import Prior

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(21)


def gained(prior: Prior, posterior: Posterior, pairs: np.ndarray) -> float:
    """Return the share of the accuracy above chance that is reached, of what knowing the taste would reach.

    A choice between two images is predicted with the probability that the posterior gives its sign; who knew
    the taste would predict each choice as often as it goes the way of the utilities.

    Parameters
    ----------
    prior, posterior
        What is known.
    pairs
        Pairs of images that no adaptive trial shows, as indices, shape (pairs, 2).

    Returns
    -------
    float
        From 0 to 1.
    """
    mean, sd = differences_of(prior, posterior, pairs)
    reached = np.abs(expected_p_right(mean, sd) - 0.5).mean()
    logits = mean[:, None] + sd[:, None] * _NODES
    known = (np.abs(expit(logits) - 0.5) @ (_WEIGHTS / _WEIGHTS.sum())).mean()
    return float(reached / known) if known > 0 else 0.0


def expected_p_right(mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Return P(right), side bias set aside, averaged over what is not known of utility differences."""
    return expit(mean / np.sqrt(1 + np.pi / 8 * np.square(sd)))


def differences_of(prior: Prior, posterior: Posterior, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the utility differences of pairs, right minus left."""
    left, right = np.asarray(pairs, int).T
    apart = prior.features[right] - prior.features[left]
    mean = prior.mean[right] - prior.mean[left] + apart @ posterior.weights
    variance = np.einsum("pd,pd->p", apart @ posterior.covariance[:-1, :-1], apart)
    return mean, np.sqrt(np.maximum(variance, 0))
