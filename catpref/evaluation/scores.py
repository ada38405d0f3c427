"""How good predictions are, how sure one can be of that, and how good they could be."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from catpref.evaluation.resampling import resampled
from catpref.evaluation.sampling import Spread

_LEAST_FOLD = 10  # trials, of which a model that works would hardly say the same side of all
_BINS = 10
_DRAWS = 60  # of images, for the spread of scores: known within a tenth
_CALIBRATED_DRAWS = 100
_LEAST_RANGE = 1e-9  # of logits, for a line
_WEAK_PENALTY = 1e4  # keeps a line finite where logits tell all choices


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
        Logistic regression of the choices on the predicted logits.
    auc, auc_ci95
        Area under the ROC curve, and its 95% interval; None if only one side was chosen.
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
    """The line of observed against predicted logits: slope 1 and intercept 0 if calibrated; with 95% intervals.

    All are None where the predictions do not vary.
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
    weights = list(resampled(pairs, _DRAWS))

    def interval(estimate: float, drawn: Iterable[float]) -> tuple[float, float]:
        reach = 1.96 * inflation * float(np.std(list(drawn)))
        return estimate - reach, estimate + reach

    clipped = np.clip(p_right, 1e-12, 1 - 1e-12)
    losses = -np.log(np.where(choices == 1, clipped, 1 - clipped))
    both = np.unique(choices).size == 2
    auc = float(roc_auc_score(choices, p_right)) if both else None
    return Scores(
        accuracy=accuracy,
        accuracy_ci95=sampling.interval(accuracy, hits),
        accuracy_with_side_bias=float(hits_of(p_right, choices).mean()),
        log_loss=float(losses.mean()),
        log_loss_ci95=interval(
            float(losses.mean()), (float(np.average(losses, weights=one)) for one in weights)
        ),
        brier=float(brier_score_loss(choices, p_right)),
        ece=calibration_error(p_right, choices),
        ece_if_calibrated=_error_if_calibrated(p_right, trials),
        calibration=_calibration(logit(clipped), choices, weights, interval),
        auc=auc,
        auc_ci95=None
        if auc is None
        else interval(auc, (_auc(p_right, choices, one, auc) for one in weights)),
        collapsed=_collapsed(taste, folds),
    )


def _auc(p_right: np.ndarray, choices: np.ndarray, weights: np.ndarray, otherwise: float) -> float:
    """Return the area under the curve of weighted trials; another value where these are all on one side."""
    drawn = weights > 0
    if np.unique(choices[drawn]).size < 2:
        return otherwise
    return float(roc_auc_score(choices[drawn], p_right[drawn], sample_weight=weights[drawn]))


def _collapsed(taste: np.ndarray, folds: np.ndarray) -> bool:
    """Return whether in most folds all trials were given the same answer."""
    names, sizes = np.unique(folds, return_counts=True)
    large = names[sizes >= min(_LEAST_FOLD, sizes.max())]
    return bool(np.mean([np.unique(taste[folds == fold] > 0.5).size == 1 for fold in large]) > 0.5)


def _calibration(
    logits: np.ndarray,
    choices: np.ndarray,
    weights: Sequence[np.ndarray],
    interval: Callable[[float, Iterable[float]], tuple[float, float]],
) -> Calibration:
    """Fit the line to all trials, and to each of some weightings of them."""

    def line(weighting: np.ndarray) -> np.ndarray:
        drawn = weighting > 0
        if np.unique(choices[drawn]).size < 2:
            return np.full(2, np.nan)
        found = LogisticRegression(C=_WEAK_PENALTY).fit(logits[drawn, None], choices[drawn], weighting[drawn])
        return np.append(found.coef_[0], found.intercept_)

    slope, intercept = line(np.ones(len(choices)))
    if np.ptp(logits) < _LEAST_RANGE or np.isnan(slope):
        return Calibration(None, None, None, None)
    drawn = np.array([line(one) for one in weights])
    slopes, intercepts = drawn[~np.isnan(drawn).any(1)].T
    return Calibration(slope, interval(slope, slopes), intercept, interval(intercept, intercepts))


def _error_if_calibrated(p_right: np.ndarray, trials: np.ndarray) -> float:
    """Average the calibration error over choices that are drawn as predicted, each trial's once."""
    random = np.random.default_rng(0)
    _, place = np.unique(trials, return_inverse=True)
    draws = random.random((_CALIBRATED_DRAWS, place.max() + 1))
    return float(np.mean([calibration_error(p_right, drawn[place] < p_right) for drawn in draws]))


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
    bins = np.minimum((p_right * _BINS).astype(int), _BINS - 1)
    return np.array(
        [
            (p_right[bins == one].mean(), choices[bins == one].mean(), (bins == one).sum())
            for one in np.unique(bins)
        ]
    )


def calibration_error(p_right: np.ndarray, choices: np.ndarray) -> float:
    """Return the expected calibration error: the bins' |predicted − observed|, weighted by their trials."""
    predicted, observed, count = reliability(p_right, choices).T
    return float(np.average(np.abs(predicted - observed), weights=count))
