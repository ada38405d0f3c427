"""How good predictions are, how sure one can be of that, and how good they could be.

Each fold has its own estimate of the side bias, and what is held out is not in it: where more right choices than
usual are held out, fewer are left to learn from, and P(right) is too low. Over all folds, P(right) would thus go
against the choices wherever taste says little. AUC and calibration slope are therefore of taste, and AUC compares
choices of the same fold alone, since folds differ in the strength of their predictions, too.

References
----------
Parker, Günter & Bedo (2007). Stratification bias in low signal microarray studies. BMC Bioinformatics 8.
Airola, Pahikkala, Waegeman, De Baets & Salakoski (2011). An experimental comparison of cross-validation techniques
for estimating the area under the ROC curve. Computational Statistics & Data Analysis 55(4).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, log_expit, logit

from catpref.evaluation.resampling import resampled
from catpref.evaluation.sampling import Spread
from catpref.models.newton import minimise

_LEAST_FOLD = 10  # trials, of which a model that works would hardly say the same side of all
_BINS = 10
_DRAWS = 60  # of images, for the spread of scores: known within a tenth
_CALIBRATED_DRAWS = 100
_LEAST_RANGE = 1e-9  # of logits, for a line
_WEAK_PENALTY = 1e-4  # of half the squared slope: keeps a line finite where logits tell all choices
_ENOUGH = 1e-12  # nats that all lines together may be from the most likely ones


@dataclass(frozen=True)
class Scores:
    """How predictions did on held-out trials.

    Attributes
    ----------
    accuracy, accuracy_ci95
        Fraction of the choices that taste alone predicts, the side bias set aside, and its 95% interval; a prediction
        of exactly one half counts as half a hit.
    accuracy_with_side_bias
        Fraction predicted by taste and side bias.
    log_loss, log_loss_ci95
        Mean −log P(what was chosen), in nats, and its 95% interval.
    brier
        Mean squared difference of P(right) and the choice.
    ece, ece_if_calibrated
        Expected calibration error over ten bins of P(right), and what it would be on average if each P(right) were
        true: with few trials, well above 0.
    calibration
        Logistic regression of the choices on the predicted logits of taste.
    auc, auc_ci95
        Area under the ROC curve of taste, within folds, and its 95% interval; None if in no fold both sides were
        chosen.
    collapsed
        Whether in most folds the model gave all trials the same answer; folds of few trials do not count, unless
        all are.
    p_value, p_value_corrected
        How often permuted images are predicted at least as accurately (`catpref.evaluation.sampling.p_value`), and
        corrected for the number of models tested (Holm 1979); None where a model is not tested.
    """

    accuracy: float
    accuracy_ci95: tuple[float, float]
    accuracy_with_side_bias: float
    log_loss: float
    log_loss_ci95: tuple[float, float]
    brier: float
    ece: float
    ece_if_calibrated: float
    calibration: "Calibration"
    auc: float | None
    auc_ci95: tuple[float, float] | None
    collapsed: bool
    p_value: float | None = None
    p_value_corrected: float | None = None


@dataclass(frozen=True)
class Calibration:
    """The line of observed against predicted logits of taste, with 95% intervals.

    The predicted side bias is added as it is. The slope is 1 if taste is calibrated, the intercept 0 if the side bias
    is. All are None where the predictions of taste do not vary.
    """

    slope: float | None
    slope_ci95: tuple[float, float] | None
    intercept: float | None
    intercept_ci95: tuple[float, float] | None


def score(
    p_right: np.ndarray,
    taste: np.ndarray,
    choices: np.ndarray,
    pairs: np.ndarray,
    folds: np.ndarray,
    trials: np.ndarray,
    sampling: Spread,
) -> Scores:
    """Score predictions of held-out trials.

    Parameters
    ----------
    p_right, taste
        Predicted P(right), and the same without the side bias, shape (predictions,).
    choices
        0 = left, 1 = right, shape (predictions,).
    pairs
        The images of each trial as indices, shape (predictions, 2).
    folds
        Which fold each trial was held out in, shape (predictions,).
    trials
        Which trial each prediction is of, shape (predictions,).
    sampling
        The sampling distribution of the accuracy.
    """
    hits = hits_of(taste, choices)
    accuracy = float(hits.mean())
    inflation = sampling.inflation(accuracy, hits, pairs)
    weights = np.array(list(resampled(pairs, _DRAWS)))

    def interval(estimate: float, drawn: np.ndarray) -> tuple[float, float]:
        reach = 1.96 * inflation * float(np.std(drawn))
        return estimate - reach, estimate + reach

    clipped = np.clip(p_right, 1e-12, 1 - 1e-12)
    losses = -np.log(np.where(choices == 1, clipped, 1 - clipped))
    logits = logit(np.clip(taste, 1e-12, 1 - 1e-12))
    side_bias = logit(clipped) - logits
    auc = float(areas(taste, choices, folds, np.ones((1, len(choices))))[0])

    def interval_of_auc() -> tuple[float, float]:
        if sampling.of_auc is not None:
            return sampling.of_auc.interval(auc)
        drawn = areas(taste, choices, folds, weights)
        return interval(auc, np.where(np.isnan(drawn), auc, drawn))

    return Scores(
        accuracy=accuracy,
        accuracy_ci95=sampling.interval(accuracy, hits),
        accuracy_with_side_bias=float(hits_of(p_right, choices).mean()),
        log_loss=float(losses.mean()),
        log_loss_ci95=interval(float(losses.mean()), weights @ losses / weights.sum(1)),
        brier=float(np.square(p_right - choices).mean()),
        ece=float(calibration_error(p_right, choices)),
        ece_if_calibrated=_error_if_calibrated(p_right, trials),
        calibration=_calibration(logits, side_bias, choices, weights, interval),
        auc=None if np.isnan(auc) else auc,
        auc_ci95=None if np.isnan(auc) else interval_of_auc(),
        collapsed=_collapsed(taste, folds),
    )


def areas(taste: np.ndarray, choices: np.ndarray, folds: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve within folds for each of several weightings of the trials.

    It is the share of pairs of a right and a left choice held out in the same fold in which the right one has the
    greater P(right); equal ones count one half (Hanley & McNeil 1982, Radiology 143).

    Parameters
    ----------
    taste, choices, folds
        Predicted P(right), 0 = left or 1 = right, and the fold, shape (predictions,).
    weights
        How often each prediction counts, shape (weightings, predictions).

    Returns
    -------
    ndarray
        Shape (weightings,); NaN where in no fold both sides were chosen.
    """
    greater, possible = np.sum(
        [_greater(taste[own], choices[own], weights[:, own]) for own in (folds == np.unique(folds)[:, None])],
        axis=0,
    )
    return np.divide(greater, possible, out=np.full(len(weights), np.nan), where=possible > 0)


def _greater(taste: np.ndarray, choices: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many pairs of a right and a left choice are ordered rightly, and how many there are."""
    order = np.argsort(taste)
    values = np.flatnonzero(np.diff(taste[order], prepend=-1))
    right, left = (
        np.add.reduceat((weights * (choices == side))[:, order], values, axis=1, dtype=float)
        for side in (1, 0)
    )
    return (right * (left.cumsum(1) - left / 2)).sum(1), right.sum(1) * left.sum(1)


def _collapsed(taste: np.ndarray, folds: np.ndarray) -> bool:
    """Return whether in most folds all trials were given the same answer."""
    names, sizes = np.unique(folds, return_counts=True)
    large = names[sizes >= min(_LEAST_FOLD, sizes.max())]
    return bool(np.mean([np.unique(taste[folds == fold] > 0.5).size == 1 for fold in large]) > 0.5)


def _calibration(
    logits: np.ndarray,
    side_bias: np.ndarray,
    choices: np.ndarray,
    weights: np.ndarray,
    interval: Callable[[float, np.ndarray], tuple[float, float]],
) -> Calibration:
    """Fit the line to all trials, and to each of some weightings of them."""
    if np.ptp(logits) < _LEAST_RANGE or np.ptp(choices) == 0:
        return Calibration(None, None, None, None)
    whole = lines(logits, side_bias, choices, np.ones((1, len(choices))), np.zeros((1, 2)))
    both = (weights @ (choices == 1) > 0) & (weights @ (choices == 0) > 0)
    slopes, intercepts = lines(logits, side_bias, choices, weights[both], whole).T
    slope, intercept = whole[0].tolist()
    return Calibration(slope, interval(slope, slopes), intercept, interval(intercept, intercepts))


def lines(
    logits: np.ndarray, side_bias: np.ndarray, choices: np.ndarray, weights: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """Fit logistic regressions of choices on predicted logits to several weightings of the trials at once.

    Parameters
    ----------
    logits, side_bias, choices
        Of taste and what is added to them, as predicted, and 0 = left or 1 = right, shape (predictions,).
    weights
        How often each prediction counts, shape (weightings, predictions); both sides are chosen in each.
    start
        Slope and intercept near which to look, shape (weightings or 1, 2).

    Returns
    -------
    ndarray
        Slope and intercept, shape (weightings, 2).
    """
    inputs = np.stack([logits, np.ones(len(logits))])
    signs = np.where(choices == 1, 1.0, -1.0)
    penalty = np.array([_WEAK_PENALTY, 0.0])

    def loss(found: np.ndarray) -> float:
        likely = log_expit(signs * (found @ inputs + side_bias))
        return float((penalty * found**2).sum() / 2 - (weights * likely).sum())

    def step_at(found: np.ndarray) -> tuple[np.ndarray, float, None]:
        p_right = expit(found @ inputs + side_bias)
        gradient = penalty * found - (weights * (choices - p_right)) @ inputs.T
        information = np.einsum(
            "wt,it,jt->wij", weights * p_right * (1 - p_right), inputs, inputs, optimize=True
        )
        step = np.linalg.solve(information + np.diag(penalty), gradient[..., None])[..., 0]
        return step, float((gradient * step).sum()), None

    return minimise(start + np.zeros((len(weights), 2)), loss, step_at, _ENOUGH)[0]


def _error_if_calibrated(p_right: np.ndarray, trials: np.ndarray) -> float:
    """Average the calibration error over choices that are drawn as predicted, each trial's once."""
    random = np.random.default_rng(0)
    _, place = np.unique(trials, return_inverse=True)
    draws = random.random((_CALIBRATED_DRAWS, place.max() + 1))
    return float(calibration_error(p_right, draws[:, place] < p_right).mean())


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979)."""
    order = np.argsort(p_values)
    stepped = np.asarray(p_values)[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return corrected.tolist()


def hits_of(p_right: np.ndarray, choices: np.ndarray) -> np.ndarray:
    """Return which choices were predicted, 1 or 0; a prediction of exactly one half is half a hit."""
    return np.where(p_right == 0.5, 0.5, (p_right > 0.5) == (choices == 1))


def reliability(p_right: ArrayLike, choices: ArrayLike) -> np.ndarray:
    """Bin predictions by P(right) into tenths.

    Returns
    -------
    ndarray
        Shape (occupied bins, 3): mean P(right), proportion of right choices, number of trials.
    """
    p_right, choices = np.asarray(p_right), np.asarray(choices)
    bins = _bins(p_right)
    return np.array(
        [
            (p_right[bins == one].mean(), choices[bins == one].mean(), (bins == one).sum())
            for one in np.unique(bins)
        ]
    )


def calibration_error(p_right: np.ndarray, choices: np.ndarray) -> np.ndarray:
    """Return the expected calibration error: the bins' |predicted − observed|, weighted by their trials.

    Parameters
    ----------
    p_right
        Predicted P(right), shape (predictions,).
    choices
        0 = left, 1 = right, shape (predictions,) or (sets of choices, predictions).

    Returns
    -------
    ndarray
        Of each set of choices, shape () or (sets,).
    """
    members = np.equal.outer(_bins(p_right), np.arange(_BINS)).astype(float)
    return np.abs((p_right - choices) @ members).sum(-1) / len(p_right)


def _bins(p_right: np.ndarray) -> np.ndarray:
    """Return in which tenth each P(right) is."""
    return np.minimum((p_right * _BINS).astype(int), _BINS - 1)
