"""How an observer answers, beside what they like: side bias, lapse rate and noise ceiling, with 95% intervals.

P(right) = λ / 2 + (1 − λ) · logistic(u(right) − u(left) + b): with probability λ the observer does not look and
chooses either side; b is the preference for the right when they do. Each image has a utility of its own: what an
embedding says of the images is not used, since a taste that is simpler than the embedding's prior expects would make
the observer look more consistent than they are. The utilities, their spread, λ and b are averaged over together,
since each could stand for another: a lapse on an easy pair looks like a small difference of utilities, and utilities
that are not known well make a side bias look smaller than it is. The noise ceiling is the mean over the trials of
max(P, 1 − P), averaged over all of them likewise.

The prior of λ is Beta(1, 10), that of psignifit (Schütt, Harmeling, Macke & Wichmann 2016, Vision Research 122);
that of b is Gaussian (`catpref.models.laplace.BIAS_VARIANCE`); that of the spread makes every noise ceiling equally
probable. The intervals of λ and of the noise ceiling are the shortest that hold 95%, so that they can reach 0 and
0.5; where the session says little, they are those of the prior: 0 to 0.26 and about 0.5 to 0.95.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.special import expit
from scipy.stats import beta, norm

from catpref._io.workers import workers
from catpref.models import expectation_propagation
from catpref.models.expectation_propagation import Posterior
from catpref.models.kernels import right_minus_left
from catpref.models.laplace import BIAS_VARIANCE

_LAPSE_PRIOR: Any = beta(1, 10)
_LAPSES = np.array([0.0, 0.01, 0.02, 0.04, 0.065, 0.1, 0.15, 0.22, 0.32, 0.5])
_SPREADS = np.linspace(-7.0, 7.0, 29)  # log of the variance of a trial's utility difference
_MOST_UNTOLD = 4.5  # of the spreads: beyond, the approximation fails where a utility has few trials to itself
_FEW = 5  # trials a direction
_NODES = 8  # of the spread, where the evidence is
_NEGLIGIBLE = 7.0  # log evidence below the greatest
_DIRECTIONS = 60  # in which utilities are followed; along all others they are averaged over
_TAILS = 0.025, 0.975
_MASS = 0.95
_RULED_OUT = (
    1.92  # log evidence below the greatest: half the 95% point of chi squared with one degree of freedom
)
_DRAWS = 1000  # of the noise ceiling
_NEAR = 0.01  # what the least spread that is tried adds to chance


@dataclass(frozen=True)
class PsychometricFit:
    """What the choices say of how they were made.

    Attributes
    ----------
    side_bias, side_bias_ci95
        Posterior mean and 95% interval of the preference for the right, in logits.
    lapse, lapse_ci95
        Posterior mean and shortest 95% interval of the lapse rate.
    noise_ceiling, noise_ceiling_ci95
        Posterior mean and shortest 95% interval of the best accuracy to expect on these trials.
    spread
        Standard deviation of a typical trial's utility difference, in logits: posterior mean of its logarithm.
    """

    side_bias: float
    side_bias_ci95: tuple[float, float]
    lapse: float
    lapse_ci95: tuple[float, float]
    noise_ceiling: float
    noise_ceiling_ci95: tuple[float, float]
    spread: float


@dataclass(frozen=True)
class _Known:
    """What other trials tell of side bias and lapse rate.

    Attributes
    ----------
    bias, bias_variance
        Mean and variance of the side bias.
    lapses
        Log likelihood of each of the lapse rates that are tried, up to a constant, shape (rates,).
    """

    bias: float
    bias_variance: float
    lapses: np.ndarray


_NOTHING_KNOWN = _Known(0.0, BIAS_VARIANCE, np.zeros(len(_LAPSES)))


class _Node(NamedTuple):
    """The posterior at one lapse rate and one spread, and the log of its mass."""

    mass: float
    lapse: float
    variance: float
    posterior: Posterior


def fit(pairs: np.ndarray, choices: np.ndarray, is_fair: np.ndarray | None = None) -> PsychometricFit:
    """Estimate side bias, lapse rate and noise ceiling.

    Parameters
    ----------
    pairs
        Left and right image of each trial, as indices, shape (trials, 2).
    choices
        0 = left, 1 = right, shape (trials,).
    is_fair
        Which trials no answer had a part in choosing, shape (trials,); None: all. The others may differ less in
        utility than pairs at random, or more: they have a spread of their own, and tell of side bias and lapse rate
        alone. Spread and noise ceiling are those of the fair trials, if there are any.
    """
    if is_fair is None or is_fair.all() or not is_fair.any():
        return _fit(pairs, choices, _NOTHING_KNOWN)[0]
    _, known = _fit(pairs[~is_fair], choices[~is_fair], _NOTHING_KNOWN)
    return _fit(pairs[is_fair], choices[is_fair], known)[0]


def _fit(pairs: np.ndarray, choices: np.ndarray, known: _Known) -> tuple[PsychometricFit, _Known]:
    """Estimate all from some trials, given what others tell; return what is known after these, too."""
    followed, others = _followed(pairs)
    signs = np.where(choices == 1, 1.0, -1.0)
    shift = known.bias * signs[:, None]

    def nodes(lapse: float, spreads: np.ndarray) -> Iterator[_Node]:
        sites = None
        for spread in spreads:
            variance = float(np.exp(spread))
            # Averaged over a Gaussian, a logistic is about one that is less steep (MacKay 1992).
            slope = 1 / np.sqrt(1 + np.pi / 8 * variance * others)[:, None]
            found = expectation_propagation.fit(
                _design(followed, variance, known) * signs[:, None],
                lambda logits, slope=slope: lapse / 2 + (1 - lapse) * expit(slope * (logits + shift)),
                sites,
            )
            sites = found.sites
            yield _Node(found.log_evidence + _log_prior(spread), lapse, variance, found)

    few = len(choices) < _FEW * followed.shape[1]
    possible = _SPREADS[_SPREADS <= _MOST_UNTOLD] if few else _SPREADS
    with workers() as pool:
        coarse = np.array(
            list(pool.map(lambda lapse: [node.mass for node in nodes(lapse, possible[::2])], (0.02, 0.2)))
        )
        inside = possible[::2][(coarse > coarse.max() - _NEGLIGIBLE).any(0)]
        spreads = np.linspace(max(inside[0] - 0.5, possible[0]), min(inside[-1] + 0.5, possible[-1]), _NODES)
        found = list(pool.map(lambda lapse: list(nodes(lapse, spreads)), _LAPSES))
    masses = np.array([[node.mass for node in row] for row in found]) + known.lapses[:, None]
    lapse, lapse_ci95 = _lapse(np.logaddexp.reduce(masses, axis=1))
    weights = np.exp(masses - masses.max()) * (np.gradient(_LAPSES) * _LAPSE_PRIOR.pdf(_LAPSES))[:, None]
    weights = weights.ravel() / weights.sum()
    flat = [node for row in found for node in row]
    biases = _biases(flat, known)
    side_bias, side_bias_ci95 = _side_bias(*biases, weights)
    ceilings = _ceilings(flat, weights, followed, others, known)
    # Under a prior that makes all ceilings equal, what an interval holds is what the evidence does not rule out.
    by_spread = np.logaddexp.reduce(masses, axis=0) - [_log_prior(spread) for spread in spreads]
    least_is_probable = spreads[0] == _SPREADS[0] and by_spread[0] > by_spread.max() - _RULED_OUT
    estimates = PsychometricFit(
        side_bias=side_bias,
        side_bias_ci95=side_bias_ci95,
        lapse=lapse,
        lapse_ci95=lapse_ci95,
        noise_ceiling=float(ceilings.mean()),
        noise_ceiling_ci95=_interval(ceilings, bool(least_is_probable)),
        spread=float(np.exp(weights @ np.log([node.variance for node in flat]) / 2)),
    )
    of_biases = float(weights @ (np.square(biases[1]) + np.square(biases[0] - side_bias)))
    of_lapses = np.logaddexp.reduce(masses, axis=1)
    return estimates, _Known(side_bias, of_biases, of_lapses - of_lapses.max())


def _followed(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the trials along the directions that matter most to them, and the variance that is left of each.

    Differences of two images' utilities have a prior variance of 1. What is left of a pair that was shown several
    times is the same each time: a direction of its own.
    """
    images = np.unique(pairs)
    differences = right_minus_left(np.eye(len(images)), np.searchsorted(images, pairs)) / np.sqrt(2)
    if len(pairs) < len(images):
        values, vectors = np.linalg.eigh(differences @ differences.T)
        followed = vectors[:, -_DIRECTIONS:] * np.sqrt(np.maximum(values[-_DIRECTIONS:], 0))
    else:
        _, vectors = np.linalg.eigh(differences.T @ differences)
        followed = differences @ vectors[:, -_DIRECTIONS:]
    others = np.maximum(1 - np.square(followed).sum(1), 0)
    _, couple = np.unique(np.sort(pairs, axis=1), axis=0, return_inverse=True)
    repeated = np.bincount(couple)[couple] > 1
    if not (repeated.any() and others[repeated].max() > 1e-6):
        return followed, others
    _, place = np.unique(couple[repeated], return_inverse=True)
    own = np.zeros((len(pairs), place.max() + 1))
    own[np.flatnonzero(repeated), place] = np.sqrt(others[repeated])
    own[pairs[:, 0] > pairs[:, 1]] *= -1
    return np.column_stack([own, followed]), np.where(repeated, 0.0, others)


@cache
def _log_densities() -> tuple[np.ndarray, np.ndarray]:
    """Return log variances of Gaussian logits, and the log prior density under which every noise ceiling is equal."""
    logs = np.linspace(_SPREADS[0] - 1, _SPREADS[-1] + 1, 321)
    logits = np.exp(logs / 2)[:, None] * np.linspace(0, 8, 2001)
    ceilings = np.average(expit(logits), axis=1, weights=norm.pdf(np.linspace(0, 8, 2001)))
    return logs, np.log(np.gradient(ceilings, logs))


def _log_prior(spread: float) -> float:
    return float(np.interp(spread, *_log_densities()))


def _design(followed: np.ndarray, variance: float, known: _Known) -> np.ndarray:
    """Return the trials, the side bias last, in units of the prior's standard deviations."""
    bias = np.full(len(followed), np.sqrt(known.bias_variance))
    return np.column_stack([np.sqrt(variance) * followed, bias])


def _lapse(log_masses: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Return mean and interval of the lapse rate; the evidence between the nodes is interpolated."""
    fine = np.linspace(0, _LAPSES[-1], 2001)
    density = np.exp(PchipInterpolator(_LAPSES, log_masses - log_masses.max())(fine)) * _LAPSE_PRIOR.pdf(fine)
    density /= density.sum()
    order = np.argsort(-density, kind="stable")
    inside = fine[order[: 1 + int(np.searchsorted(np.cumsum(density[order]), _MASS))]]
    return float(fine @ density), (float(inside.min()), float(inside.max()))


def _interval(ceilings: np.ndarray, least_is_probable: bool) -> tuple[float, float]:
    """Return the shortest interval that holds 95% of the draws, or the one from the least ceiling on.

    That is chance, or what a preference for one side alone reaches.
    """
    ordered = np.sort(ceilings)
    inside = int(np.ceil(_MASS * len(ordered)))
    if least_is_probable:
        least = float(ordered[0])
        return least if least > 0.5 + _NEAR else 0.5, float(ordered[inside - 1])
    first = int(np.argmin(ordered[inside - 1 :] - ordered[: len(ordered) - inside + 1]))
    return float(ordered[first]), float(ordered[first + inside - 1])


def _biases(nodes: list[_Node], known: _Known) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the side bias in each node."""
    means = np.sqrt(known.bias_variance) * np.array([node.posterior.mean[-1] for node in nodes])
    sds = np.sqrt(known.bias_variance * np.array([node.posterior.covariance[-1, -1] for node in nodes]))
    return known.bias + means, sds


def _side_bias(biases: np.ndarray, sds: np.ndarray, weights: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Return mean and interval of the side bias, a mixture of Gaussians, one a node."""
    places = np.linspace((biases - 6 * sds).min(), (biases + 6 * sds).max(), 2001)
    low, high = np.interp(_TAILS, norm.cdf(places[:, None], biases, sds) @ weights, places)
    return float(weights @ biases), (float(low), float(high))


def _ceilings(
    nodes: list[_Node], weights: np.ndarray, followed: np.ndarray, others: np.ndarray, known: _Known
) -> np.ndarray:
    """Draw noise ceilings from their posterior, shape (draws,)."""
    random = np.random.default_rng(0)
    draws = random.multinomial(_DRAWS, weights)
    ceilings = []
    for node, count in zip(nodes, draws, strict=True):
        if count:
            drawn = random.multivariate_normal(
                node.posterior.mean, node.posterior.covariance, count, method="cholesky"
            )
            rest = random.standard_normal((len(others), count)) * np.sqrt(node.variance * others)[:, None]
            p_right = expit(_design(followed, node.variance, known) @ drawn.T + rest + known.bias)
            p_right = node.lapse / 2 + (1 - node.lapse) * p_right
            ceilings.append(np.maximum(p_right, 1 - p_right).mean(0))
    return np.concatenate(ceilings)
