"""From sessions of several participants to all that a report says of them: what they share, and each one's own."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from catpref._io.engines import Engine
from catpref._io.workers import threads
from catpref.design.splits import Fold
from catpref.errors import BadInput
from catpref.evaluation import attribution
from catpref.evaluation.analysis import (
    Analysis,
    Options,
    example_of,
    folds_of,
    images_of,
    predictions_of,
    rank,
)
from catpref.evaluation.cross_validation import (
    Result,
    calibrated,
    cross_validate,
    difference,
    fit,
    without_evaluation,
)
from catpref.evaluation.noise_ceiling import NoiseCeiling
from catpref.evaluation.people import CrossedSampling, describe
from catpref.evaluation.utilities_of_wins import image_table, with_wins
from catpref.models.baselines import CONTRAST, LUMINANCE, MAJORITY_SIDE
from catpref.models.interface import Data
from catpref.models.population import ALONE, MOST_PEOPLE, POPULATION, SHARED, project
from catpref.models.shared_taste import learn
from catpref.perception.backbones import Backbone
from catpref.sessions.pictures import pictures_of
from catpref.sessions.session import Session, check_both_sides_chosen

_NO_CEILING = NoiseCeiling(None, None, "not known for several participants together")
_MODELS = (POPULATION, SHARED, ALONE, MAJORITY_SIDE, LUMINANCE, CONTRAST)


def has_several(session: Session) -> bool:
    """Return whether the trials are known to be of more than one participant."""
    return (session.participants or 1) > 1


# The matrices are so small that two threads of a linear algebra library mostly wait for each other.
@threadpool_limits.wrap(limits=1, user_api="blas")
def analyse_several(
    session: Session, backbone: Backbone, options: Options, engine: Engine | None = None
) -> Analysis:
    """Fit and evaluate a shared taste with personal departures; see `catpref.evaluation.analysis.analyse`."""
    pictures = pictures_of(session, options.cache)
    session = pictures.merged  # to the models a picture is one image, whatever its names
    check_both_sides_chosen(session)
    pairs = session.pairs
    codes, who = np.unique(session.trials["participant"].to_numpy(str), return_inverse=True)
    if len(codes) > MOST_PEOPLE:
        raise BadInput(
            f"{len(codes)} participants, more than the {MOST_PEOPLE} that are fitted together; fit some of them"
        )
    is_fair, splits = folds_of(session, options)
    images = images_of(session, backbone, replace(options, models=(POPULATION.name,)), [])
    data = Data(
        images, pairs, session.trials["choice"].to_numpy(), who=who, participants=tuple(codes.tolist()),
        is_fair=is_fair, seed=options.seed, device=options.device,
    )  # fmt: skip
    started = time.perf_counter()
    if engine is not None:
        images.embed_by(engine)
    _ = data.embeddings, data.luminance_and_contrast
    embedded = time.perf_counter()
    _ = data.kernels  # once, before several folds ask for them

    results, differences = _evaluated(data, who, splits, engine)
    data.found.clear()  # of folds, and large
    with threads(1):  # as for each fold: sums then round alike on any number of cores
        people = calibrated(learn(data.kernels, who, data.choices, np.arange(len(pairs))), results[0].gain)
    population = project(people, data.embeddings, data.participants)
    tables = {result.model: result.held_out for result in results}
    observers = describe(
        people, data.participants, pairs, data.choices, tables, session.images, session.is_fair, engine
    )
    observers = replace(observers, rankings=pictures.with_every_name(observers.rankings))
    ranking = with_wins(
        rank(session.images, images, {POPULATION.name: population}),
        image_table(pairs, data.choices, len(session.images)),
        session.images,
    )
    contributions = attribution.contributions(population.shared, data.embeddings, images.layout)
    return Analysis(
        session=pictures.session,
        options=options,
        pictures=pictures,
        backbone=backbone.name,
        weights_sha256=backbone.weights_sha256,
        embedding=images.embedding,
        map_layer=None,
        map_size=None,
        noise_ceiling=_NO_CEILING,
        taste_ceiling=_NO_CEILING,
        observer=None,
        choice_model=[],
        reaction_times=None,
        learning_curve=None,
        contributions=contributions[pictures.numbers],
        map_agreement=None,
        differences=differences,
        results=results[:1],
        baselines=results[1:],
        predictions=predictions_of(results, pictures.session.trials),
        ranking=pictures.with_every_name(ranking),
        predictors={POPULATION.name: population},
        example=example_of(session, ranking, backbone, options.cache),
        embed_seconds=embedded - started,
        fit_seconds=time.perf_counter() - embedded,
        observers=observers,
    )


def _evaluated(
    data: Data, who: np.ndarray, splits: Sequence[Sequence[Fold]], engine: Engine | None
) -> tuple[list[Result], dict[str, tuple[float, tuple[float, float]]]]:
    """Cross-validate the models, and return by how much each is more accurate than the first, too."""
    if not splits:
        return [without_evaluation(model, data) for model in _MODELS], {}
    rows = np.concatenate([test for _, test in splits[0]])
    sampling = CrossedSampling(who[rows], data.pairs[rows])
    held_out = fit(_MODELS, data, splits, engine).held_out
    results = [cross_validate(model, data, splits, sampling, held_out[model.name]) for model in _MODELS]
    return results, {
        result.model: difference(result, results[0], data.pairs, sampling) for result in results[1:]
    }
