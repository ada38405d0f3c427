"""Several people's tastes, written for any images: a utility that they share, and each one's departure from it."""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.linalg import eigh
from torch import Tensor

from catpref.models import stored
from catpref.models.answers import Answers
from catpref.models.interface import Data, Images, Model
from catpref.models.kernels import incidence_of, right_minus_left
from catpref.models.learned import gain_of
from catpref.models.people import People
from catpref.models.shared_taste import alone, learn, shared_alone
from catpref.models.standardised import by_slices
from catpref.models.utility import Utility
from catpref.models.written import write_as_weights

_DIRECTIONS = 64  # of the shared posterior that are kept
_MOST_CODES = 1 << 20  # bytes
MOST_PEOPLE = 1000
"""Whose departures one model holds: each is a weight of every dimension of the embedding."""


@dataclass(frozen=True)
class Population:
    """What people's trials taught, for any images.

    Attributes
    ----------
    shared
        The utility that people share; its prior is that of the shared taste.
    participants
        Their codes.
    personal
        What each departure adds to the shared weights, shape (people, dimensions).
    personal_effects
        What each adds to the effects of known images, shape (people, known images).
    side_biases
        In logits, shape (people,).
    scales
        What each one's utilities are multiplied by to give logits, shape (people,): how consistently they choose.
    departure
        Prior variance of a departure's weights, and of its image effects, both in units of the shared taste's
        prior variance, shape (2,).
    side_bias_variance
        Of the people, in squared logits.
    """

    shared: Utility
    participants: tuple[str, ...]
    personal: np.ndarray
    personal_effects: np.ndarray
    side_biases: np.ndarray
    scales: np.ndarray
    departure: np.ndarray
    side_bias_variance: float

    def of(self, participant: str | None) -> Utility:
        """Return the utility of a participant; of one who is not known, or of nobody, the shared one.

        Its uncertainty is that of the shared taste and of a departure that nothing is known of: few trials hardly
        tell a departure for new images.
        """
        shared, total = self.shared, 1 + float(self.departure[0])
        utility = replace(
            shared,
            prior_variance=shared.prior_variance * total,
            # The last direction is that of the side bias, which has a prior of its own.
            shrinkage=np.append(shared.shrinkage[:-1] / total, shared.shrinkage[-1]),
            effect_variance=(shared.effect_variance + float(self.departure[1])) / total,
            known_utilities=np.empty((2, 0)),  # those of the shared taste alone
        )
        if participant not in self.participants:
            return utility
        number = self.participants.index(participant)
        scale = float(self.scales[number])
        return replace(
            utility,
            weights=scale * (shared.weights + self.personal[number]),
            effects=scale * (shared.effects + self.personal_effects[number]),
            prior_variance=scale**2 * utility.prior_variance,
            side_bias=float(self.side_biases[number]),
        )

    def utilities(self, embeddings: np.ndarray, of: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of images' shared utilities; see `Utility.utilities`."""
        return self.shared.utilities(embeddings, of)

    def p_right(self, embeddings: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        """Predict the choices of someone of whom nothing is known; see `Utility.p_right`."""
        return self.of(None).p_right(embeddings, pairs)

    def far(self, embeddings: np.ndarray, of: int | None = None) -> np.ndarray:
        """Return which images are of another kind than the training images; see `Utility.far`."""
        return self.shared.far(embeddings, of)

    def with_participant(
        self, participant: str, embeddings: np.ndarray, pairs: np.ndarray, choices: np.ndarray
    ) -> "Population":
        """Learn the departure of one person more, or of one anew, from their own trials.

        What is shared stays as it is; they depart from it as far as their choices say.

        Parameters
        ----------
        participant
            Their code.
        embeddings
            Shape (images, dimensions).
        pairs
            Left and right image of each trial, indices into `embeddings`, shape (trials, 2).
        choices
            0 = left, 1 = right, 0.5 = no preference, shape (trials,).
        """
        shown, indices = np.unique(pairs, return_inverse=True)
        sides, given = indices.reshape(-1, 2), self.of(None)
        embeddings = embeddings[shown]
        gram = sum(
            by_slices(embeddings, given.centre, given.scale, lambda _, part: part @ part.T),
            torch.zeros(len(shown), len(shown)),
        ).double().numpy()  # fmt: skip
        onto = np.vstack([given.weights, given.weight_directions]).astype(np.float32)
        projected = _times(given, embeddings, torch.from_numpy(onto).T)
        place = given.place_of(embeddings)
        known = place >= 0
        given.add_effects(projected, place)
        differences = right_minus_left(projected, sides)
        _, incidence = incidence_of(sides)
        prior = incidence @ (gram + given.effect_variance * np.eye(len(shown))) @ incidence.T
        along = differences[:, 1:]
        covariance = given.prior_variance * (prior - (along * given.shrinkage) @ along.T)
        answers = Answers(choices)
        pull = answers.settle(covariance, self.side_bias_variance, differences[:, 0])
        bias, pull = self.side_bias_variance * float(pull.sum()), answers.scale * pull
        of_images = given.prior_variance * (incidence.T @ pull)
        taken = given.prior_variance * (given.shrinkage * (along.T @ pull))
        weights = _transposed_times(given, embeddings, of_images) - taken @ given.weight_directions
        effects = -given.effect_directions @ taken
        effects[place[known]] += given.effect_variance * of_images[known]
        others = [number for number, code in enumerate(self.participants) if code != participant]
        return replace(
            self,
            participants=(*(self.participants[number] for number in others), participant),
            personal=np.vstack([self.personal[others], weights.astype(np.float32)]),
            personal_effects=np.vstack([self.personal_effects[others], effects]),
            side_biases=np.append(self.side_biases[others], bias),
            scales=np.append(self.scales[others], answers.scale),
        )

    def tensors(self) -> dict[str, np.ndarray]:
        """Return everything there is to save, by name."""
        codes = np.frombuffer(json.dumps(self.participants).encode(), np.uint8)
        own = {"personal": self.personal, "personal_effects": self.personal_effects}
        own |= {"side_biases": self.side_biases, "scales": self.scales, "departure": self.departure}
        own |= {"side_bias_variance": np.array([self.side_bias_variance])}
        shared = {f"shared.{name}": tensor for name, tensor in self.shared.tensors().items()}
        return (
            {"participants": codes} | {name: each.astype(np.float32) for name, each in own.items()} | shared
        )

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray], dimensions: int) -> "Population":
        """Restore what `tensors` returned; see `Utility.from_tensors`.

        Raises
        ------
        ValueError
            If a part is missing, has another shape or type, or a value that cannot be.
        """
        shared = {
            name.removeprefix("shared."): each for name, each in tensors.items() if name.startswith("shared.")
        }
        own = {name: each for name, each in tensors.items() if not name.startswith("shared.")}
        utility = Utility.from_tensors(shared, dimensions)
        codes = own.get("participants", np.empty(0, np.uint8))
        people, known = own["personal"].shape[0] if "personal" in own else 0, len(utility.known)
        shapes: dict[str, tuple[int, ...]] = {"participants": (codes.size,), "personal": (people, dimensions)}
        shapes |= {"personal_effects": (people, known), "side_biases": (people,), "scales": (people,)}
        shapes |= {"departure": (2,), "side_bias_variance": (1,)}
        stored.check(own, shapes, {"participants": np.uint8})
        stored.check_positive(own, "side_bias_variance", "scales")
        if (own["departure"] < 0).any():
            raise ValueError("departure must not be negative")
        try:
            names = json.loads(codes.tobytes()[:_MOST_CODES])
        except (ValueError, RecursionError):
            names = None
        if (
            not isinstance(names, list)
            or len(names) != people
            or not all(isinstance(one, str) for one in names)
        ):
            raise ValueError("participants are not one code for each person")
        variance = float(own["side_bias_variance"][0])
        return cls(
            utility, tuple(names), own["personal"], own["personal_effects"], own["side_biases"],
            own["scales"], own["departure"], variance,
        )  # fmt: skip


def project(people: People, embeddings: np.ndarray, participants: Sequence[str]) -> Population:
    """Write what was learned as weights of the embedding's dimensions, for images that were not in the session."""
    given = people.variances
    values, vectors = eigh(
        people.certainty, subset_by_index=(max(0, len(people.gram) - _DIRECTIONS), len(people.gram) - 1)
    )
    squares = np.maximum(np.einsum("ik,ij,jk->k", vectors, people.gram, vectors, optimize=True), 1e-12)
    no_direction = np.zeros((len(vectors), 1))
    directions = np.hstack([vectors / np.sqrt(squares), no_direction])  # the last is that of the side bias
    own = given.personal * people.personal
    onto = np.column_stack([given.shared * people.shared, own, directions])
    count = 1 + own.shape[1]
    of_shared = np.append(0, np.arange(count, onto.shape[1]))
    written = write_as_weights(people.kernels, people.blocks, onto, embeddings, of_shared)
    effect, departing = given.shared_effect / given.shared, given.personal_effect / given.personal
    utility = Utility(
        centre=people.kernels.centre,
        scale=written.scale,
        weights=written.weights[:, 0],
        weight_directions=written.weights[:, count:].T,
        bias_directions=np.append(np.zeros(len(values)), 1.0),
        shrinkage=np.append(np.clip(values * squares * given.shared, 0, 1), 1.0),
        prior_variance=given.shared,
        side_bias=0.0,
        side_bias_sd=float(np.sqrt(given.side_bias)),
        gain=people.gain,
        known=written.known,
        effects=effect * written.effects[:, 0],
        effect_directions=effect * written.effects[:, count:],
        known_utilities=np.empty((2, 0)),
        effect_variance=effect,
        farthest=written.farthest,
    )
    known_utilities = utility.knowing(written.projected, written.squares, written.place)
    return Population(
        shared=replace(utility, known_utilities=known_utilities),
        participants=tuple(participants),
        personal=np.ascontiguousarray(written.weights[:, 1:count].T),
        personal_effects=departing * written.effects[:, 1:count].T,
        side_biases=people.side_biases,
        scales=people.scales,
        departure=np.array([given.personal, given.personal_effect]) / given.shared,
        side_bias_variance=given.side_bias,
    )


def _times(utility: Utility, embeddings: np.ndarray, onto: Tensor) -> np.ndarray:
    """Project standardised embeddings, shape (images, columns)."""
    parts = by_slices(embeddings, utility.centre, utility.scale, lambda columns, part: part @ onto[columns])
    return sum(parts, torch.zeros(len(embeddings), onto.shape[1])).double().numpy()


def _transposed_times(utility: Utility, embeddings: np.ndarray, of_images: np.ndarray) -> np.ndarray:
    """Add up standardised embeddings with some weight each, shape (dimensions,)."""
    weights = torch.from_numpy(of_images.astype(np.float32))
    parts = by_slices(embeddings, utility.centre, utility.scale, lambda _, part: part.T @ weights)
    return torch.cat(list(parts)).numpy()


def _learn(data: Data, train: np.ndarray) -> People:
    """Learn from trials of a session, or return what this thread has just learned from the same trials.

    Others are not kept: those of hundreds of people are large.
    """
    assert data.who is not None
    own = b"people %d" % threading.get_ident()
    trials, people = data.found.get(own, (b"", None))
    if trials != train.tobytes():
        people = learn(data.kernels, data.who, data.choices, train, how_sure=False)
        data.found[own] = train.tobytes(), people
    return people


def _predictor(people: Any, data: Data) -> Population:
    return project(people, data.embeddings, data.participants)


def _p_right(population: Population | Utility, images: Images, pairs: np.ndarray) -> np.ndarray:
    return population.p_right(images.embeddings, pairs)


POPULATION = Model(
    "shared_and_personal",
    "shared and personal taste",
    lambda data, train, _: _learn(data, train),
    gain_of=gain_of,
    needs=("embeddings", "kernels"),
    predictor=_predictor,
    p_right=_p_right,
    utilities=lambda population, images: population.utilities(images.embeddings, images.of),
    far=lambda population, images: population.far(images.embeddings, images.of),
    restore=lambda tensors, layout, *_: Population.from_tensors(tensors, layout.dimensions),
    of_several=True,
)

SHARED = Model(
    "shared",
    "shared taste alone",
    lambda data, train, _: shared_alone(_learn(data, train)),
    gain_of=gain_of,
    needs=("embeddings", "kernels"),
    is_baseline=True,
    of_several=True,
)

ALONE = Model(
    "alone",
    "each person alone",
    lambda data, train, _: alone(_learn(data, train)),
    gain_of=gain_of,
    needs=("embeddings", "kernels"),
    is_baseline=True,
    of_several=True,
)
