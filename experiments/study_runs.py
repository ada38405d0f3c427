"""The study's experiments and the controls that explain them: which maps, which choices, which split."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from catpref.backbones import Backbone
from catpref.commands import progress
from catpref.evaluation import accuracy_interval
from catpref.lpips_maps import distance_maps
from catpref.models import study_cnn
from catpref.models.bradley_terry import fit_and_predict
from catpref.models.study_cnn import Epoch, StudyCNN
from catpref.splits import split
from catpref.stimuli import open_image

MAPS = {"mean map": None, "first-layer map": 0}
LEAK_EPOCHS = 20
_IMAGE_FOLDS = 3  # one of which is the test: pairs within a third of the images
_SWAPPED = 200  # test trials whose sides are exchanged
_PERMUTATIONS = 10_000


@dataclass(frozen=True)
class Answers:
    """One list of trials and the choices made.

    Attributes
    ----------
    design
        The design, or ``"session"``.
    paths
        The images.
    pairs
        Left and right image of each trial, indices into `paths`, shape (trials, 2).
    choices
        0 = left, 1 = right, shape (trials,).
    ceiling
        The noise ceiling, where it is known.
    """

    design: str
    paths: list[Path]
    pairs: np.ndarray
    choices: np.ndarray
    ceiling: float | None

    @property
    def shared(self) -> bool:
        """Whether trials share images, so that something of one can be known from another."""
        return len(self.paths) < len(self.pairs)


@dataclass(frozen=True)
class Run:
    """One training of the study's network.

    Attributes
    ----------
    title
        What was trained on what.
    n_train, n_test
        Trials.
    accuracy, accuracy_ci95
        On the test trials.
    p_value
        How often choices shuffled among the test trials would be foreseen as well.
    majority
        Accuracy of the answer that was more frequent in training, given to every test trial.
    classes
        How many different answers the network gives to the test trials.
    history
        Loss and accuracy after each epoch.
    """

    title: str
    n_train: int
    n_test: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    p_value: float
    majority: float
    classes: int
    history: list[Epoch]


@dataclass(frozen=True)
class Swap:
    """What a trained network says of test pairs whose sides are exchanged.

    Attributes
    ----------
    pairs
        How many.
    same_face
        The part for which it chooses the same face in both orders; an observer who does not guess does so for all.
    same_side
        The part for which it chooses the same side in both orders.
    greatest_change
        The greatest difference between the maps of the two orders, as a part of the maps' range.
    """

    pairs: int
    same_face: float
    same_side: float
    greatest_change: float


@dataclass(frozen=True)
class Study:
    """Everything that the report shows.

    Attributes
    ----------
    answers
        The lists and choices; the controls are made with the last.
    experiments
        The study's runs, with what each does when the sides are exchanged.
    controls
        Runs that have one thing changed.
    leaks
        Runs by (map, sides, split), where trials share images; else empty.
    recognised
        The accuracy where sides are fixed and both faces of each test pair are recognised.
    example
        The pair whose maps the report shows, and its two maps by name.
    """

    answers: list[Answers]
    experiments: list[tuple[Run, Swap]]
    controls: list[Run]
    leaks: dict[tuple[str, str, str], Run]
    recognised: float | None
    example: tuple[Path, Path, dict[str, np.ndarray]]
    map_size: int
    seed: int
    backbone: str


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
        If an image cannot be read.
    """
    last = answered[-1]
    with progress([], "experiments", total=_count(answered), unit="training") as bar:

        def maps_of(answers: Answers, name: str) -> np.ndarray:
            return distance_maps(answers.paths, answers.pairs, backbone, map_size, MAPS[name], cache_folder)

        def train(
            title: str,
            maps: np.ndarray,
            pairs: np.ndarray,
            choices: np.ndarray,
            by: str = "trials",
            epochs: int = study_cnn.EPOCHS,
        ) -> tuple[Run, StudyCNN, np.ndarray]:
            made = _train(title, maps, pairs, choices, by, seed, device, epochs)
            bar.update()
            return made

        experiments, example = [], {}
        for answers in answered:
            for name in MAPS if answers is last else ["mean map"]:
                title = f"{name}, {answers.design}, {len(answers.pairs)} trials"
                maps = maps_of(answers, name)
                run, model, test = train(title, maps, answers.pairs, answers.choices)
                chosen = test[:_SWAPPED]
                swapped = distance_maps(
                    answers.paths, answers.pairs[chosen, ::-1], backbone, map_size, MAPS[name], cache_folder
                )
                experiments.append((run, _swap(model, maps[chosen], swapped)))
                example[name] = maps[0]

        random = np.random.default_rng(seed)
        maps = maps_of(last, "mean map")
        light = np.array([np.asarray(open_image(path).convert("L")).mean() for path in last.paths])[
            last.pairs
        ]
        apart = maps.mean((1, 2))
        asked = {
            "the choices as they were made": last.choices,
            "the same choices, shuffled": random.permutation(last.choices),
            "an observer without noise: the brighter face": (light[:, 1] > light[:, 0]).astype(int),
            "another question: are the faces less alike than most?": (apart > np.median(apart)).astype(int),
        }
        controls = [experiments[-len(MAPS)][0]]
        controls += [train(what, maps, last.pairs, choices)[0] for what, choices in list(asked.items())[1:]]

        leaks: dict[tuple[str, str, str], Run] = {}
        for name in MAPS if last.shared else []:
            maps = maps_of(last, name)
            maps /= maps.std()
            for sides, (pairs, choices) in _sides(last, random).items():
                for by in ("trials", "images"):
                    title = f"{name}, sides {sides}, split by {by}"
                    leaks[name, sides, by] = train(title, maps, pairs, choices, by, LEAK_EPOCHS)[0]
    recognised = _recognised(last, seed) if last.shared else None
    left, right = (last.paths[image] for image in last.pairs[0])
    return Study(
        list(answered),
        experiments,
        controls,
        leaks,
        recognised,
        (left, right, example),
        map_size,
        seed,
        backbone.name,
    )


def _recognised(answers: Answers, seed: int) -> float:
    """Foretell the test trials from who won the training trials: what knowing both faces and their sides allows."""
    train, test = _by_trials(len(answers.pairs), seed)
    p_right = fit_and_predict(answers.pairs[train], answers.choices[train], answers.pairs[test])
    return float(((p_right > 0.5) == answers.choices[test]).mean())


def _by_trials(trials: int, seed: int) -> list[np.ndarray]:
    return np.split(np.random.default_rng(seed).permutation(trials), [trials * 4 // 5])


def _count(answered: Sequence[Answers]) -> int:
    return len(answered) + 1 + 3 + (8 if answered[-1].shared else 0)


def _sides(answers: Answers, random: np.random.Generator) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Give the same pairs and the same faces chosen, with the sides by lot, and with each image on one side.

    All images but the first and the last of an arbitrary order are on the left of those after them and on the
    right of those before them: the sides are as fixed as all pairs of the images allow.
    """
    pairs, choices = answers.pairs, answers.choices
    place = random.permutation(len(answers.paths))
    swaps = {
        "by lot": random.random(len(pairs)) < 0.5,
        "fixed": place[pairs[:, 0]] > place[pairs[:, 1]],
    }
    return {
        name: (np.where(swap[:, None], pairs[:, ::-1], pairs), np.where(swap, 1 - choices, choices))
        for name, swap in swaps.items()
    }


def _train(
    title: str,
    maps: np.ndarray,
    pairs: np.ndarray,
    choices: np.ndarray,
    by: str,
    seed: int,
    device: str,
    epochs: int,
) -> tuple[Run, StudyCNN, np.ndarray]:
    if by == "images":
        train, test = split(pairs, by, _IMAGE_FOLDS, seed)[0]
    else:
        train, test = _by_trials(len(pairs), seed)
    model = study_cnn.fit(maps[train], choices[train], (maps[test], choices[test]), seed, device, epochs)
    answers = model.p_right(maps[test]) > 0.5
    hits = answers == (choices[test] == 1)
    frequent = choices[train].mean() > 0.5
    random = np.random.default_rng(seed)
    shuffled = np.array([(answers == random.permutation(choices[test])).mean() for _ in range(_PERMUTATIONS)])
    return (
        Run(
            title=title,
            n_train=len(train),
            n_test=len(test),
            accuracy=float(hits.mean()),
            accuracy_ci95=accuracy_interval(hits, pairs[test], seed=seed),
            p_value=float((1 + (shuffled >= hits.mean()).sum()) / (1 + _PERMUTATIONS)),
            majority=float((choices[test] == frequent).mean()),
            classes=len(np.unique(answers)),
            history=model.history,
        ),
        model,
        test,
    )


def _swap(model: StudyCNN, maps: np.ndarray, swapped: np.ndarray) -> Swap:
    here, there = model.p_right(maps) > 0.5, model.p_right(swapped) > 0.5
    return Swap(
        pairs=len(maps),
        same_face=float((here != there).mean()),
        same_side=float((here == there).mean()),
        greatest_change=float(np.abs(maps - swapped).max() / np.ptp(maps)),
    )
