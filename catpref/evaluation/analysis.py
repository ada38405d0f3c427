"""From a session to all that a report says of it: models, how well they predict, the ranking of the images."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from catpref._io.engines import Engine, Threads, in_order
from catpref.design.splits import Fold, split
from catpref.errors import BadInput
from catpref.evaluation import asked, attribution, choice_model, reaction_times
from catpref.evaluation.asked import Asked
from catpref.evaluation.choice_model import Check
from catpref.evaluation.cross_validation import (
    Fits,
    Result,
    calibrated,
    corrected,
    cross_validate,
    difference,
    fit,
    learn_from_fewer,
    without_evaluation,
)
from catpref.evaluation.learning_curve import LearningCurve
from catpref.evaluation.noise_ceiling import NoiseCeiling, noise_ceiling, taste_ceiling
from catpref.evaluation.people import Observers
from catpref.evaluation.reaction_times import ReactionTimes
from catpref.evaluation.sampling import simulate
from catpref.evaluation.scores import Scores
from catpref.evaluation.utilities_of_wins import image_table, with_wins
from catpref.models import psychometric, registry, study_cnn
from catpref.models.davidson import where_preferred
from catpref.models.interface import Data, Images, Model, map_name
from catpref.models.learned import of_known_images
from catpref.models.psychometric import PsychometricFit
from catpref.models.registry import MODELS
from catpref.models.utility import UTILITY
from catpref.perception import low_level
from catpref.perception.backbones import Backbone
from catpref.perception.embeddings import DEFAULT, GRIDS
from catpref.perception.lpips_maps import layer_maps
from catpref.sessions import winners
from catpref.sessions.pictures import Pictures, pictures_of
from catpref.sessions.session import Session, check_both_sides_chosen
from catpref.stimuli.images import image_path

CURVE_REPEATS = 3
"""Cross-validations that the learning curve is of, at most."""

_MOST_REPEATS = 5
_ENOUGH_IMAGES = 250  # that a cross-validation holds out, with all its repeats
_LEVEL = 0.05  # of significance
_LEAST_FAIR = 10  # random trials of an adaptive session, from which on its accuracy is estimated
_RANDOM_FEATURES = 32

_MAP_SIZES = (512, 256, 128, 96, 64, 48, 40, 32)
_TRAINING_BUDGET = 1.5e12  # multiplications and additions: about a quarter of a minute on two cores
_EXAMPLE_SIZE = 256  # pixels, of the maps of one pair that the report shows

_ORDER = ("luminance_and_contrast", "embeddings", "maps")
"""What models need of the images, in the order in which it is computed."""


@dataclass(frozen=True)
class Options:
    """What a fit is asked for; `catpref.learn` explains each."""

    models: Sequence[str] = registry.DEFAULT
    embedding: str | None = None
    map_size: int | None = None
    split: str = "images"
    folds: int = 5
    seed: int = 0
    device: str = "cpu"
    cache: Path | None = None
    pool: bool = False


@dataclass(frozen=True)
class Example:
    """Two of the session's images, and the distance maps between them, shape (layers, size, size)."""

    left: str
    right: str
    maps: np.ndarray


@dataclass(frozen=True)
class Analysis:
    """Everything that was learned from a session.

    Attributes
    ----------
    session, options
        What it was learned from, and how.
    pictures
        Which of the session's images show the same picture.
    backbone, weights_sha256
        The network that read the images: its name, and the digest of its weights.
    embedding, map_layer, map_size
        What the models read; `map_size` is None where none reads distance maps.
    noise_ceiling, taste_ceiling
        The best accuracy to expect, and the best with the side bias set aside.
    observer
        Side bias and lapse rate; None where there are several.
    observers
        The participants, where there are several.
    choice_model
        Whether the model of choice fits, check by check.
    reaction_times
        None where no file has any.
    learning_curve
        Of the utility; None without one.
    contributions
        What each cell of the embedding's grid adds to each image's utility, shape (images, grid, grid), in the
        order of `session.images`; None without a utility.
    map_agreement
        How well two halves of the session agree on them, from 0 to 1; None where there is no telling.
    differences
        By how much each model is more accurate than the first, with the 95% interval, by its name.
    results, baselines
        One entry a model.
    predictions
        One row for each model and held-out trial.
    ranking
        Columns image, utility, utility_sd, wins, trials, bradley_terry, bradley_terry_se; most preferred first.
    predictors
        The models fitted to all trials, by name.
    example
        A pair and its distance maps.
    embed_seconds, fit_seconds
        What the time went to.
    asked
        What an adaptive session of one participant asked, and what that taught.
    """

    session: Session
    options: Options
    pictures: Pictures
    backbone: str
    weights_sha256: str
    embedding: str
    map_layer: int | None
    map_size: int | None
    noise_ceiling: NoiseCeiling
    taste_ceiling: NoiseCeiling
    observer: PsychometricFit | None
    choice_model: list[Check]
    reaction_times: ReactionTimes | None
    learning_curve: LearningCurve | None
    contributions: np.ndarray | None
    map_agreement: float | None
    differences: Mapping[str, tuple[float, tuple[float, float]]]
    results: list[Result]
    baselines: list[Result]
    predictions: pd.DataFrame
    ranking: pd.DataFrame
    predictors: Mapping[str, Any]
    example: Example
    embed_seconds: float
    fit_seconds: float
    observers: Observers | None = None
    asked: Sequence[Asked] = ()

    @property
    def better_than_chance(self) -> bool | None:
        """Whether the first model's taste is shown to predict choices better than chance does; None: unknown."""
        scores = self.results[0].scores
        return None if scores is None else is_above_chance(scores)

    @property
    def sides_known(self) -> bool:
        """Whether a side bias can be estimated: the session says on which side the images were."""
        return winners.sides_known(self.session.trials)

    @property
    def has_map(self) -> bool:
        """Whether a map of the image shows something that was learned: both halves of the session say so."""
        return self.better_than_chance is True and (self.map_agreement or 0.0) >= attribution.RELIABLE


def is_above_chance(scores: Scores) -> bool:
    """Return whether a taste is shown to predict choices better than chance does."""
    return scores.accuracy_ci95[0] > 0.5 and (scores.p_value is None or scores.p_value <= _LEVEL)


def repeats_of(images: int) -> int:
    """Return how often a session of so many images is cross-validated, each time with other folds."""
    return max(1, min(_MOST_REPEATS, _ENOUGH_IMAGES // max(images, 1)))


# The matrices are so small that two threads of a linear algebra library mostly wait for each other.
@threadpool_limits.wrap(limits=1, user_api="blas")
def analyse(session: Session, backbone: Backbone, options: Options, engine: Engine | None = None) -> Analysis:
    """Fit and evaluate the models on a session.

    Parameters
    ----------
    session, backbone, options
        What was asked for.
    engine
        Who computes; None: this process.

    Raises
    ------
    BadInput
        If only one side was ever chosen, there is too little data for the split, an image cannot be read, or
        the options contradict each other.
    """
    pictures = pictures_of(session, options.cache)
    session = pictures.merged  # to the models a picture is one image, whatever its names
    check_both_sides_chosen(session)
    data, splits = _data(session, backbone, options)
    images, pairs, everything = data.images, data.pairs, np.arange(len(data.pairs))
    preferred, choices = where_preferred(everything, data.choices)
    chosen = _chosen(options, data)

    started = time.perf_counter()
    if engine is not None and any("embeddings" in model.needs for model in chosen):
        images.embed_by(engine)
    for need in _ORDER:
        if any(need in model.needs for model in chosen):
            getattr(data, need)
    embedded = time.perf_counter()
    if any("kernels" in model.needs for model in chosen):
        _ = data.kernels  # once, before several folds ask for them

    is_fair = session.is_fair
    observer = psychometric.fit(pairs[preferred], choices, is_fair[preferred])
    fits = fit(chosen, data, splits, engine)
    results, differences = _evaluated(chosen, data, splits, fits, observer)
    predictors = _predictors(results, data, fits, observer.lapse)
    curve = contributions = agreement = None
    if UTILITY.name in predictors:
        of_utility = next(result for result in results if result.model == UTILITY.name)
        if splits:
            curve = learn_from_fewer(UTILITY, data, splits[:CURVE_REPEATS], of_utility, engine)
            agreement = attribution.agreement(data, engine)
        contributions = attribution.contributions(predictors[UTILITY.name], data.embeddings, images.layout)
    alone = image_table(pairs, data.choices, len(session.images))
    ranking = with_wins(rank(session.images, images, predictors), alone, session.images)
    return Analysis(
        session=pictures.session,
        options=options,
        pictures=pictures,
        backbone=backbone.name,
        weights_sha256=backbone.weights_sha256,
        embedding=images.embedding,
        map_layer=images.map_layer,
        map_size=images.map_size,
        noise_ceiling=noise_ceiling(session.noise_ceiling, observer, bool(is_fair.any())),
        taste_ceiling=taste_ceiling(session.noise_ceiling, observer, bool(is_fair.any())),
        observer=observer,
        choice_model=choice_model.check(
            pairs[preferred], choices, _whose(session)[preferred], options.seed, is_fair[preferred]
        ),
        asked=asked.of_session(session, data),
        reaction_times=_reaction_times(session, alone["bradley_terry"].to_numpy()[pairs]),
        learning_curve=curve,
        contributions=None if contributions is None else contributions[pictures.numbers],
        map_agreement=agreement,
        differences=differences,
        results=[result for result in results if not MODELS[result.model].is_baseline],
        baselines=[result for result in results if MODELS[result.model].is_baseline],
        predictions=predictions_of(results, pictures.session.trials),
        ranking=pictures.with_every_name(ranking),
        predictors=predictors,
        example=example_of(session, ranking, backbone, options.cache),
        embed_seconds=embedded - started,
        fit_seconds=time.perf_counter() - embedded,
    )


def folds_of(
    session: Session, options: Options, repeats: int = 1
) -> tuple[np.ndarray | None, list[list[Fold]]]:
    """Return which trials are fair, None where all are, and the folds of each cross-validation.

    Without folds, too few trials are fair: what adaptive trials would say of a model's accuracy is not that on pairs
    at random, and depends on how they were chosen.
    """
    fair, tested = session.is_fair, session.has_preference
    is_fair = None if fair.all() else fair
    if is_fair is not None and (fair & tested).sum() < _LEAST_FAIR:
        return is_fair, []
    seeds = range(options.seed, options.seed + repeats)
    return is_fair, [
        split(session.pairs, options.split, options.folds, seed, tested, is_fair) for seed in seeds
    ]


def _evaluated(
    models: Sequence[Model],
    data: Data,
    splits: Sequence[Sequence[Fold]],
    fits: Fits,
    observer: PsychometricFit,
) -> tuple[list[Result], dict[str, tuple[float, tuple[float, float]]]]:
    """Cross-validate the models, and return by how much each is more accurate than the first, too."""
    if not splits:
        return [without_evaluation(model, data) for model in models], {}
    folds = [fold for each in splits for fold in each]
    sampling = simulate(_features(data, data.seed), data.pairs, folds, observer, data.seed, data.is_fair)
    results = corrected(
        [cross_validate(model, data, splits, sampling, fits.held_out[model.name]) for model in models]
    )
    return results, {
        result.model: difference(result, results[0], data.pairs, sampling) for result in results[1:]
    }


def _predictors(results: Sequence[Result], data: Data, fits: Fits, lapse: float) -> dict[str, Any]:
    """Return what predicts any images, of the models that can, learned from all trials.

    Of the images that were shown, a utility knows more than of new ones, which have its gain.
    """
    gains = {result.model: result.gain for result in results if MODELS[result.model].predictor}
    others = [name for name in gains if name not in fits.networks]
    learned = dict(zip(others, in_order(Threads(), _learned_from_all, data, others), strict=True))
    if UTILITY.name in learned:
        of_all = learned[UTILITY.name]
        learned[UTILITY.name] = replace(of_all, known=of_known_images(of_all, data.choices, lapse))
    return {
        name: fits.networks[name]
        if name in fits.networks
        else predictor(calibrated(learned[name], gain), data)
        for name, gain in gains.items()
        if (predictor := MODELS[name].predictor)
    }


def _learned_from_all(data: Data, name: str) -> Any:
    return MODELS[name].fit(data, np.arange(len(data.pairs)), None)


def _data(session: Session, backbone: Backbone, options: Options) -> tuple[Data, list[list[Fold]]]:
    """Return what models read of a session, and the folds of each cross-validation."""
    pairs = session.pairs
    repeats = repeats_of(len(np.unique(pairs[session.is_fair])))
    is_fair, splits = folds_of(session, options, repeats)
    trained = [*(train for each in splits[:1] for train, _ in each), np.arange(len(pairs))]
    data = Data(
        images_of(session, backbone, options, [len(train) for train in trained]),
        pairs,
        session.trials["choice"].to_numpy(),
        low_level.crop_sizes(session.stimuli, session.images),
        is_fair=is_fair,
        seed=options.seed,
        device=options.device,
        shared=frozenset(train.tobytes() for train in trained),
        sends_embeddings=any(
            MODELS[name].is_slow and "embeddings" in MODELS[name].needs for name in options.models
        ),
    )
    return data, splits


def ranking_model(predictors: Mapping[str, Any]) -> str | None:
    """Return the name of the first predictor that has utilities."""
    return next((name for name in predictors if MODELS[name].utilities is not None), None)


def rank(names: Sequence[str], images: Images, predictors: Mapping[str, Any]) -> pd.DataFrame:
    """Rank images by the first predictor that has utilities, most preferred first; what is unknown is NaN."""
    name = ranking_model(predictors)
    mean = sd = np.full(len(names), np.nan)
    if name is not None:
        mean, sd, _ = judge([images], MODELS[name], predictors[name])
    return ranked(names, mean, sd)


def ranked(names: Sequence[str], mean: np.ndarray, sd: np.ndarray) -> pd.DataFrame:
    """Return images with their utilities, most preferred first."""
    table = pd.DataFrame({"image": list(names), "utility": mean, "utility_sd": sd})
    return table.sort_values("utility", ascending=False, kind="stable", ignore_index=True)


def judge(
    batches: Iterable[Images], model: Model, predictor: Any, known: Any = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what a model says of images that come a batch at a time.

    Parameters
    ----------
    batches
        The images; each batch is let go before the next one is asked for.
    model, predictor
        A model that has utilities, and what predicts them.
    known
        What tells which images are far, where it is asked for.

    Returns
    -------
    mean, sd
        Of each image's utility.
    far
        Whether the image is of another kind than all that the model learned from; False where it cannot tell.
    """
    utilities, far = model.utilities, None if known is None else model.far
    assert utilities is not None
    parts = [
        (
            *utilities(predictor, images),
            np.zeros(len(images.paths), bool) if far is None else far(known, images),
        )
        for images in batches
    ]
    mean, sd, is_far = (np.concatenate(part) for part in zip(*parts, strict=True))
    return mean - mean.mean() if model.is_relative else mean, sd, is_far


def _whose(session: Session) -> np.ndarray:
    """Return a number for each participant, or, where they are not named, for each file."""
    trials = session.trials
    return pd.factorize(trials["participant" if "participant" in trials else "source"])[0]


def _reaction_times(session: Session, utilities: np.ndarray) -> ReactionTimes | None:
    if "rt" not in session.trials:
        return None
    return reaction_times.summarise(
        session.trials["rt"].to_numpy(), np.abs(utilities[:, 1] - utilities[:, 0])
    )


def _features(data: Data, seed: int) -> np.ndarray:
    """Return what simulated observers' tastes are made of: the embedding's components, else random ones."""
    if "kernels" in vars(data):
        return data.components
    return np.random.default_rng(seed).standard_normal((len(data.images.paths), _RANDOM_FEATURES))


def _chosen(options: Options, data: Data) -> list[Model]:
    """Return the models asked for, and the baselines; of these, none that would need further representations."""
    asked = [MODELS[name] for name in MODELS if name in options.models]
    there = {need for model in asked for need in model.needs} | {"luminance_and_contrast"}
    there |= {"crop_sizes"} if data.crop_sizes is not None else set()
    baselines = [
        model
        for model in MODELS.values()
        if model.is_baseline and not model.of_several and there.issuperset(model.needs)
    ]
    return asked + baselines


def images_of(
    session: Session, backbone: Backbone, options: Options, training_trials: Sequence[int]
) -> Images:
    """Return what is to be seen in the session's images, as the options want it."""
    if options.map_size is not None and options.map_size not in study_cnn.SIZES:
        raise study_cnn.bad_size(options.map_size)
    needs = {need for name in options.models for need in MODELS[name].needs}
    embedding, layer = _representations(options, backbone, needs)
    return Images(
        paths=[image_path(session.stimuli, image) for image in session.images],
        backbone=backbone,
        embedding=embedding,
        map_size=_map_size(options, training_trials) if "maps" in needs else None,
        map_layer=layer,
        cache=options.cache,
    )


def _representations(options: Options, backbone: Backbone, needs: set[str]) -> tuple[str, int | None]:
    """Read `embedding`, which names a signed embedding or a distance map: (embedding, layer of the map)."""
    layers = (None, *range(len(backbone.channel_weights)))
    maps = {map_name(layer): layer for layer in layers}
    asked = options.embedding
    if asked is None:
        return DEFAULT, None
    if asked in GRIDS and "embeddings" in needs:
        return asked, None
    if asked in maps and "maps" in needs:
        return DEFAULT, maps[asked]
    known = f"{', '.join(GRIDS)} (for utility and siamese_cnn), {', '.join(maps)} (for study_cnn)"
    raise BadInput(
        f"embedding={asked}: not one that model={' '.join(options.models)} uses; choose from {known}"
    )


def _map_size(options: Options, training_trials: Sequence[int]) -> int:
    """Take the size asked for, else the largest with which all the training keeps within its budget."""
    if options.map_size is not None:
        return options.map_size
    passes = 3 * study_cnn.EPOCHS * sum(training_trials)  # a step costs about three forward passes
    affordable = [size for size in _MAP_SIZES if passes * study_cnn.operations(size) <= _TRAINING_BUDGET]
    return max(affordable, default=min(_MAP_SIZES))


def example_of(session: Session, ranking: pd.DataFrame, backbone: Backbone, cache: Path | None) -> Example:
    """Take the least and the most preferred image, or, where nothing tells, the first trial's two."""
    if bool(np.isfinite(ranking["utility"].to_numpy()).all()):
        left, right = ranking["image"].iloc[-1], ranking["image"].iloc[0]
    else:
        left, right = session.trials.loc[0, ["left_image", "right_image"]]
    paths = [image_path(session.stimuli, name) for name in (left, right)]
    return Example(left, right, layer_maps(paths[0], paths[1], backbone, _EXAMPLE_SIZE, cache))


def predictions_of(results: Sequence[Result], trials: pd.DataFrame) -> pd.DataFrame:
    """Put the held-out trials of all models under each other, with the session's columns.

    These come after those that every session has; one whose name is taken gets a longer one.
    """
    held_out = pd.concat([result.held_out for result in results], ignore_index=True)
    columns = trials.drop(columns="choice").iloc[held_out["row_index"]].reset_index(drop=True)
    names = list(held_out.columns)
    for name in columns.columns:
        while name in names:
            name += "_in_session"
        names.append(name)
    predictions = pd.concat([held_out, columns], axis=1).set_axis(names, axis=1)
    first = ["model", "fold", "left_image", "right_image", "choice", "p_right", "repeat", "p_right_by_taste"]
    rest = [column for column in predictions.columns if column not in {*first, "row_index"}]
    return predictions.loc[:, first + rest]
