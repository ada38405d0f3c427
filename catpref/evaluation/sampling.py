"""How far a cross-validated accuracy can be from the truth, and how often it comes about by chance.

The estimand is the accuracy on new images of a model trained on so many trials of this observer. The held-out trials
of a fold share one trained model, trials share images, and what fold A teaches of fold B is what B teaches of A, so
that trials cannot be counted as if they were independent. Instead observers are simulated who answer the same trials
as consistently as this one, but whose taste the embedding carries to a known degree, from not at all to wholly; each
is cross-validated with the same folds, by ridge regression in closed form. The 95% interval holds the expected
accuracies at which the observed one would not be unusual; that of the AUC likewise.

References
----------
Bates, Hastie & Tibshirani (2024). Cross-validation: what does it estimate and how well does it do it? JASA 119.
Snijders & Borgatti (1999). Non-parametric standard errors and tests for network statistics. Connections 22(2).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from scipy.special import expit
from scipy.stats import rankdata

from catpref._io.workers import workers
from catpref.design.splits import Fold
from catpref.evaluation.resampling import resampled
from catpref.evaluation.utilities_of_wins import design_of
from catpref.models.kernels import right_minus_left
from catpref.models.psychometric import PsychometricFit

PERMUTATIONS = 999
_AT_ONCE = 16  # permutations, whose arrays stay in the processor's cache
_CARRIED = np.array([0.0, 0.05, 0.15, 0.3, 0.5, 0.75, 1.0])  # shares of the taste's variance
_OBSERVERS = 120  # simulated for each share
_DRAWS = 400  # of images, for the spread of other scores than the accuracy
_PRIOR_VARIANCE = 1.0  # of a typical trial's logit, under the ridge penalty


class Spread(Protocol):
    """How far a cross-validated accuracy can be from the truth."""

    @property
    def of_auc(self) -> "Sampling | None":
        """The same of the AUC; None where resampled images tell its interval."""
        ...

    def interval(self, accuracy: float, hits: np.ndarray) -> tuple[float, float]:
        """Return the 95% interval of an accuracy, given which of the held-out trials were predicted."""
        ...

    def inflation(self, accuracy: float, hits: np.ndarray, pairs: np.ndarray) -> float:
        """Return by what factor the spread over images drawn is to be multiplied."""
        ...


@dataclass(frozen=True)
class Sampling:
    """The sampling distribution of a cross-validated accuracy, or AUC.

    Attributes
    ----------
    expected
        Of simulated observers whose taste the embedding carries ever more of, shape (shares,), rising.
    low, high
        By how much 2.5% of their accuracies are below, and 2.5% above, shape (shares,).
    of_auc
        Beside that of the accuracy: that of the area under the ROC curve within folds.
    """

    expected: np.ndarray
    low: np.ndarray
    high: np.ndarray
    of_auc: "Sampling | None" = None

    def interval(self, accuracy: float, hits: np.ndarray | None = None) -> tuple[float, float]:
        """Return the expected accuracies at which this one would not be unusual."""
        possible = np.linspace(0, 1, 2001)
        # Beyond what ridge regression reaches, choices vary less, as choices do that are nearly all predicted.
        most = self.expected[-1]
        beyond = np.sqrt(np.minimum(possible * (1 - possible) / (most * (1 - most)), 1))
        reach = [
            np.interp(possible, self.expected, side) * np.where(possible > most, beyond, 1)
            for side in (self.low, self.high)
        ]
        usual = possible[(accuracy >= possible - reach[0]) & (accuracy <= possible + reach[1])]
        return float(min(usual.min(), accuracy)), float(max(usual.max(), accuracy))

    def inflation(self, accuracy: float, hits: np.ndarray, pairs: np.ndarray) -> float:
        """Return by what factor the spread over images drawn is to be multiplied: the shared training's part."""
        drawn = np.std([np.average(hits, weights=weights) for weights in resampled(pairs, _DRAWS)])
        low, high = self.interval(accuracy, hits)
        return max(1.0, (high - low) / (2 * 1.96 * float(drawn))) if drawn else 1.0


def simulate(
    features: np.ndarray,
    pairs: np.ndarray,
    folds: Sequence[Fold],
    observer: PsychometricFit,
    seed: int = 0,
    is_fair: np.ndarray | None = None,
) -> Sampling:
    """Simulate observers like this one, and cross-validate each.

    Parameters
    ----------
    features
        What a model reads of each image, shape (images, features).
    pairs
        Left and right image of each trial, as indices, shape (trials, 2).
    folds
        Training and test trials, of all repeats.
    observer
        How consistent they are, their side bias and lapse rate.
    seed
        Seed of the observers.
    is_fair
        Which trials are typical of pairs at random, shape (trials,): of these the observer's consistency is known.
        None: all.
    """
    random = np.random.default_rng(seed)
    typical = pairs if is_fair is None else pairs[is_fair]
    differences = right_minus_left(features, pairs) / _scale(features, typical)
    count = len(_CARRIED) * _OBSERVERS
    carried = np.repeat(_CARRIED, _OBSERVERS)
    taste = differences @ random.standard_normal((differences.shape[1], count))
    own = right_minus_left(random.standard_normal((len(features), count)), pairs) / np.sqrt(2)
    logits = observer.spread * (np.sqrt(carried) * taste + np.sqrt(1 - carried) * own) + observer.side_bias
    p_right = observer.lapse / 2 + (1 - observer.lapse) * expit(logits)
    answers = np.where(random.random(p_right.shape) < p_right, 1.0, -1.0)
    hits, greater, possible = np.zeros((3, count))
    for train, test in folds:
        seen, centred = differences[train], answers[train] - answers[train].mean(0)
        predicted = differences[test] @ _ridge(seen.T @ seen, seen.T @ centred)
        is_right = answers[test] > 0
        rights = is_right.sum(0)
        hits += ((predicted > 0) == is_right).sum(0)
        greater += (rankdata(predicted, axis=0) * is_right).sum(0) - rights * (rights + 1) / 2
        possible += rights * (len(test) - rights)
    areas = np.divide(greater, possible, out=np.full(count, 0.5), where=possible > 0)
    are_new = not any(np.isin(pairs[test], pairs[train]).any() for train, test in folds)
    of_accuracy = _sampling_of(hits / sum(len(test) for _, test in folds), are_new)
    return replace(of_accuracy, of_auc=_sampling_of(areas, are_new))


def _sampling_of(scores: np.ndarray, are_new: bool) -> Sampling:
    """Summarise a score of the simulated observers, of images that were in no training trial or of others."""
    by_share = scores.reshape(len(_CARRIED), _OBSERVERS)
    expected = np.maximum.accumulate(by_share.mean(1))
    # The spread hardly depends on the share: neighbours are averaged, to need fewer observers.
    low, high = np.abs(np.quantile(by_share - by_share.mean(1, keepdims=True), [0.025, 0.975], axis=1))
    smooth = [np.convolve(np.pad(side, 1, mode="edge"), [0.25, 0.5, 0.25], "valid") for side in (low, high)]
    if are_new:
        expected += 0.5 - expected[0]  # what is known of new images whose appeal the features do not carry
    return Sampling(expected + 1e-9 * np.arange(len(expected)), smooth[1], smooth[0])


def p_value(
    features: np.ndarray,
    pairs: np.ndarray,
    choices: np.ndarray,
    folds: Sequence[Fold],
    seed: int = 0,
    is_fair: np.ndarray | None = None,
) -> float:
    """Return how often images that are permuted are predicted at least as accurately.

    Which features an image has is permuted over the images, and a ridge regression is fitted again to each fold: if
    the taste has nothing to do with the features, every permutation is as likely as what was seen. Choices between
    the same images stay together, so that it holds for images that were shown repeatedly, too. In adaptive sessions
    the images of the random trials are permuted among each other: which adaptive pairs were shown depends on what
    their images' features are, so that these stay where they are.

    Parameters
    ----------
    features
        What a model reads of each image, shape (images, features).
    pairs
        Left and right image of each trial, as indices, shape (trials, 2).
    choices
        0 = left, 1 = right, 0.5 = no preference (between the two for the regression), shape (trials,).
    folds
        Training and test trials; of the latter none without a preference.
    seed
        Seed of the permutations.
    is_fair
        Which trials no answer had a part in choosing, shape (trials,). None: all.
    """
    random = np.random.default_rng(seed)
    answers = 2.0 * choices - 1
    scale = _scale(features, pairs)
    permutable = np.arange(len(features)) if is_fair is None else np.unique(pairs[is_fair])
    observed = float(_hits((features / scale)[None], pairs, answers, folds)[0])
    orders = np.tile(np.arange(len(features)), (PERMUTATIONS, 1))
    for order in orders:
        order[permutable] = permutable[random.permutation(len(permutable))]

    def as_good(some: np.ndarray) -> int:
        return int((_hits(features[some] / scale, pairs, answers, folds) >= observed - 1e-9).sum())

    with workers() as pool:
        count = sum(pool.map(as_good, np.array_split(orders, -(-PERMUTATIONS // _AT_ONCE))))
    return (1 + count) / (1 + PERMUTATIONS)


def _hits(features: np.ndarray, pairs: np.ndarray, answers: np.ndarray, folds: Sequence[Fold]) -> np.ndarray:
    """Return how many held-out choices are predicted, for each of several sets of features.

    Where images are no more than trials, squared differences are summed by way of the trials' squared design.
    """
    sets, images, columns = features.shape
    design = design_of(pairs, images)[:, :-1]
    beside = np.swapaxes(features, 0, 1).reshape(images, -1)
    transposed = np.swapaxes(features, 1, 2)
    few = len(pairs) < images
    differences = features[:, pairs[:, 1]] - features[:, pairs[:, 0]] if few else None
    hits = np.zeros(sets)
    for train, test in folds:
        apart = answers[train] - answers[train].mean()
        if differences is None:
            seen: Any = design[train]
            weighed = ((seen.T @ seen) @ beside).reshape(images, sets, columns).swapaxes(0, 1)
            weights = _ridge(transposed @ weighed, (transposed @ (seen.T @ apart))[..., None])
            utilities = (features @ weights)[..., 0]
            predicted = utilities[:, pairs[test, 1]] - utilities[:, pairs[test, 0]]
        else:
            seen = differences[:, train]
            turned = np.swapaxes(seen, 1, 2)
            weights = _ridge(turned @ seen, (turned @ apart)[..., None])
            predicted = (differences[:, test] @ weights)[..., 0]
        hits += np.where(predicted == 0, 0.5, (predicted > 0) == (answers[test] > 0)).sum(1)
    return hits


def _ridge(squares: np.ndarray, pulls: np.ndarray) -> np.ndarray:
    """Return the weights of a ridge regression on answers of ±1, with the side bias set aside.

    Parameters
    ----------
    squares
        Of the trials' differences, summed over the trials, shape (…, features, features).
    pulls
        These differences times the answers less their mean, likewise, shape (…, features, observers).
    """
    return np.linalg.solve(squares + 4 / _PRIOR_VARIANCE * np.eye(squares.shape[-1]), pulls)


def _scale(features: np.ndarray, pairs: np.ndarray) -> float:
    """Return a typical difference of the two images of a trial."""
    return float(np.sqrt(np.square(right_minus_left(features, pairs)).sum(1).mean())) or 1.0
