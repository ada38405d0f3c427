"""Simulated sessions for `benchmarks.validity`: whose taste, on which images, and how their analysis does.

The images are drawn cats, seen through the default backbone. An observer's taste is a linear function of the
embedding (what it carries of a random weighting of the faces' parameters), to which each image adds an appeal of its
own that has nothing to do with the embedding. P(right) is therefore known for every pair, so that what a fitted model
is worth on new images can be computed without drawing choices.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler
from sklearn.random_projection import SparseRandomProjection

from catpref._io.cache import default_folder
from catpref.design.designs import make_trials
from catpref.design.simulated_observers import read_parameters
from catpref.design.trial_list import FULL, RANDOM
from catpref.evaluation.analysis import Analysis, Options, analyse
from catpref.evaluation.cross_validation import scores_of
from catpref.evaluation.noise_ceiling import NoiseCeiling
from catpref.lab.planning import PAIRS_A_REPEAT
from catpref.models.psychometric import PsychometricFit
from catpref.perception.backbones import DEFAULT, Backbone, load_backbone
from catpref.perception.embeddings import embed
from catpref.sessions.session import SIDES, read_sessions
from catpref.stimuli.sets import render

NEW_PAIRS = 2000  # a session; over all sessions of a row there are many
BINS = 100  # of predicted P(right)
_MOST_NEW_IMAGES = 200
_PROJECTIONS = 512
_PENALTIES = 10.0 ** np.arange(-1, 6)
_SEED = 17  # of the faces


@dataclass(frozen=True)
class Design:
    """A design of `catpref.design.designs`, with 5% of its pairs shown again, as in the lab."""

    name: str
    kind: str
    images: int
    pairs: int

    @property
    def repeats(self) -> int:
        """How many pairs are shown again."""
        return self.pairs // PAIRS_A_REPEAT


@dataclass(frozen=True)
class Observer:
    """How an observer answers; the parts of the utility by their standard deviation over images, in logits.

    Each image's own appeal is Gaussian, or, with finite `tails`, has those degrees of freedom of Student's t.
    """

    name: str
    carried: float = 0.0
    own: float = 0.0
    side_bias: float = 0.0
    lapse: float = 0.0
    tails: float = np.inf


@dataclass(frozen=True)
class Row:
    """One design and one observer."""

    design: Design
    observer: Observer

    @property
    def name(self) -> str:
        """What results and ``--rows`` call it."""
        return f"{self.design.name}/{self.observer.name}"

    @property
    def is_null(self) -> bool:
        """Whether the embedding carries nothing of the taste."""
        return self.observer.carried == 0

    def random(self, *more: int) -> np.random.Generator:
        """Return this row's own stream of random numbers."""
        return np.random.default_rng([*self.name.encode(), *more])


OBSERVERS = (
    Observer("carried", carried=1.5),
    Observer("partly-carried", carried=1.5, own=1.0),
    Observer("unrelated", own=1.5),
    Observer("coin-flipper"),
    Observer("side-presser", side_bias=1.0),
    Observer("lapses", carried=1.5, side_bias=0.5, lapse=0.1),
)
FULL_SIZE = (
    Design("full-50", FULL, 50, 1225),
    Design("random-300", RANDOM, 600, 300),
    Design("random-1000", RANDOM, 2000, 1000),
)
SMALL = (Design("full-12", FULL, 12, 66), Design("random-25", RANDOM, 50, 25))
"""For a test of the benchmark itself."""


def rows_of(designs: Sequence[Design]) -> list[Row]:
    """Return every observer in every design."""
    return [Row(design, observer) for design in designs for observer in OBSERVERS]


@dataclass(frozen=True)
class Cats:
    """Drawn cats, from which each session takes its images.

    Attributes
    ----------
    folder, names
        The stimulus set and its files.
    parameters
        Of each face, standardised, shape (images, parameters).
    projections
        Random projections of the embedding, standardised, shape (images, projections): whatever is linear in them is
        linear in the embedding.
    """

    folder: Path
    names: list[str]
    parameters: np.ndarray
    projections: np.ndarray


def render_cats(folder: Path, images: int) -> tuple[Path, list[str]]:
    """Draw cats, or take those that an earlier run left in the folder: the stimulus set, and its files."""
    cats = folder / f"cats-{images}"
    if not cats.exists():
        render(cats, images, _SEED)
    return cats, list(read_parameters(cats).index)


def draw_cats(folder: Path, images: int) -> Cats:
    """Draw and embed cats, or take those that an earlier run left in the folder."""
    cats, _ = render_cats(folder, images)
    kept, table = folder / f"projections-{images}.npy", read_parameters(cats)
    if not kept.exists():
        paths = [cats / name for name in table.index]
        embeddings = embed(paths, load_backbone(DEFAULT), cache_folder=default_folder())
        project: Any = SparseRandomProjection
        projected = project(_PROJECTIONS, random_state=0).fit_transform(embeddings.astype(np.float32))
        np.save(kept, StandardScaler().fit_transform(projected))
    parameters = StandardScaler().fit_transform(table.to_numpy(np.float64))
    return Cats(cats, list(table.index), parameters, np.load(kept))


def worth_of(row: Row, cats: Cats) -> np.ndarray:
    """Return the utility of every image to a row's observer, in logits, shape (images,)."""
    random, observer = row.random(), row.observer
    liked = cats.parameters @ random.standard_normal(cats.parameters.shape[1])
    carried = RidgeCV(_PENALTIES).fit(cats.projections, liked).predict(cats.projections)
    own = observer.own * appeal(observer, len(liked), random)
    return observer.carried * (carried - carried.mean()) / carried.std() + own


def appeal(observer: Observer, images: int, random: np.random.Generator) -> np.ndarray:
    """Draw each image's own appeal to an observer, of standard deviation 1, shape (images,)."""
    if np.isinf(observer.tails):
        return random.standard_normal(images)
    return random.standard_t(observer.tails, images) * np.sqrt(1 - 2 / observer.tails)


def true_p_right(observer: Observer, difference: np.ndarray) -> np.ndarray:
    """Return P(right) of differences of utility, right minus left."""
    return observer.lapse / 2 + (1 - observer.lapse) * expit(difference + observer.side_bias)


def run_session(row: Row, number: int, cats: Cats, backbone: Backbone) -> dict[str, Any]:
    """Simulate a session, analyse it as ``catpref fit --model utility`` does, and compare that with the truth.

    Returns
    -------
    dict
        Numbers and lists of them, for JSON: estimates with their intervals, beside the truth where it belongs to the
        session.
    """
    started = time.perf_counter()
    random, worth = row.random(number), worth_of(row, cats)
    order = random.permutation(len(cats.names))
    shown, new = np.split(order, [row.design.images])
    names = [cats.names[image] for image in shown]
    trials = make_trials(row.design.kind, names, row.design.repeats, seed=random)
    sides = pd.DataFrame({side: [getattr(trial, side) for trial in trials] for side in SIDES})
    of_name = dict(zip(cats.names, worth.tolist(), strict=True))
    left, right = (sides[side].map(lambda name: of_name[name]).to_numpy(np.float64) for side in SIDES)
    p_right = true_p_right(row.observer, right - left)
    answered = sides.assign(choice=(random.random(len(p_right)) < p_right).astype(int))
    analysis = analyse(
        read_sessions([answered], cats.folder),
        backbone,
        Options(models=("utility",), seed=number, cache=default_folder()),
    )
    return {
        **_scores(analysis),
        **of_observer(
            analysis.observer, (analysis.noise_ceiling, analysis.taste_ceiling), p_right, right - left
        ),
        "utility_covered": _covered(analysis.ranking, of_name),
        "new": _new_pairs(analysis, row, cats, worth, new[:_MOST_NEW_IMAGES], backbone, random),
        "seconds": time.perf_counter() - started,
    }


def of_observer(
    observer: PsychometricFit | None,
    ceilings: tuple[NoiseCeiling, NoiseCeiling],
    p_right: np.ndarray,
    difference: np.ndarray,
) -> dict[str, Any]:
    """Return what the report says of an observer, as [estimate, low, high], beside the true ceilings.

    Of the two ceilings, the second is that of taste. `difference` is that of the utilities, right minus left.
    """
    assert observer is not None
    told, of_taste = (ceiling.accuracy is not None for ceiling in ceilings)
    return {
        "ceiling": [observer.noise_ceiling, *observer.noise_ceiling_ci95],
        "ceiling_is_told": told,
        "true_ceiling": float(np.maximum(p_right, 1 - p_right).mean()),
        "taste_ceiling": [observer.taste_ceiling, *observer.taste_ceiling_ci95],
        "taste_ceiling_is_told": of_taste,
        "true_taste_ceiling": _expected_accuracy(difference, p_right),
        "lapse": [observer.lapse, *observer.lapse_ci95],
        "side_bias": [observer.side_bias, *observer.side_bias_ci95],
    }


def _scores(analysis: Analysis) -> dict[str, Any]:
    """Return what the report says of the model, as [estimate, low, high], and None for what it leaves out."""

    def with_interval(estimate: float | None, interval: tuple[float, float] | None) -> list[float] | None:
        return None if estimate is None or interval is None else [estimate, *interval]

    scores = scores_of(analysis.results[0])
    return {
        "accuracy": with_interval(scores.accuracy, scores.accuracy_ci95),
        "log_loss": with_interval(scores.log_loss, scores.log_loss_ci95),
        "auc": with_interval(scores.auc, scores.auc_ci95),
        "difference": with_interval(*analysis.differences["ridge"]),
        "slope": with_interval(scores.calibration.slope, scores.calibration.slope_ci95),
        "p_value": scores.p_value,
        "better_than_chance": analysis.better_than_chance,
    }


def _covered(ranking: pd.DataFrame, worth: Mapping[str, float]) -> float:
    """Return the fraction of the session's images whose true utility is within 1.96 `utility_sd`."""
    truth = ranking["image"].map(lambda name: worth[name]).to_numpy(np.float64)
    errors = ranking["utility"] - (truth - truth.mean())
    return float((errors.abs() <= 1.96 * ranking["utility_sd"]).mean())


def _new_pairs(
    analysis: Analysis,
    row: Row,
    cats: Cats,
    worth: np.ndarray,
    new: np.ndarray,
    backbone: Backbone,
    random: np.random.Generator,
) -> dict[str, Any]:
    """Compare the model of all trials with the true P(right) of pairs of images that were not in the session.

    Returns
    -------
    dict
        Expected accuracy of the taste and of one who knows it; for each bin of predicted P(right) the sums of
        predictions and of true probabilities and the number of pairs.
    """
    left = random.integers(0, len(new), NEW_PAIRS)
    right = (left + random.integers(1, len(new), NEW_PAIRS)) % len(new)
    paths = [cats.folder / cats.names[image] for image in new]
    embeddings = embed(paths, backbone, cache_folder=default_folder())
    model = analysis.predictors["utility"]
    predicted = model.p_right(embeddings, np.column_stack([left, right]))
    truth = true_p_right(row.observer, worth[new[right]] - worth[new[left]])
    taste = logit(predicted) - model.side_bias
    bins = np.minimum((predicted * BINS).astype(int), BINS - 1)
    sums = [np.bincount(bins, weights, BINS).tolist() for weights in (predicted, truth, np.ones(NEW_PAIRS))]
    return {
        "accuracy": _expected_accuracy(taste, truth),
        "best": _expected_accuracy(worth[new[right]] - worth[new[left]], truth),
        "bins": sums,
    }


def _expected_accuracy(taste: np.ndarray, truth: np.ndarray) -> float:
    """Return how often a taste that says right where it is positive is right; where it says nothing, it guesses."""
    return float((0.5 + np.sign(taste) * (truth - 0.5)).mean())
