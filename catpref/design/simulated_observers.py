"""Simulated observers: participants whose taste is known, to test what was learned against the truth.

An observer's utility is a weighted sum of a face's parameters. In a trial each image's utility is disturbed
by Gumbel noise and the higher one is chosen. The difference of two Gumbel variables is logistic, so

    P(right) = lapse / 2 + (1 − lapse) · σ((u_right − u_left) / noise + side_bias),

the Luce choice rule with a preference for one side and moments of inattention.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype
from scipy.special import expit

from catpref.design.trial_list import Trial
from catpref.errors import BadInput

NOISE = 0.8
"""Gives a noise ceiling of about 0.85 on pairs of drawn faces, whose utilities have a deviation of about 1.8."""

BABY_SCHEMA = {
    "eye_size": 1.0,
    "face_roundness": 0.8,
    "forehead_height": 0.6,
    "cheek_fullness": 0.6,
    "muzzle_size": -0.6,
    "nose_size": -0.6,
    "pupil_width": 0.5,
    "eye_height": -0.4,
}
"""What makes a face cute to most people (sources: `catpref.stimuli.catface.PARAMETERS`), relative to eye size."""

TASTE = ("coat_colour", "coat_lightness", "eye_colour", "fur_length", "tabby_strength", "white_area")
"""What people differ about."""

TASTE_SD = 0.35

BETWEEN_TRIALS = 1.0
"""Seconds from an answer to the next pair: a fixation mark and a breath."""


@dataclass(frozen=True)
class SimulatedObserver:
    """One observer and the set of images whose utility to them is known.

    Attributes
    ----------
    utilities
        Utility by image name.
    noise
        Scale of the Gumbel noise, in units of utility; 0 = the higher utility always wins.
    side_bias
        What being on the right adds to the log odds of being chosen. Without noise it only decides ties.
    lapse
        Probability of not looking and choosing a side by the flip of a fair coin.

    Raises
    ------
    BadInput
        If `noise` is negative, `lapse` is no probability, or a number is not finite.
    """

    utilities: Mapping[str, float]
    noise: float = NOISE
    side_bias: float = 0.0
    lapse: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.noise) and self.noise >= 0):
            raise BadInput(f"noise is {self.noise}; it must be a number of at least 0")
        if not math.isfinite(self.side_bias):
            raise BadInput(f"side bias is {self.side_bias}; it must be a number")
        if not 0 <= self.lapse <= 1:
            raise BadInput(f"lapse is {self.lapse}; it must be a probability from 0 to 1")

    def log_odds(self, left: Iterable[str], right: Iterable[str]) -> NDArray[np.float64]:
        """Log odds of choosing right over left when looking, shape (trials,).

        Raises
        ------
        BadInput
            If an image is not among `utilities`.
        """
        difference = self._utilities_of(right) - self._utilities_of(left)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # infinite without noise
            return np.where(difference == 0, 0.0, difference / self.noise) + self.side_bias

    def p_right(self, left: Iterable[str], right: Iterable[str]) -> NDArray[np.float64]:
        """Probability of choosing the right image, shape (trials,)."""
        return self.lapse / 2 + (1 - self.lapse) * expit(self.log_odds(left, right))

    def choose(
        self, left: Iterable[str], right: Iterable[str], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Answer each trial, with fresh noise: 0 = left, 1 = right, shape (trials,)."""
        p_right = self.p_right(left, right)
        return (rng.random(len(p_right)) < p_right).astype(np.int64)

    def noise_ceiling(self, left: Iterable[str], right: Iterable[str]) -> float:
        """Return the expected accuracy on these trials of an oracle that knows all but the noise itself."""
        p_right = self.p_right(left, right)
        return float(np.maximum(p_right, 1 - p_right).mean())

    def reaction_times(
        self, left: Iterable[str], right: Iterable[str], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Draw reaction times in seconds, shape (trials,): about 1.5 s for equals, faster for easier pairs.

        The mean decision time of a drift diffusion with log odds L is proportional to tanh(L / 2) / (L / 2)
        (Palmer, Huk & Shadlen 2005, J. Vision 5, 376); 0.4 s are for seeing and pressing. The spread is
        log-normal and does not depend on which side is chosen.
        """
        half = np.clip(np.abs(self.log_odds(left, right)) / 2, 1e-9, 1e9)
        return (0.4 + 1.1 * np.tanh(half) / half) * rng.lognormal(0.0, 0.25, len(half))

    def _utilities_of(self, names: Iterable[str]) -> NDArray[np.float64]:
        try:
            return np.array([self.utilities[name] for name in names], dtype=np.float64)
        except KeyError as problem:
            raise BadInput(f"image {problem} has no known utility; it is not in parameters.csv") from problem


def read_parameters(folder: Path) -> pd.DataFrame:
    """Read the face parameters of a rendered stimulus set: a row an image, indexed by file name.

    Raises
    ------
    BadInput
        If the folder has no `parameters.csv`, or it is not a table of one finite number a face and parameter.
    """
    path = folder / "parameters.csv"
    if not path.is_file():
        raise BadInput(
            f"{path}: no such file; a simulated observer needs a rendered set"
            " (python -m catpref.stimuli render --n 50 DIR)"
        )
    try:
        table = pd.read_csv(path, dtype={"file": str}, encoding="utf-8-sig")
    except (OSError, ValueError) as problem:
        raise BadInput(f"{path}: cannot be read as CSV ({problem}); render the set again") from problem
    names = list(table["file"]) if "file" in table else []
    if not names or len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
        raise BadInput(f"{path}: must name each image once in a column file; render the set again")
    table = table.set_index("file")
    if not (all(map(is_numeric_dtype, table.dtypes)) and np.isfinite(table.to_numpy(np.float64)).all()):
        raise BadInput(f"{path}: must hold only finite numbers beside the column file; render the set again")
    return table


def draw_weights(seed: int) -> dict[str, float]:
    """Draw a taste: the baby schema, which people share, and likings for coats and eyes, which are personal.

    Returns
    -------
    dict
        Weight by parameter name, of unit Euclidean length: over faces whose parameters are independent, the
        utility then has unit variance.
    """
    likings = np.random.default_rng(seed).normal(0.0, TASTE_SD, len(TASTE))
    weights = BABY_SCHEMA | dict(zip(TASTE, likings.tolist(), strict=True))
    length = math.hypot(*weights.values())
    return {name: weight / length for name, weight in weights.items()}


def utilities(parameters: pd.DataFrame, weights: Mapping[str, float]) -> dict[str, float]:
    """Weigh the face parameters, each standardised to mean 0 and variance 1 over the set.

    Parameters
    ----------
    parameters
        As from `read_parameters`.
    weights
        Weight by parameter name; parameters that are not named do not matter to the observer.

    Returns
    -------
    dict
        Utility by image name.

    Raises
    ------
    BadInput
        If a named parameter is not in the table.
    """
    for name in weights:
        if name not in parameters:
            raise BadInput(f"parameters.csv: no column {name}; render the set again")
    values = parameters[list(weights)].to_numpy(np.float64)
    spread = values.std(axis=0)
    standardised = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    weighed = standardised @ np.array(list(weights.values()))
    return dict(zip(parameters.index, weighed.tolist(), strict=True))


def simulate_session(
    observer: SimulatedObserver, trials: Sequence[Trial], participant: str, seed: int
) -> pd.DataFrame:
    """Simulate an observer who answers a trial list.

    Parameters
    ----------
    observer
        Who answers. A repeated trial is answered anew, with fresh noise; a catch trial is passed, lapses aside.
    trials
        The list, in the order of the session.
    participant
        Their code.
    seed
        The same seed, observer and list give the same session.

    Returns
    -------
    pandas.DataFrame
        A row a trial, with the columns of a session.csv; `onset` counts from the first pair.
    """
    rng = np.random.default_rng((seed, 1))  # not the stream that drew the observer's taste
    left, right = [trial.left_image for trial in trials], [trial.right_image for trial in trials]
    choices = observer.choose(left, right, rng)
    for place, trial in enumerate(trials):
        if trial.catch:
            intact = int(trial.catch == "left")
            choices[place] = intact if rng.random() >= observer.lapse / 2 else 1 - intact
    times = observer.reaction_times(left, right, rng)
    onsets = np.concatenate([[0.0], np.cumsum(times + BETWEEN_TRIALS)[:-1]])
    return pd.DataFrame(
        {
            "participant": participant,
            "session": "1",
            "design": [trial.design for trial in trials],
            "block": [trial.block for trial in trials],
            "trial": [trial.trial for trial in trials],
            "left_image": left,
            "right_image": right,
            "choice": choices,
            "rt": times.round(4),
            "onset": onsets.round(4),
            "repeat_of": pd.array([trial.repeat_of for trial in trials], dtype="Int64"),
            "catch": [trial.catch for trial in trials],
        }
    )
