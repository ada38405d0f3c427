"""Adaptive sessions of simulated observers, chosen by the engine on features that are known."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit
from support import faces, true_utilities

from catpref.adaptive.learner import Posterior, learn
from catpref.adaptive.prior import FILE, Prior, write_prior
from catpref.adaptive.selection import next_pair
from catpref.design.simulated_observers import read_parameters

Chooser = Callable[[Prior, Posterior, np.ndarray, int, int], tuple[int, int]]


class Answered(NamedTuple):
    pairs: np.ndarray
    choices: np.ndarray
    chosen_by: np.ndarray


def prior_of(features: np.ndarray, strength: float = 1.5) -> Prior:
    """A prior under which a typical pair differs by `strength` logits."""
    size = np.sqrt(2 * np.square(features - features.mean(0)).sum(1).mean())
    names = tuple(f"{image:04d}.png" for image in range(len(features)))
    return Prior(names, features * strength / size, np.zeros(len(features)), 0.5)


def most_unsure(
    prior: Prior, posterior: Posterior, candidates: np.ndarray, seed: int, trial: int
) -> tuple[int, int]:
    """The pair about whose answer the posterior is least sure, among some drawn ones (uncertainty sampling)."""
    random = np.random.default_rng((seed, trial))
    drawn = random.permuted(np.tile(candidates, (300, 1)), axis=1)[:, :2]
    apart = posterior.utilities(prior)[drawn]
    left, right = drawn[np.abs(apart[:, 1] - apart[:, 0]).argmin()].tolist()
    return left, right


def answer(
    prior: Prior, worth: np.ndarray, trials: int, seed: int, side_bias: float = 0.0, rank: bool = False,
    choose: Chooser = next_pair, every: int = 1,
) -> Answered:  # fmt: skip
    """An observer with the given utilities: every fifth pair is random, of reserved images, unless `rank`.

    What was answered is learned from after `every` so many trials.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(prior.images))
    count = 0 if rank else 2 * -(-trials // 5)
    reserved, candidates = order[:count], order[count:]
    pairs, choices, chosen_by = np.zeros((trials, 2), int), np.zeros(trials, int), np.full(trials, "adaptive")
    posterior = learn(prior, pairs[:0], choices[:0])
    for trial in range(trials):
        if trial % 5 == 0 and not rank:
            pairs[trial], chosen_by[trial] = reserved[2 * (trial // 5) :][:2], "random"
        else:
            pairs[trial] = choose(prior, posterior, candidates, seed, trial)
        left, right = pairs[trial]
        choices[trial] = random.random() < expit(worth[right] - worth[left] + side_bias)
        if trial % every == 0:
            posterior = learn(prior, pairs[: trial + 1], choices[: trial + 1])
    return Answered(pairs, choices, chosen_by)


def write_session(
    folder: Path, trials: int, seed: int = 0, taste: float = 2.0, repeats: int = 0, rank: bool = False,
    participant: str = "p01", images: int = 70,
) -> Path:  # fmt: skip
    """Write cats/, session.csv, session.json and the prior, as an adaptive session of drawn cats leaves them."""
    cats = folder / "cats"
    cats.mkdir(parents=True, exist_ok=True)
    names = sorted(path.name for path in faces().glob("*.png"))[:images]
    for name in names:
        shutil.copy(faces() / name, cats / name)
    parameters = read_parameters(faces()).loc[names].to_numpy()
    features = (parameters - parameters.mean(0)) / np.maximum(parameters.std(0), 1e-9)
    prior = replace(prior_of(features), images=tuple(names))
    answered = answer(prior, taste * true_utilities()[:images], trials, seed, rank=rank)
    table = pd.DataFrame({
        "participant": participant, "session": "1", "design": "adaptive-ranking" if rank else "adaptive",
        "block": np.arange(trials) // 50, "trial": range(trials),
        "left_image": [names[left] for left in answered.pairs[:, 0]],
        "right_image": [names[right] for right in answered.pairs[:, 1]],
        "choice": answered.choices, "rt": np.random.default_rng(seed).lognormal(0, 0.3, trials).round(4),
        "repeat_of": pd.array([None] * trials, dtype="Int64"), "catch": "", "chosen_by": answered.chosen_by,
    })  # fmt: skip
    some = table[table["chosen_by"] == "random"].iloc[:repeats]
    again = some.assign(
        left_image=some["right_image"], right_image=some["left_image"], choice=1 - some["choice"],
        repeat_of=some["trial"].to_numpy(), trial=range(trials, trials + len(some)), chosen_by="",
    )  # fmt: skip
    pd.concat([table, again]).to_csv(folder / "session.csv", index=False)
    (folder / "session.json").write_text(json.dumps({"stimuli": "cats"}))
    write_prior(folder / FILE, prior)
    return folder / "session.csv"
