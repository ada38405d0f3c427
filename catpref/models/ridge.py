"""Plain ridge-penalised logistic regression on the signed embedding: the rival that a model has to beat.

P(right) = logistic(w · (φ(right) − φ(left)) + b). All dimensions are standardised and count alike; the penalty is
chosen within the training trials, between images left out in turn.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_expit

from catpref.design.splits import split
from catpref.errors import BadInput
from catpref.models.davidson import where_preferred
from catpref.models.interface import Data, Model
from catpref.models.kernels import directions, right_minus_left

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression  # takes half a second, which only a fit needs

_PRIOR_VARIANCES = tuple(10.0**power for power in range(-3, 3))  # of weights on images of unit mean square
_USUAL = 0.1
_INNER_FOLDS = 3


@dataclass(frozen=True)
class _Ridge:
    """The regression, and the differences of all the session's trials along its directions."""

    regression: "LogisticRegression"
    differences: np.ndarray

    @property
    def side_bias(self) -> float:
        return float(np.ravel(self.regression.intercept_)[0])

    def p_right(self, trials: np.ndarray) -> np.ndarray:
        return self.regression.predict_proba(self.differences[trials])[:, 1]


def _fit(data: Data, train: np.ndarray, _: np.ndarray | None) -> _Ridge:
    train, choices = where_preferred(train, data.choices)
    gram, pairs = data.kernels.plain_gram, data.kernels.pairs
    differences = right_minus_left(gram @ directions(gram, pairs[train]), pairs)
    if not differences.shape[1]:  # all images look the same, and scikit-learn wants something to read
        differences = np.zeros((len(differences), 1))
    seen = differences[train]
    is_fair = None if data.is_fair is None else data.is_fair[train]
    variance = _choose(seen, choices, data.pairs[train], data.seed, is_fair)
    return _Ridge(_regression(variance).fit(seen, choices), differences)


def _choose(
    differences: np.ndarray, choices: np.ndarray, pairs: np.ndarray, seed: int, is_fair: np.ndarray | None
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
        for place, variance in enumerate(_PRIOR_VARIANCES):
            fitted = _regression(variance).fit(differences[train], choices[train])
            logits = fitted.decision_function(differences[test])
            losses[place] -= log_expit(np.where(choices[test] == 1, logits, -logits)).sum()
    return _PRIOR_VARIANCES[int(losses.argmin())]


def _regression(variance: float) -> "LogisticRegression":
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=variance, solver="newton-cholesky")


RIDGE = Model(
    "ridge",
    "ridge regression",
    _fit,
    needs=("embeddings", "kernels"),
    features=lambda data: data.components,
    is_baseline=True,
)
