"""What simulated sessions say of each statistic, row by row, with its Monte Carlo error, as tables.

The truth of a score with signal is its mean over the row's sessions, each of one observer and of images of its own:
held-out images are new images. Of the calibration slope, which is skewed, it is the median. Without signal it is
known: accuracy and AUC 0.5, no difference between models, slope 0.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
from scipy.special import logit
from sklearn.linear_model import LogisticRegression

from benchmarks.validity_sessions import BINS, NEW_PAIRS, Row

_TENTHS = 10
_WEAK_PENALTY = 1e6
_NULL = {"accuracy": 0.5, "auc": 0.5, "difference": 0.0, "slope": 0.0}

Session = Mapping[str, Any]
Measure = tuple[float, float]
"""A value and its Monte Carlo standard error."""


@dataclass(frozen=True)
class Column:
    """A column of the page: what it measures, its title, and between what values it is to be, where."""

    key: str
    title: str
    low: float = -np.inf
    high: float = np.inf
    applies: Callable[[Row], bool] = lambda row: True


def _no_taste(row: Row) -> bool:
    return row.is_null


def _some_taste(row: Row) -> bool:
    return not row.is_null


def _has_preferences(row: Row) -> bool:
    return row.observer.carried > 0 or row.observer.own > 0


def _fully_sampled(row: Row) -> bool:
    return row.design.name.startswith("full")


def _of_ceiling(name: str) -> list[Column]:
    return [
        Column(f"{name}_true", "truth"),
        Column(f"{name}_told", "told"),
        Column(f"{name}_bias", "bias", -0.005, 0.005, _fully_sampled),
        Column(f"{name}_rms", "error", high=0.015, applies=_fully_sampled),
        Column(f"{name}_coverage", "coverage", 0.93),
        Column(f"{name}_width", "width"),
    ]


TABLES: dict[str, tuple[str, Sequence[Column]]] = {
    "Coverage of the 95% intervals": (
        "How often the interval holds the truth. *Difference* is that of ridge regression and the utility.",
        [
            Column(f"{key}_coverage", title, 0.93, 0.97)
            for key, title in (
                ("accuracy", "accuracy"),
                ("log_loss", "log loss"),
                ("auc", "AUC"),
                ("difference", "difference"),
                ("slope", "calibration slope"),
            )
        ],
    ),
    "False positives": (
        "How often p is at most 0.05 and 0.01, and how often the report says that the model is better than chance. "
        "Where the embedding carries some of the taste, these are true positives.",
        [
            Column("p_05", "p ≤ 0.05", high=0.06, applies=_no_taste),
            Column("p_01", "p ≤ 0.01", high=0.015, applies=_no_taste),
            Column("better", "better than chance", high=0.05, applies=_no_taste),
        ],
    ),
    "Noise ceiling": (
        "The true ceiling of a session is known from P(right). *Told* is in how many sessions the report gives a "
        "number, rather than the interval alone; bias and error (root mean square) are of these. Coverage and width "
        "of the 95% interval are of all.",
        _of_ceiling("ceiling"),
    ),
    "Noise ceiling of taste": (
        "With the side bias set aside, as it is from accuracies.",
        _of_ceiling("taste_ceiling"),
    ),
    "How the observer answers, and each image's utility": (
        "How often the 95% intervals of lapse rate and side bias hold the truth, and, where images are embedded, for "
        "what part of a session's images the true utility is within 1.96 `utility_sd`. Of someone who likes all "
        "images alike, no trial tells lapses from a weaker side bias: there the first two have no target. And of "
        "images that are shown once, no trial tells an appeal of their own from a weaker taste: no `utility_sd` can "
        "hold for those who have the one and for those who have the other.",
        [
            Column("lapse_coverage", "lapse rate", 0.93, applies=_has_preferences),
            Column("side_bias_coverage", "side bias", 0.93, applies=_has_preferences),
            Column("utility_coverage", "utility", 0.93, 0.97),
        ],
    ),
    "New images": (
        f"The model of all trials on {NEW_PAIRS} pairs a session of images that were not in it, compared with the "
        "true P(right): accuracy of its taste, what one who knows the taste would reach, slope of true on predicted "
        "logits and calibration error (ECE) over all sessions, and the error in a single session on average. Where "
        "nothing can be learned, predictions hardly vary, and the slope has no target.",
        [
            Column("new_accuracy", "accuracy"),
            Column("new_best", "best"),
            Column("new_slope", "slope", 0.9, 1.1, _some_taste),
            Column("new_ece", "ECE", high=0.035),
            Column("new_ece_of_session", "ECE of a session"),
        ],
    ),
}


def summarise(row: Row, sessions: Sequence[Session]) -> dict[str, Measure]:
    """Return each measure of a row's sessions, by the keys of the columns."""
    found = {
        f"{key}_coverage": _rate(_covers(row, sessions, key))
        for key in ("accuracy", "log_loss", "auc", "difference", "slope")
    }
    p_values = np.array([session["p_value"] for session in sessions])
    found |= {"p_05": _rate(p_values <= 0.05), "p_01": _rate(p_values <= 0.01)}
    found["better"] = _rate([session["better_than_chance"] for session in sessions])
    found |= summarise_choices(row, sessions)
    found["utility_coverage"] = _mean([session["utility_covered"] for session in sessions])
    return found | _of_new_pairs([session["new"] for session in sessions])


def summarise_choices(row: Row, sessions: Sequence[Session]) -> dict[str, Measure]:
    """Return the measures that ask for no model of the taste."""
    found = _ceiling(sessions, "ceiling") | _ceiling(sessions, "taste_ceiling")
    for key, true in (("lapse", row.observer.lapse), ("side_bias", row.observer.side_bias)):
        _, low, high = np.array([session[key] for session in sessions]).T
        found[f"{key}_coverage"] = _rate((low <= true) & (true <= high))
    return found


def _ceiling(sessions: Sequence[Session], name: str) -> dict[str, Measure]:
    """Return the measures of a ceiling, by the keys of its columns."""
    estimates, low, high = np.array([session[name] for session in sessions]).T
    truth = np.array([session[f"true_{name}"] for session in sessions])
    told = np.array([session[f"{name}_is_told"] for session in sessions])
    errors = (estimates - truth)[told]
    squared = _mean(np.square(errors))
    rms = float(np.sqrt(squared[0]))
    return {
        f"{name}_true": _mean(truth),
        f"{name}_told": _rate(told),
        f"{name}_bias": _mean(errors),
        f"{name}_rms": (rms, squared[1] / (2 * rms)),
        f"{name}_coverage": _rate((low <= truth) & (truth <= high)),
        f"{name}_width": _mean(high - low),
    }


def _covers(row: Row, sessions: Sequence[Session], key: str) -> np.ndarray:
    """Return whether each session's interval holds the truth; intervals that are not given do not count."""
    given = np.array([session[key] for session in sessions if session[key] is not None]).reshape(-1, 3)
    estimates, low, high = given.T
    if row.is_null and key in _NULL:
        truth = np.full(len(given), _NULL[key])
    elif len(given) < 2:
        return np.empty(0, bool)
    else:
        # Estimates are nearer to their own mean than to the truth, by the square root of (n − 1) / n.
        middle = (np.median if key == "slope" else np.mean)(estimates)
        truth = estimates - (estimates - middle) * np.sqrt(len(given) / (len(given) - 1))
    return (low <= truth) & (truth <= high)


def _of_new_pairs(new: Sequence[Mapping[str, Any]]) -> dict[str, Measure]:
    bins = np.array([session["bins"] for session in new])  # sessions, sums, bins
    return {
        "new_accuracy": _mean([session["accuracy"] for session in new]),
        "new_best": _mean([session["best"] for session in new]),
        "new_slope": _jackknife(_slope, bins),
        "new_ece": _jackknife(_calibration_error, bins),
        "new_ece_of_session": _mean([_calibration_error(one) for one in bins]),
    }


def _slope(bins: np.ndarray) -> float:
    """Return the slope of the logistic regression of true probabilities on predicted logits."""
    predicted, true, pairs = bins[:, bins[2] > 0]
    logits = np.tile(logit(predicted / pairs), 2)[:, None]
    answers, weights = np.repeat([1, 0], len(pairs)), np.append(true, pairs - true)
    return float(LogisticRegression(C=_WEAK_PENALTY).fit(logits, answers, weights).coef_[0, 0])


def _calibration_error(bins: np.ndarray) -> float:
    """Return the calibration error over tenths of P(right), as `catpref.evaluation.scores` does for choices."""
    predicted, true, pairs = bins.reshape(3, _TENTHS, BINS // _TENTHS).sum(2)
    return float(np.abs(predicted - true).sum() / pairs.sum())


def _rate(happened: Sequence[bool] | np.ndarray) -> Measure:
    """Return how often something happened; for its error, it once more did and once more did not."""
    count, number = int(np.sum(happened)), len(happened)
    if not number:
        return np.nan, np.nan
    smoothed = (count + 1) / (number + 2)
    return count / number, float(np.sqrt(smoothed * (1 - smoothed) / number))


def _mean(values: Sequence[float] | np.ndarray) -> Measure:
    if not len(values):
        return np.nan, np.nan
    error = np.std(values) / np.sqrt(len(values) - 1) if len(values) > 1 else np.nan
    return float(np.mean(values)), float(error)


def _jackknife(statistic: Callable[[np.ndarray], float], bins: np.ndarray) -> Measure:
    """Return a statistic of all sessions together, and its error from leaving each session out."""
    together = bins.sum(0)
    if len(bins) == 1:
        return statistic(together), np.nan
    without = np.array([statistic(together - one) for one in bins])
    return statistic(together), float(np.sqrt((len(bins) - 1) * without.var()))


def missed(column: Column, row: Row, measure: Measure) -> bool:
    """Return whether a measure is outside its target by more than two standard errors, where these are known."""
    value, error = measure
    return column.applies(row) and (value < column.low - 2 * error or value > column.high + 2 * error)


def tables(found: Mapping[Row, tuple[int, Mapping[str, Measure]]]) -> str:
    """Return the tables in Markdown, from each row's number of sessions and measures, as far as there are any."""
    parts = []
    for title, (text, every) in TABLES.items():
        columns = [
            column for column in every if any(column.key in measures for _, measures in found.values())
        ]
        if not columns:
            continue
        parts += [f"## {title}\n", f"{fill(text, 118)}\n", f"| row | n | {' | '.join(map(_head, columns))} |"]
        parts.append("| --- | --- |" + " --- |" * len(columns))
        for row, (number, measures) in found.items():
            cells = [_cell(column, row, measures[column.key]) for column in columns]
            parts.append(f"| {row.name} | {number} | {' | '.join(cells)} |")
        parts.append("")
    return "\n".join(parts)


def _head(column: Column) -> str:
    if np.isfinite([column.low, column.high]).all():
        return f"{column.title} ({column.low:g} to {column.high:g})"
    if np.isfinite(column.high):
        return f"{column.title} (≤ {column.high:g})"
    return f"{column.title} (≥ {column.low:g})" if np.isfinite(column.low) else column.title


def _cell(column: Column, row: Row, measure: Measure) -> str:
    if np.isnan(measure[0]):
        return ""
    text = f"{measure[0]:.3f}" if np.isnan(measure[1]) else f"{measure[0]:.3f} ± {measure[1]:.3f}"
    return f"**{text}**" if missed(column, row, measure) else text
