"""What several people's trials taught: variances of the population, everybody's utilities, and how sure they are."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.special import expit

from catpref.models import davidson
from catpref.models.kernels import Kernels, incidence_of, right_minus_left, squared_distances
from catpref.models.learned import moderated

_NORMAL = 1 / np.sqrt(2 * np.pi)
SCALE_SD = 0.5  # of the logarithm of people's scales
_FURTHEST = 0.5  # that a log scale moves in a step
_LEAST_PRECISION = 1e-6  # of a site
_NODES, _WEIGHTS = (each[:, None] for each in np.polynomial.hermite_e.hermegauss(24))


@dataclass(frozen=True)
class Variances:
    """Prior variances, in squared logits; those of the tastes are of an image with unit mean square.

    Attributes
    ----------
    shared, personal
        Of the taste that people share, and of each one's departure from it.
    shared_effect, personal_effect
        Of image effects.
    side_bias
        Of the people's side biases.
    late
        The part of the tastes' variances that late stages have, from 0 to 1; layers have the rest.
    """

    shared: float
    personal: float
    shared_effect: float
    personal_effect: float
    side_bias: float
    late: float

    def of_shared(self, taste: np.ndarray, effects: np.ndarray) -> np.ndarray:
        """Return prior covariances of shared utilities, given inner products within the embedding and of effects."""
        return self.shared * taste + self.shared_effect * effects

    def of_personal(self, taste: np.ndarray, effects: np.ndarray) -> np.ndarray:
        """Return prior covariances of a departure likewise."""
        return self.personal * taste + self.personal_effect * effects

    @property
    def shared_fraction(self) -> float:
        """The part of the variance of utilities that people share."""
        shared, personal = self.shared + self.shared_effect, self.personal + self.personal_effect
        return shared / (shared + personal)


@dataclass
class Person:
    """One person's training trials.

    Attributes
    ----------
    items, incidence
        The items in their trials, and how each trial's utility difference is made of these, shape (trials, items).
    tastes, effects
        Inner products of their trials' differences within late stages and layers, shape (2, trials, trials), and if
        every image were a dimension of its own, shape (trials, trials).
    choices
        0 = left, 1 = right, 0.5 = no preference, shape (trials,).
    scale
        What the person's utilities are multiplied by to give logits: how consistently they choose.
    sites
        What stands for the choices: roots of the precisions of Gaussian observations, and what logits they observe.
    """

    items: np.ndarray
    incidence: Any
    tastes: np.ndarray
    effects: np.ndarray
    choices: np.ndarray
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Begin where nothing is known of the logits."""
        self.sites = chance(self.choices)

    def integrate_out(self, variances: Variances) -> None:
        """Find the precision of the choices about the shared utilities, the person's own departure integrated out."""
        prior = self.departure(variances) + variances.side_bias
        self.precision, self.log_determinant = precision_of(prior, self.sites[0])

    def pull(self, shared: np.ndarray) -> np.ndarray:
        """Return what prior covariances are multiplied by to give the person's departure and side bias."""
        return self.precision @ (self.sites[1] - self.common(shared))

    def seen(self, of_items: np.ndarray) -> np.ndarray:
        """Return the covariances of the trials' logits, given those of all items' shared utilities."""
        own = of_items[np.ix_(self.items, self.items)]
        return self.scale**2 * (self.incidence @ own @ self.incidence.T)

    def improve(self, shared: np.ndarray, left_open: np.ndarray, variances: Variances) -> float:
        """Improve what stands for the choices, and the scale by a step of Fisher's scoring.

        Parameters
        ----------
        shared, left_open
            Posterior mean and covariance of the shared utilities of all items, given the present sites and scale.
        variances
            Of the population.

        Returns
        -------
        float
            By how much the logarithm of the scale moves.
        """
        own, common, pull = self.departure(variances), self.common(shared), self.pull(shared)
        about, seen = self.precision @ self.seen(left_open), self.precision @ own
        certain = np.diag(self.precision) - (about * self.precision).sum(1)
        slope = pull @ (common + own @ pull) - np.trace(about) - np.trace(seen) + (about * seen.T).sum()
        curvature = common @ self.precision @ common + np.trace(about) + 2 * (seen * seen.T).sum()
        before, self.scale = self.scale, nearer(self.scale, slope, curvature)
        self.sites, _ = matched(self.sites, pull, certain, self.choices)
        return abs(float(np.log(self.scale / before)))

    def common(self, shared: np.ndarray) -> np.ndarray:
        """Return what the shared utilities of all items make of the trials' logits."""
        return self.scale * (self.incidence @ shared[self.items])

    def departure(self, variances: Variances) -> np.ndarray:
        """Return prior covariances of what the person's own departure adds to the trials' logits."""
        taste = mixed(self.tastes, variances.late)
        return self.scale**2 * variances.of_personal(taste, self.effects).astype(float)


@dataclass(frozen=True)
class People:
    """What people's trials taught.

    Attributes
    ----------
    kernels
        Of the session, whose items are the images.
    blocks
        Prior variance of each block, shape (blocks,), which add up to about one.
    variances
        Of the population.
    log_covariance
        Posterior covariance of the logarithms of all but the last, shape (5, 5); None where they were given.
    who
        The person of each of the session's trials, shape (trials,).
    gram
        Inner products of the items, shape (items, items).
    shared
        What the prior covariance is multiplied by to give the mean of the shared utilities, shape (items,).
    certainty
        (shared prior covariance + information⁻¹)⁻¹, shape (items, items).
    personal
        As `shared`, for each person's departure, shape (items, people).
    side_biases
        Of each person, in logits, shape (people,).
    trials
        Each person's training trials.
    gain
        What the logits of new images are multiplied by, so that they are calibrated.
    """

    kernels: Kernels
    blocks: np.ndarray
    variances: Variances
    log_covariance: np.ndarray | None
    who: np.ndarray
    gram: np.ndarray
    shared: np.ndarray
    certainty: np.ndarray
    personal: np.ndarray
    side_biases: np.ndarray
    trials: Sequence[Person] = field(repr=False)
    gain: float = 1.0

    def p_right(self, trials: np.ndarray) -> np.ndarray:
        """Predict held-out trials of the session, given as indices; return P(right)."""
        mean, variance = self.moments(trials)
        return expit(moderated(self.gain * mean, variance, self.side_bias[trials]))

    @property
    def side_bias(self) -> np.ndarray:
        """The side bias of the person of each of the session's trials."""
        return self.side_biases[self.who]

    def moments(self, trials: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of the logits of held-out trials, without the side bias and before the gain.

        The variance of a personal departure is that of its prior: few trials hardly tell it for new images.
        """
        pairs, given = self.kernels.pairs[trials], self.variances
        taste, effects = (right_minus_left(each, pairs) for each in (self.gram, self.kernels.effects()))
        covariance, own = given.of_shared(taste, effects), given.of_personal(taste, effects)
        mean = covariance @ self.shared + np.einsum("ti,it->t", own, self.personal[:, self.who[trials]])
        prior = (given.shared + given.personal) * squared_distances(self.gram, pairs) + 2 * (
            given.shared_effect + given.personal_effect
        )
        taken = np.einsum("ti,ti->t", covariance @ self.certainty, covariance)
        scales = self.scales[self.who[trials]]
        return scales * mean, scales**2 * np.maximum(prior - taken, 0)

    @property
    def scales(self) -> np.ndarray:
        """What each person's utilities are multiplied by to give logits, shape (people,)."""
        return np.array([one.scale for one in self.trials])

    def utilities_of_images(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the shared utility of each image, (images,), and what each person adds, (people, images)."""
        given, effects = self.variances, self.kernels.effects()
        shared = given.of_shared(self.gram, effects) @ self.shared
        return shared, (given.of_personal(self.gram, effects) @ self.personal).T

    def variances_left_open(self) -> tuple[float, np.ndarray]:
        """Return the mean posterior variance of images' utilities about their mean.

        Returns
        -------
        float
            Of the shared utilities.
        ndarray
            Of what each person adds, shape (people,).
        """
        given, effects = self.variances, self.kernels.effects()
        count = len(self.gram)
        prior = given.of_shared(self.gram, effects)
        shared = prior - prior @ self.certainty @ prior
        prior = given.of_personal(self.gram, effects)
        own = []
        for one in self.trials:
            rows = one.scale * prior[:, one.items] @ one.incidence.T
            left = np.trace(prior) - np.einsum("it,tu,iu->", rows, one.precision, rows, optimize=True)
            mean = prior.sum() - rows.sum(0) @ one.precision @ rows.sum(0)
            own.append((left - mean / count) / count)
        return float((np.trace(shared) - shared.sum() / count) / count), np.array(own)


Sites = tuple[np.ndarray, np.ndarray]
"""Roots of the precisions of Gaussian observations that stand for choices, and what logits these observe."""


def chance(choices: np.ndarray) -> Sites:
    """Return what choices say where nothing is known of the logits: by Laplace's method, at zero."""
    return np.full(len(choices), 0.5), 4 * (choices - 0.5)


def matched(sites: Sites, pull: np.ndarray, certain: np.ndarray, choices: np.ndarray) -> tuple[Sites, float]:
    """Match the moments of each choice's likelihood given all the others' (Minka 2001).

    How readily someone has no preference is their own.

    Parameters
    ----------
    sites
        The present ones.
    pull, certain
        Precision of the choices' observations, all that is uncertain of the logits integrated out: times how far
        these are from what was expected of them; and its diagonal. Shape (trials,).
    choices
        0 = left, 1 = right, 0.5 = no preference, shape (trials,).

    Returns
    -------
    Sites
        Better ones.
    float
        What the present ones add to the log evidence, beside that of their observations (Rasmussen & Williams 2006,
        equation 3.65).
    """
    root, target = sites
    precision = np.square(root)
    mean, variance = target - pull / precision, (1 - certain / precision) / precision
    alone = 1 / np.maximum(1 / variance - precision, 1e-9 / variance)
    centre = alone * (mean / variance - precision * target)
    logits = centre + np.sqrt(alone) * _NODES
    log_likelihood, _, _ = davidson.likelihood(logits, choices, davidson.tie_parameter(mean, choices))
    weights = np.exp(log_likelihood) * _WEIGHTS
    mass = weights.sum(0)
    weights /= mass
    beside = 1 + precision * alone
    log_evidence = np.log(mass * beside**0.5 * _NORMAL) + precision * np.square(target - centre) / beside / 2
    mean = (weights * logits).sum(0)
    total = 1 / (weights * np.square(logits - mean)).sum(0)
    precision = np.maximum(total - 1 / alone, _LEAST_PRECISION)
    return (np.sqrt(precision), mean + (mean - centre) / (alone * precision)), float(log_evidence.sum())


def nearer(scale: float, slope: float, curvature: float) -> float:
    """Return a scale nearer to the most probable, given how the log likelihood changes with its logarithm."""
    log = np.log(scale)
    step = (slope - log / SCALE_SD**2) / (curvature + 1 / SCALE_SD**2)
    return float(np.exp(log + np.clip(step, -_FURTHEST, _FURTHEST)))


def precision_of(covariance: np.ndarray, root: np.ndarray) -> tuple[np.ndarray, float]:
    """Integrate out what is uncertain of the logits; in torch, which lets other threads go on.

    Parameters
    ----------
    covariance
        Prior covariance of the logits, shape (trials, trials).
    root
        Roots of the precisions of Gaussian observations of the logits, shape (trials,).

    Returns
    -------
    ndarray
        Precision of these observations about what is expected of the logits, shape (trials, trials).
    float
        Log determinant of identity + root × covariance × root.
    """
    scaled = torch.from_numpy(root[:, None] * covariance * root)
    scaled.diagonal().add_(1)
    factor = torch.linalg.cholesky(scaled)
    inverse = torch.cholesky_inverse(factor) if len(root) else factor
    return root[:, None] * inverse.numpy() * root, 2 * float(factor.diagonal().log().sum())


def mixed(of_late_and_layers: np.ndarray, late: float) -> np.ndarray:
    """Add up what is late stages' and what is layers'."""
    return late * of_late_and_layers[0] + (1 - late) * of_late_and_layers[1]


def person_of(grams: np.ndarray, effects: np.ndarray, pairs: np.ndarray, choices: np.ndarray) -> Person:
    """Return a person's trials: the items of each pair, shape (trials, 2), and the choices, shape (trials,)."""
    items, whole = incidence_of(pairs)
    incidence = sparse.csr_array(whole)  # two items a trial: products with it cost next to nothing
    *tastes, own = (
        # Half as large: hundreds of people's are kept.
        (incidence @ each[np.ix_(items, items)] @ incidence.T).astype(np.float32)
        for each in (*grams, effects)
    )
    return Person(items, incidence, np.stack(tastes), own, choices)
