"""Cross-validation: every model learns from the same training trials, and predicts the same held-out ones."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from catpref._io.workers import workers
from catpref.design.splits import Fold
from catpref.evaluation import learning_curve
from catpref.evaluation.learning_curve import LearningCurve
from catpref.evaluation.resampling import resampled
from catpref.evaluation.sampling import Spread, p_value
from catpref.evaluation.scores import Scores, hits_of, holm, score
from catpref.models.interface import Data, Epoch, Fitted, Model, history_of, of_trials

_DRAWS = 200  # of images, for the spread of a difference
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Result:
    """How one model did on held-out trials.

    Attributes
    ----------
    model
        Its name.
    embedding
        What it reads of the images; None for most baselines.
    n_train
        Training trials, on average over the folds.
    n_test
        Different trials that were held out.
    repeats
        Cross-validations, each with folds of its own.
    scores
        Over all held-out trials; None where none could be held out (`without_evaluation`).
    fit_seconds
        What the time went to.
    gain
        That calibrates the model fitted to all trials; 1 for a model that is not calibrated here.
    held_out
        One row for each held-out trial and repeat: fold, repeat, row_index, p_right, choice.
    histories
        How a network's training went, fold by fold.
    """

    model: str
    embedding: str | None
    n_train: int
    n_test: int
    repeats: int
    scores: Scores | None
    fit_seconds: float
    gain: float
    held_out: pd.DataFrame = field(repr=False)
    histories: Sequence[Sequence[Epoch]] = field(repr=False, default=())


def cross_validate(model: Model, data: Data, splits: Sequence[Sequence[Fold]], sampling: Spread) -> Result:
    """Fit a model to each fold's training trials and score its predictions of the held-out ones.

    Parameters
    ----------
    model
        What learns.
    data
        The session.
    splits
        One list of folds for each repeat; a slow model takes the first alone.
    sampling
        The sampling distribution of the accuracy.
    """
    splits = splits[:1] if model.is_slow else splits
    folds = [fold for each in splits for fold in each]
    started = time.perf_counter()
    fitted = _fit(model, data, folds)
    gains, gain = _gains(model, data, fitted, folds, len(splits[0]))
    predicted = [
        calibrated(each, own).p_right(test) for each, own, (_, test) in zip(fitted, gains, folds, strict=True)
    ]
    seconds = time.perf_counter() - started
    rows = np.concatenate([test for _, test in folds])
    number = np.repeat(np.arange(len(folds)), [len(test) for _, test in folds])
    held_out = pd.DataFrame({
        "model": model.name, "fold": number % len(splits[0]), "repeat": number // len(splits[0]),
        "row_index": rows, "p_right": np.concatenate(predicted),
        "p_right_by_taste": np.concatenate([
            _without_side_bias(p_right, each, test, len(data.choices))
            for p_right, each, (_, test) in zip(predicted, fitted, folds, strict=True)
        ]),
        "choice": data.choices[rows],
    })  # fmt: skip
    p_right, taste = held_out["p_right"].to_numpy(), held_out["p_right_by_taste"].to_numpy()
    scores = score(p_right, taste, data.choices[rows], data.pairs[rows], number, rows, sampling)
    if model.features is not None:
        features = model.features(data)
        key = features.tobytes()  # several models read the same
        if key not in data.found:
            data.found[key] = p_value(features, data.pairs, data.choices, splits[0], data.seed, data.is_fair)
        scores = replace(scores, p_value=data.found[key])
    return Result(
        model=model.name,
        embedding=model.reads(data),
        n_train=round(np.mean([len(train) for train, _ in folds])),
        n_test=len(np.unique(rows)),
        repeats=len(splits),
        scores=scores,
        fit_seconds=seconds,
        gain=gain,
        held_out=held_out,
        histories=[history for each in fitted if (history := history_of(each))],
    )


def without_evaluation(model: Model, data: Data) -> Result:
    """Return what there is of a model where no trial can be held out to judge it by."""
    columns = {
        "model": str, "fold": int, "repeat": int, "row_index": int, "p_right": float, "p_right_by_taste": float,
        "choice": data.choices.dtype,
    }  # fmt: skip
    nothing = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})
    return Result(model.name, model.reads(data), len(data.pairs), 0, 0, None, 0.0, 1.0, nothing)


def scores_of(result: Result) -> Scores:
    """Return the scores of a model that was evaluated."""
    assert result.scores is not None
    return result.scores


def learn_from_fewer(
    model: Model, data: Data, splits: Sequence[Sequence[Fold]], result: Result
) -> LearningCurve:
    """Fit a learning curve to parts of the training trials; what all of them taught is in `result`.

    Parts are drawn at random, but those of an adaptive session are its beginnings: only these were asked as they
    would have been in a shorter session.
    """
    known = (result.held_out["repeat"] < len(splits)).to_numpy()
    rows, choices, taste = (
        result.held_out[name].to_numpy()[known] for name in ("row_index", "choice", "p_right_by_taste")
    )
    folds = [fold for each in splits for fold in each]
    random = np.random.default_rng(data.seed)
    if data.is_fair is None:
        folds = [(random.permutation(train), test) for train, test in folds]
    hits = {float(np.mean([len(train) for train, _ in folds])): hits_of(taste, choices)}
    for part in learning_curve.FRACTIONS:
        smaller = [(train[: round(part * len(train))], test) for train, test in folds]
        sizes = [len(train) for train, _ in smaller]
        if min(sizes) >= learning_curve.LEAST_TRIALS:
            fitted = _fit(model, data, smaller)
            predicted = [
                _without_side_bias(each.p_right(test), each, test, len(data.choices))
                for each, (_, test) in zip(fitted, smaller, strict=True)
            ]
            hits[float(np.mean(sizes))] = hits_of(np.concatenate(predicted), choices)
    return learning_curve.fit(hits, data.pairs[rows], data.seed)


def difference(
    result: Result, first: Result, pairs: np.ndarray, sampling: Spread
) -> tuple[float, tuple[float, float]]:
    """Return how much more accurate a model is than the first on the same held-out trials, and the 95% interval."""
    tables = [
        each.held_out.loc[each.held_out["repeat"] < min(result.repeats, first.repeats)]
        for each in (result, first)
    ]
    hits = [hits_of(table["p_right_by_taste"].to_numpy(), table["choice"].to_numpy()) for table in tables]
    shown = pairs[tables[0]["row_index"].to_numpy()]
    gained = hits[0] - hits[1]
    drawn = [np.average(gained, weights=weights) for weights in resampled(shown, _DRAWS)]
    reach = 1.96 * sampling.inflation(scores_of(first).accuracy, hits[1], shown) * float(np.std(drawn))
    return float(gained.mean()), (float(gained.mean()) - reach, float(gained.mean()) + reach)


def tests_of(results: Sequence[Result]) -> dict[str, float]:
    """Return the p-values by what was tested: models that read the same embedding are one test."""
    return {
        result.embedding or result.model: result.scores.p_value
        for result in results
        if result.scores is not None and result.scores.p_value is not None
    }


def corrected(results: Sequence[Result]) -> list[Result]:
    """Correct the p-values for the number of tests."""
    tested = tests_of(results)
    values = dict(zip(tested, holm(list(tested.values())), strict=True))
    return [
        result
        if result.scores is None or result.scores.p_value is None
        else replace(
            result,
            scores=replace(result.scores, p_value_corrected=values[result.embedding or result.model]),
        )
        for result in results
    ]


def _without_side_bias(p_right: np.ndarray, fitted: Fitted, trials: np.ndarray, count: int) -> np.ndarray:
    """Return P(right) by taste alone of some of the session's trials; a logit that is the side bias is none."""
    bias = of_trials(getattr(fitted, "side_bias", 0.0), trials, count)
    logits = logit(np.clip(p_right, 1e-15, 1 - 1e-15)) - bias
    return expit(np.where(np.abs(logits) < _ROUNDING, 0.0, logits))


def _fit(model: Model, data: Data, folds: Sequence[Fold]) -> list[Any]:
    """Learn from each fold's training trials; several folds at once, if quick."""
    if model.is_slow:  # its network takes all threads
        return [model.fit(data, train, test) for train, test in folds]
    with workers() as pool:
        return list(pool.map(lambda fold: model.fit(data, *fold), folds))


def calibrated(fitted: Any, gain: float) -> Any:
    """Give what was fitted its gain; what is calibrated elsewhere, or not at all, has one of 1."""
    return fitted if gain == 1 else replace(fitted, gain=gain)


def _gains(
    model: Model, data: Data, fitted: Sequence[Any], folds: Sequence[Fold], per_repeat: int
) -> tuple[list[float], float]:
    """Calibrate each fold by the others' held-out trials, and the model fitted to all trials by all of them."""
    if model.gain_of is None:
        return [1.0] * len(folds), 1.0
    held_out = [(each, test) for each, (_, test) in zip(fitted, folds, strict=True)]
    by_repeat = [held_out[start : start + per_repeat] for start in range(0, len(folds), per_repeat)]
    gains = [
        model.gain_of([*repeat[:fold], *repeat[fold + 1 :]], data.choices)
        for repeat in by_repeat
        for fold in range(per_repeat)
    ]
    overall = [np.log(model.gain_of(repeat, data.choices)) for repeat in by_repeat]
    return gains, float(np.exp(np.mean(overall)))
