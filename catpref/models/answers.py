"""One person's answers, made Gaussian by expectation propagation, and how consistently they choose.

References
----------
Minka (2001). Expectation propagation for approximate Bayesian inference. UAI.
Rasmussen & Williams (2006). Gaussian Processes for Machine Learning, section 3.6.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from catpref.models import davidson

_NORMAL = 1 / np.sqrt(2 * np.pi)
SCALE_SD = 0.5  # of the logarithm of people's scales
_FURTHEST = 0.5  # that a log scale moves in a step
_LEAST_PRECISION = 1e-6  # of a site
MOST_SWEEPS = 30
ENOUGH = 0.01  # of people's logits that these still move, or of their scales
_DAMPING = 0.7  # the part of the way that sites go
_NODES, _WEIGHTS = (each[:, None] for each in np.polynomial.hermite_e.hermegauss(24))

Sites = tuple[np.ndarray, np.ndarray]
"""Roots of the precisions of Gaussian observations that stand for choices, and what logits these observe."""


class Sweep(NamedTuple):
    """What one sweep of expectation propagation finds of a person's choices.

    Attributes
    ----------
    pull
        What prior covariances are multiplied by to give the person's departure and side bias, shape (trials,).
    about
        Precision of the choices' observations times what is left open of the shared logits, shape (trials, trials).
    logits
        Posterior mean of the logits, shape (trials,).
    sites
        What would better stand for the choices.
    log_evidence
        What the choices add to the log marginal likelihood.
    slope
        Its derivative by the logarithm of the scale, given the sites.
    step
        How far that logarithm is to move by Fisher's scoring, the sites following.
    """

    pull: np.ndarray
    about: np.ndarray
    logits: np.ndarray
    sites: "Sites"
    log_evidence: float
    slope: float
    step: float


@dataclass
class Answers:
    """One person's choices, and what stands for them.

    Attributes
    ----------
    choices
        0 = left, 1 = right, 0.5 = no preference, shape (trials,).
    scale
        What the person's utilities are multiplied by to give logits: how consistently they choose.
    sites
        What stands for the choices: roots of the precisions of Gaussian observations, and what logits they observe.
    """

    choices: np.ndarray
    scale: float = field(default=1.0, init=False)

    def __post_init__(self) -> None:
        """Begin where the choices say as good as nothing, so that the first sweep finds what each says alone."""
        self.sites = np.full(len(self.choices), _LEAST_PRECISION**0.5), np.zeros(len(self.choices))
        self.logits = np.full(len(self.choices), np.inf)  # as they were at the last step

    def integrate_out(self, departure: np.ndarray, side_bias: float) -> None:
        """Find the precision of what stands for the choices, all that is the person's own integrated out.

        Parameters
        ----------
        departure
            Prior covariances of what the person adds to differences of the shared utilities, shape (trials, trials).
        side_bias
            Prior variance of the side bias.
        """
        self.bias_variance = side_bias
        self.precision, self.log_determinant = precision_of(
            self.scale**2 * departure + side_bias, self.sites[0]
        )

    def pull(self, shared: np.ndarray) -> np.ndarray:
        """Return the pull of a `Sweep`, given differences of the shared utilities, shape (trials,)."""
        return self.precision @ (self.sites[1] - self.scale * shared)

    def sweep(self, shared: np.ndarray, left_open: np.ndarray | None = None) -> Sweep:
        """Find what would better stand for the choices, once the person's own is integrated out.

        Parameters
        ----------
        shared, left_open
            Posterior mean and covariance of differences of the shared utilities; None: they are known.
        """
        root, target = self.sites
        site, pull, total = np.square(root), self.pull(shared), self.precision.sum(0)
        about = np.zeros_like(self.precision)
        if left_open is not None:
            about = self.scale**2 * (self.precision @ left_open)
        certain = self.precision.diagonal() - np.einsum("tu,tu->t", about, self.precision)
        logits, variance = target - pull / site, (1 - certain / site) / site
        better = matched(self.sites, logits, variance, self.choices)
        # A side bias is not scaled.
        of_bias = self.bias_variance * (pull.sum() ** 2 - total.sum() + about.sum(0) @ total)
        log = np.log(self.scale)
        step = (better.slope - of_bias - log / SCALE_SD**2) / (better.information + 1 / SCALE_SD**2)
        return Sweep(
            pull=pull,
            about=about,
            logits=logits,
            sites=better.sites,
            log_evidence=better.log_evidence - float(target @ pull + self.log_determinant) / 2,
            slope=float(pull @ logits - site @ variance - of_bias),
            step=float(np.clip(step, -_FURTHEST, _FURTHEST)),
        )

    def advance(self, found: Sweep) -> float:
        """Take most of the way to better sites, and a step of the scale; return what part of these moves.

        All the way, sites that lean on each other would overshoot in turn. Where choices are nearly sure, what they
        say of utilities hardly depends on the scale: that is kept, rather than what they say of logits.
        """
        (root, target), (better_root, better) = self.sites, found.sites
        before, added = (1 - _DAMPING) * np.square(root), _DAMPING * np.square(better_root)
        precision, factor = before + added, float(np.exp(found.step))
        target = (before * target + added * better) / precision
        self.sites, self.scale = (np.sqrt(precision) / factor, target * factor), self.scale * factor
        apart, self.logits = np.linalg.norm(found.logits - self.logits), found.logits
        return max(abs(found.step), float(apart / max(np.linalg.norm(found.logits), len(root) ** 0.5, 1.0)))

    def settle(self, departure: np.ndarray, side_bias: float, shared: np.ndarray) -> np.ndarray:
        """Learn from these choices where the shared utilities are known; return the pull."""
        for _ in range(MOST_SWEEPS):
            self.integrate_out(departure, side_bias)
            if self.advance(self.sweep(shared)) < ENOUGH:
                break
        self.integrate_out(departure, side_bias)
        return self.pull(shared)


def chance(choices: np.ndarray) -> Sites:
    """Return what choices say where nothing is known of the logits: by Laplace's method, at zero."""
    return np.full(len(choices), 0.5), 4 * (choices - 0.5)


class Matched(NamedTuple):
    """What stands for choices, improved.

    Attributes
    ----------
    sites
        The better ones.
    log_evidence
        What the former add to the log evidence, beside that of their observations (Rasmussen & Williams 2006,
        equation 3.65).
    slope, information
        How the log likelihood is expected to change with the logarithm of what all logits are multiplied by, and
        Fisher's information of that.
    """

    sites: Sites
    log_evidence: float
    slope: float
    information: float


def matched(sites: Sites, mean: np.ndarray, variance: np.ndarray, choices: np.ndarray) -> Matched:
    """Match the moments of each choice's likelihood given all the others' (Minka 2001).

    How readily someone has no preference is their own.

    Parameters
    ----------
    sites
        The present ones.
    mean, variance
        Of the logits, given these, shape (trials,).
    choices
        0 = left, 1 = right, 0.5 = no preference, shape (trials,).
    """
    root, target = sites
    precision = np.square(root)
    alone = 1 / np.maximum(1 / variance - precision, 1e-9 / variance)
    centre = alone * (mean / variance - precision * target)
    logits = centre + np.sqrt(alone) * _NODES
    ties = davidson.tie_parameter(mean, choices)
    log_likelihood, _, information = davidson.likelihood(logits, choices, ties)
    weights = np.exp(log_likelihood) * _WEIGHTS
    mass = weights.sum(0)
    weights /= mass
    beside = 1 + precision * alone
    log_evidence = np.log(mass * beside**0.5 * _NORMAL) + precision * np.square(target - centre) / beside / 2
    information = float(np.vdot(weights, logits**2 * information))
    mean = (weights * logits).sum(0)
    total = 1 / (weights * np.square(logits - mean)).sum(0)
    precision = np.maximum(total - 1 / alone, _LEAST_PRECISION)
    better = np.sqrt(precision), mean + (mean - centre) / (alone * precision)
    slope = (mean * (mean - centre) + 1 / total) / alone - 1  # integrated by parts: as exact as the moments
    return Matched(better, float(log_evidence.sum()), float(slope.sum()), information)


def precision_of(covariance: np.ndarray, root: np.ndarray) -> tuple[np.ndarray, float]:
    """Integrate out what is uncertain of the logits.

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
    scaled = root[:, None] * covariance * root
    scaled.flat[:: len(root) + 1] += 1
    inverse, log_determinant = inverse_of(scaled)
    return root[:, None] * inverse * root, log_determinant


def inverse_of(matrix: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the inverse and the log determinant of a positive definite matrix; torch lets other threads go on."""
    factor = torch.linalg.cholesky(torch.from_numpy(matrix))
    inverse = torch.cholesky_inverse(factor) if len(matrix) else factor
    return inverse.numpy(), 2 * float(factor.diagonal().log().sum())
