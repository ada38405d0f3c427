"""What a lab asks of many participants: what they share, who agrees with whom, and how well each is predicted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from catpref.evaluation.noise_ceiling import without_embedding
from catpref.evaluation.scores import hits_of
from catpref.models.psychometric import PsychometricFit
from catpref.models.shared_taste import People

_DRAWS = 400
_NORMAL = 1.96


@dataclass(frozen=True)
class Observers:
    """Several participants of one study.

    Attributes
    ----------
    table
        One row a participant; see docs/reference/files.md.
    shared_fraction, shared_fraction_ci95
        The part of the variance of utilities that participants share.
    agreements
        Correlation of the utilities of each two participants over the session's images, the uncertainty of both taken
        into account, shape (participants, participants).
    utilities
        Posterior means of each participant's utility of each image, shape (participants, images).
    rankings
        Columns participant, image, utility: each participant's images, most preferred first.
    """

    table: pd.DataFrame
    shared_fraction: float
    shared_fraction_ci95: tuple[float, float]
    agreements: np.ndarray
    utilities: np.ndarray
    rankings: pd.DataFrame

    @property
    def agreement(self) -> float:
        """Mean agreement of two participants."""
        count = len(self.agreements)
        return float((self.agreements.sum() - np.trace(self.agreements)) / (count * (count - 1)))


def describe(
    people: People,
    participants: Sequence[str],
    pairs: np.ndarray,
    choices: np.ndarray,
    held_out: dict[str, pd.DataFrame],
    images: Sequence[str],
) -> Observers:
    """Describe participants by what was learned from all trials, and by predictions of held-out ones.

    Parameters
    ----------
    people
        Learned from all trials.
    participants
        Their codes.
    pairs, choices
        All trials, shapes (trials, 2) and (trials,).
    held_out
        Held-out predictions by the name of the model ("shared_and_personal", "alone"): columns row_index,
        p_right_by_taste, choice.
    images
        Names of the session's images.
    """
    utilities, agreements = agreements_of(people)
    others = (agreements.sum(1) - 1) / (len(participants) - 1)
    answers = [
        _answers(pairs[people.who == one], choices[people.who == one]) for one in range(len(participants))
    ]
    table = pd.DataFrame({
        "participant": list(participants),
        "trials": np.bincount(people.who, minlength=len(participants)),
        "reliability": [_reliability(each) for each in answers],
        "side_bias": people.side_biases,
        "lapse_rate": [np.nan if each is None else each.lapse for each in answers],
        "accuracy_alone": _accuracies(held_out["alone"], people.who, len(participants)),
        "accuracy_together": _accuracies(held_out["shared_and_personal"], people.who, len(participants)),
        "agreement": others,
    })  # fmt: skip
    fraction, interval = shared_fraction(people)
    return Observers(
        table, fraction, interval, agreements, utilities, _rankings(participants, images, utilities)
    )


def shared_fraction(people: People) -> tuple[float, tuple[float, float]]:
    """Return the part of the variance of utilities that is shared, and its 95% interval (delta method, on logits)."""
    given = people.variances
    fraction = given.shared_fraction
    if people.log_covariance is None:
        return fraction, (0.0, 1.0)
    shared, personal = given.shared + given.shared_effect, given.personal + given.personal_effect
    slope = np.array([
        given.shared / shared, -given.personal / personal,
        given.shared_effect / shared, -given.personal_effect / personal, 0.0,
    ])  # fmt: skip
    reach = _NORMAL * float(np.sqrt(slope @ people.log_covariance @ slope))
    low, high = expit(logit(fraction) + np.array([-reach, reach]))
    return fraction, (float(low), float(high))


def agreements_of(people: People) -> tuple[np.ndarray, np.ndarray]:
    """Return participants' utilities of the session's images, and how these correlate.

    The correlation is that which the posterior expects: products of posterior means, and the covariance that is left
    open, so that those who answered few trials are not taken for those who agree with everybody, or nobody.

    Returns
    -------
    ndarray
        Shape (participants, images).
    ndarray
        Shape (participants, participants).
    """
    shared, personal = people.utilities_of_images()
    utilities = shared + personal
    centred = utilities - utilities.mean(1, keepdims=True)
    shared_open, personal_open = people.variances_left_open()
    products = centred @ centred.T / centred.shape[1] + shared_open
    squares = np.diag(products) + personal_open
    products[np.diag_indices_from(products)] = squares
    return utilities, products / np.sqrt(np.outer(squares, squares))


def _rankings(participants: Sequence[str], images: Sequence[str], utilities: np.ndarray) -> pd.DataFrame:
    """Rank the images for each participant; utilities are zero on average."""
    return pd.concat([
        pd.DataFrame({"participant": code, "image": list(images), "utility": own - own.mean()})
        .sort_values("utility", ascending=False, kind="stable")
        for code, own in zip(participants, utilities, strict=True)
    ], ignore_index=True)  # fmt: skip


def _answers(pairs: np.ndarray, choices: np.ndarray) -> PsychometricFit | None:
    """Estimate how one participant answers; None where one side was never chosen."""
    if len(np.unique(choices)) < 2:
        return None
    return without_embedding(np.unique(pairs, return_inverse=True)[1].reshape(-1, 2), choices)


def _reliability(answers: PsychometricFit | None) -> float:
    """Return how often the same answer would be given again, as far as the trials tell; NaN where they do not."""
    if answers is None or answers.noise_ceiling_ci95[1] - answers.noise_ceiling_ci95[0] > 0.2:
        return np.nan
    ceiling = answers.noise_ceiling
    return ceiling**2 + (1 - ceiling) ** 2


def _accuracies(held_out: pd.DataFrame, who: np.ndarray, count: int) -> list[float]:
    hits = hits_of(held_out["p_right_by_taste"].to_numpy(), held_out["choice"].to_numpy())
    of = who[held_out["row_index"].to_numpy()]
    return [float(hits[of == one].mean()) if (of == one).any() else np.nan for one in range(count)]


@dataclass(frozen=True)
class CrossedSampling:
    """How far an accuracy over several people can be from that over other people and other images.

    People and images are drawn with replacement, each trial counting as often as its person and both its images were
    drawn (Owen 2007, The pigeonhole bootstrap, Annals of Applied Statistics 1(2)).

    Attributes
    ----------
    who, pairs
        The person and the images of each held-out trial.
    """

    who: np.ndarray
    pairs: np.ndarray

    def interval(self, accuracy: float, hits: np.ndarray) -> tuple[float, float]:
        """Return the 95% interval of an accuracy, given which of the trials were predicted."""
        reach = _NORMAL * self._spread(hits, self.who)
        return accuracy - reach, accuracy + reach

    def inflation(self, accuracy: float, hits: np.ndarray, pairs: np.ndarray) -> float:
        """Return by what factor the spread over images drawn alone is to be multiplied: the people's part."""
        of_images = self._spread(hits, None)
        return max(1.0, self._spread(hits, self.who) / of_images) if of_images else 1.0

    def _spread(self, hits: np.ndarray, who: np.ndarray | None) -> float:
        random = np.random.default_rng(0)
        (_, left_right), (_, people) = (
            np.unique(each, return_inverse=True)
            for each in (self.pairs, np.zeros(len(hits)) if who is None else who)
        )
        left, right = left_right.reshape(-1, 2).T
        counts = int(people.max()) + 1, int(left_right.max()) + 1
        drawn = []
        for _ in range(_DRAWS):
            of_people, of_images = (
                np.bincount(random.integers(size, size=size), minlength=size) for size in counts
            )
            weights = of_people[people] * of_images[left] * of_images[right]
            if weights.any():
                drawn.append(np.average(hits, weights=weights))
        return float(np.std(drawn))
