"""Cross-validation: every model learns from the same training trials, and predicts the same held-out ones."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.special import expit

from catpref._io.engines import Engine, Here, Threads
from catpref._io.progress import progress
from catpref._io.tasks import by_number
from catpref._io.workers import threads
from catpref.design.splits import Fold
from catpref.evaluation import learning_curve
from catpref.evaluation.learning_curve import LearningCurve
from catpref.evaluation.resampling import resampled
from catpref.evaluation.sampling import Spread, p_value
from catpref.evaluation.scores import Scores, hits_of, holm, score
from catpref.models.interface import Data, Epoch, Model, by_taste, history_of, of_trials
from catpref.models.learned import moderated
from catpref.models.registry import MODELS

_DRAWS = 200  # of images, for the spread of a difference


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
        What its fits took, added up.
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


@dataclass(frozen=True)
class HeldOut:
    """What a model that was fitted to some trials says of others: all that is needed of it, and little to send.

    Attributes
    ----------
    trials
        The held-out trials.
    given
        P(right) of each, before the gain, shape (trials,).
    mean_and_variance
        Of their logits, without the side bias and before the gain, shape (2, trials); None for a model that is not
        calibrated.
    side_bias
        See `catpref.models.interface.Fitted`.
    history
        How a network's training went.
    seconds
        What the fit took.
    gain
        That calibrates it.
    """

    trials: np.ndarray
    given: np.ndarray
    mean_and_variance: np.ndarray | None
    side_bias: float | np.ndarray
    history: Sequence[Epoch]
    seconds: float
    gain: float = 1.0

    def moments(self, trials: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of the logits of some of these trials, in the same order."""
        assert self.mean_and_variance is not None
        mean, variance = self.mean_and_variance[:, np.isin(self.trials, trials)]
        return mean, variance

    @property
    def p_right(self) -> np.ndarray:
        """P(right) of each trial."""
        if self.mean_and_variance is None:
            return self.given
        mean, variance = self.mean_and_variance
        return expit(moderated(self.gain * mean, variance, of_trials(self.side_bias, self.trials)))

    @property
    def p_right_by_taste(self) -> np.ndarray:
        """P(right) of each trial by taste alone."""
        return by_taste(self.p_right, of_trials(self.side_bias, self.trials))


class Fits(NamedTuple):
    """What models, by name, say of each fold's held-out trials, and networks that learned from all trials."""

    held_out: Mapping[str, list[HeldOut]]
    networks: Mapping[str, Any]


class _Task(NamedTuple):
    """Fit models, by name, to some trials: for what they say of others, or, if there are none, to predict images.

    A network on all cores has the threads of the computer that asks, whoever fits it.
    """

    models: Sequence[str]
    train: np.ndarray
    test: np.ndarray | None
    threads: int = 1


def fit(
    models: Sequence[Model], data: Data, splits: Sequence[Sequence[Fold]], engine: Engine | None = None
) -> Fits:
    """Fit models to each fold's training trials, and slow ones to all trials, too.

    Parameters
    ----------
    models
        What learns.
    data
        The session.
    splits
        One list of folds for each repeat; slow models take the first alone.
    engine
        Who does it; None: this process, with several folds at once but of models that take all cores.
    """
    count, everything = torch.get_num_threads(), np.arange(len(data.pairs))
    alone: list[_Task] = []
    beside: list[_Task] = []
    for model in models:
        if model.is_slow:
            where, cores = (alone, count) if model.on_all_cores else (beside, 1)
            whole = [_Task([model.name], everything, None, cores)] if model.predictor else []
            where += [*whole, *(_Task([model.name], *fold, cores) for fold in chain(*splits[:1]))]
    others = [model.name for model in models if not model.is_slow]
    quick = [_Task(others, *fold) for fold in chain(*splits)] if others else []
    if engine is None:  # networks take over what others learned from the same trials
        tasks = [*quick, *beside, *alone]
        found = [*_done(Threads(), data, quick), *_done(Threads(), data, beside), *_done(Here(), data, alone)]
    else:  # what takes longest comes first
        tasks = [*alone, *beside, *quick]
        found = _done(engine, data, tasks)
    held_out: dict[str, list[HeldOut]] = {model.name: [] for model in models}
    networks: dict[str, Any] = {}
    for task, of_task in zip(tasks, found, strict=True):
        for name, each in zip(task.models, of_task, strict=True):
            if task.test is None:
                networks[name] = each
            else:
                held_out[name].append(each)
    return Fits(held_out, networks)


def _done(engine: Engine, data: Data, tasks: Sequence[_Task]) -> list[list[Any]]:
    done = engine.as_done(_fit, data, tasks)
    return by_number(progress(done, "fitting", total=len(tasks), unit="fit"))


def _fit(data: Data, task: _Task) -> list[Any]:
    with threads(task.threads):
        return [_fit_one(MODELS[name], data, task.train, task.test) for name in task.models]


def _fit_one(model: Model, data: Data, train: np.ndarray, test: np.ndarray | None) -> Any:
    started = time.perf_counter()
    fitted: Any = model.fit(data, train, test)
    if test is None:
        assert model.predictor is not None
        return model.predictor(fitted, data)
    moments = None if model.gain_of is None else np.stack(fitted.moments(test))
    given = fitted.p_right(test) if moments is None else np.empty(0)
    return HeldOut(
        test, given, moments, getattr(fitted, "side_bias", 0.0), history_of(fitted), time.perf_counter() - started
    )  # fmt: skip


def cross_validate(
    model: Model,
    data: Data,
    splits: Sequence[Sequence[Fold]],
    sampling: Spread,
    fitted: Sequence[HeldOut] | None = None,
) -> Result:
    """Score a model's predictions of each fold's held-out trials.

    Parameters
    ----------
    model
        What learned.
    data
        The session.
    splits
        One list of folds for each repeat; a slow model takes the first alone.
    sampling
        The sampling distribution of the accuracy.
    fitted
        What `fit` found of the model; None: it is fitted here.
    """
    splits = splits[:1] if model.is_slow else splits
    folds = [fold for each in splits for fold in each]
    fitted = fit([model], data, splits).held_out[model.name] if fitted is None else fitted
    gains, gain = _gains(model, data, fitted, folds, len(splits[0]))
    predicted = [calibrated(each, own) for each, own in zip(fitted, gains, strict=True)]
    rows = np.concatenate([test for _, test in folds])
    number = np.repeat(np.arange(len(folds)), [len(test) for _, test in folds])
    held_out = pd.DataFrame({
        "model": model.name, "fold": number % len(splits[0]), "repeat": number // len(splits[0]),
        "row_index": rows, "p_right": np.concatenate([each.p_right for each in predicted]),
        "p_right_by_taste": np.concatenate([each.p_right_by_taste for each in predicted]),
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
        fit_seconds=sum(each.seconds for each in fitted),
        gain=gain,
        held_out=held_out,
        histories=[each.history for each in fitted if each.history],
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
    model: Model,
    data: Data,
    splits: Sequence[Sequence[Fold]],
    result: Result,
    engine: Engine | None = None,
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
    smaller = [
        [(train[: round(part * len(train))], test) for train, test in folds]
        for part in learning_curve.FRACTIONS
    ]
    smaller = [
        each for each in smaller if min(len(train) for train, _ in each) >= learning_curve.LEAST_TRIALS
    ]
    fitted = iter(fit([model], data, smaller, engine).held_out[model.name])
    for each in smaller:
        predicted = [found.p_right_by_taste for found in islice(fitted, len(each))]
        sizes = [len(train) for train, _ in each]
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


def calibrated(fitted: Any, gain: float) -> Any:
    """Give what was fitted its gain; what is calibrated elsewhere, or not at all, has one of 1."""
    return fitted if gain == 1 else replace(fitted, gain=gain)


def _gains(
    model: Model, data: Data, fitted: Sequence[HeldOut], folds: Sequence[Fold], per_repeat: int
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
