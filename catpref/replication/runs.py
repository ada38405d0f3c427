"""The study's experiments and the controls that explain them: which maps, which choices, which sides, which split."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catpref._io.progress import progress
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


def repeat_study(
    answered: Sequence[Answers],
    backbone: Backbone,
    map_size: int,
    seed: int,
    device: str,
    cache_folder: Path | None,
) -> Study:
    """Run the experiments, the controls and the leaks.

    Raises
    ------
    BadInput
        If an image cannot be read, or there are too few trials.
    """
    last = answered[-1]
    random = np.random.default_rng(seed)
    arranged = arrange(last, random, seed)
    trainings = len(answered) + 1 + 3 + len(arranged) * len(MAPS)
    with progress([], "experiments", total=trainings, unit="training") as bar:
        bench = _Bench(backbone, map_size, seed, device, cache_folder, bar)
        experiments = [_experiment(bench, answers, "mean map") for answers in answered]
        experiments.append(_experiment(bench, last, "first-layer map"))
        of_last = experiments[-len(MAPS) :]
        controls = _controls(bench, last, of_last[0][0], random)
        leaks = [leak for name in (MAPS if arranged else ()) for leak in _leaks(bench, last, name, arranged)]
    left, right = (last.paths[image] for image in last.pairs[bench.fold(last)[1][0]])
    return Study(
        answers=answered,
        experiments=[(run, swap) for run, swap, _ in experiments],
        controls=controls,
        sidedness=sidedness(last.pairs, seed),
        leaks=leaks,
        example=(left, right, {name: maps for name, (_, _, maps) in zip(MAPS, of_last, strict=True)}),
        map_size=map_size,
        seed=seed,
        backbone=backbone.name,
    )


@dataclass(frozen=True)
class _Bench:
    """What all runs share: how maps are made, trials split, and networks trained."""

    backbone: Backbone
    map_size: int
    seed: int
    device: str
    cache_folder: Path | None
    bar: Any

    def maps(self, answers: Answers, pairs: np.ndarray, name: str) -> np.ndarray:
        return distance_maps(
            answers.paths, pairs, self.backbone, self.map_size, MAPS[name], self.cache_folder
        )

    def fold(self, answers: Answers) -> Fold:
        return split(answers.pairs, "trials", _FOLDS, self.seed)[0]

    def train(
        self,
        title: str,
        maps: np.ndarray,
        pairs: np.ndarray,
        choices: np.ndarray,
        fold: Fold,
        epochs: int = study_cnn.EPOCHS,
    ) -> tuple[Run, StudyCNN]:
        train, test = fold
        followed = maps[test], choices[test]
        model = study_cnn.fit(maps[train], choices[train], followed, self.seed, self.device, epochs)
        self.bar.update()
        answers = model.p_right(maps[test]) > 0.5
        return score(title, answers, pairs, choices, fold, self.seed, model.history), model


def _experiment(bench: _Bench, answers: Answers, name: str) -> tuple[Run, Swap, np.ndarray]:
    """Repeat an experiment, and exchange the sides; the last are the maps of one pair in both orders."""
    fold = bench.fold(answers)
    maps = bench.maps(answers, answers.pairs, name)
    title = f"{name}, {answers.design}, {len(answers.pairs)} trials"
    run, model = bench.train(title, maps, answers.pairs, answers.choices, fold)
    chosen = fold[1][:_SWAPPED]
    swapped = bench.maps(answers, answers.pairs[chosen, ::-1], name)
    return run, _swap(model, maps[chosen], swapped), np.stack([maps[chosen[0]], swapped[0]])


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


def _controls(bench: _Bench, answers: Answers, made: Run, random: np.random.Generator) -> Controls:
    """Ask the network other questions of the mean maps; `made` is how it did on the choices as they were made."""
    maps = bench.maps(answers, answers.pairs, "mean map")
    light = np.array([np.asarray(open_image(path).convert("L")).mean() for path in answers.paths])
    brighter = light[answers.pairs[:, 1]] > light[answers.pairs[:, 0]]
    apart = maps.mean((1, 2)) > np.median(maps.mean((1, 2)))
    asked = {
        "the same choices, shuffled": random.permutation(answers.choices),
        "an observer without noise: the brighter face": brighter.astype(int),
        "another question: are the faces less alike than most?": apart.astype(int),
    }
    fold = bench.fold(answers)
    return Controls(
        made, *(bench.train(title, maps, answers.pairs, right, fold)[0] for title, right in asked.items())
    )


def _leaks(bench: _Bench, answers: Answers, name: str, arranged: Sequence[Arrangement]) -> list[Leak]:
    """Predict the choices from one kind of maps where the sides are given out anew."""
    maps = bench.maps(answers, answers.pairs, name)
    found = []
    for sides, by, trials, pairs, choices, fold in arranged:
        title = f"{name}, {sides}, split by {by}"
        # Unit spread about the training maps' mean: so that what can be learned is learned soon.
        scaled = maps[trials] - maps[trials][fold[0]].mean(0)
        scaled /= scaled[fold[0]].std()
        network, _ = bench.train(title, scaled, pairs, choices, fold, LEAK_EPOCHS)
        read = linear_reader(scaled, choices, fold)
        linear = score(f"{title}, linear", read, pairs, choices, fold, bench.seed)
        found.append(Leak(name, sides, by, network, linear, recognised(pairs, choices, fold)))
    return found


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
