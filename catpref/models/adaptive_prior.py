"""The prior of an adaptive session: a stimulus set's images as directions in which tastes differ."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from catpref._io.cache import default_folder
from catpref._io.devices import choose_device
from catpref.adaptive.prior import DIMENSIONS, Prior
from catpref.errors import BadInput
from catpref.models import laplace, relevance, store
from catpref.models.kernels import greatest, standards
from catpref.models.population import Population
from catpref.models.standardised import by_slices
from catpref.perception.backbones import load_backbone
from catpref.perception.embeddings import DEFAULT, Blocks, blocks, embed
from catpref.stimuli.images import image_path


def prior_of(
    stimuli: Path, names: Sequence[str], model: Path | None = None, for_order: bool = False
) -> Prior:
    """Return what is known of somebody's taste before their first answer, for the images of a stimulus folder.

    Parameters
    ----------
    stimuli
        The stimulus folder.
    names
        Its images.
    model
        The folder of a model that was fitted to several other observers; None takes what is known of anybody.
    for_order
        Whether these images are to be put in order, so that what the embedding does not carry of each counts, too:
        exact for up to `DIMENSIONS` images.

    Raises
    ------
    BadInput
        If an image or the model cannot be used, or the model is not one of several observers.
    """
    files = [image_path(stimuli, name) for name in names]
    device = choose_device("auto")
    if model is None:
        backbone = load_backbone(device=device)
        embeddings = embed(files, backbone, cache_folder=default_folder())
        return prior_of_anybody(names, embeddings, blocks(backbone, DEFAULT), for_order)
    fitted = store.load(model, device=device)
    population = next((one for one in fitted.predictors.values() if isinstance(one, Population)), None)
    if population is None:
        raise BadInput(
            f"model {model}: is of one observer, and does not say how others differ from them; fit a file with "
            "several participants"
        )
    with fitted.seen(files, default_folder()) as (images, _):
        return prior_of_newcomer(names, images.embeddings, population, for_order)


def prior_of_anybody(
    names: Sequence[str], embeddings: np.ndarray, parts: Blocks, for_order: bool = False
) -> Prior:
    """Return the prior in which every layer and late stage matters as its kind typically does.

    Parameters
    ----------
    names
        Of the images.
    embeddings
        Shape (images, dimensions).
    parts
        Blocks of the embedding.
    for_order
        As for `prior_of`.
    """
    centre, scale = standards(embeddings, parts)
    typical = relevance.prior_of(parts)
    sizes = np.bincount(parts.of_dimension)
    *of_blocks, of_effects = typical.variances(typical.mean)
    variances = (np.array(of_blocks) / sizes)[parts.of_dimension]
    scale = (scale / np.sqrt(variances)).astype(np.float32)
    own = of_effects if for_order else 0.0
    features = leading_directions(
        lambda onto: _gram_times(embeddings, centre, scale, onto) + own * onto, len(names)
    )
    return Prior(tuple(names), features, np.zeros(len(names)), laplace.BIAS_VARIANCE)


def prior_of_newcomer(
    names: Sequence[str], embeddings: np.ndarray, population: Population, for_order: bool = False
) -> Prior:
    """Return the prior of one more observer: the taste that others share, and how far people depart from it.

    Parameters
    ----------
    names
        Of the images.
    embeddings
        Shape (images, dimensions).
    population
        What the others' choices taught.
    for_order
        As for `prior_of`.
    """
    newcomer = population.of(None)
    # Known images' effects would be in the mean, but not in the features; without them, all images are alike.
    newcomer = replace(newcomer, known=newcomer.known[:0], effects=newcomer.effects[:0])
    along = np.sqrt(newcomer.prior_variance) * _projected(
        embeddings, newcomer.centre, newcomer.scale, newcomer.weight_directions.T
    )
    mean = (
        newcomer.gain
        * _projected(embeddings, newcomer.centre, newcomer.scale, newcomer.weights[:, None])[:, 0]
    )

    def times(onto: np.ndarray) -> np.ndarray:
        of_prior = newcomer.prior_variance * _gram_times(embeddings, newcomer.centre, newcomer.scale, onto)
        return of_prior - along @ (newcomer.shrinkage[:, None] * (along.T @ onto)) + own * onto

    own = newcomer.prior_variance * newcomer.effect_variance if for_order else 0.0

    features = leading_directions(times, len(names))
    return Prior(tuple(names), features, mean - mean.mean(), population.side_bias_variance)


def leading_directions(times: Callable[[np.ndarray], np.ndarray], images: int) -> np.ndarray:
    """Return features whose inner products are nearly a covariance of utilities, exact in float16.

    Parameters
    ----------
    times
        Multiplies the covariance by a matrix of shape (images, columns).
    images
        How many there are.

    Returns
    -------
    ndarray
        Shape (images, dimensions), centred, the leading direction first.
    """
    values, vectors = greatest(times, images, DIMENSIONS)
    leading = vectors[:, ::-1] * np.sqrt(np.maximum(values[::-1], 0))
    leading -= leading.mean(0)  # only differences are seen
    return leading.astype(np.float16).astype(np.float64)


def _gram_times(
    embeddings: np.ndarray, centre: np.ndarray, scale: np.ndarray, onto: np.ndarray
) -> np.ndarray:
    """Multiply the inner products of the standardised embeddings, which are never all there, by a matrix."""
    by = torch.from_numpy(onto.astype(np.float32))
    parts = by_slices(embeddings, centre, scale, lambda _, part: part @ (part.T @ by))
    return sum(parts, torch.zeros(by.shape)).numpy().astype(np.float64)


def _projected(embeddings: np.ndarray, centre: np.ndarray, scale: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Project the standardised embeddings on directions, shape (dimensions, columns)."""
    by = torch.from_numpy(np.ascontiguousarray(onto, np.float32))
    parts = by_slices(embeddings, centre, scale, lambda columns, part: part @ by[columns])
    return sum(parts, torch.zeros(len(embeddings), by.shape[1])).numpy().astype(np.float64)
