"""The signed utility: each image has a cuteness, and the cuter image is chosen.

P(right) = logistic(u(right) − u(left) + side bias). With the side bias set aside, swapping the sides turns
P(right) into 1 − P(right), by construction. u is linear in the image's embedding, plus an image effect: what the
embedding does not carry of the image's appeal. All weights have a Gaussian prior, so that an embedding may have many
more dimensions than there are trials: the solution lies in the span of the training images, and is found there.
Known images have their effect; new ones have the uncertainty of theirs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from threadpoolctl import threadpool_limits
from torch import Tensor

from catpref.design.splits import split
from catpref.errors import BadInput
from catpref.models import laplace, stored
from catpref.models.interface import Images, Model
from catpref.models.kernels import kernels_of, right_minus_left
from catpref.models.learned import Learned, gain_of, learn, learned_directions, learned_from, moderated
from catpref.models.standardised import by_slices
from catpref.models.written import Written, digests, write_as_weights
from catpref.perception.embeddings import Blocks

_CALIBRATION_FOLDS = 5
_CLEARLY = 1.1  # times as far: new images of the same kind are not, those of other kinds mostly more
_ROUNDING = 1e-3  # of the shrinkage, which is a difference


@dataclass(frozen=True)
class Utility:
    """A fitted utility.

    Attributes
    ----------
    centre, scale
        Mean of each dimension over the training images, and its standard deviation divided by what its block
        matters, shape (dimensions,): embeddings are standardised with them.
    weights
        Posterior mode, logits for each standardised dimension, shape (dimensions,).
    weight_directions, bias_directions
        Directions in which the choices told more than the prior did, shapes (kept, dimensions) and (kept,):
        with the weights and the side bias in units of their prior's standard deviation, unit vectors.
    shrinkage
        The part of the prior variance that the choices took away in each direction, shape (kept,).
    prior_variance
        Of each weight.
    side_bias, side_bias_sd
        The preference for the right whatever it shows, in logits.
    gain
        What the utilities of new images are multiplied by, so that P(right) is calibrated for them.
    known, effects, effect_directions
        Of each training image the digest of its embedding, shape (images,), the posterior mode of its effect, shape
        (images,), and what its effect adds to the image's place along `weight_directions`, shape (images, kept).
    known_utilities
        Mean and standard deviation of the training images' utilities, shape (2, images).
    effect_variance
        Prior variance of an image effect, in units of `prior_variance`.
    farthest
        The distance (see `distances`) of the training image that is least like the others, from those.
    """

    centre: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    weight_directions: np.ndarray
    bias_directions: np.ndarray
    shrinkage: np.ndarray
    prior_variance: float
    side_bias: float
    side_bias_sd: float
    gain: float
    known: np.ndarray
    effects: np.ndarray
    effect_directions: np.ndarray
    known_utilities: np.ndarray
    effect_variance: float
    farthest: float

    def utilities(self, embeddings: np.ndarray, of: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return each image's utility against the average training image, and its standard deviation, in logits.

        Parameters
        ----------
        embeddings
            Shape (images, dimensions).
        of
            How many images these are a batch of; None where they are all. See `by_slices`.
        """
        place = self.place_of(embeddings)
        is_known = (place >= 0) & bool(self.known_utilities.size)
        if is_known.all():
            return self.known_utilities[0, place], self.known_utilities[1, place]
        mean, variance = self._posterior(embeddings, place, None, bias_scale=0.0, of=of)
        sd = np.sqrt(variance)
        mean[is_known], sd[is_known] = self.known_utilities[:, place[is_known]]
        return mean, sd

    def p_right(self, embeddings: np.ndarray, pairs: np.ndarray, side_bias: bool = True) -> np.ndarray:
        """Predict choices, averaged over what the training choices left open (MacKay's approximation).

        Parameters
        ----------
        embeddings
            Shape (images, dimensions).
        pairs
            Left and right image of each trial, indices into `embeddings`, shape (trials, 2).
        side_bias
            Whether the observer's side bias counts; without it the prediction is exactly antisymmetric.

        Returns
        -------
        ndarray
            P(right), shape (trials,).
        """
        bias_scale = np.sqrt(laplace.BIAS_VARIANCE) if side_bias else 0.0
        mean, variance = self._posterior(embeddings, self.place_of(embeddings), pairs, bias_scale)
        return expit(moderated(mean, variance, self.side_bias if side_bias else 0.0))

    def distances(self, embeddings: np.ndarray, of: int | None = None) -> np.ndarray:
        """Return how unlike the training images others are; see `far`.

        Parameters
        ----------
        embeddings, of
            As for `utilities`.

        Returns
        -------
        ndarray
            Mean absolute deviation from the average training image, each dimension in units of its standard
            deviation and weighted by the square root of its prior variance, shape (images,).
        """
        parts = by_slices(embeddings, self.centre, self.scale, lambda _, part: part.abs_().sum(1), of)
        return sum(parts, torch.zeros(len(embeddings))).numpy() / embeddings.shape[1]

    def far(self, embeddings: np.ndarray, of: int | None = None) -> np.ndarray:
        """Return which images are of another kind than the training images: clearly farther than any of those.

        Parameters
        ----------
        embeddings, of
            As for `utilities`.

        Returns
        -------
        ndarray of bool
            Shape (images,).
        """
        return self.distances(embeddings, of) > _CLEARLY * self.farthest

    def tensors(self) -> dict[str, np.ndarray]:
        """Return everything there is to save, by name, as float32 (directions as float16, digests as int64)."""
        return {
            field.name: np.atleast_1d(getattr(self, field.name)).astype(_TYPES.get(field.name, np.float32))
            for field in fields(self)
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray], dimensions: int) -> "Utility":
        """Restore what `tensors` returned.

        Parameters
        ----------
        tensors
            What was read.
        dimensions
            Of the embedding that the utility is to read.

        Raises
        ------
        ValueError
            If a part is missing, has another shape or type, or a value that cannot be.
        """
        numbers = ("prior_variance", "side_bias", "side_bias_sd", "gain", "effect_variance", "farthest")
        kept, images = (tensors[name].size if name in tensors else 0 for name in ("shrinkage", "known"))
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("centre", "scale", "weights"), (dimensions,))
        shapes |= {"weight_directions": (kept, dimensions), "bias_directions": (kept,), "shrinkage": (kept,)}
        shapes |= {"known": (images,), "effects": (images,), "effect_directions": (images, kept)}
        shapes |= {"known_utilities": (2, images)}
        stored.check(tensors, shapes | dict.fromkeys(numbers, (1,)), _TYPES)
        stored.check_positive(tensors, "scale", "prior_variance", "gain")
        if min(tensors[name][0] for name in ("farthest", "side_bias_sd", "effect_variance")) < 0:
            raise ValueError("farthest, side_bias_sd and effect_variance must not be negative")
        if ((tensors["shrinkage"] < -_ROUNDING) | (tensors["shrinkage"] > 1 + _ROUNDING)).any():
            raise ValueError("shrinkage must be between 0 and 1")
        parts: dict[str, Any] = {name: tensors[name] for name in shapes}
        parts |= {name: float(tensors[name][0]) for name in numbers}
        return cls(**parts)

    def _posterior(
        self,
        embeddings: np.ndarray,
        place: np.ndarray,
        pairs: np.ndarray | None,
        bias_scale: float,
        of: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the utility of images, whose `place_of` is given, or of the differences of pairs."""
        sides = None if pairs is None else torch.from_numpy(np.ascontiguousarray(pairs.T))
        onto = torch.from_numpy(np.vstack([self.weights, self.weight_directions]).astype(np.float32)).T

        def project(columns: slice, part: Tensor) -> tuple[np.ndarray, np.ndarray]:
            apart = part if sides is None else part[sides[1]] - part[sides[0]]
            return (part @ onto[columns]).numpy(), apart.square_().sum(1).numpy()

        projected = np.zeros((len(embeddings), onto.shape[1]))
        square = np.zeros(len(embeddings) if pairs is None else len(pairs))
        for of_slice, square_of_slice in by_slices(embeddings, self.centre, self.scale, project, of):
            projected += of_slice
            square += square_of_slice
        return self._moments(projected, square, place, pairs, bias_scale)

    def _moments(
        self,
        projected: np.ndarray,
        square: np.ndarray,
        place: np.ndarray,
        pairs: np.ndarray | None = None,
        bias_scale: float = 0.0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what `_posterior` does, of images that are projected on weights and directions, given squares."""
        is_known = place >= 0
        projected[~is_known, 0] *= self.gain
        self.add_effects(projected, place)
        effects = np.ones(len(square))
        if pairs is not None:
            projected = right_minus_left(projected, pairs)
            # Identical images, under one name or several, have one effect.
            effects = np.where((square > 0) & (pairs[:, 0] != pairs[:, 1]), 2.0, 0.0)
        along = np.sqrt(self.prior_variance) * projected[:, 1:] + bias_scale * self.bias_directions
        prior = self.prior_variance * (square + self.effect_variance * effects) + bias_scale**2
        return projected[:, 0], np.maximum(prior - np.square(along) @ self.shrinkage, 0)

    def add_effects(self, projected: np.ndarray, place: np.ndarray) -> None:
        """Add known images' effects to what is projected on weights and directions, shape (images, 1 + kept)."""
        is_known = place >= 0
        projected[is_known, 0] += self.effects[place[is_known]]
        projected[is_known, 1:] += self.effect_directions[place[is_known]]

    def knowing(self, projected: np.ndarray, squares: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Return the `known_utilities` of training images in these places; see `Written` for the other two."""
        known_utilities = np.empty((2, len(self.known)))
        mean, variance = self._moments(projected, squares, place)
        known_utilities[:, place] = mean, np.sqrt(variance)
        return known_utilities

    def place_of(self, embeddings: np.ndarray) -> np.ndarray:
        """Return the place of each image among the training images, −1 for new ones, shape (images,)."""
        order = np.argsort(self.known)
        own = digests(embeddings)
        place = order[np.searchsorted(self.known, own, sorter=order).clip(max=len(order) - 1)]
        return np.where(self.known[place] == own, place, -1)


_TYPES: dict[str, Any] = {
    "weight_directions": np.float16,
    "effect_directions": np.float16,
    "known": np.int64,
}


# The matrices are so small that two threads of a linear algebra library mostly wait for each other.
@threadpool_limits.wrap(limits=1, user_api="blas")
def fit(
    embeddings: np.ndarray,
    pairs: np.ndarray,
    choices: np.ndarray,
    blocks: Blocks | None = None,
    seed: int = 0,
) -> Utility:
    """Fit a utility to choices.

    Parameters
    ----------
    embeddings
        Shape (images, dimensions), any float type.
    pairs
        Left and right image of each trial, indices into `embeddings`, shape (trials, 2). Images in no pair
        play no part.
    choices
        0 = left, 1 = right, 0.5 = no preference, shape (trials,).
    blocks
        Which dimensions share their relevance; None takes all for equally relevant.
    seed
        Of the folds that the gain is found on; see `learn`, too.
    """
    kernels, everything = kernels_of(embeddings, pairs, blocks), np.arange(len(pairs))
    try:
        folds = split(
            np.unique(pairs, return_inverse=True)[1].reshape(-1, 2), "images", _CALIBRATION_FOLDS, seed
        )
    except BadInput:
        folds = []  # too little data to leave any out
    held_out = [(learn(kernels, choices, train, seed), test) for train, test in folds]
    gain = gain_of(held_out, choices)
    return project(replace(learn(kernels, choices, everything, seed), gain=gain), embeddings)


def project(learned: Learned, embeddings: np.ndarray) -> Utility:
    """Write what was learned as weights of the embedding's dimensions, for images that were not in the session."""
    both = [learned] if learned.known is None else [learned, learned.known]
    parts = [_combinations(one) for one in both]
    onto = np.column_stack(parts)
    written = write_as_weights(
        learned.kernels, learned.variances, onto, embeddings, slice(onto.shape[1] - parts[-1].shape[1], None)
    )
    model = _utility_of(learned, written, slice(parts[0].shape[1]))
    of_known = _utility_of(both[-1], written, slice(onto.shape[1] - parts[-1].shape[1], None))
    known_utilities = of_known.knowing(written.projected, written.squares, written.place)
    return replace(model, known_utilities=known_utilities)


def _combinations(learned: Learned) -> np.ndarray:
    """Return what was learned, and the directions of `learned_directions`, in terms of the items."""
    vectors, _ = learned_directions(learned.posterior)
    return np.column_stack([learned.span @ learned.posterior.weights, learned.span @ vectors[:-1]])


def _utility_of(learned: Learned, written: Written, own: slice) -> Utility:
    """Return a utility without `known_utilities`, given its `_combinations` among all that were written."""
    posterior = learned.posterior
    vectors, shrinkage = learned_directions(posterior)
    weights, effects = written.weights[:, own], learned.effect_variance * written.effects[:, own]
    return Utility(
        centre=learned.kernels.centre,
        scale=written.scale,
        weights=weights[:, 0],
        weight_directions=weights[:, 1:].T,
        bias_directions=vectors[-1],
        shrinkage=shrinkage,
        prior_variance=posterior.prior_variance,
        side_bias=posterior.side_bias,
        side_bias_sd=posterior.side_bias_sd,
        gain=learned.gain,
        known=written.known,
        effects=effects[:, 0],
        effect_directions=effects[:, 1:],
        known_utilities=np.empty((2, 0)),
        effect_variance=learned.effect_variance,
        farthest=written.farthest,
    )


def _utilities(model: Utility, images: Images) -> tuple[np.ndarray, np.ndarray]:
    return model.utilities(images.embeddings, images.of)


UTILITY = Model(
    "utility",
    "signed utility",
    lambda data, train, _: learned_from(data, train),
    features=lambda data: data.components,
    gain_of=gain_of,
    needs=("embeddings", "kernels"),
    predictor=lambda fitted, data: project(fitted, data.embeddings),
    p_right=lambda model, images, pairs: model.p_right(images.embeddings, pairs),
    utilities=_utilities,
    far=lambda model, images: model.far(images.embeddings, images.of),
    restore=lambda tensors, layout, *_: Utility.from_tensors(tensors, layout.dimensions),
)
