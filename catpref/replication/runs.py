"""The study's experiments and the controls that explain them: which maps, which choices, which sides, which split."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.linear_model import RidgeClassifierCV

from catpref._io.progress import progress
from catpref.design.splits import Fold, split
from catpref.errors import BadInput
from catpref.evaluation import scores
from catpref.models import study_cnn
from catpref.models.bradley_terry import fit_and_predict
from catpref.models.study_cnn import Epoch, StudyCNN
from catpref.perception.backbones import Backbone
from catpref.perception.lpips_maps import distance_maps
from catpref.stimuli.images import open_image

MAPS = {"mean map": None, "first-layer map": 0}
LEAK_EPOCHS = 30
LOT, ORDER, HALVES = "sides at random", "sides by a list's order", "each image on one side"
_LEAKS = ((LOT, "trials"), (ORDER, "trials"), (HALVES, "trials"), (HALVES, "images"))
_LEAST_CROSSING = 100  # pairs of an image of the one half with one of the other, to show a leak with
_TRIAL_FOLDS = 5  # one of which is the test
_IMAGE_FOLDS = 3
_SWAPPED = 200  # test trials whose sides are exchanged
_BY_LOT = 1000  # draws of sides
_PENALTIES = np.logspace(-3, 1, 9)  # of a linear reader of maps with unit spread


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


@dataclass(frozen=True)
class Run:
    """How well some trials' choices were predicted.

    Attributes
    ----------
    title
        What was trained on what.
    n_train, n_test
        Trials.
    accuracy, accuracy_ci95
        On the test trials.
    p_value
        How often the choices of observers whose taste has nothing to do with the images would be predicted as well.
    majority
        Accuracy of the answer that was more frequent in training, given to every test trial.
    classes
        How many different answers the test trials are given.
    history
        Loss and accuracy after each epoch of the study's network; empty for other readers.
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
    p_change
        The greatest difference between its P(right) of the two orders.
    map_change
        The greatest difference between the maps of the two orders, as a part of the maps' range.
    """

    pairs: int
    same_face: float
    same_side: float
    p_change: float
    map_change: float


@dataclass(frozen=True)
class Controls:
    """The mean maps of the last list, with one thing changed.

    Attributes
    ----------
    made
        The choices as they were made.
    shuffled
        The same choices in another order.
    noiseless
        Those of an observer without noise, who takes the brighter face.
    apart
        The answers to a question that a distance does answer.
    """

    made: Run
    shuffled: Run
    noiseless: Run
    apart: Run

    @property
    def runs(self) -> list[Run]:
        """All four."""
        return [self.made, self.shuffled, self.noiseless, self.apart]


@dataclass(frozen=True)
class Leak:
    """What may be predicted from the sides on which images are shown.

    Attributes
    ----------
    map
        Which maps.
    sides
        How the sides were given out: `LOT`, `ORDER` or `HALVES`.
    split
        By ``"trials"``, so that the images are known, or by ``"images"``.
    network
        The study's network.
    linear
        A linear reader of the same maps.
    recognised
        The accuracy of one who knows both faces, and their sides, and from the training trials who wins; one half
        where the images are new.
    """

    map: str
    sides: str
    split: str
    network: Run
    linear: Run
    recognised: float


@dataclass(frozen=True)
class Sidedness:
    """Whether images keep to one side in a list.

    Attributes
    ----------
    part
        The part of its appearances in which an image is on its more frequent side, over all images.
    by_lot
        The same where sides are drawn at random, on average.
    p_value
        How often sides drawn at random are as uneven.
    """

    part: float
    by_lot: float
    p_value: float


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
    sidedness
        Whether images keep to one side in the last list; None where each is shown once.
    leaks
        Runs with other sides, where enough trials share images; else empty.
    example
        A pair, and by the name of the maps its map and that with the sides exchanged, shape (2, size, size).
    """

    answers: list[Answers]
    experiments: list[tuple[Run, Swap]]
    controls: Controls
    sidedness: Sidedness | None
    leaks: list[Leak]
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
        If an image cannot be read, or there are too few trials.
    """
    last = answered[-1]
    random = np.random.default_rng(seed)
    leaks = _possible_leaks(last, random, seed)
    trainings = len(answered) + 1 + 3 + len(leaks) * len(MAPS)
    with progress([], "experiments", total=trainings, unit="training") as bar:

        def maps_of(answers: Answers, pairs: np.ndarray, name: str) -> np.ndarray:
            return distance_maps(answers.paths, pairs, backbone, map_size, MAPS[name], cache_folder)

        def train(
            title: str, maps: np.ndarray, pairs: np.ndarray, choices: np.ndarray, fold: Fold, epochs: int
        ) -> tuple[Run, StudyCNN]:
            learn, test = fold
            followed = maps[test], choices[test]
            model = study_cnn.fit(maps[learn], choices[learn], followed, seed, device, epochs)
            bar.update()
            answers = model.p_right(maps[test]) > 0.5
            return score(title, answers, pairs, choices, fold, seed, model.history), model

        experiments, example = [], {}
        for answers in answered:
            fold = split(answers.pairs, "trials", _TRIAL_FOLDS, seed)[0]
            for name in MAPS if answers is last else ["mean map"]:
                title = f"{name}, {answers.design}, {len(answers.pairs)} trials"
                maps = maps_of(answers, answers.pairs, name)
                run, model = train(title, maps, answers.pairs, answers.choices, fold, study_cnn.EPOCHS)
                chosen = fold[1][:_SWAPPED]
                swapped = maps_of(answers, answers.pairs[chosen, ::-1], name)
                experiments.append((run, _swap(model, maps[chosen], swapped)))
                example[name] = np.stack([maps[chosen[0]], swapped[0]])

        maps = maps_of(last, last.pairs, "mean map")
        light = np.array([np.asarray(open_image(path).convert("L")).mean() for path in last.paths])
        brighter = light[last.pairs[:, 1]] > light[last.pairs[:, 0]]
        apart = maps.mean((1, 2)) > np.median(maps.mean((1, 2)))
        fold = split(last.pairs, "trials", _TRIAL_FOLDS, seed)[0]
        left, right = (last.paths[image] for image in last.pairs[fold[1][0]])
        asked = {
            "the same choices, shuffled": random.permutation(last.choices),
            "an observer without noise: the brighter face": brighter.astype(int),
            "another question: are the faces less alike than most?": apart.astype(int),
        }
        controls = Controls(
            experiments[-len(MAPS)][0],
            *(
                train(what, maps, last.pairs, choices, fold, study_cnn.EPOCHS)[0]
                for what, choices in asked.items()
            ),
        )

        shown = []
        for name in MAPS if leaks else []:
            maps = maps_of(last, last.pairs, name)
            for sides, by, trials, pairs, choices, fold in leaks:
                title = f"{name}, {sides}, split by {by}"
                # Unit spread about the training maps' mean: so that what can be learned is learned soon.
                scaled = maps[trials] - maps[trials][fold[0]].mean(0)
                scaled /= scaled[fold[0]].std()
                network, _ = train(title, scaled, pairs, choices, fold, LEAK_EPOCHS)
                guessed = _linear_reader(scaled, choices, fold)
                linear = score(f"{title}, linear", guessed, pairs, choices, fold, seed)
                shown.append(Leak(name, sides, by, network, linear, _recognised(pairs, choices, fold)))
    return Study(
        answers=list(answered),
        experiments=experiments,
        controls=controls,
        sidedness=sidedness(last.pairs, seed),
        leaks=shown,
        example=(left, right, example),
        map_size=map_size,
        seed=seed,
        backbone=backbone.name,
    )


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
    unrelated = scores.unrelated_choices(pairs, choices, seed=seed)[:, test]
    one_fold = np.zeros(len(test), int)
    found = scores.score(
        answers.astype(float), choices[test], pairs[test], one_fold, unrelated=unrelated, seed=seed
    )
    assert found.p_value is not None
    return Run(
        title=title,
        n_train=len(train),
        n_test=len(test),
        accuracy=found.accuracy,
        accuracy_ci95=found.accuracy_ci95,
        p_value=found.p_value,
        majority=float((choices[test] == (choices[train].mean() > 0.5)).mean()),
        classes=len(np.unique(answers)),
        history=history or [],
    )


def sidedness(pairs: np.ndarray, seed: int) -> Sidedness | None:
    """Compare the sides of a list with sides drawn at random; None where each image is shown once."""
    shown = np.bincount(pairs.ravel())
    if shown.max() == 1:
        return None

    def part(left: np.ndarray) -> float:
        count = np.bincount(left, minlength=len(shown))
        return float(np.maximum(count, shown - count).sum() / shown.sum())

    random = np.random.default_rng(seed)
    rows = np.arange(len(pairs))
    lots = np.array([part(pairs[rows, random.integers(0, 2, len(pairs))]) for _ in range(_BY_LOT)])
    here = part(pairs[:, 0])
    return Sidedness(here, float(lots.mean()), float((1 + (lots >= here).sum()) / (1 + _BY_LOT)))


_Arranged = tuple[str, str, np.ndarray, np.ndarray, np.ndarray, Fold]


def _possible_leaks(answers: Answers, random: np.random.Generator, seed: int) -> list[_Arranged]:
    """Arrange the sides anew; the same faces stay chosen.

    By a list's order, an image is on the left of all that come after it, as where two loops over a list of images
    write down the pairs. Of those pairs, the ones of an image of the first half with one of the second have each
    image on one side always. Of two images that win about equally often, one comes into either half, since
    otherwise a side would win, and who knows no image would predict that.

    Returns
    -------
    list
        Of each arrangement its name, the split, which trials, their pairs, their choices, and the fold; nothing
        where too few trials share images.
    """
    images = len(answers.paths)
    wins = np.bincount(answers.pairs[np.arange(len(answers.pairs)), answers.choices], minlength=images)
    couples = np.array_split(np.argsort(wins), images // 2)
    first = np.zeros(images, bool)
    first[[random.choice(couple) for couple in couples]] = True
    place = random.random(images) + ~first
    left, right = place[answers.pairs].T
    crossing = np.flatnonzero(first[answers.pairs].sum(1) == 1)
    if len(crossing) < _LEAST_CROSSING:
        return []
    everything = np.arange(len(answers.pairs))
    arranged = []
    for sides, by in _LEAKS:
        swap = random.random(len(left)) < 0.5 if sides == LOT else left > right
        trials = crossing if sides == HALVES else everything
        pairs = np.where(swap[:, None], answers.pairs[:, ::-1], answers.pairs)[trials]
        choices = np.where(swap, 1 - answers.choices, answers.choices)[trials]
        try:
            fold = split(pairs, by, _TRIAL_FOLDS if by == "trials" else _IMAGE_FOLDS, seed)[0]
        except BadInput:  # almost every image is in one trial only
            return []
        arranged.append((sides, by, trials, pairs, choices, fold))
    return arranged


def _recognised(pairs: np.ndarray, choices: np.ndarray, fold: Fold) -> float:
    train, test = fold
    p_right = fit_and_predict(pairs[train], choices[train], pairs[test])
    return float(scores.hits_of(p_right, choices[test]).mean())


def _linear_reader(maps: np.ndarray, choices: np.ndarray, fold: Fold) -> np.ndarray:
    """Answer the test trials by ridge regression on the maps' pixels, its penalty chosen in the training trials."""
    train, test = fold
    pixels = maps.reshape(len(maps), -1) / maps.shape[1]
    return RidgeClassifierCV(_PENALTIES).fit(pixels[train], choices[train]).predict(pixels[test]) == 1


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
