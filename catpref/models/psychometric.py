"""How an observer answers, beside what they like: side bias, lapse rate and noise ceiling, with 95% intervals.

P(right) = λ / 2 + (1 − λ) · logistic(u(right) − u(left) + b): with probability λ the observer does not look and
chooses either side; b is the preference for the right when they do. Each image has a utility of its own: what an
embedding says of the images is not used, since a taste that is simpler than the embedding's prior expects would make
the observer look more consistent than they are. The utilities, their spread, λ and b are averaged over together,
since each could stand for another: a lapse on an easy pair looks like a small difference of utilities, and utilities
that are not known well make a side bias look smaller than it is. The noise ceiling is the mean over the trials of
max(P, 1 − P), averaged over all of them likewise; that of taste is the accuracy of someone who knows the utilities
alone, and nothing of the side bias.

The prior of λ is Beta(1, 10), that of psignifit (Schütt, Harmeling, Macke & Wichmann 2016, Vision Research 122); that
of b is Gaussian, with a variance (`catpref.models.laplace.BIAS_VARIANCE` for someone who likes all images alike) that
grows with that of the logits, so that how often the right is chosen says nothing of how much utilities differ; that
of the spread makes every noise ceiling equally probable. The intervals are the shortest that hold 95%: those of λ and
of the noise ceiling can reach 0 and 0.5, and that of b is not drawn away by lapses that could hide a larger one.
Where the session says little, λ and the noise ceiling have the intervals of their priors: 0 to 0.26 and about 0.5 to
0.95.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.special import expit
from scipy.stats import beta, norm

from catpref.models import expectation_propagation
from catpref.models.expectation_propagation import Dense, Design, Posterior, sparse_of
from catpref.models.kernels import right_minus_left
from catpref.models.laplace import BIAS_VARIANCE

_LAPSE_PRIOR: Any = beta(1, 10)
_LAPSES = np.array([0.0, 0.01, 0.02, 0.04, 0.065, 0.1, 0.15, 0.22, 0.32, 0.5])
_COARSE_LAPSES = 0.02, 0.2
_FINE_LAPSES = np.linspace(0, _LAPSES[-1], 2001)
# How much of what lies between two rates that are tried is reckoned to either.
_SHARES = np.array([np.interp(_FINE_LAPSES, _LAPSES, own) for own in np.eye(len(_LAPSES))])
_SPREADS = np.linspace(-7.0, 7.0, 29)  # log of the variance of a trial's utility difference
_MOST_UNTOLD = 4.5  # of the spreads: beyond, the approximation fails where a utility has few trials to itself
_FEW = 5  # trials an image
_NODES = 8  # of the spread, where the evidence is
_ROUNDING = 1e-6
_LOGISTIC_VARIANCE = np.pi**2 / 3
_NEGLIGIBLE = 7.0  # log evidence below the greatest
_DIRECTIONS = 60  # in which utilities are followed; along all others they are averaged over
_MASS = 0.95
_TAILS = np.linspace(0, 1 - _MASS, 101)  # the lower ones
_RULED_OUT = (
    1.92  # log evidence below the greatest: half the 95% point of chi squared with one degree of freedom
)
_DRAWS = 1000  # of the noise ceiling


@dataclass(frozen=True)
class PsychometricFit:
    """What the choices say of how they were made.

    Attributes
    ----------
    side_bias, side_bias_ci95
        Posterior median and shortest 95% interval of the preference for the right, in logits.
    lapse, lapse_ci95
        Posterior mean and shortest 95% interval of the lapse rate.
    noise_ceiling, noise_ceiling_ci95
        Posterior mean and shortest 95% interval of the best accuracy to expect on these trials.
    taste_ceiling, taste_ceiling_ci95
        Likewise of the best to expect with the side bias set aside: of the image that is liked better.
    spread
        Standard deviation of a typical trial's utility difference, in logits: posterior mean of its logarithm.
    """

    side_bias: float
    side_bias_ci95: tuple[float, float]
    lapse: float
    lapse_ci95: tuple[float, float]
    noise_ceiling: float
    noise_ceiling_ci95: tuple[float, float]
    taste_ceiling: float
    taste_ceiling_ci95: tuple[float, float]
    spread: float


@dataclass(frozen=True)
class _Known:
    """What other trials tell of side bias and lapse rate.

    Attributes
    ----------
    bias, bias_variance
        Mean and variance of the side bias.
    bias_growth
        What each unit of the variance of a trial's utility difference adds to that of the side bias.
    lapses
        Log likelihood of each of the lapse rates that are tried, up to a constant, shape (rates,).
    """

    bias: float
    bias_variance: float
    bias_growth: float
    lapses: np.ndarray


_NOTHING_KNOWN = _Known(0.0, BIAS_VARIANCE, BIAS_VARIANCE / _LOGISTIC_VARIANCE, np.zeros(len(_LAPSES)))


class _Node(NamedTuple):
    """The posterior at one lapse rate and one spread, and the log of its mass."""

    mass: float
    lapse: float
    variance: float
    posterior: Posterior


@dataclass(frozen=True)
class _Session:
    """A session as it is looked at.

    Attributes
    ----------
    design
        Makes the logits of what was chosen of weights that stand for utilities, and of the side bias less what is
        known of it, the last one. The former have the variance of a trial's utility difference.
    directions
        The number of the former.
    bias_variance, bias_growth
        Of the last one, as `_Known` has them.
    signs
        Which side was chosen, 1 = right, −1 = left, shape (trials,).
    offsets
        What the known side bias adds to each logit, shape (trials,).
    others
        What is left of that variance: a trial's own, which is averaged over; shape (trials,).
    """

    design: Design
    directions: int
    bias_variance: float
    bias_growth: float
    signs: np.ndarray
    offsets: np.ndarray
    others: np.ndarray

    def at(self, lapse: float, spread: float, similar: _Node | None) -> _Node:
        """Find the posterior at a lapse rate and a log variance, starting from a similar one."""
        variance = float(np.exp(spread))
        found = expectation_propagation.fit(
            self.design,
            np.append(np.full(self.directions, variance), self.bias_variance + self.bias_growth * variance),
            variance * self.others,
            self.offsets,
            lapse,
            similar and similar.posterior.sites,
        )
        return _Node(found.log_evidence + _log_prior(spread), lapse, variance, found)


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
    session = _session(pairs, choices, known)
    few = len(choices) < _FEW * len(np.unique(pairs))
    possible = _SPREADS[_SPREADS <= _MOST_UNTOLD] if few else _SPREADS
    coarse = np.full((len(_COARSE_LAPSES), len(possible[::2])), -np.inf)
    start = len(possible) // 4
    for masses, lapse in zip(coarse, _COARSE_LAPSES, strict=True):
        for place, node in _around(session, lapse, possible[::2], start, None, -np.inf).items():
            masses[place] = node.mass
        start = int(masses.argmax())
    inside = possible[::2][(coarse > coarse.max() - _NEGLIGIBLE).any(0)]
    spreads = np.linspace(max(inside[0] - 0.5, possible[0]), min(inside[-1] + 0.5, possible[-1]), _NODES)
    priors = np.log(np.gradient(_LAPSES) * _LAPSE_PRIOR.pdf(_LAPSES)) + known.lapses
    masses, flat = np.full((len(_LAPSES), _NODES), -np.inf), []
    start, similar = int(np.abs(spreads - possible[::2][coarse.max(0).argmax()]).argmin()), None
    for row, lapse, prior in zip(masses, _LAPSES, priors, strict=True):
        most = float((masses + priors[:, None]).max() - prior)
        found = _around(session, lapse, spreads, start, similar, most)
        row[list(found)] = [node.mass for node in found.values()]
        flat += [found[place] for place in sorted(found)]
        start = int(row.argmax())
        similar = found[start]
    of_lapses = np.logaddexp.reduce(masses, axis=1)
    density = _density(of_lapses + known.lapses)
    lapse, lapse_ci95 = _lapse(density)
    weights = ((_SHARES @ density)[:, None] * np.exp(masses - of_lapses[:, None]))[np.isfinite(masses)]
    biases = known.bias + np.array([node.posterior.mean[-1] for node in flat])
    sds = np.sqrt([node.posterior.covariance[-1, -1] for node in flat])
    side_bias, side_bias_ci95 = _side_bias(biases, sds, weights)
    ceilings, of_taste = _ceilings(flat, weights, session)
    # Under a prior that makes all ceilings equal, what an interval holds is what the evidence does not rule out.
    by_spread = np.logaddexp.reduce(masses + known.lapses[:, None], axis=0) - [
        _log_prior(spread) for spread in spreads
    ]
    least = least_of_taste = None
    if spreads[0] == _SPREADS[0] and by_spread[0] > by_spread.max() - _RULED_OUT:
        least_of_taste = 0.5
        least = 0.5 if side_bias_ci95[0] <= 0 <= side_bias_ci95[1] else float(ceilings.min())
    estimates = PsychometricFit(
        side_bias=side_bias,
        side_bias_ci95=side_bias_ci95,
        lapse=lapse,
        lapse_ci95=lapse_ci95,
        noise_ceiling=float(ceilings.mean()),
        noise_ceiling_ci95=_interval(ceilings, least),
        taste_ceiling=float(of_taste.mean()),
        taste_ceiling_ci95=_interval(of_taste, least_of_taste),
        spread=float(np.exp(weights @ np.log([node.variance for node in flat]) / 2)),
    )
    bias = float(weights @ biases)
    of_biases = float(weights @ (np.square(sds) + np.square(biases - bias)))
    return estimates, _Known(bias, of_biases, 0.0, of_lapses - of_lapses.max())


def _around(
    session: _Session, lapse: float, spreads: np.ndarray, start: int, similar: _Node | None, most: float
) -> dict[int, _Node]:
    """Find the posteriors at a lapse rate from one spread on, up and down, as far as they have any mass.

    Parameters
    ----------
    session, lapse, spreads
        Where to look.
    start
        Place of the spread to begin with.
    similar
        From which to begin there.
    most
        The greatest log mass that is known.
    """
    found = {start: session.at(lapse, spreads[start], similar)}
    most = max(most, found[start].mass)
    for places in (range(start + 1, len(spreads)), range(start - 1, -1, -1)):
        last = found[start]
        for place in places:
            last = found[place] = session.at(lapse, spreads[place], last)
            most = max(most, last.mass)
            if last.mass < most - _NEGLIGIBLE:
                break
    return found


def _session(pairs: np.ndarray, choices: np.ndarray, known: _Known) -> _Session:
    """Return the trials along the directions that matter most to them, and the variance that is left of each.

    Differences of two images' utilities have a prior variance of 1. A pair whose images no other pair shows has
    nothing to do with the rest. What is left of a pair that was shown several times is the same each time: a
    direction of its own.
    """
    couples, couple, shown = np.unique(
        np.sort(pairs, axis=1), axis=0, return_inverse=True, return_counts=True
    )
    couple = couple.ravel()
    joint = (np.bincount(couples.ravel())[pairs] > 1).any(1)
    of_joint, places = np.unique(pairs[joint], return_inverse=True)
    differences = np.zeros((len(pairs), len(of_joint)))
    differences[joint] = right_minus_left(np.eye(len(of_joint)), places.reshape(-1, 2)) / np.sqrt(2)
    if len(of_joint) <= _DIRECTIONS:
        followed = differences
    elif len(pairs) < len(of_joint):
        values, vectors = np.linalg.eigh(differences @ differences.T)
        followed = vectors[:, -_DIRECTIONS:] * np.sqrt(np.maximum(values[-_DIRECTIONS:], 0))
    else:
        followed = differences @ np.linalg.eigh(differences.T @ differences)[1][:, -_DIRECTIONS:]
    others = np.maximum(1 - np.square(followed).sum(1), 0)
    others[others < _ROUNDING] = 0
    alone = (shown[couple] > 1) & (others > 0)
    own_couples, place = np.unique(couple[alone], return_inverse=True)
    own = np.zeros((len(pairs), len(own_couples)))
    own[np.flatnonzero(alone), place] = np.sqrt(others[alone])
    own[pairs[:, 0] > pairs[:, 1]] *= -1
    signs = np.where(choices == 1, 1.0, -1.0)
    matrix = np.column_stack([own, followed, np.ones(len(pairs))]) * signs[:, None]
    design = sparse_of(matrix) if len(of_joint) <= _DIRECTIONS else Dense(matrix)
    return _Session(
        design,
        directions=matrix.shape[1] - 1,
        bias_variance=known.bias_variance,
        bias_growth=known.bias_growth,
        signs=signs,
        offsets=known.bias * signs,
        others=np.where(alone, 0.0, others),
    )


@cache
def _log_densities() -> tuple[np.ndarray, np.ndarray]:
    """Return log variances of Gaussian logits, and the log prior density under which every noise ceiling is equal."""
    logs = np.linspace(_SPREADS[0] - 1, _SPREADS[-1] + 1, 321)
    logits = np.exp(logs / 2)[:, None] * np.linspace(0, 8, 2001)
    ceilings = np.average(expit(logits), axis=1, weights=norm.pdf(np.linspace(0, 8, 2001)))
    return logs, np.log(np.gradient(ceilings, logs))


def _log_prior(spread: float) -> float:
    return float(np.interp(spread, *_log_densities()))


def _density(log_masses: np.ndarray) -> np.ndarray:
    """Return the posterior of the fine lapse rates; the evidence between those that are tried is interpolated."""
    between = PchipInterpolator(_LAPSES, log_masses - log_masses.max())(_FINE_LAPSES)
    density = np.exp(between) * _LAPSE_PRIOR.pdf(_FINE_LAPSES)
    return density / density.sum()


def _lapse(density: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Return mean and interval of the lapse rate."""
    order = np.argsort(-density, kind="stable")
    inside = _FINE_LAPSES[order[: 1 + int(np.searchsorted(np.cumsum(density[order]), _MASS))]]
    return float(_FINE_LAPSES @ density), (float(inside.min()), float(inside.max()))


def _interval(ceilings: np.ndarray, least: float | None) -> tuple[float, float]:
    """Return the shortest interval that holds 95% of the draws.

    Where the least possible one is not ruled out, it begins there, and leaves out above what one with two ends does.
    """
    if least is not None:
        return least, float(np.quantile(ceilings, (1 + _MASS) / 2))
    ordered = np.sort(ceilings)
    inside = int(np.ceil(_MASS * len(ordered)))
    first = int(np.argmin(ordered[inside - 1 :] - ordered[: len(ordered) - inside + 1]))
    return float(ordered[first]), float(ordered[first + inside - 1])


def _side_bias(biases: np.ndarray, sds: np.ndarray, weights: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Return median and interval of the side bias, a mixture of Gaussians, one a node."""
    places = np.linspace((biases - 6 * sds).min(), (biases + 6 * sds).max(), 2001)
    below = norm.cdf(places[:, None], biases, sds) @ weights
    lows = np.interp(_TAILS, below, places)
    highs = np.interp(_TAILS + _MASS, below, places)
    shortest = int(np.argmin(highs - lows))
    return float(np.interp(0.5, below, places)), (float(lows[shortest]), float(highs[shortest]))


def _ceilings(nodes: list[_Node], weights: np.ndarray, session: _Session) -> np.ndarray:
    """Draw noise ceilings, and those of taste, from their posterior, shape (2, draws)."""
    random = np.random.default_rng(0)
    draws = random.multinomial(_DRAWS, weights)
    ceilings = []
    for node, count in zip(nodes, draws, strict=True):
        if count:
            drawn = random.multivariate_normal(
                node.posterior.mean, node.posterior.covariance, count, method="cholesky"
            )
            logits = session.design.times(drawn.T) + session.offsets[:, None]
            if session.others.any():
                rest = random.standard_normal(logits.shape)
                logits += rest * np.sqrt(node.variance * session.others)[:, None]
            chosen = node.lapse / 2 + (1 - node.lapse) * expit(logits)
            taste = logits - session.offsets[:, None] - session.signs[:, None] * drawn[:, -1]
            is_preferred = np.where(taste > 0, chosen, 1 - chosen)
            ceilings.append([np.maximum(chosen, 1 - chosen).mean(0), is_preferred.mean(0)])
    return np.concatenate(ceilings, axis=1)
