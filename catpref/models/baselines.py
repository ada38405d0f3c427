"""Baselines that look at no face: the more frequent side, and plain numbers of each image."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from catpref.models import laplace
from catpref.models.interface import Data, Model


@dataclass(frozen=True)
class _Given:
    """Predictions that are there already, shape (trials,)."""

    everything: np.ndarray

    def p_right(self, trials: np.ndarray) -> np.ndarray:
        return self.everything[trials]


def _fit_majority_side(data: Data, train: np.ndarray, _: np.ndarray | None) -> _Given:
    rate = (data.choices[train].sum() + 1) / (len(train) + 2)  # Laplace's rule of succession
    return _Given(np.full(len(data.pairs), rate))


def _fit_number(number: Callable[[Data], np.ndarray | None]) -> Callable[..., _Given]:
    """Return a fit of a logistic regression on the difference of one number between right and left."""

    def fit(data: Data, train: np.ndarray, _: np.ndarray | None) -> _Given:
        values = number(data)
        assert values is not None
        differences = (values[data.pairs[:, 1]] - values[data.pairs[:, 0]])[:, None]
        posterior = laplace.fit(differences[train], data.choices[train])
        return _Given(expit(differences @ posterior.weights + posterior.side_bias))

    return fit


MAJORITY_SIDE = Model("majority_side", "more frequent side", _fit_majority_side, is_baseline=True)
LUMINANCE = Model(
    "luminance",
    "luminance",
    _fit_number(lambda data: data.luminance_and_contrast[:, 0]),
    needs=("luminance_and_contrast",),
    is_baseline=True,
)
CONTRAST = Model(
    "contrast",
    "contrast",
    _fit_number(lambda data: data.luminance_and_contrast[:, 1]),
    needs=("luminance_and_contrast",),
    is_baseline=True,
)
CROP_SIZE = Model(
    "crop_size",
    "size of the face's crop",
    _fit_number(lambda data: data.crop_sizes),
    needs=("crop_sizes",),
    is_baseline=True,
)
