"""Davidson's model of choices with a third answer, "no preference": how likely each answer is, given a logit.

P(left), P(no preference) and P(right) are as exp(−d / 2) to ν to exp(d / 2), where d is the logit and ν ≥ 0 how
readily the observer has no preference. Where they have one, P(right) is logistic(d) as ever, so that d, side bias and
accuracy mean what they mean without the third answer, and ν = 0 is the model without it. The answers (0, ½, 1) are an
exponential family of which the choice itself is the statistic: wins plus half the ties tell the utilities, the
derivative of the log likelihood is the choice less its expectation, and the information is its variance, at most 1/4.
Rao & Kupper's model, in which differences below a threshold are ties, fits about as well, but has neither property.

References
----------
Davidson (1970). On extending the Bradley–Terry model to accommodate ties. JASA 65(329), 317–328.
Rao & Kupper (1967). Ties in paired-comparison experiments. JASA 62(317), 194–204.
"""

import numpy as np
from scipy.optimize import root_scalar
from scipy.special import expit

from catpref.sessions.cells import NO_PREFERENCE

TIE = NO_PREFERENCE

_LOG_LIMIT = 30.0  # of ν: beyond, either answer is certain


def likelihood(
    logits: np.ndarray, choices: np.ndarray, ties: float = 0.0, lapse: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the log likelihood of each choice, its derivative by the logit, and its (Fisher's) information.

    Parameters
    ----------
    logits
        Of the right against the left, shape (trials,).
    choices
        0 = left, 1 = right, 0.5 = no preference, shape (trials,).
    ties
        ν; 0 where there is no third answer.
    lapse
        Probability of choosing a side blindly.

    Returns
    -------
    tuple of ndarray
        Each of shape (trials,).
    """
    left, tie, right = _probabilities(logits, ties)
    # Chosen less expected, so that nothing is lost where one answer is almost certain.
    gradient = choices * (left + tie / 2) - (1 - choices) * (right + tie / 2)
    if lapse:
        return _with_lapses(left, tie, right, choices, gradient, lapse)
    strength = np.abs(logits) / 2
    total = np.log1p(np.exp(-2 * strength) + ties * np.exp(-strength))
    log = (choices - 0.5) * logits - strength - total
    if ties:
        log = log + np.where(choices == TIE, np.log(ties), 0.0)
    return log, gradient, left * right + tie * (left + right) / 4


def expected(logits: np.ndarray, ties: float = 0.0) -> np.ndarray:
    """Return the expected choice, P(right) and half of P(no preference)."""
    if not ties:
        return expit(logits)
    _, tie, right = _probabilities(logits, ties)
    return right + tie / 2


def tie_parameter(logits: np.ndarray, choices: np.ndarray) -> float:
    """Return the ν under which there are as many ties as there were; 0 where there were none.

    It is the most likely one given the logits. Half a tie in one trial more keeps it finite where all are ties.

    Parameters
    ----------
    logits, choices
        As in `likelihood`.
    """
    count = int((choices == TIE).sum())
    if not count:
        return 0.0
    logits = np.append(logits, 0.0)

    def too_many(log_ties: float) -> float:
        return float(_probabilities(logits, np.exp(log_ties))[1].sum()) - count - 0.5

    return float(np.exp(root_scalar(too_many, bracket=(-_LOG_LIMIT, _LOG_LIMIT)).root))


def where_preferred(trials: np.ndarray, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return those of some trials in which a side was preferred, and the choices in them, 0 or 1.

    Parameters
    ----------
    trials
        As indices.
    choices
        Of all trials.
    """
    preferred = trials[choices[trials] != TIE]
    return preferred, choices[preferred].astype(int)


def _probabilities(logits: np.ndarray, ties: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the probabilities of left, no preference and right."""
    if not ties:
        return expit(-logits), np.zeros_like(logits), expit(logits)
    root = np.exp(-np.abs(logits) / 2)  # of the odds of the less likely side
    likely = 1 / (1 + root * (root + ties))
    other, tie = root**2 * likely, ties * root * likely
    return np.where(logits > 0, other, likely), tie, np.where(logits > 0, likely, other)


def _with_lapses(
    left: np.ndarray,
    tie: np.ndarray,
    right: np.ndarray,
    choices: np.ndarray,
    gradient: np.ndarray,
    lapse: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what `likelihood` does, given what it would be of an observer who always looks."""
    looking = (1 - lapse) * np.stack([left, tie, right])
    answered = looking + np.array([[lapse / 2], [0.0], [lapse / 2]])
    # How probably the observer looked, given each answer; none is given by mistake but a side.
    looked = np.divide(looking, answered, out=np.ones_like(looking), where=answered > 0)
    expectation = right + tie / 2
    apart = np.array([[0.0], [TIE], [1.0]]) - expectation
    place = (2 * np.asarray(choices)).astype(int), np.arange(len(choices))
    return (
        np.log(answered[place]),
        looked[place] * gradient,
        (looking * looked * np.square(apart)).sum(0),
    )
