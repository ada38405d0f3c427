"""What a lab asks of many participants: what they share, who agrees with whom, and how well each is predicted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import binomtest
from scipy.stats import t as student

from catpref._io.engines import Engine, Threads, in_order
from catpref.evaluation.noise_ceiling import VAGUE
from catpref.evaluation.resampling import resampled
from catpref.evaluation.scores import hits_of
from catpref.models import psychometric
from catpref.models.davidson import where_preferred
from catpref.models.people import People
from catpref.models.psychometric import PsychometricFit

AT_RANDOM, AGAINST, PREFERS = "answers at random?", "against the others", "prefers the"
"""How the remarks on a participant begin."""

LAPSING = 0.26
"""The prior of the lapse rate reaches to there: choices that do not bring it down say nothing of lapses."""

OPPOSED = -0.1
"""Mean agreement with the others, from which on down a participant is against them."""

_DRAWS = 400  # of images
_NORMAL = 1.96
_UPPER = 0.975
_USUAL_SPREAD = 0.4  # of people's accuracies, in logits
_USUAL_PEOPLE = 3  # whom what is usual counts for
_USUAL_PART = 0.5  # of utilities' standard deviation: a mean closer to zero says neither liked nor disliked
_MOST = 0.75  # of the others disagreed with: where nothing is shared, half of all agreements are negative by chance
_LEVEL = 0.05  # of a side preference, divided by the participants who are looked at


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
    is_fair: np.ndarray,
    engine: Engine | None = None,
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
        Held-out predictions by the name of the model ("shared_and_personal", "shared", "alone"): columns row_index,
        p_right_by_taste, choice.
    images
        Names of the session's images.
    is_fair
        Which trials no answer had a part in choosing, shape (trials,): reliability is known of pairs like these.
    engine
        Who estimates how each participant answers; None: this process.
    """
    utilities, agreements = agreements_of(people)
    others = (agreements.sum(1) - 1) / (len(participants) - 1)
    trials_of = [np.flatnonzero(people.who == one) for one in range(len(participants))]
    own = [(pairs[own], choices[own], is_fair[own]) for own in trials_of]
    answers = in_order(engine or Threads(), _answers, None, own)
    unknown = (np.nan, np.nan)
    lapses = np.array([unknown if each is None else each.lapse_ci95 for each in answers])
    count, right = len(participants), np.bincount(people.who, choices, len(participants))
    trials = np.bincount(people.who, minlength=count)
    accuracies = {
        name: _accuracies(held_out[model], people.who, count)
        for name, model in (("alone", "alone"), ("shared", "shared"), ("together", "shared_and_personal"))
    }
    table = pd.DataFrame({
        "participant": list(participants),
        "trials": trials,
        "right": right / trials,
        "reliability": [
            _reliability(each, is_fair[own]) for each, own in zip(answers, trials_of, strict=True)
        ],
        "side_bias": people.side_biases,
        "scale": people.scales,
        "lapse_rate": [np.nan if each is None else each.lapse for each in answers],
        "lapse_rate_low": lapses[:, 0],
        "lapse_rate_high": lapses[:, 1],
        "held_out": np.bincount(people.who[held_out["shared"]["row_index"]], minlength=count),
        "accuracy_alone": accuracies["alone"],
        "accuracy_shared": accuracies["shared"],
        "accuracy_together": accuracies["together"],
        "gain_of_personal": accuracies["together"] - accuracies["shared"],
        "agreement": others,
    })  # fmt: skip
    table["remark"] = remarks(table, agreements)
    fraction, interval = shared_fraction(people)
    return Observers(
        table,
        fraction,
        interval,
        agreements,
        utilities,
        _rankings(participants, images, people.scales[:, None] * utilities),
    )


def remarks(table: pd.DataFrame, agreements: np.ndarray) -> list[str | None]:
    """Return what is to be looked at in each participant; None where nothing is.

    Parameters
    ----------
    table
        The participants, without remarks.
    agreements
        Shape (participants, participants).
    """
    found = []
    for one, row in enumerate(table.to_dict("records")):
        said, with_others = [], np.delete(agreements[one], one)
        held_out = int(row["held_out"])
        hits = [
            binomtest(round(row[name] * held_out), held_out).proportion_ci(method="wilson").low > 0.5
            for name in ("accuracy_alone", "accuracy_together")
            if held_out
        ]
        if not any(hits) and row["lapse_rate_high"] > LAPSING:
            said.append(AT_RANDOM)
        if len(with_others) > 1 and row["agreement"] <= OPPOSED and (with_others < 0).mean() >= _MOST:
            said.append(AGAINST)
        if binomtest(round(row["right"] * row["trials"]), row["trials"]).pvalue < _LEVEL / len(table):
            said.append(f"{PREFERS} {'right' if row['right'] > 0.5 else 'left'}")
        found.append("; ".join(said) or None)
    return found


def map_of(agreements: np.ndarray) -> tuple[np.ndarray, float]:
    """Place participants in a plane, the nearer to each other the more they agree.

    Classical scaling (Torgerson 1952, Psychometrika 17) of the squared distances 2 · (1 - agreement), those of
    standardised utilities.

    Returns
    -------
    ndarray
        Shape (participants, 2).
    float
        The part of the squared distances that the plane shows.
    """
    centred = agreements - agreements.mean(0)
    values, vectors = np.linalg.eigh(centred - centred.mean(1, keepdims=True))
    values = np.maximum(values, 0)
    axes = vectors[:, -2:][:, ::-1]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), range(2)])  # else up and down are up to chance
    return axes * np.sqrt(values[-2:][::-1]), float(values[-2:].sum() / max(values.sum(), 1e-12))


def about_own_mean(utilities: np.ndarray) -> np.ndarray:
    """Return utilities, shape (participants, images), about each participant's mean, which means nothing."""
    return utilities - utilities.mean(1, keepdims=True)


def agreed_on(utilities: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the images that most participants like, and those that most dislike, relative to how they differ.

    Parameters
    ----------
    utilities
        Shape (participants, images).
    count
        The most images of each to return.

    Returns
    -------
    tuple of ndarray
        Indices of images whose mean utility is farther from zero than participants' spread (the mean of two is so
        where both are on the same side), and than half of what utilities usually are, farthest first.
    """
    apart = about_own_mean(utilities)
    mean, spread = apart.mean(0), np.maximum(apart.std(0), 1e-12)
    order = np.argsort(-mean / spread, kind="stable")
    clear = np.abs(mean) > np.maximum(spread, _USUAL_PART * apart.std())
    return order[clear[order] & (mean[order] > 0)][:count], order[clear[order] & (mean[order] < 0)][::-1][
        :count
    ]


def dividing(utilities: np.ndarray, count: int) -> np.ndarray:
    """Return the images whose utilities differ most between participants, and more than from zero; most first.

    Else a single participant who departs from all others would pass for a division.
    """
    apart = about_own_mean(utilities)
    spread = apart.std(0)
    order = np.argsort(-spread, kind="stable")
    return order[(np.abs(apart.mean(0)) < spread)[order]][:count]


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
    centred = about_own_mean(utilities)
    shared_open, personal_open = people.variances_left_open()
    products = centred @ centred.T / centred.shape[1] + shared_open
    squares = np.diag(products) + personal_open
    products[np.diag_indices_from(products)] = squares
    return utilities, products / np.sqrt(np.outer(squares, squares))


def _rankings(participants: Sequence[str], images: Sequence[str], utilities: np.ndarray) -> pd.DataFrame:
    """Rank the images for each participant; utilities are zero on average."""
    return pd.concat([
        pd.DataFrame({"participant": code, "image": list(images), "utility": own})
        .sort_values("utility", ascending=False, kind="stable")
        for code, own in zip(participants, about_own_mean(utilities), strict=True)
    ], ignore_index=True)  # fmt: skip


def _answers(_: None, own: tuple[np.ndarray, np.ndarray, np.ndarray]) -> PsychometricFit | None:
    """Estimate how one participant answers, given pairs, choices and which are fair; None without both sides."""
    pairs, choices, is_fair = own
    preferred, choices = where_preferred(np.arange(len(pairs)), choices)
    if len(np.unique(choices)) < 2:
        return None
    return psychometric.fit(pairs[preferred], choices, is_fair[preferred])


def _reliability(answers: PsychometricFit | None, is_fair: np.ndarray) -> float:
    """Return how often the same answer would be given again, as far as the trials tell; NaN where they do not."""
    if answers is None or not is_fair.any() or np.ptp(answers.noise_ceiling_ci95) > VAGUE:
        return np.nan
    return answers.noise_ceiling**2 + (1 - answers.noise_ceiling) ** 2


def _accuracies(held_out: pd.DataFrame, who: np.ndarray, count: int) -> np.ndarray:
    hits = hits_of(held_out["p_right_by_taste"].to_numpy(), held_out["choice"].to_numpy())
    of = who[held_out["row_index"].to_numpy()]
    return np.array([hits[of == one].mean() if (of == one).any() else np.nan for one in range(count)])


@dataclass(frozen=True)
class CrossedSampling:
    """How far an accuracy over several people can be from that over other people and other images.

    Hits that share a person or an image vary together (Aronow, Samii & Assenova 2015, Political Analysis 23). How
    much people differ cannot be told from few, so that their variance is pooled with a usual one (Smyth 2004,
    Statistical Applications in Genetics and Molecular Biology 3(1)); what is left open of both variances is in the
    degrees of freedom. The interval is Wilson's, of as many independent trials as would vary as much (Franco,
    Little, Louis & Slud 2019, Journal of Survey Statistics and Methodology 7(3)), which cannot leave 0 to 1.

    Attributes
    ----------
    who, pairs
        The person and the images of each held-out trial.
    of_auc
        Of the AUC, nothing is known apart.
    """

    who: np.ndarray
    pairs: np.ndarray
    of_auc: None = None

    def interval(self, accuracy: float, hits: np.ndarray) -> tuple[float, float]:
        """Return the 95% interval of an accuracy, given which of the trials were predicted."""
        variance, quantile = self._spread(accuracy, hits)
        trials = min(_binomial(accuracy, len(hits)) / variance, len(hits))
        beside = quantile**2 / trials
        centre = (accuracy + beside / 2) / (1 + beside)
        reach = np.sqrt(beside * (accuracy * (1 - accuracy) + beside / 4)) / (1 + beside)
        # But for rounding, it holds the accuracy and is held by 0 to 1.
        return max(min(float(centre - reach), accuracy), 0.0), min(max(float(centre + reach), accuracy), 1.0)

    def inflation(self, accuracy: float, hits: np.ndarray, pairs: np.ndarray) -> float:
        """Return by what factor the spread over images drawn alone is to be multiplied."""
        variance, quantile = self._spread(accuracy, hits)
        drawn = np.std([np.average(hits, weights=weights) for weights in resampled(pairs, _DRAWS)])
        return max(1.0, quantile * float(np.sqrt(variance)) / (_NORMAL * float(drawn))) if drawn else 1.0

    def _spread(self, accuracy: float, hits: np.ndarray) -> tuple[float, float]:
        """Return the variance of an accuracy, and how many standard deviations hold 95%."""
        trials = len(hits)
        binomial = _binomial(accuracy, trials)
        beside = (hits - accuracy) / trials
        alone = max(float(beside @ beside), binomial / trials / 2)
        sizes = np.unique(self.who, return_counts=True)[1]
        images, shown = np.unique(self.pairs, return_inverse=True)
        freedom = len(sizes) - 1
        of_people = _of_clusters(np.unique(self.who, return_inverse=True)[1], beside)
        usual = np.square(sizes / trials).sum() * (_USUAL_SPREAD * binomial) ** 2 + alone
        of_people = (freedom * of_people + _USUAL_PEOPLE * usual) / (freedom + _USUAL_PEOPLE)
        of_people = max(of_people, alone)
        # Each trial counts for both its images, and is among its person's already.
        of_images = max(_of_clusters(shown.ravel(), np.repeat(beside, 2)) - 2 * alone, 0.0)
        variance = of_people + of_images
        told = of_people**2 / (freedom + _USUAL_PEOPLE) + of_images**2 / max(len(images) - 1, 1)
        return variance, float(student.ppf(_UPPER, variance**2 / told))


def _binomial(accuracy: float, trials: int) -> float:
    """Return the variance of one hit, which is not nothing where all of few trials are hits."""
    expected = (trials * accuracy + 2) / (trials + 4)  # Agresti & Coull 1998, The American Statistician 52
    return expected * (1 - expected)


def _of_clusters(cluster: np.ndarray, beside: np.ndarray) -> float:
    """Return the variance of a mean of clusters that vary independently, from how they depart from it."""
    sums = np.bincount(cluster, beside)
    return float(sums @ sums) * len(sums) / max(len(sums) - 1, 1)
