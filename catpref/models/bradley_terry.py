"""Bradley–Terry utilities of known images (through choix): strong for images seen before, mute about new ones."""

from dataclasses import dataclass

import choix
import numpy as np
from scipy.special import expit

from catpref.models.davidson import where_preferred
from catpref.models.interface import Data, Model

_PENALTY = 0.5  # a standard Gaussian prior on each utility; keeps an image that always won finite


def fit_and_predict(train: np.ndarray, choices: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Fit utilities to the training trials and predict the test trials.

    Parameters
    ----------
    train, test
        Left and right image of each trial as indices, shape (trials, 2).
    choices
        The training trials' choices, 0 = left, 1 = right.

    Returns
    -------
    ndarray
        P(right) of each test trial; one half where an image was in no training trial.
    """
    shown, indices = np.unique(train, return_inverse=True)
    known = np.isin(test, shown).all(1)
    p_right = np.full(len(test), 0.5)
    if known.any():
        trials = indices.reshape(-1, 2)
        rows = np.arange(len(trials))
        wins = np.column_stack([trials[rows, choices], trials[rows, 1 - choices]])
        utilities = choix.opt_pairwise(len(shown), wins.tolist(), alpha=_PENALTY, method="BFGS")
        left, right = np.searchsorted(shown, test[known]).T
        p_right[known] = expit(utilities[right] - utilities[left])
    return p_right


@dataclass(frozen=True)
class _Known:
    """The training trials, from which each prediction is made anew."""

    data: Data
    train: np.ndarray

    def p_right(self, trials: np.ndarray) -> np.ndarray:
        pairs = self.data.pairs
        train, choices = where_preferred(self.train, self.data.choices)
        return fit_and_predict(pairs[train], choices, pairs[trials])


BRADLEY_TERRY = Model(
    "bradley_terry",
    "Bradley–Terry",
    lambda data, train, _: _Known(data, train),
    is_baseline=True,
)
