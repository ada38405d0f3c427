"""What the repeated study asks and finds: lists and choices, runs, controls, leaks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from catpref.models.interface import Epoch

MAPS = {"mean map": None, "first-layer map": 0}
"""The study's two kinds of maps by name, and the layer of each."""

AT_RANDOM, ORDER, HALVES = "sides at random", "sides by a list's order", "each image on one side"


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
        How the sides were given out: `AT_RANDOM`, `ORDER` or `HALVES`.
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

    answers: Sequence[Answers]
    experiments: list[tuple[Run, Swap]]
    controls: Controls
    sidedness: Sidedness | None
    leaks: list[Leak]
    example: tuple[Path, Path, dict[str, np.ndarray]]
    map_size: int
    seed: int
    backbone: str
