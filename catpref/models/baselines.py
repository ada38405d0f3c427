"""Baselines that look at no picture: the more frequent side, and plain numbers of each image."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from catpref.models import laplace
from catpref.models.davidson import where_preferred
from catpref.models.interface import Data, Model
from catpref.models.kernels import right_minus_left


@dataclass(frozen=True)
class _Given:
    """Predictions that are there already, shape (trials,), and the side bias in them."""

    everything: np.ndarray
    side_bias: float

    def p_right(self, trials: np.ndarray) -> np.ndarray:
        return self.everything[trials]


def _fit_majority_side(data: Data, train: np.ndarray, _: np.ndarray | None) -> _Given:
    _, choices = where_preferred(train, data.choices)
    rate = (choices.sum() + 1) / (len(choices) + 2)  # Laplace's rule of succession
    return _Given(np.full(len(data.pairs), rate), float(logit(rate)))


def _by_number(name: str, title: str, need: str, number: Callable[[Data], np.ndarray | None]) -> Model:
    """Return a logistic regression on the difference of one number between right and left."""

    def fit(data: Data, train: np.ndarray, _: np.ndarray | None) -> _Given:
        values = number(data)
        assert values is not None
        differences = right_minus_left(values, data.pairs)[:, None]
        posterior = laplace.fit(differences[train], data.choices[train])
        return _Given(expit(differences @ posterior.weights + posterior.side_bias), posterior.side_bias)

    def features(data: Data) -> np.ndarray:
        values = number(data)
        assert values is not None
        return values[:, None]

    return Model(name, title, fit, needs=(need,), features=features, is_baseline=True)


MAJORITY_SIDE = Model("majority_side", "more frequent side", _fit_majority_side, is_baseline=True)
LUMINANCE = _by_number(
    "luminance", "luminance", "luminance_and_contrast", lambda data: data.luminance_and_contrast[:, 0]
)
CONTRAST = _by_number(
    "contrast", "contrast", "luminance_and_contrast", lambda data: data.luminance_and_contrast[:, 1]
)
CROP_SIZE = _by_number("crop_size", "size of the crop", "crop_sizes", lambda data: data.crop_sizes)
