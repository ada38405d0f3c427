"""The noise ceiling: the best accuracy to expect of any model of an observer who is not always consistent."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, solve_triangular
from scipy.special import expit

from catpref.models import laplace

LEAST_REPEATS = 10
MOST_KNOWN_IMAGES = 500  # of which a Bradley–Terry model is fitted


@dataclass(frozen=True)
class NoiseCeiling:
    """The best accuracy to expect of any model, and how it was found; both None when unknown."""

    accuracy: float | None
    method: str | None


def noise_ceiling(
    pairs: np.ndarray, choices: np.ndarray, known: float | None = None, observers: np.ndarray | None = None
) -> NoiseCeiling:
    """Find how well the observer's choices could be predicted at all.

    In this order: what a simulated observer says of itself; the observer's agreement with itself on pairs shown
    twice; a Bradley–Terry model of a session that shows each image often; unknown.

    Parameters
    ----------
    pairs
        Left and right image of each trial as indices, shape (trials, 2).
    choices
        0 = left, 1 = right, shape (trials,).
    known
        What the session says of its own ceiling.
    observers
        Who answered each trial, shape (trials,); None means one observer.
    """
    if known is not None:
        return NoiseCeiling(known, "known (simulated observer)")
    agreements = _agreements(pairs, choices, np.zeros(len(pairs), int) if observers is None else observers)
    if len(agreements) >= LEAST_REPEATS:
        # An observer who prefers one image with probability q agrees with themselves with q² + (1 − q)².
        agreement = max(float(agreements.mean()), 0.5)
        accuracy = (1 + np.sqrt(2 * agreement - 1)) / 2
        return NoiseCeiling(
            float(accuracy), f"self-agreement on {len(agreements)} repeated trials (upper bound)"
        )
    images = int(pairs.max()) + 1
    if len(pairs) >= 5 * images and images <= MOST_KNOWN_IMAGES:
        return NoiseCeiling(_bradley_terry_ceiling(pairs, choices), "Bradley–Terry model of these images")
    return NoiseCeiling(None, None)


def _agreements(pairs: np.ndarray, choices: np.ndarray, observers: np.ndarray) -> np.ndarray:
    """Say for each pair that an observer saw at least twice whether the first two answers named the same image."""
    preferred = pairs[np.arange(len(pairs)), choices]
    first: dict[tuple[object, int, int], int] = {}
    agreements, compared = [], set()
    couples = np.sort(pairs, axis=1).tolist()
    for observer, (low, high), image in zip(observers.tolist(), couples, preferred.tolist(), strict=True):
        couple = (observer, low, high)
        if couple in first and couple not in compared:
            agreements.append(first[couple] == image)
            compared.add(couple)
        first.setdefault(couple, image)
    return np.array(agreements)


def _bradley_terry_ceiling(pairs: np.ndarray, choices: np.ndarray) -> float:
    """Average max(P, 1 − P) over the trials and over the posterior of one utility an image and of the side bias."""
    utilities, biases = known_image_posterior(pairs, choices, draws=200)
    logits = utilities[pairs[:, 1]] - utilities[pairs[:, 0]] + biases
    return float(expit(np.abs(logits)).mean())


def known_image_posterior(
    pairs: np.ndarray, choices: np.ndarray, draws: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one utility an image, shape (images, draws), and the side bias, shape (draws,), from their posterior."""
    trials = np.arange(len(pairs))
    differences = np.zeros((len(pairs), int(pairs.max()) + 1))
    differences[trials, pairs[:, 1]] += 1
    differences[trials, pairs[:, 0]] -= 1
    posterior = laplace.fit(differences, choices)
    factor, lower = cho_factor(posterior.precision)
    noise = np.random.default_rng(0).standard_normal((len(factor), draws))
    drawn = solve_triangular(factor, noise, lower=lower)
    utilities = posterior.weights[:, None] + np.sqrt(posterior.prior_variance) * drawn[:-1]
    return utilities, posterior.side_bias + np.sqrt(laplace.BIAS_VARIANCE) * drawn[-1]
