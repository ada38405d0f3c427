"""Cross-validation: every model learns from the same training trials, and predicts the same held-out ones."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from catpref._io.workers import workers
from catpref.design.splits import Fold
from catpref.evaluation import learning_curve
from catpref.evaluation.learning_curve import LearningCurve
from catpref.evaluation.scores import Scores, hits_of, score
from catpref.models.interface import Data, Epoch, Model, history_of


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
        Over all held-out trials.
    fit_seconds
        What the time went to.
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
    scores: Scores
    fit_seconds: float
    held_out: pd.DataFrame = field(repr=False)
    histories: Sequence[Sequence[Epoch]] = field(repr=False, default=())


def cross_validate(
    model: Model, data: Data, splits: Sequence[Sequence[Fold]], unrelated: np.ndarray
) -> Result:
    """Fit a model to each fold's training trials and score its predictions of the held-out ones.

    Parameters
    ----------
    model
        What learns.
    data
        The session.
    splits
        One list of folds for each repeat; a slow model takes the first alone.
    unrelated
        Choices that have nothing to do with the images, shape (draws, trials); see
        `catpref.evaluation.scores.unrelated_choices`.
    """
    splits = splits[:1] if model.is_slow else splits
    folds = [fold for each in splits for fold in each]
    started = time.perf_counter()
    predicted = _predict(model, data, folds)
    seconds = time.perf_counter() - started
    rows = np.concatenate([test for _, test in folds])
    number = np.repeat(np.arange(len(folds)), [len(test) for _, test in folds])
    held_out = pd.DataFrame({
        "model": model.name, "fold": number % len(splits[0]), "repeat": number // len(splits[0]),
        "row_index": rows, "p_right": np.concatenate([p_right for p_right, _ in predicted]),
        "choice": data.choices[rows],
    })  # fmt: skip
    p_right = held_out["p_right"].to_numpy()
    return Result(
        model=model.name,
        embedding=model.reads(data),
        n_train=round(np.mean([len(train) for train, _ in folds])),
        n_test=len(np.unique(rows)),
        repeats=len(splits),
        scores=score(p_right, data.choices[rows], data.pairs[rows], number, rows, unrelated[:, rows]),
        fit_seconds=seconds,
        held_out=held_out,
        histories=[history for _, history in predicted if history],
    )


def learn_from_fewer(
    model: Model, data: Data, splits: Sequence[Sequence[Fold]], result: Result
) -> LearningCurve:
    """Fit a learning curve to parts of the training trials; what all of them taught is in `result`."""
    known = (result.held_out["repeat"] < len(splits)).to_numpy()
    rows, choices, p_right = (
        result.held_out[name].to_numpy()[known] for name in ("row_index", "choice", "p_right")
    )
    folds = [fold for each in splits for fold in each]
    random = np.random.default_rng(data.seed)
    shuffled = [(random.permutation(train), test) for train, test in folds]
    hits = {float(np.mean([len(train) for train, _ in folds])): hits_of(p_right, choices)}
    for part in learning_curve.FRACTIONS:
        smaller = [(train[: round(part * len(train))], test) for train, test in shuffled]
        sizes = [len(train) for train, _ in smaller]
        if min(sizes) >= learning_curve.LEAST_TRIALS:
            predicted = [p_right for p_right, _ in _predict(model, data, smaller)]
            hits[float(np.mean(sizes))] = hits_of(np.concatenate(predicted), choices)
    return learning_curve.fit(hits, data.pairs[rows], data.seed)


def _predict(model: Model, data: Data, folds: Sequence[Fold]) -> list[tuple[np.ndarray, Sequence[Epoch]]]:
    """Learn from each fold's training trials and predict its test trials; several folds at once, if quick."""

    def predict(fold: Fold) -> tuple[np.ndarray, Sequence[Epoch]]:
        train, test = fold
        fitted = model.fit(data, train, test)
        return fitted.p_right(test), history_of(fitted)

    if model.is_slow:  # its network takes all threads
        return [predict(fold) for fold in folds]
    with workers() as pool:
        return list(pool.map(predict, folds))
