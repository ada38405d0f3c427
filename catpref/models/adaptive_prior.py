"""The prior of an adaptive session: a stimulus set's images as directions in which tastes differ."""

import numpy as np
from scipy.linalg import eigh

from catpref.adaptive.prior import DIMENSIONS, Prior
from catpref.models import laplace
from catpref.models.kernels import kernels_of
from catpref.models.relevance import prior_of
from catpref.perception.embeddings import Blocks


def adaptive_prior(images: tuple[str, ...], embeddings: np.ndarray, blocks: Blocks) -> Prior:
    """Return what is known of anybody's taste: every layer and late stage matters as its kind typically does.

    Parameters
    ----------
    images
        Names of the images.
    embeddings
        Shape (images, dimensions).
    blocks
        Of the embedding.
    """
    everything = np.arange(len(images))
    kernels = kernels_of(
        embeddings, np.column_stack([everything, np.roll(everything, 1)]), blocks, of_images=True
    )
    known = prior_of(blocks)
    gram = kernels.gram(known.variances(known.mean)[:-1])
    return Prior(images, leading_directions(gram), np.zeros(len(images)), laplace.BIAS_VARIANCE)


def leading_directions(covariance: np.ndarray) -> np.ndarray:
    """Return features whose inner products are nearly a covariance, shape (images, dimensions), exact in float16."""
    size = len(covariance)
    kept = [max(0, size - DIMENSIONS), size - 1]
    values, vectors = eigh(covariance, subset_by_index=kept)
    leading = vectors[:, ::-1] * np.sqrt(np.maximum(values[::-1], 0))
    return leading.astype(np.float16).astype(np.float64)
