"""How well single people's choices between faces never seen are predicted: each alone, all together, and newcomers.

The folder has ``sessions/CODE.csv``, what each person chose, and ``new_images/CODE.csv``, choices of the same
people between images that are in nobody's session. Every third person is a newcomer: the others are learned from
first, then the newcomer's own trials, 1, 10 and more of them. Beside catpref stand ridge-penalised logistic
regression on the same embedding, of each person alone and of all pooled, and two sketches on late stages alone with
fixed variances: of each alone (B), and a shared and a personal taste together (C). All people answer for the same few
hundred new images, so that intervals, also those of differences, are of other people and other images. As in a
report, accuracy is of taste alone, with the side bias set aside; log loss and ECE are of P(right).
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from catpref._io.cache import default_folder
from catpref._io.workers import workers
from catpref.command_line import Parser, run
from catpref.design.splits import split
from catpref.evaluation.scores import calibration_error, hits_of
from catpref.models import population, shared_taste, utility
from catpref.models.interface import Data, Fitted, Images, by_taste, of_trials
from catpref.models.kernels import Kernels, kernels_of
from catpref.models.learned import gain_of
from catpref.models.people import Variances
from catpref.models.ridge import RIDGE
from catpref.perception.backbones import DEFAULT, load_backbone
from catpref.perception.embeddings import DEFAULT as EMBEDDING
from catpref.perception.embeddings import Blocks, blocks
from catpref.sessions.session import SIDES, read_sessions
from catpref.stimuli.images import image_path

_NEWCOMER = 3  # every so many
_TRIALS = (1, 10, 25, 100, 300)  # of a newcomer's own
SKETCH = Variances(
    shared=0.3, personal=0.2, shared_effect=1e-9, personal_effect=1e-9, side_bias=1.0, late=1.0
)
_SKETCH_ALONE = Variances(
    shared=1e-9, personal=0.1, shared_effect=1e-9, personal_effect=1e-9, side_bias=1.0, late=1.0
)
_GAIN_FOLDS = 3
_DRAWS = 1000  # of people and images

Predicted = dict[int, np.ndarray]
"""Of each person's trials between new images P(right), and the same without the side bias, shape (2, trials)."""


@dataclass(frozen=True)
class Study:
    """Everybody's trials, those of the sessions first.

    Attributes
    ----------
    data
        All of them.
    parts
        Blocks of the embedding.
    train, test
        Which are of sessions, and which are between new images, as indices.
    """

    data: Data
    parts: Blocks
    train: np.ndarray
    test: np.ndarray

    def of(self, trials: np.ndarray, person: int) -> np.ndarray:
        """Return those trials that are of a person."""
        assert self.data.who is not None
        return trials[self.data.who[trials] == person]

    def own(self, trials: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return embeddings of the images of some trials, their pairs as indices of these, and the choices."""
        shown, indices = np.unique(self.data.pairs[trials], return_inverse=True)
        return self.data.embeddings[shown], indices.reshape(-1, 2), self.data.choices[trials]


def main(arguments: Sequence[str]) -> None:
    """Run the benchmark."""
    parser = Parser(
        "python -m benchmarks.observers",
        "Predict single people's choices between new images: each alone, all together, newcomers.",
        "python -m benchmarks.observers observers --json",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="holds sessions/ and new_images/")
    parser.add_argument("--people", type=int, metavar="N", help="the first N alone (default: all)")
    parser.add_argument("--json")
    options = parser.parse_args(arguments)
    study = load(options.folder, options.people)
    people = range(len(study.data.participants))
    newcomers = people[::_NEWCOMER]
    drawn = {of: _drawn(study, of) for of in (people, newcomers)}
    before: dict[str, np.ndarray] = {}  # accuracies of each draw

    def report(name: str, of: range, predicted: Predicted, started: float, rival: str) -> None:
        choices = np.concatenate([study.data.choices[study.of(study.test, one)] for one in of])
        taste = np.concatenate([predicted[one][1] for one in of])
        of_draws = before[name] = drawn[of] @ hits_of(taste, choices)
        row = {
            "model": name,
            **_scores(study, of, predicted),
            "accuracy_ci95": _ci95(of_draws),
            **(
                {"minus": rival, "difference_ci95": _ci95(of_draws - before[rival])}
                if rival in before
                else {}
            ),
            "seconds": round(time.perf_counter() - started, 1),
        }
        print(json.dumps(row) if options.json else row, flush=True)

    with threadpool_limits(1, "blas"):
        for name, (learn, rival) in _LEARNERS.items():
            started = time.perf_counter()
            predicted = learn(study)
            report(name, people, predicted, started, rival)
            report(f"{name}{_THIRD}", newcomers, predicted, started, f"{rival}{_THIRD}")
        started = time.perf_counter()
        for trials, predicted in _newcomers(study, newcomers).items():
            report(_NEWCOMERS.format(trials), newcomers, predicted, started, _NEWCOMERS.format(_TRIALS[0]))


def load(folder: Path, people: int | None) -> Study:
    """Read everybody's trials, of the first so many people where that is asked for."""
    files = sorted((folder / "sessions").glob("*.csv"))[:people]
    new = [folder / "new_images" / file.name for file in files]
    trials = [read_sessions([file], folder).trials for file in (*files, *new)]
    who = np.repeat([*range(len(files))] * 2, [len(each) for each in trials])
    table = pd.concat(trials, ignore_index=True)
    names, indices = np.unique(table[list(SIDES)].to_numpy(), return_inverse=True)
    backbone = load_backbone(DEFAULT)
    images = Images(
        [image_path(folder, name) for name in names], backbone, EMBEDDING, None, None, default_folder()
    )
    data = Data(
        images, indices.reshape(-1, 2), table["choice"].to_numpy(), who=who,
        participants=tuple(file.stem for file in files),
    )  # fmt: skip
    sessions = sum(len(each) for each in trials[: len(files)])
    return Study(data, blocks(backbone, EMBEDDING), np.arange(sessions), np.arange(sessions, len(table)))


def crossed(who: np.ndarray, pairs: np.ndarray) -> Iterator[np.ndarray]:
    """Draw people and images with replacement; yield how often each trial counts, given its person and its images."""
    random = np.random.default_rng(0)
    people, person = np.unique(who, return_inverse=True)
    shown, places = np.unique(pairs, return_inverse=True)
    left, right = places.reshape(-1, 2).T
    for _ in range(_DRAWS):
        persons, images = (
            np.bincount(random.integers(0, count, count), minlength=count)
            for count in (len(people), len(shown))
        )
        yield persons[person] * images[left] * images[right]


def _drawn(study: Study, people: Sequence[int]) -> np.ndarray:
    """Return the weight of each test trial of some people in each draw, where people count alike."""
    assert study.data.who is not None
    trials = np.concatenate([study.of(study.test, one) for one in people])
    who = study.data.who[trials]
    weights = np.stack(list(crossed(who, study.data.pairs[trials]))) / np.bincount(who)[who]
    return weights / weights.sum(1, keepdims=True)


def _ci95(of_draws: np.ndarray) -> list[float]:
    return np.quantile(of_draws, [0.025, 0.975]).round(4).tolist()


def _scores(study: Study, people: Sequence[int], predicted: Predicted) -> dict[str, Any]:
    """Return accuracy averaged over people, and its standard error; log loss and ECE of all trials."""
    choices = {one: study.data.choices[study.of(study.test, one)] for one in people}
    accuracies = [float(hits_of(predicted[one][1], choices[one]).mean()) for one in people]
    p_right = np.concatenate([predicted[one][0] for one in people])
    chosen = np.concatenate([choices[one] for one in people])
    return {
        "people": len(people),
        "accuracy": round(float(np.mean(accuracies)), 4),
        "standard_error": round(float(np.std(accuracies, ddof=1) / np.sqrt(len(people))), 4),
        "log_loss": round(float(log_loss(chosen, p_right, labels=[0, 1])), 4),
        "ece": round(float(calibration_error(p_right, chosen)), 4),
    }


def _each(study: Study, predict: Callable[[int], np.ndarray]) -> Predicted:
    people = range(len(study.data.participants))
    with workers() as pool:
        return dict(zip(people, pool.map(predict, people), strict=True))


def _utility_alone(study: Study) -> Predicted:
    def predict(person: int) -> np.ndarray:
        model = utility.fit(*study.own(study.of(study.train, person)), study.parts)
        return _of_new_images(study, model, person)

    return _each(study, predict)


def _of_new_images(study: Study, model: utility.Utility, person: int) -> np.ndarray:
    embeddings, pairs, _ = study.own(study.of(study.test, person))
    return np.stack([model.p_right(embeddings, pairs, side_bias) for side_bias in (True, False)])


def _together(study: Study) -> Predicted:
    learned = _population(study, study.train)

    def predict(person: int) -> np.ndarray:
        return _of_new_images(study, learned.of(study.data.participants[person]), person)

    return _each(study, predict)


def _population(study: Study, train: np.ndarray) -> population.Population:
    """Learn from some trials as a fit does, new images being unknown."""
    data = study.data
    assert data.who is not None
    embeddings, pairs, choices = study.own(train)
    codes, who = np.unique(data.who[train], return_inverse=True)
    kernels = kernels_of(embeddings, pairs, study.parts, of_images=True)
    held_out = [
        (shared_taste.learn(kernels, who, choices, some), rest)
        for some, rest in split(pairs, "images", _GAIN_FOLDS, 0)
    ]
    people = shared_taste.learn(kernels, who, choices, np.arange(len(train)))
    gain = gain_of(held_out, choices)
    names = [data.participants[int(code)] for code in codes]
    return population.project(replace(people, gain=gain), embeddings, names)


def _newcomers(study: Study, newcomers: Sequence[int]) -> dict[int, Predicted]:
    """Predict newcomers from ever more trials of their own, beside what was learned from the others."""
    assert study.data.who is not None
    others = _population(study, study.train[~np.isin(study.data.who[study.train], newcomers)])
    predicted: dict[int, Predicted] = {}
    for trials in _TRIALS:
        predicted[trials] = {}
        for one in newcomers:
            own = study.of(study.train, one)[:trials]
            of_person = others.with_participant("new", *study.own(own)).of("new")
            predicted[trials][one] = _of_new_images(study, of_person, one)
    return predicted


def _ridge_alone(study: Study) -> Predicted:
    _ = study.data.kernels

    def predict(person: int) -> np.ndarray:
        fitted = RIDGE.fit(study.data, study.of(study.train, person), None)
        return _with_and_without(fitted, study.of(study.test, person))

    return _each(study, predict)


def _ridge_shared(study: Study) -> Predicted:
    fitted = RIDGE.fit(study.data, study.train, None)
    return _split(study, _with_and_without(fitted, study.test))


def _sketch(variances: Variances) -> Callable[[Study], Predicted]:
    def learn(study: Study) -> Predicted:
        data, late = study.data, late_alone(study)
        assert data.who is not None
        people = shared_taste.learn(late, data.who, data.choices, study.train, variances)
        return _split(study, _with_and_without(people, study.test))

    return learn


def late_alone(study: Study) -> Kernels:
    """Return the inner products of late stages alone, each with the same weight."""
    start = study.data.images.layout.gridded
    of_dimension = study.parts.of_dimension[start:]
    blocks_of_late = np.unique(of_dimension, return_inverse=True)[1]
    count = int(blocks_of_late.max()) + 1
    parts = Blocks(blocks_of_late, np.eye(count), ("late stage",) * count)
    return kernels_of(
        np.ascontiguousarray(study.data.embeddings[:, start:]), study.data.pairs, parts, of_images=True
    )


def _with_and_without(fitted: Fitted, trials: np.ndarray) -> np.ndarray:
    """Return P(right) of some trials, and the same with the side bias set aside, shape (2, trials)."""
    p_right, side_bias = fitted.p_right(trials), getattr(fitted, "side_bias", 0.0)
    return np.stack([p_right, by_taste(p_right, of_trials(side_bias, trials))])


def _split(study: Study, predicted: np.ndarray) -> Predicted:
    assert study.data.who is not None
    who = study.data.who[study.test]
    return {one: predicted[:, who == one] for one in range(len(study.data.participants))}


_TOGETHER, _ALONE, _THIRD, _NEWCOMERS = (
    "catpref, all together", "catpref, each alone", ", every third", "newcomers with {} trials",
)  # fmt: skip
# What learns, and what its accuracy is compared with.
_LEARNERS: dict[str, tuple[Callable[[Study], Predicted], str]] = {
    _TOGETHER: (_together, ""),
    "sketch C, all together": (_sketch(SKETCH), _TOGETHER),
    "ridge, all pooled": (_ridge_shared, _TOGETHER),
    _ALONE: (_utility_alone, _TOGETHER),
    "sketch B, each alone": (_sketch(_SKETCH_ALONE), _ALONE),
    "ridge, each alone": (_ridge_alone, _ALONE),
}


if __name__ == "__main__":
    run(main)
