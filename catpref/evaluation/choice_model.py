"""Does the model of choice fit? Checks of what every model here assumes: one taste, the same throughout, plus noise.

Each check compares the session to what a Bradley–Terry model with a side bias leads to: patterns in its residuals to
residuals of random signs; its deviance to sessions simulated from the fitted model, each fitted again; the difference
before and after some moment to trials whose order is permuted. Order and repetition effects are tested in tables of
counts.

References
----------
Kendall & Babington Smith (1940). On the method of paired comparisons. Biometrika 31.
Janssen (1997). Studentized permutation tests for non-i.i.d. hypotheses and the generalized Behrens–Fisher problem.
Statistics & Probability Letters 36.
Efron & Tibshirani (1993). An Introduction to the Bootstrap, chapter 16.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.optimize import isotonic_regression
from scipy.special import expit, log_expit, xlogy
from scipy.stats import binomtest, fisher_exact

from catpref.evaluation import utilities_of_wins

LEVEL = 0.01
"""p-values below are findings; several checks are made, so that 0.05 would find something in many sessions."""

_LEAST_TRIPLES = 20
_MOST_IMAGES = 200  # whose matrices are quickly multiplied
_LEAST_REPEATS = 20
_TRIALS_AN_IMAGE = 5  # with fewer the prior, not the choices, says how consistent an observer is
_MOST_TRIALS = 10_000  # of which so many simulated sessions are quickly fitted
_SESSIONS = 199  # simulated, or with random signs
_PERMUTATIONS = 499
_MOMENTS = 10  # of a session, between which a taste may change
_BANDS = 4  # of the trials' utility differences, each of which may be stretched in its own way
_NEAR_ENOUGH = 0.01  # logits, to fit a simulated session


@dataclass(frozen=True)
class Check:
    """One assumption, and whether the session speaks against it.

    Attributes
    ----------
    name
        Of the check.
    estimate
        What was measured, as the finding says; None where the session cannot tell.
    p_value
        How often the model of choice leads to as much or more; None where the session cannot tell.
    finding
        What was found, in a sentence.
    advice
        What to do, in a sentence; None where nothing is.
    """

    name: str
    estimate: float | None
    p_value: float | None
    finding: str
    advice: str | None

    @property
    def failed(self) -> bool:
        """Whether the session speaks against the model of choice."""
        return self.p_value is not None and self.p_value < LEVEL


@dataclass(frozen=True)
class _Trials:
    """A session as the checks see it.

    Attributes
    ----------
    choices
        Shape (trials,).
    design
        From `utilities_of_wins.design_of`.
    parameters
        Fitted utilities and side bias, shape (images + 1, 1).
    couples
        The different pairs, whichever side each image is on, shape (pairs, 2).
    couple, swapped
        Which of them each trial shows, and whether the sides are the other way round.
    first
        The first trial of each pair.
    groups
        Whose trial it is, shape (trials,).
    is_fair
        Whether no answer had a part in choosing its pair.
    moments
        When it was among those of its group, from 0 to `_MOMENTS` - 1.
    """

    choices: np.ndarray
    design: sparse.csr_array
    parameters: np.ndarray
    couples: np.ndarray
    couple: np.ndarray
    swapped: np.ndarray
    first: np.ndarray
    groups: np.ndarray
    is_fair: np.ndarray
    moments: np.ndarray

    @property
    def late(self) -> np.ndarray:
        """Whether each trial is in the second half of its group."""
        return self.moments >= _MOMENTS // 2

    @property
    def images(self) -> int:
        """The number of images that were shown."""
        return len(self.parameters) - 1

    def matrix(self, forth: np.ndarray, back: np.ndarray) -> np.ndarray:
        """Put a number of each pair, and one of the pair turned around, into a matrix of images by images."""
        matrix = np.zeros((self.images, self.images))
        low, high = self.couples.T
        matrix[low, high], matrix[high, low] = forth, back
        return matrix


def check(
    pairs: np.ndarray,
    choices: np.ndarray,
    groups: np.ndarray | None = None,
    seed: int = 0,
    is_fair: np.ndarray | None = None,
) -> list[Check]:
    """Check the model of choice.

    Parameters
    ----------
    pairs
        Left and right image of each trial as indices, in the order of the session, shape (trials, 2).
    choices
        0 = left, 1 = right, shape (trials,).
    groups
        Whose trial it is, such as the participant, shape (trials,); by default all are of one session.
    seed
        Seed of what is simulated or permuted.
    is_fair
        Which trials no answer had a part in choosing, shape (trials,). A pair that is asked again because of what was
        answered says nothing of consistency. None: all.
    """
    random = np.random.default_rng(seed)
    trials = _trials(
        pairs,
        choices,
        np.zeros(len(pairs), int) if groups is None else groups,
        np.ones(len(pairs), bool) if is_fair is None else is_fair,
    )
    return [
        _transitivity(trials, random),
        _deviance(trials, random),
        *_drifts(trials, random),
        _side_bias_drift(trials),
        _choice_repetition(trials),
        _self_agreement(trials),
    ]


def _trials(pairs: np.ndarray, choices: np.ndarray, groups: np.ndarray, is_fair: np.ndarray) -> _Trials:
    pairs = np.searchsorted(np.unique(pairs), pairs)
    _, groups = np.unique(groups, return_inverse=True)
    design = utilities_of_wins.design_of(pairs, int(pairs.max()) + 1)
    couples, first, couple = np.unique(np.sort(pairs, axis=1), axis=0, return_index=True, return_inverse=True)
    moments = np.zeros(len(pairs), np.uint8)  # many orders of them are in memory together
    for group in range(int(groups.max()) + 1):
        members = np.flatnonzero(groups == group)
        # Of an odd number, the one in the middle is late.
        moments[members] = (2 * np.arange(len(members)) + 1) * _MOMENTS // (2 * len(members))
    return _Trials(
        choices=choices,
        design=design,
        parameters=utilities_of_wins.fit(design, choices[:, None]),
        couples=couples,
        couple=couple.ravel(),
        swapped=pairs[:, 0] > pairs[:, 1],
        first=first,
        groups=groups,
        is_fair=is_fair,
        moments=moments,
    )


def _finding(name: str, estimate: float, p_value: float, found: str, nothing: str, advice: str) -> Check:
    failed = p_value < LEVEL
    return Check(
        name, estimate, p_value, found if failed else f"No sign of {nothing}", advice if failed else None
    )


def _unknown(name: str, why: str) -> Check:
    return Check(name, None, None, why, None)


# ---- what utilities do not explain -------------------------------------------------------------------------


def _transitivity(trials: _Trials, random: np.random.Generator) -> Check:
    """Test whether residuals form a pattern, as where A is preferred to B, B to C and C to A.

    The number of circular triads itself tells nothing beyond the images' wins where all pairs are shown (Kendall
    & Babington Smith 1940), and these a Bradley–Terry model reproduces whatever the observer does. A pattern gathers
    the residuals, as a matrix of images by images, in few of its singular values, so that Σσ⁴ / (Σσ²)² is large:
    larger than where each residual has a random sign. Someone who lapses, or whose choices are surer than a logistic
    function of the utilities makes them, is still transitive: residuals are from how often the better image is chosen
    at such a difference.
    """
    triples = _triples(trials)
    if triples < _LEAST_TRIPLES:
        few = (
            f"It takes {_LEAST_TRIPLES} triples of images of which all three pairs were shown, and at most "
            f"{_MOST_IMAGES} images, to tell."
        )
        return _unknown("transitivity", few)
    first = trials.first
    design, choices = trials.design[first], trials.choices[first, None]
    logits = design @ utilities_of_wins.fit(design, choices)
    p_right = _by_distance(logits[:, 0], choices[:, 0])[:, None]
    flipped = (choices - p_right) * random.choice([-1.0, 1.0], (len(first), _SESSIONS))
    # A fit makes residuals of pairs that share an image depend on each other; one Newton step does so to these.
    information = expit(logits) * expit(-logits)
    squares: Any = design.T @ sparse.csr_array(design * information)
    steps = np.linalg.solve(squares.toarray() + np.eye(trials.images + 1), design.T @ flipped)
    residuals = np.column_stack([choices - p_right, flipped - information * (design @ steps)])
    statistics = []
    for oriented in (np.where(trials.swapped[first, None], -1.0, 1.0) * residuals).T:
        squared = (matrix := trials.matrix(oriented, -oriented)) @ matrix
        statistics.append(np.square(squared).sum() / max(np.trace(squared) ** 2, np.finfo(float).tiny))
    won = (choices[:, 0] == 1) ^ trials.swapped[first]
    beats = trials.matrix(won, ~won)
    circular = float(((beats @ beats) * beats.T).sum() / 3 / triples)
    beside = (
        f"{100 * circular:.1f}% of {triples} triples of images are circular; 25% where choices are random"
    )
    return _finding(
        "transitivity",
        circular,
        _p_value(np.array(statistics)),
        "Choices are not transitive, such as A before B, B before C and C before A: beside utilities they "
        f"follow a pattern ({beside}).",
        f"intransitive choices ({beside}).",
        "No single scale of utility describes these choices; treat the ranking as a rough summary, and ask what the "
        "observer compared.",
    )


def _by_distance(logits: np.ndarray, choices: np.ndarray) -> np.ndarray:
    """Return P(right) where the likelier side is the more often chosen, the farther the logit is from 0."""
    order = np.argsort(np.abs(logits), kind="stable")
    is_likelier = ((logits > 0) == (choices == 1))[order]
    likelier = np.empty(len(logits))
    likelier[order] = np.maximum(isotonic_regression(is_likelier.astype(float)).x, 0.5)
    return np.where(logits > 0, likelier, 1 - likelier)


def _deviance(trials: _Trials, random: np.random.Generator) -> Check:
    """Compare the deviance on repeated pairs to that of sessions from the fitted model, each fitted again.

    The deviance of pairs that were shown once depends on the fitted values alone.
    """
    repeated = trials.is_fair & (np.bincount(trials.couple, trials.is_fair)[trials.couple] > 1)
    again = repeated.sum() - np.unique(trials.couple[repeated]).size
    if again < _LEAST_REPEATS or 2 * len(trials.choices) < _TRIALS_AN_IMAGE * trials.images:
        few = f"It takes {_LEAST_REPEATS} repeated trials, and {_TRIALS_AN_IMAGE} trials an image, to tell."
        return _unknown("deviance", few)
    if len(trials.choices) > _MOST_TRIALS:
        return _unknown("deviance", f"Not checked in more than {_MOST_TRIALS} trials.")
    expected = trials.design @ trials.parameters
    drawn = random.random((len(expected), _SESSIONS)) < expit(expected)
    parameters = utilities_of_wins.fit(trials.design, drawn, start=trials.parameters, enough=_NEAR_ENOUGH)
    logits = np.column_stack([expected, trials.design @ parameters])[repeated]
    right = np.column_stack([trials.choices == 1, drawn])[repeated]
    _, couple = np.unique(trials.couple[repeated], return_inverse=True)
    members = sparse.csr_array((np.ones(len(couple)), (couple, np.arange(len(couple)))))
    wins = members @ (right ^ trials.swapped[repeated, None]).astype(float)
    shown = np.bincount(couple)[:, None]
    saturated = (xlogy(wins, wins / shown) + xlogy(shown - wins, 1 - wins / shown)).sum(0)
    deviance = 2 * (saturated - log_expit(np.where(right, logits, -logits)).sum(0))
    usual = float(np.median(deviance[1:]))
    return _finding(
        "deviance",
        float(deviance[0]),
        _p_value(deviance),
        f"On {len(shown)} pairs that were shown repeatedly, a Bradley–Terry model with side bias is further from the "
        f"choices than it leads to (deviance {deviance[0]:.0f}, usually {usual:.0f}).",
        f"a poor fit: on {len(shown)} pairs that were shown repeatedly the deviance is {deviance[0]:.0f}, usually "
        f"{usual:.0f}.",
        "Some pairs are judged in their own way, beside what each image is worth; report this with the ranking.",
    )


def _triples(trials: _Trials) -> int:
    """Count the triples of images of which all three pairs were shown; those of too many images are not counted."""
    if trials.images > _MOST_IMAGES:
        return 0
    shown = trials.matrix(np.ones(len(trials.couples)), np.ones(len(trials.couples)))
    return round(((shown @ shown) * shown).sum() / 6)


def _p_value(statistics: np.ndarray) -> float:
    """Return how often what was simulated is at least what was observed, which comes first."""
    return float((statistics >= statistics[0] - 1e-9).mean())


# ---- the order of the trials -------------------------------------------------------------------------------


class _Change(NamedTuple):
    """How often the order of the trials makes as great a change, and after which of the moments it is greatest.

    Where there is nothing to be seen that is the middle: elsewhere one part is so small that it says little.
    """

    p_value: float
    moment: int


def _drifts(trials: _Trials, random: np.random.Generator) -> list[Check]:
    """Test whether utilities differ before and after some moment: score tests of a variance of their differences.

    The greatest of all moments that are looked at is compared with the greatest where the order is permuted. Where
    utility differences are stretched, it is not the taste that changes, but how consistently it is followed: what is
    left beside any such stretch is tested, too, and so is a factor of all utilities.
    """
    names = "drift", "consistency drift"
    again = np.flatnonzero(
        abs(trials.design[:, :-1]).sum(0) > 1
    )  # an image that was shown once tells nothing
    if not len(again):
        return [
            _unknown(name, "It takes images that were shown in several trials to tell.") for name in names
        ]
    of_images, utilities = trials.design[:, again], trials.parameters[again, 0]
    p_right = expit(trials.design @ trials.parameters)[:, 0]
    residuals, differences = trials.choices - p_right, of_images @ utilities
    pulls = sparse.coo_array(of_images * residuals[:, None])
    squares = np.square(residuals) * [shown := abs(of_images).sum(1), shown, np.square(differences)]
    bands = np.digitize(np.abs(differences), np.quantile(np.abs(differences), np.arange(1, _BANDS) / _BANDS))
    stretches, _ = np.linalg.qr(of_images.T @ (np.sign(differences)[:, None] * np.eye(_BANDS)[bands]))
    orders = np.tile(trials.moments, (_PERMUTATIONS + 1, 1))
    for again_and_again in _showings(trials):
        moments = trials.moments[again_and_again]
        others = np.tile(np.arange(len(moments)), (_PERMUTATIONS, 1))
        drawn = moments[random.permuted(others, axis=1)]
        orders[1:, again_and_again] = random.permuted(drawn, axis=2)
    apart = np.stack([_apart(pulls, squares, order, utilities, stretches) for order in orders], axis=1)
    whole, beside, factor = (_change(each) for each in apart)
    agreement = _agreement(trials, whole.moment)
    taste_changes = whole.p_value < LEVEL and (beside.p_value < LEVEL or agreement < 0)
    taste = _finding(
        names[0],
        agreement,
        whole.p_value if taste_changes else max(whole.p_value, beside.p_value),
        f"The taste changes during the session, most clearly after about {_percent(whole.moment)} of the "
        f"trials: the images' Bradley–Terry utilities before and after correlate at {agreement:.2f}.",
        "a taste that changes: the images' Bradley–Terry utilities before and after "
        f"{_percent(whole.moment)} of the trials correlate at {agreement:.2f}, as they do where "
        "trials are divided at random.",
        "Fit the parts separately, and do not take the session for one taste; breaks and more practice may help.",
    )
    if taste_changes:
        return [taste, _unknown(names[1], "Not told from a taste that changes.")]
    before, after = _followed(trials, factor.moment)
    shares = (
        f"in the first {_percent(factor.moment)} of the trials {100 * before:.0f}% of choices go with the images' "
        f"Bradley–Terry utilities, in the rest {100 * after:.0f}%"
    )
    consistency = _finding(
        names[1],
        after - before,
        factor.p_value,
        f"Choices become {'more' if after > before else 'less'} consistent during the session: {shares}.",
        f"a consistency that changes: {shares}.",
        "Noise ceiling and lapse rate are averages; more practice or more breaks may help.",
    )
    return [taste, consistency]


def _change(statistics: np.ndarray) -> _Change:
    """Find where a statistic is greatest; its shape is (orders, moments), with the order as it was first."""
    p_value = _p_value(statistics.max(1))
    return _Change(p_value, int(statistics[0].argmax()) + 1 if p_value < LEVEL else _MOMENTS // 2)


def _percent(moment: int) -> str:
    return f"{100 * moment / _MOMENTS:.0f}%"


def _agreement(trials: _Trials, moment: int) -> float:
    """Return how utilities before and after a moment correlate, over the images that were shown before and after."""
    late = trials.moments >= moment
    weights = np.column_stack([~late, late]).astype(float)
    in_both = (abs(trials.design[:, :-1]).T @ weights > 0).all(1)
    parameters = utilities_of_wins.fit(trials.design, trials.choices[:, None] * np.ones(2), weights)
    first, second = parameters[:-1][in_both].T
    if not in_both.any():
        return 0.0
    return float(np.corrcoef(first, second)[0, 1]) if min(np.ptp(first), np.ptp(second)) > 0 else 0.0


def _followed(trials: _Trials, moment: int) -> tuple[float, float]:
    """Return what part of the choices before and after a moment go with the utilities."""
    differences = trials.design[:, :-1] @ trials.parameters[:-1, 0]
    follows = np.where(differences == 0, 0.5, (differences > 0) == (trials.choices == 1))
    late = trials.moments >= moment
    return float(follows[~late].mean()), float(follows[late].mean())


def _showings(trials: _Trials) -> list[np.ndarray]:
    """Return the trials of pairs that were shown as often by the same group, shape (pairs, showings), in order.

    Such pairs could have been shown at each other's moments, and each in another order. Single trials could not: a
    pair's repeats come later by design, and what is fitted to all takes the residual of the one from the other's.
    """
    _, place, count = np.unique(
        np.stack([trials.groups, trials.couple]), axis=1, return_inverse=True, return_counts=True
    )
    place = place.ravel()
    order = np.argsort(place, kind="stable")
    alike = np.stack([trials.groups, count[place]])[:, order]
    return [
        order[(alike == np.array([[group], [showings]])).all(0)].reshape(-1, showings)
        for group, showings in np.unique(alike, axis=1).T.tolist()
    ]


def _apart(
    pulls: sparse.coo_array,
    squares: np.ndarray,
    moments: np.ndarray,
    utilities: np.ndarray,
    stretches: np.ndarray,
) -> np.ndarray:
    """Return how much residuals pull utilities elsewhere before and after each moment, for one order of the trials.

    Each number is in units of what it is on average without a change, by the squared residuals before and after: they
    are larger where choices are less consistent (studentised permutation tests; Janssen 1997).

    Parameters
    ----------
    pulls
        How much each trial's residual pulls each image's utility, shape (trials, images).
    squares
        Of each trial's pulls, in all, in all again, and towards a factor, shape (3, trials).
    moments
        When each trial was, from 0 to `_MOMENTS` - 1.
    utilities
        Of the images, shape (images,).
    stretches
        Directions, orthonormal, in which trials pull these whose utility differences are stretched, shape (images,
        stretches).

    Returns
    -------
    ndarray
        In all, beside the stretches, and towards a factor of all utilities, shape (3, moments).
    """
    (trial, image), images = pulls.coords, len(utilities)
    cells = image * _MOMENTS + moments[trial]
    pulled = np.bincount(cells, pulls.data, images * _MOMENTS).reshape(images, _MOMENTS).cumsum(1)
    before = np.bincount(moments, minlength=_MOMENTS).cumsum()[:-1] / len(moments)
    apart = pulled[:, :-1] - before * pulled[:, -1:]
    beside = apart - stretches @ (stretches.T @ apart)
    found = np.stack([np.square(apart).sum(0), np.square(beside).sum(0), np.square(utilities @ apart)])
    early = np.stack([np.bincount(moments, each, _MOMENTS).cumsum() for each in squares], axis=0)[:, :-1]
    usual = (1 - before) ** 2 * early + before**2 * (squares.sum(1, keepdims=True) - early)
    return found / np.maximum(usual, np.finfo(float).tiny)


def _side_bias_drift(trials: _Trials) -> Check:
    if trials.late.all():
        return _unknown("side bias drift", "There is only one trial.")
    right = [trials.choices[trials.late == late] for late in (False, True)]
    before, after = (float(half.mean()) for half in right)
    shares = f"{100 * before:.0f}% of choices in the first half were right, {100 * after:.0f}% in the second"
    return _finding(
        "side bias drift",
        after - before,
        _fisher(right[0], right[1]),
        f"The side bias changes: {shares}.",
        f"a side bias that changes: {shares}.",
        "Check that keys and viewing position stayed the same; one side bias for the session is an average.",
    )


def _choice_repetition(trials: _Trials) -> Check:
    follows = trials.groups[1:] == trials.groups[:-1]
    before, now = trials.choices[:-1][follows], trials.choices[1:][follows]
    if not len(now):
        return _unknown("choice repetition", "No trial follows another of the same observer.")
    same, right = float((before == now).mean()), float(now.mean())
    by_chance = right**2 + (1 - right) ** 2
    rates = (
        f"the same side as before was chosen in {100 * same:.0f}% of trials, {100 * by_chance:.0f}% expected"
    )
    return _finding(
        "choice repetition",
        same,
        _fisher(now[before == 0], now[before == 1]),
        f"The previous choice influences the next: {rates}.",
        f"an influence of the previous choice: {rates}.",
        "Look at sequences of the same key and at reaction times; the models here count such choices as noise.",
    )


def _fisher(first: np.ndarray, second: np.ndarray) -> float:
    """Test whether two samples of zeros and ones have the same rate."""
    counts = [np.bincount(sample, minlength=2) for sample in (first, second)]
    result: Any = fisher_exact(np.array(counts))
    return float(result.pvalue)


# ---- repeated pairs ----------------------------------------------------------------------------------------


def _self_agreement(trials: _Trials) -> Check:
    """Compare each repeated trial with the one before that the same observer had of this pair."""
    fair = np.flatnonzero(trials.is_fair)
    order = fair[np.lexsort([trials.couple[fair], trials.groups[fair]])]
    before, now = order[:-1], order[1:]
    again = (trials.couple[before] == trials.couple[now]) & (trials.groups[before] == trials.groups[now])
    before, now = before[again], now[again]
    if len(now) < _LEAST_REPEATS:
        return _unknown("repeated pairs", f"{len(now)} repeated trials are too few to tell.")
    swapped = trials.swapped[before] != trials.swapped[now]
    agrees = ((trials.choices[before] == trials.choices[now]) ^ swapped).astype(int)
    result = binomtest(int(agrees.sum()), len(agrees))
    low, high = result.proportion_ci(method="wilson")
    agreement = (
        f"{100 * agrees.mean():.0f}% of {len(agrees)} repeated trials had the same image chosen again (95% interval "
        f"{100 * low:.0f} to {100 * high:.0f}%)"
    )
    if swapped.all() or not swapped.any():
        sides = "swapped" if swapped.all() else "the same"
        return Check(
            "repeated pairs", float(agrees.mean()), None, f"{agreement}; sides were {sides} each time.", None
        )
    there, other = (100 * agrees[swapped == moved].mean() for moved in (False, True))
    by_side = f"{there:.0f}% where the sides were the same, {other:.0f}% where they were swapped"
    return _finding(
        "repeated pairs",
        float(agrees.mean()),
        _fisher(agrees[swapped], agrees[~swapped]),
        f"{agreement}, and it matters on which sides they were: {by_side}.",
        f"an influence of the sides on repeated pairs: {agreement}; {by_side}.",
        "Choices follow the side as much as the image; counterbalance sides, and read the accuracy of taste alone.",
    )
