"""Bradley–Terry utilities and a side bias from which images won alone: fitted to many sessions at once.

P(right) = logistic(u(right) − u(left) + b), with a standard Gaussian prior on each utility and on b, as in
`catpref.models.bradley_terry`; with a third answer, Davidson's model (`catpref.models.davidson`). The information of
a choice is at most 1/4 in either, so that Newton steps with that bound never overshoot (Böhning & Lindsay 1988,
Annals of the Institute of Statistical Mathematics 40), and one factorisation serves all steps and all sessions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular

from catpref.models import davidson

_ROUNDS = 3  # of utilities and ν in turn
_MOST_STEPS = 1000
_EXACT = 1e-7  # logits, of the last step


def design_of(pairs: np.ndarray, images: int) -> sparse.csr_array:
    """Return what a trial's logit is made of: right minus left, then the side bias, shape (trials, images + 1)."""
    trials = np.arange(len(pairs))
    columns = np.column_stack([pairs[:, 1], pairs[:, 0], np.full(len(pairs), images)]).ravel()
    signs = np.tile([1.0, -1.0, 1.0], len(pairs))
    return sparse.csr_array((signs, (np.repeat(trials, 3), columns)), shape=(len(pairs), images + 1))


def fit(
    design: sparse.csr_array,
    choices: np.ndarray,
    weights: np.ndarray | float = 1.0,
    start: np.ndarray | None = None,
    enough: float = _EXACT,
    ties: float = 0.0,
) -> np.ndarray:
    """Find the posterior mode of utilities and side bias.

    Parameters
    ----------
    design
        From `design_of`.
    choices
        0 = left, 1 = right, 0.5 = no preference, shape (trials, sessions).
    weights
        How often each trial counts, at most once, shape (trials, sessions).
    start
        Where to start, shape (images + 1, 1).
    enough
        The steps end with one that changes no parameter by more, in logits.
    ties
        ν of Davidson's model.

    Returns
    -------
    ndarray
        Utilities, then the side bias, in logits, shape (images + 1, sessions).
    """
    squares: Any = design.T @ design
    parameters = squares.shape[0]
    bound = cho_factor(squares.toarray() / 4 + np.eye(parameters))  # factors of sparse ones are hardly sparse
    found = np.zeros((parameters, choices.shape[1])) + (0.0 if start is None else start)
    for _ in range(_MOST_STEPS):
        step = cho_solve(
            bound, design.T @ (weights * (choices - davidson.expected(design @ found, ties))) - found
        )
        found += step
        if np.abs(step).max() < enough:
            break
    return found


def with_wins(ranking: pd.DataFrame, table: pd.DataFrame, images: Sequence[str]) -> pd.DataFrame:
    """Put what wins alone tell, as `image_table` has it image by image, beside the rows of a ranking."""
    return ranking.join(table.set_index(pd.Index(images)), on="image")


def image_table(pairs: np.ndarray, choices: np.ndarray, images: int) -> pd.DataFrame:
    """Return what the choices alone say of each image.

    Parameters
    ----------
    pairs
        Left and right image of each trial as indices, shape (trials, 2).
    choices
        0 = left, 1 = right, 0.5 = no preference, shape (trials,).
    images
        Number of images.

    Returns
    -------
    DataFrame
        One row an image: `wins` and `trials` (counts; no preference is half a win), `bradley_terry` (utility in
        logits, zero on average over the images that were shown) and `bradley_terry_se` (its standard error); the
        last two NaN where an image was in no trial.
    """
    trials = np.bincount(pairs.ravel(), minlength=images)
    wins = np.bincount(pairs[:, 1], choices, images) + np.bincount(pairs[:, 0], 1 - choices, images)
    some_are_ties = bool((choices == davidson.TIE).any())
    shown = np.flatnonzero(trials)
    design = design_of(np.searchsorted(shown, pairs), len(shown))
    ties, found = 0.0, np.zeros((len(shown) + 1, 1))
    for _ in range(_ROUNDS if some_are_ties else 1):
        ties = davidson.tie_parameter((design @ found)[:, 0], choices)
        found = fit(design, choices[:, None], start=found, ties=ties)
    of_trials = davidson.likelihood((design @ found)[:, 0], choices, ties)[2]
    information: Any = design.T @ sparse.csr_array(design * of_trials[:, None])
    factor = cholesky(information.toarray() + np.eye(len(found)), lower=True, check_finite=False)
    # The covariance is this, transposed, times itself; only its diagonal is needed, of utilities less their mean.
    root = solve_triangular(factor, np.eye(len(found)), lower=True, check_finite=False)[:, :-1]
    variances = np.square(root - root.mean(1, keepdims=True)).sum(0)
    utility, error = np.full((2, images), np.nan)
    utility[shown] = found[:-1, 0] - found[:-1].mean()
    error[shown] = np.sqrt(variances)
    wins = wins if some_are_ties else wins.astype(int)
    return pd.DataFrame({"wins": wins, "trials": trials, "bradley_terry": utility, "bradley_terry_se": error})
