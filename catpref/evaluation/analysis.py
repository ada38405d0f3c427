"""From a session to all that a report says of it: models, their evaluation, the ranking of the images."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit
from threadpoolctl import threadpool_limits

from catpref._io.progress import progress
from catpref._io.workers import workers
from catpref.design.splits import Fold, split
from catpref.errors import BadInput
from catpref.evaluation import attribution, learning_curve
from catpref.evaluation.learning_curve import LearningCurve
from catpref.evaluation.noise_ceiling import NoiseCeiling, noise_ceiling
from catpref.evaluation.scores import Scores, hits_of, score, unrelated_choices
from catpref.models import bradley_terry, laplace, psychometric, siamese_cnn, study_cnn, utility
from catpref.models.kernels import kernels_of
from catpref.models.psychometric import PsychometricFit
from catpref.models.siamese_cnn import SiameseCNN
from catpref.models.study_cnn import StudyCNN
from catpref.models.utility import Utility
from catpref.perception import low_level, lpips_maps
from catpref.perception.backbones import Backbone
from catpref.perception.embeddings import DEFAULT, GRIDS, blocks, embed
from catpref.sessions.session import Session, check_both_sides_chosen
from catpref.stimuli.images import image_path

MODELS = ("utility", "siamese_cnn", "study_cnn")
DEFAULT_MODELS = ("utility", "siamese_cnn")
"""Those whose answer turns around with the sides."""
NETWORKS = ("siamese_cnn", "study_cnn")
"""Models that take long to train: one cross-validation, where others are repeated."""

_MOST_REPEATS = 5
_ENOUGH_IMAGES = 250  # that a cross-validation holds out, with all its repeats
_CURVE_REPEATS = 3  # of the learning curve

_MAP_SIZES = (512, 256, 128, 96, 64, 48, 40, 32)
_TRAINING_BUDGET = 1.5e12  # multiplications and additions: about a quarter of a minute on two cores


@dataclass(frozen=True)
class Options:
    """What a fit is asked for; see ``python -m catpref.fit --help``."""

    models: Sequence[str] = DEFAULT_MODELS
    embedding: str | None = None
    map_size: int | None = None
    split: str = "images"
    folds: int = 5
    seed: int = 0
    device: str = "cpu"
    cache: Path | None = None


@dataclass(frozen=True)
class Inputs:
    """What the models read: the signed embedding's name, the map's name and its layer (None = the mean map)."""

    embedding: str
    map_name: str
    map_layer: int | None


@dataclass(frozen=True)
class Result:
    """How one model did on held-out trials."""

    model: str
    embedding: str | None
    n_train: int
    n_test: int
    repeats: int
    scores: Scores
    fit_seconds: float


@dataclass(frozen=True)
class Analysis:
    """Everything that was learned from a session.

    Attributes
    ----------
    session, backbone, settings
        What it was learned from, and how.
    noise_ceiling
        The best accuracy to expect.
    observer
        Side bias and lapse rate; None without a utility.
    learning_curve
        Of the utility; None without one.
    contributions
        What each cell of the embedding's grid adds to each image's utility, shape (images, grid, grid), in the
        order of `session.images`; None without a utility.
    results, baselines
        One entry a model.
    predictions
        One row for each model and held-out trial.
    ranking
        Columns image, utility, utility_sd; most preferred first.
    utility, siamese, cnn
        The models fitted to all trials; None where not asked for.
    histories
        The training history of each fold's network, by model.
    inputs
        Which embedding and which distance maps the models read.
    map_size
        Side of the distance maps that the network was trained on; None without a network.
    embed_seconds, fit_seconds
        What the time went to.
    """

    session: Session
    backbone: Backbone
    settings: Options
    noise_ceiling: NoiseCeiling
    observer: PsychometricFit | None
    learning_curve: LearningCurve | None
    contributions: np.ndarray | None
    results: list[Result]
    baselines: list[Result]
    predictions: pd.DataFrame
    ranking: pd.DataFrame
    utility: Utility | None
    siamese: SiameseCNN | None
    cnn: StudyCNN | None
    histories: dict[str, list[list[study_cnn.Epoch]]]
    inputs: Inputs
    map_size: int | None
    embed_seconds: float
    fit_seconds: float


Predictor = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Learns from the training trials and gives P(right) of the test trials, both as indices."""


# The matrices are so small that two threads of a linear algebra library mostly wait for each other.
@threadpool_limits.wrap(limits=1, user_api="blas")
def analyse(session: Session, backbone: Backbone, settings: Options) -> Analysis:
    """Fit and evaluate the models on a session.

    Raises
    ------
    BadInput
        If only one side was ever chosen, there is too little data for the split, an image cannot be read, or
        the settings contradict each other.
    """
    check_both_sides_chosen(session)
    inputs = _choose_inputs(settings, backbone)
    images = session.images
    sides = session.trials[["left_image", "right_image"]].to_numpy()
    pairs = np.searchsorted(images, sides)
    choices = session.trials["choice"].to_numpy()
    trials = session.trials
    observers = trials["participant"].to_numpy() if "participant" in trials else None
    repeats = max(1, min(_MOST_REPEATS, _ENOUGH_IMAGES // len(images)))
    splits = [
        split(pairs, settings.split, settings.folds, settings.seed + repeat) for repeat in range(repeats)
    ]
    paths = [image_path(session.stimuli, image) for image in images]
    map_size = _map_size(settings, [len(train) for train, _ in splits[0]] + [len(pairs)])

    started = time.perf_counter()
    looks = low_level.luminance_and_contrast(paths, settings.cache)
    crops = low_level.crop_sizes(session.stimuli, images)
    embeddings = maps = kernels = None
    if {"utility", "siamese_cnn"} & {*settings.models}:
        embeddings = embed(paths, backbone, inputs.embedding, settings.cache)
    if "study_cnn" in settings.models:
        maps = lpips_maps.distance_maps(paths, pairs, backbone, map_size, inputs.map_layer, settings.cache)
    embedded = time.perf_counter()

    if embeddings is not None:
        kernels = kernels_of(embeddings, pairs, blocks(backbone, inputs.embedding))
    histories: dict[str, list[list[study_cnn.Epoch]]] = {
        name: [] for name in NETWORKS if name in settings.models
    }

    everything = np.arange(len(pairs))
    shared = {train.tobytes() for train, _ in splits[0]} | {everything.tobytes()}
    learned_before: dict[bytes, utility.Learned] = {}

    def learn(train: np.ndarray) -> utility.Learned:
        """Learn a utility, or take what another model learned from the same trials."""
        assert kernels is not None
        key = train.tobytes()
        learned = learned_before.get(key) or utility.learn(kernels, choices, train, settings.seed)
        if key in shared:
            learned_before[key] = learned
        return learned

    def predict_with_utility(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        return learn(train).p_right(test)

    def predict_with_cnn(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        assert maps is not None
        held_out = maps[test], choices[test]
        model = study_cnn.fit(maps[train], choices[train], held_out, settings.seed, settings.device)
        histories["study_cnn"].append(model.history)
        return model.p_right(maps[test])

    def fit_siamese(start: Utility, train: np.ndarray, test: np.ndarray | None) -> SiameseCNN:
        assert embeddings is not None
        held_out = None if test is None else (pairs[test], choices[test])
        return siamese_cnn.fit(
            embeddings,
            pairs[train],
            choices[train],
            start,
            GRIDS[inputs.embedding],
            held_out,
            settings.seed,
            settings.device,
        )

    def predict_with_siamese(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        assert embeddings is not None
        model = fit_siamese(utility.project(learn(train), embeddings), train, test)
        histories["siamese_cnn"].append(model.history)
        shown, indices = np.unique(pairs[test], return_inverse=True)
        return model.p_right(embeddings[shown], indices.reshape(-1, 2))

    def predict_majority(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        rate = (choices[train].sum() + 1) / (len(train) + 2)
        return np.full(len(test), rate)

    def predict_with_number(number: np.ndarray) -> Predictor:
        differences = (number[pairs[:, 1]] - number[pairs[:, 0]])[:, None]

        def predict(train: np.ndarray, test: np.ndarray) -> np.ndarray:
            posterior = laplace.fit(differences[train], choices[train])
            return expit(differences[test] @ posterior.weights + posterior.side_bias)

        return predict

    def predict_with_bradley_terry(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        return bradley_terry.fit_and_predict(pairs[train], choices[train], pairs[test])

    models: dict[str, tuple[str | None, Predictor]] = {
        "utility": (inputs.embedding, predict_with_utility),
        "siamese_cnn": (inputs.embedding, predict_with_siamese),
        "study_cnn": (f"{inputs.map_name} {map_size}", predict_with_cnn),
        "majority_side": (None, predict_majority),
        "luminance": (None, predict_with_number(looks[:, 0])),
        "contrast": (None, predict_with_number(looks[:, 1])),
        **({} if crops is None else {"crop_size": (None, predict_with_number(crops))}),
        "bradley_terry": (None, predict_with_bradley_terry),
    }
    chosen = [name for name in models if name not in MODELS or name in settings.models]
    unrelated = unrelated_choices(pairs, choices, seed=settings.seed)
    results: list[Result] = []
    predictions: dict[str, pd.DataFrame] = {}
    for name in progress(chosen, "fitting", unit="model"):
        embedding, predictor = models[name]
        some = splits[:1] if name in NETWORKS else splits
        result, held_out = _cross_validate(name, embedding, predictor, some, pairs, choices, unrelated)
        results.append(result)
        predictions[name] = held_out

    fitted_utility = fitted_siamese = fitted_cnn = observer = curve = brought = None
    if "utility" in settings.models and kernels is not None and embeddings is not None:
        curve = _learning_curve(
            predict_with_utility, splits[:_CURVE_REPEATS], predictions["utility"], pairs, settings.seed
        )
        learned = learn(everything)
        observer = psychometric.fit(learned.differences, learned.squares, choices)
        fitted_utility = utility.project(learned, embeddings)
        brought = attribution.contributions(fitted_utility, embeddings, inputs.embedding)
    if "siamese_cnn" in settings.models and embeddings is not None:
        start = fitted_utility or utility.project(learn(everything), embeddings)
        fitted_siamese = fit_siamese(start, everything, None)
    if maps is not None:
        fitted_cnn = study_cnn.fit(maps, choices, None, settings.seed, settings.device)
    return Analysis(
        session=session,
        backbone=backbone,
        settings=settings,
        noise_ceiling=noise_ceiling(pairs, choices, session.noise_ceiling, observers),
        observer=observer,
        learning_curve=curve,
        contributions=brought,
        results=[result for result in results if result.model in MODELS],
        baselines=[result for result in results if result.model not in MODELS],
        predictions=_with_session(pd.concat(predictions.values(), ignore_index=True), session.trials),
        ranking=rank(images, fitted_utility or fitted_siamese, embeddings),
        utility=fitted_utility,
        siamese=fitted_siamese,
        cnn=fitted_cnn,
        histories=histories,
        inputs=inputs,
        map_size=None if maps is None else map_size,
        embed_seconds=embedded - started,
        fit_seconds=time.perf_counter() - embedded,
    )


def rank(
    images: Sequence[str], model: Utility | SiameseCNN | None, embeddings: np.ndarray | None
) -> pd.DataFrame:
    """Rank images by utility, most preferred first; what the model does not tell is NaN."""
    mean = sd = np.full(len(images), np.nan)
    if embeddings is not None and isinstance(model, Utility):
        mean, sd = model.utilities(embeddings)
    elif embeddings is not None and isinstance(model, SiameseCNN):
        mean = model.utilities(embeddings)
        mean -= mean.mean()
    table = pd.DataFrame({"image": list(images), "utility": mean, "utility_sd": sd})
    return table.sort_values("utility", ascending=False, kind="stable", ignore_index=True)


def _choose_inputs(settings: Options, backbone: Backbone) -> Inputs:
    """Read ``--embedding``, which names a signed embedding or a distance map."""
    maps: dict[str, int | None] = {"mean-map": None}
    maps |= {f"layer-{layer + 1}-map": layer for layer in range(len(backbone.channel_weights))}
    asked = settings.embedding
    if asked is None:
        return Inputs(DEFAULT, "mean-map", None)
    if asked in GRIDS and {"utility", "siamese_cnn"} & {*settings.models}:
        return Inputs(asked, "mean-map", None)
    if asked in maps and "study_cnn" in settings.models:
        return Inputs(DEFAULT, asked, maps[asked])
    known = f"{', '.join(GRIDS)} (for utility and siamese_cnn), {', '.join(maps)} (for study_cnn)"
    raise BadInput(
        f"--embedding {asked}: not one that --model {' '.join(settings.models)} uses; choose from {known}"
    )


def _map_size(settings: Options, training_trials: Sequence[int]) -> int:
    """Take the size asked for, else the largest with which all the training keeps within its budget."""
    if settings.map_size is not None:
        if settings.map_size not in study_cnn.SIZES:
            least, most = study_cnn.SIZES[0], study_cnn.SIZES[-1]
            raise BadInput(
                f"--map-size {settings.map_size}: the study's network takes maps of {least} to {most} pixels"
            )
        return settings.map_size
    passes = 3 * study_cnn.EPOCHS * sum(training_trials)  # a step costs about three forward passes
    affordable = [size for size in _MAP_SIZES if passes * study_cnn.operations(size) <= _TRAINING_BUDGET]
    return max(affordable, default=min(_MAP_SIZES))


def _cross_validate(
    name: str,
    embedding: str | None,
    predictor: Predictor,
    splits: Sequence[Sequence[Fold]],
    pairs: np.ndarray,
    choices: np.ndarray,
    unrelated: np.ndarray,
) -> tuple[Result, pd.DataFrame]:
    folds = [fold for each in splits for fold in each]
    started = time.perf_counter()
    p_right = _predict(predictor, folds, at_once=name not in NETWORKS)
    seconds = time.perf_counter() - started
    rows = np.concatenate([test for _, test in folds])
    number = np.repeat(np.arange(len(folds)), [len(test) for _, test in folds])
    held_out = pd.DataFrame({
        "model": name, "fold": number % len(splits[0]), "repeat": number // len(splits[0]), "row_index": rows,
        "p_right": np.concatenate(p_right), "choice": choices[rows],
    })  # fmt: skip
    scores = score(
        held_out["p_right"].to_numpy(), choices[rows], pairs[rows], number, rows, unrelated[:, rows]
    )
    n_train = round(np.mean([len(train) for train, _ in folds]))
    n_test = len(np.unique(rows))
    return Result(name, embedding, n_train, n_test, len(splits), scores, seconds), held_out


def _predict(predictor: Predictor, folds: Sequence[Fold], at_once: bool) -> list[np.ndarray]:
    """Learn from each fold's training trials and predict its test trials, several folds at once or not."""
    if not at_once:
        return [predictor(train, test) for train, test in folds]
    with workers() as pool:
        return list(pool.map(predictor, *zip(*folds, strict=True)))


def _learning_curve(
    predictor: Predictor,
    splits: Sequence[Sequence[Fold]],
    held_out: pd.DataFrame,
    pairs: np.ndarray,
    seed: int,
) -> LearningCurve:
    """Learn from parts of the training trials, too; what all of them taught was `held_out` already."""
    known = (held_out["repeat"] < len(splits)).to_numpy()
    rows, choices, p_right = (held_out[name].to_numpy()[known] for name in ("row_index", "choice", "p_right"))
    folds = [fold for each in splits for fold in each]
    random = np.random.default_rng(seed)
    shuffled = [(random.permutation(train), test) for train, test in folds]
    hits = {float(np.mean([len(train) for train, _ in folds])): hits_of(p_right, choices)}
    for part in learning_curve.FRACTIONS:
        smaller = [(train[: round(part * len(train))], test) for train, test in shuffled]
        sizes = [len(train) for train, _ in smaller]
        if min(sizes) >= learning_curve.LEAST_TRIALS:
            p_right = np.concatenate(_predict(predictor, smaller, at_once=True))
            hits[float(np.mean(sizes))] = hits_of(p_right, choices)
    return learning_curve.fit(hits, pairs[rows], seed)


def _with_session(held_out: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """Add the session's columns, after those that every session has; those whose name is taken get a longer one."""
    columns = trials.drop(columns="choice").iloc[held_out["row_index"]].reset_index(drop=True)
    names = list(held_out.columns)
    for name in columns.columns:
        while name in names:
            name += "_in_session"
        names.append(name)
    predictions = pd.concat([held_out, columns], axis=1).set_axis(names, axis=1)
    first = ["model", "fold", "left_image", "right_image", "choice", "p_right", "repeat"]
    rest = [column for column in predictions.columns if column not in {*first, "row_index"}]
    return predictions.loc[:, first + rest]
