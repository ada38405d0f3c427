"""Simulated people who like what real people might: tastes that the embedding carries, and some that it does not.

Each image's utility to a person is a weighted sum of what the network sees in it, part of it shared by all, plus an
image effect. How much each layer and region matters is drawn, for the shared taste and for each departure from it,
from the prior that was learned from real people's choices (`catpref.models.relevance`).
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from catpref.models.people import Variances
from catpref.models.relevance import prior_of, typical_variances
from catpref.models.shared_taste import USUAL
from catpref.perception.embeddings import Blocks
from catpref.plans.world import WIDTH, World

LAPSE = 0.03
"""The middle of the range from 0 to 6% that Wichmann & Hill (2001, Perception & Psychophysics 63) found usual."""


@dataclass(frozen=True)
class Habits:
    """How the people of a study are, before any of them is drawn.

    Attributes
    ----------
    variances
        Of tastes, image effects and side biases, in squared logits.
    lapse
        Mean lapse rate; a person's is drawn evenly from 0 to twice that.
    """

    variances: Variances
    lapse: float

    def noisier(self, noise: float) -> "Habits":
        """Return people to whom differences are worth that much less."""
        given, by = self.variances, noise**2
        return replace(
            self,
            variances=replace(
                given,
                shared=given.shared / by,
                personal=given.personal / by,
                shared_effect=given.shared_effect / by,
                personal_effect=given.personal_effect / by,
            ),
        )


def usual_habits(blocks: Blocks) -> Habits:
    """Return people as they usually are: what is expected of them before any choice (`catpref.models`)."""
    late = float(typical_variances(blocks)[blocks.of_late].sum())
    return Habits(Variances(*np.exp(USUAL).tolist(), late=late), LAPSE)


@dataclass(frozen=True)
class People:
    """The people of one simulated study.

    Attributes
    ----------
    utilities, carried
        Of each image to each person, and what the embedding carries of it, in logits, shape (people, images).
    side_biases, lapses
        Shape (people,).
    """

    utilities: np.ndarray
    carried: np.ndarray
    side_biases: np.ndarray
    lapses: np.ndarray

    def p_right(self, who: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        """Return each trial's P(right), given its person and its left and right image."""
        left, right = pairs.T
        logits = self.utilities[who, right] - self.utilities[who, left] + self.side_biases[who]
        return self.lapses[who] / 2 + (1 - self.lapses[who]) * expit(logits)

    def agreements(self, images: np.ndarray) -> np.ndarray:
        """Return the correlations of people's utilities of some images, shape (people, people)."""
        return np.corrcoef(self.utilities[:, images])


def draw_people(habits: Habits, world: World, count: int, random: np.random.Generator) -> People:
    """Draw the people of a study."""
    given = habits.variances
    shared = np.sqrt(given.shared) * _taste(world, given.late, random)
    effect = np.sqrt(given.shared_effect) * random.standard_normal(len(world))
    carried = np.stack([
        shared + np.sqrt(given.personal) * _taste(world, given.late, random) for _ in range(count)
    ])  # fmt: skip
    own = np.sqrt(given.personal_effect) * random.standard_normal((count, len(world)))
    return People(
        carried + effect + own,
        carried,
        np.sqrt(given.side_bias) * random.standard_normal(count),
        random.uniform(0, 2 * habits.lapse, count),
    )


def _taste(world: World, late: float, random: np.random.Generator) -> np.ndarray:
    """Draw what a taste makes of each image, with about unit variance, shape (images,)."""
    prior = prior_of(world.blocks)
    logs = prior.mean + prior.sd * random.standard_normal(len(prior.mean))
    variances = prior.variances(logs)[:-1]
    of_late = world.blocks.of_late
    for blocks, part in ((of_late, late), (~of_late, 1 - late)):
        if blocks.any():
            variances[blocks] *= part / variances[blocks].sum()
    weights = np.repeat(np.sqrt(variances / WIDTH), WIDTH) * random.standard_normal(world.features.shape[1])
    return world.features @ weights
