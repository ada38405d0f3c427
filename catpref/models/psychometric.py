"""How an observer answers, beside what they like: side bias and lapse rate, each with its 95% interval.

P(right) = λ / 2 + (1 − λ) · logistic(u(right) − u(left) + b): with probability λ the observer does not look and
chooses either side; b is the preference for the right when they do. The utilities, their spread, λ and b are
averaged over together, since each could stand for another: a lapse on an easy pair looks like a small difference
of utilities, and utilities that are not known well make a side bias look smaller than it is.

The prior of λ is Beta(1, 10), that of psignifit (Schütt, Harmeling, Macke & Wichmann 2016, Vision Research 122);
that of b is Gaussian (`catpref.models.laplace.BIAS_VARIANCE`). An interval of λ never reaches 0, and where the
session says little of lapses, it is that of the prior: 0.003 to 0.31.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.special import expit, log_expit
from scipy.stats import beta, norm

from catpref._io.workers import workers
from catpref.models.laplace import BIAS_VARIANCE
from catpref.models.newton import mode

_LAPSE_PRIOR: Any = beta(1, 10)
_LAPSES = np.array([0.0, 0.005, 0.01, 0.02, 0.03, 0.045, 0.06, 0.08, 0.1, 0.13, 0.17, 0.22, 0.3, 0.4, 0.6])
# Log of the variance of a typical trial's utility difference: 4, that is a noise ceiling of 0.8, is not unusual.
_SPREAD_PRIOR: Any = norm(np.log(4), 1.5)
_SPREADS = np.linspace(-4.0, 8.0, 17)
_NODES = 9  # of the spread, where the evidence is
_NEGLIGIBLE = 8.0  # log evidence below the greatest
_DIRECTIONS = 100  # in which utilities are followed; along all others they are averaged over
_TAILS = 0.025, 0.975
_ENOUGH = 1e-4  # twice the log posterior still to be gained


@dataclass(frozen=True)
class PsychometricFit:
    """What the choices say of how they were made.

    Attributes
    ----------
    side_bias, side_bias_ci95
        Posterior mean and 95% interval of the preference for the right, in logits.
    lapse, lapse_ci95
        Posterior mean and 95% interval of the lapse rate.
    """

    side_bias: float
    side_bias_ci95: tuple[float, float]
    lapse: float
    lapse_ci95: tuple[float, float]


def fit(differences: np.ndarray, squares: np.ndarray, choices: np.ndarray) -> PsychometricFit:
    """Estimate side bias and lapse rate.

    Parameters
    ----------
    differences
        Right minus left along directions in which utilities have the same prior variance, those that matter most
        last, shape (trials, directions).
    squares
        Squared distance of left and right along all directions, shape (trials,).
    choices
        0 = left, 1 = right, shape (trials,).
    """
    followed = differences[:, -_DIRECTIONS:]
    typical = float(squares.mean()) or 1.0
    others = np.maximum(squares - np.square(followed).sum(1), 0)
    signs = np.where(choices == 1, 1.0, -1.0)

    def at(lapse: float, spreads: np.ndarray) -> Iterator[tuple[float, float, float]]:
        """Log posterior mass, and mean and standard deviation of the side bias, at each spread."""
        point = np.zeros(followed.shape[1] + 1)
        for spread in spreads:
            variance = float(np.exp(spread)) / typical
            evidence, point, bias_variance = _laplace(followed, others, signs, lapse, variance, point)
            prior = float(_SPREAD_PRIOR.logpdf(spread))
            bias = float(point[-1] * np.sqrt(BIAS_VARIANCE))
            yield evidence + prior, bias, float(np.sqrt(BIAS_VARIANCE * bias_variance))

    with workers() as pool:
        coarse = np.array(
            list(pool.map(lambda lapse: [mass for mass, *_ in at(lapse, _SPREADS)], (0.02, 0.2)))
        )
    inside = _SPREADS[(coarse > coarse.max() - _NEGLIGIBLE).any(0)]
    step = _SPREADS[1] - _SPREADS[0]
    spreads = np.linspace(inside[0] - step / 2, inside[-1] + step / 2, _NODES)
    with workers() as pool:
        found = np.array(list(pool.map(lambda lapse: list(at(lapse, spreads)), _LAPSES)))
    masses, biases, sds = np.moveaxis(found, 2, 0)

    # The lapse rate: the evidence between the nodes is interpolated.
    by_lapse = np.logaddexp.reduce(masses, axis=1)
    fine = np.linspace(0, _LAPSES[-1], 2001)
    density = np.exp(PchipInterpolator(_LAPSES, by_lapse - by_lapse.max())(fine)) * _LAPSE_PRIOR.pdf(fine)
    cumulative = np.cumsum(density) / density.sum()
    low, high = np.interp(_TAILS, cumulative, fine)

    # The side bias: a mixture of Gaussians, one a node.
    widths = np.gradient(_LAPSES) * _LAPSE_PRIOR.pdf(_LAPSES)
    weights = np.exp(masses - masses.max()) * widths[:, None]
    weights /= weights.sum()

    places = np.linspace((biases - 6 * sds).min(), (biases + 6 * sds).max(), 2001)
    below = np.tensordot(norm.cdf(places[:, None, None], biases, sds), weights, axes=2)
    bias_low, bias_high = np.interp(_TAILS, below, places)
    return PsychometricFit(
        side_bias=float((weights * biases).sum()),
        side_bias_ci95=(float(bias_low), float(bias_high)),
        lapse=float(fine @ density / density.sum()),
        lapse_ci95=(float(low), float(high)),
    )


def _laplace(
    followed: np.ndarray,
    others: np.ndarray,
    signs: np.ndarray,
    lapse: float,
    prior_variance: float,
    point: np.ndarray,
) -> tuple[float, np.ndarray, float]:
    """Return the log evidence, the mode (in prior SDs) and the side bias's posterior variance there."""
    # Averaged over a Gaussian, a logistic is about one that is less steep (MacKay 1992).
    slope = 1 / np.sqrt(1 + np.pi / 8 * prior_variance * others)
    design = np.column_stack(
        [np.sqrt(prior_variance) * followed, np.full(len(followed), np.sqrt(BIAS_VARIANCE))]
    )
    design *= (slope * signs)[:, None]  # so that a positive logit is for the side that was chosen

    def log_chosen(logits: np.ndarray) -> np.ndarray:
        return np.log(lapse / 2 + (1 - lapse) * expit(logits)) if lapse else log_expit(logits)

    def slopes(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        p_this, p_other = expit(logits), expit(-logits)
        if not lapse:
            return p_other, p_this * p_other
        # How probably the observer looked, if they chose this side, and if they had chosen the other.
        looked = (1 - lapse) * p_this / (lapse / 2 + (1 - lapse) * p_this)
        had_looked = (1 - lapse) * p_other / (lapse / 2 + (1 - lapse) * p_other)
        # Fisher's information, which is never negative.
        return looked * p_other, looked * had_looked * p_this * p_other

    found = mode(design, log_chosen, slopes, point, _ENOUGH)
    return found.log_evidence, found.weights, found.last_variance
