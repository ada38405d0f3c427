"""Plain ridge-penalised logistic regression on the signed embedding: the rival that a model has to beat.

P(right) = logistic(w · (φ(right) − φ(left)) + b). All dimensions are standardised and count alike; the penalty is
chosen within the training trials, between images left out in turn.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_expit

from catpref.design.splits import split
from catpref.errors import BadInput
from catpref.models.davidson import likelihood, where_preferred
from catpref.models.interface import Data, Model
from catpref.models.kernels import directions, right_minus_left
from catpref.models.newton import mode

_PRIOR_VARIANCES = tuple(10.0**power for power in range(-3, 3))  # of weights on images of unit mean square
_USUAL = 0.1
_FREE = 1e3  # logits, prior standard deviation of the side bias: no penalty to speak of
_INNER_FOLDS = 3
_ENOUGH = 1e-8  # twice the log posterior still to be gained


@dataclass(frozen=True)
class _Ridge:
    """The regression of a session's trials.

    Attributes
    ----------
    prior_variance
        Of the weights, which is their penalty.
    side_bias
        The intercept.
    logits
        Of all the session's trials, shape (trials,).
    """

    prior_variance: float
    side_bias: float
    logits: np.ndarray

    def p_right(self, trials: np.ndarray) -> np.ndarray:
        return expit(self.logits[trials])


def _fit(data: Data, train: np.ndarray, _: np.ndarray | None) -> _Ridge:
    train, choices = where_preferred(train, data.choices)
    gram = data.kernels.plain_gram
    along = gram @ directions(gram, data.kernels.pairs[train])
    design = np.column_stack([right_minus_left(along, data.kernels.pairs), np.ones(len(data.pairs))])
    is_fair = None if data.is_fair is None else data.is_fair[train]
    variance = _choose(design[train], choices, data.pairs[train], data.seed, is_fair)
    weights = _weights(design[train], choices, variance, np.zeros(design.shape[1]))
    return _Ridge(variance, float(weights[-1]), design @ weights)


def _choose(
    design: np.ndarray, choices: np.ndarray, pairs: np.ndarray, seed: int, is_fair: np.ndarray | None
) -> float:
    """Find the prior variance that best predicts choices between images left out in turn."""
    try:
        shown = np.unique(pairs, return_inverse=True)[1].reshape(-1, 2)
        folds = split(shown, "images", _INNER_FOLDS, seed, is_fair=is_fair)
    except BadInput:
        return _USUAL  # too little data to leave any out
    losses = np.zeros(len(_PRIOR_VARIANCES))
    for train, test in folds:
        if len(set(choices[train])) < 2:
            continue
        weights = np.zeros(design.shape[1])
        for place, variance in enumerate(_PRIOR_VARIANCES):
            weights = _weights(design[train], choices[train], variance, weights)
            logits = design[test] @ weights
            losses[place] -= log_expit(np.where(choices[test] == 1, logits, -logits)).sum()
    return _PRIOR_VARIANCES[int(losses.argmin())]


def _weights(design: np.ndarray, choices: np.ndarray, variance: float, start: np.ndarray) -> np.ndarray:
    """Return the weights, and last the side bias, that are most probable under a prior variance of the weights."""
    scales = np.full(design.shape[1], np.sqrt(variance))
    scales[-1] = _FREE
    found = mode(
        design * scales,
        lambda logits: likelihood(logits, choices)[0],
        lambda logits: likelihood(logits, choices)[1:],
        start / scales,
        _ENOUGH,
    )
    return found.weights * scales


RIDGE = Model(
    "ridge",
    "ridge regression",
    _fit,
    needs=("embeddings", "kernels"),
    features=lambda data: data.components,
    is_baseline=True,
)
