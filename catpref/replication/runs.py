"""The study's experiments and the controls that explain them: which maps, which choices, which sides, which split."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from catpref._io.devices import choose_device
from catpref._io.engines import Engine, Here
from catpref._io.progress import progress
from catpref._io.tasks import by_number
from catpref._io.workers import threads
from catpref.design.splits import Fold, split
from catpref.models import study_cnn
from catpref.models.interface import Epoch
from catpref.models.study_cnn import StudyCNN
from catpref.perception.backbones import Backbone
from catpref.perception.lpips_maps import distance_maps
from catpref.replication import chance
from catpref.replication.leaks import Arrangement, arrange, linear_reader, recognised, sidedness
from catpref.replication.results import MAPS, Answers, Controls, Leak, Run, Study, Swap
from catpref.stimuli.images import open_image

LEAK_EPOCHS = 30
_FOLDS = 5  # one of which is the test
_SWAPPED = 200  # test trials whose sides are exchanged
_MEAN, _FIRST = MAPS


def repeat_study(
    answered: Sequence[Answers],
    backbone: Backbone,
    map_size: int,
    seed: int,
    device: str,
    cache_folder: Path | None,
    engine: Engine | None = None,
) -> Study:
    """Run the experiments, the controls and the leaks.

    Parameters
    ----------
    answered
        Lists and choices; the controls are made with the last.
    backbone, map_size
        What makes the maps, and how large they are.
    seed, device
        Of every random draw; where networks are trained.
    cache_folder
        Where features are kept; None keeps nothing.
    engine
        Who trains the networks; None: this process.

    Raises
    ------
    BadInput
        If an image cannot be read, or there are too few trials.
    """
    last = answered[-1]
    random = np.random.default_rng(seed)
    arranged = arrange(last, random, seed)
    shuffled = random.permutation(last.choices)
    folds = [split(answers.pairs, "trials", _FOLDS, seed)[0] for answers in answered]
    asked = [(*each, _MEAN) for each in zip(answered, folds, strict=True)] + [(last, folds[-1], _FIRST)]
    found: list[tuple[str, list[_Trained], np.ndarray]] = []
    with progress(
        [], "experiments", total=len(answered) + 4 + len(arranged) * len(MAPS), unit="training"
    ) as bar:
        for answers, fold, name in asked:
            maps, swapped = (
                distance_maps(answers.paths, pairs, backbone, map_size, MAPS[name], cache_folder)
                for pairs in (answers.pairs, answers.pairs[fold[1][:_SWAPPED], ::-1])
            )
            todo = [_experiment(answers, name, fold, swapped)]
            if answers is last:
                todo += _controls(answers, maps, fold, shuffled) if name == _MEAN else []
                todo += [_leak(name, each) for each in arranged]
            given = _Given(maps, seed, device, torch.get_num_threads())
            done = []
            for one in (engine or Here()).as_done(_train, given, todo):
                done.append(one)
                bar.update()
            both = np.stack([maps[fold[1][0]], swapped[0]])
            found.append((name, by_number(done), both))
    of_last = found[-len(MAPS) :]
    left, right = (last.paths[image] for image in last.pairs[folds[-1][1][0]])
    return Study(
        answers=answered,
        experiments=[(first.run, first.swap) for _, (first, *_), _ in found if first.swap is not None],
        controls=Controls(*(one.run for one in of_last[0][1][:4])),
        sidedness=sidedness(last.pairs, seed),
        leaks=[leak for name, trained, _ in of_last for leak in _leaks(name, trained, arranged)],
        example=(left, right, {name: both for name, _, both in of_last}),
        map_size=map_size,
        seed=seed,
        backbone=backbone.name,
    )


@dataclass(frozen=True)
class _Given:
    """What trainings with the same maps have in common.

    Attributes
    ----------
    maps
        Of all trials, shape (trials, size, size).
    seed, device, threads
        Of every random draw; where networks are trained; threads of the computer that asks, on which the last digits
        depend.
    """

    maps: np.ndarray
    seed: int
    device: str
    threads: int


@dataclass(frozen=True)
class _Training:
    """One training of the study's network.

    Attributes
    ----------
    title
        What is trained on what.
    pairs, choices, fold
        The trials.
    trials
        Their places among the maps; None: all.
    swapped
        Maps of the first test trials with the sides exchanged, to be asked of the network, too.
    is_leak
        Whether what the sides give away is looked for, by a linear reader as well.
    """

    title: str
    pairs: np.ndarray
    choices: np.ndarray
    fold: Fold
    trials: np.ndarray | None = None
    swapped: np.ndarray | None = None
    is_leak: bool = False


@dataclass(frozen=True)
class _Trained:
    """How a training went, a linear reader of the same maps, and what the network said of exchanged sides."""

    run: Run
    linear: Run | None
    swap: Swap | None


def _train(given: _Given, asked: _Training) -> _Trained:
    train, test = asked.fold
    maps = given.maps if asked.trials is None else given.maps[asked.trials]
    if (
        asked.is_leak
    ):  # unit spread about the training maps' mean: so that what can be learned is learned soon
        maps = maps - maps[train].mean(0)
        maps /= maps[train].std()
    epochs = LEAK_EPOCHS if asked.is_leak else study_cnn.EPOCHS
    with threads(given.threads):
        model = study_cnn.fit(
            maps[train], asked.choices[train], (maps[test], asked.choices[test]), given.seed,
            choose_device(given.device), epochs,
        )  # fmt: skip
        answers = model.p_right(maps[test]) > 0.5
        swap = None if asked.swapped is None else _swap(model, maps[test[:_SWAPPED]], asked.swapped)
    run = _scored(asked.title, answers, asked, given.seed, model.history)
    linear = None
    if asked.is_leak:
        read = linear_reader(maps, asked.choices, asked.fold)
        linear = _scored(f"{asked.title}, linear", read, asked, given.seed)
    return _Trained(run, linear, swap)


def _scored(
    title: str, answers: np.ndarray, asked: _Training, seed: int, history: list[Epoch] | None = None
) -> Run:
    return score(title, answers, asked.pairs, asked.choices, asked.fold, seed, history)


def _experiment(answers: Answers, name: str, fold: Fold, swapped: np.ndarray) -> _Training:
    """Repeat an experiment, and exchange the sides."""
    title = f"{name}, {answers.design}, {len(answers.pairs)} trials"
    return _Training(title, answers.pairs, answers.choices, fold, swapped=swapped)


def _swap(model: StudyCNN, maps: np.ndarray, swapped: np.ndarray) -> Swap:
    here, there = model.p_right(maps), model.p_right(swapped)
    same_side = float(((here > 0.5) == (there > 0.5)).mean())
    return Swap(
        pairs=len(maps),
        same_face=1 - same_side,
        same_side=same_side,
        p_change=float(np.abs(here - there).max()),
        map_change=float(np.abs(maps - swapped).max() / np.ptp(maps)),
    )


def _controls(answers: Answers, maps: np.ndarray, fold: Fold, shuffled: np.ndarray) -> list[_Training]:
    """Ask the network other questions of the mean maps."""
    light = np.array([np.asarray(open_image(path).convert("L")).mean() for path in answers.paths])
    brighter = light[answers.pairs[:, 1]] > light[answers.pairs[:, 0]]
    apart = maps.mean((1, 2)) > np.median(maps.mean((1, 2)))
    asked = {
        "the same choices, shuffled": shuffled,
        "an observer without noise: the brighter face": brighter.astype(int),
        "another question: are the faces less alike than most?": apart.astype(int),
    }
    return [_Training(title, answers.pairs, right, fold) for title, right in asked.items()]


def _leak(name: str, arranged: Arrangement) -> _Training:
    """Predict the choices from one kind of maps where the sides are given out anew."""
    sides, by, trials, pairs, choices, fold = arranged
    return _Training(f"{name}, {sides}, split by {by}", pairs, choices, fold, trials, is_leak=True)


def _leaks(name: str, trained: Sequence[_Trained], arranged: Sequence[Arrangement]) -> Iterator[Leak]:
    """Return what was found where the sides are given out anew, which was asked last."""
    for one, each in zip(trained[len(trained) - len(arranged) :], arranged, strict=True):
        assert one.linear is not None
        known = recognised(each.pairs, each.choices, each.fold)
        yield Leak(name, each.sides, each.split, one.run, one.linear, known)


def score(
    title: str,
    answers: np.ndarray,
    pairs: np.ndarray,
    choices: np.ndarray,
    fold: Fold,
    seed: int,
    history: list[Epoch] | None = None,
) -> Run:
    """Compare the answers given to the test trials with the choices.

    Parameters
    ----------
    title
        What was trained on what.
    answers
        True for the right, shape (test trials,).
    pairs, choices
        All trials.
    fold
        Which of them were trained and tested on.
    seed
        Of the interval's draws, and of the choices by chance.
    history
        The training's.
    """
    train, test = fold
    hits = (answers == (choices[test] == 1)).astype(float)
    unrelated = chance.unrelated_choices(pairs, choices, seed=seed)[:, test]
    return Run(
        title=title,
        n_train=len(train),
        n_test=len(test),
        accuracy=float(hits.mean()),
        accuracy_ci95=chance.accuracy_interval(hits, pairs[test], seed=seed),
        p_value=chance.p_value(answers, choices[test], unrelated),
        majority=float((choices[test] == (choices[train].mean() > 0.5)).mean()),
        classes=len(np.unique(answers)),
        history=history or [],
    )
