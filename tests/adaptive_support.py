"""What tests of adaptive sessions share: a prior that no network made, and the pairs that must have been shown."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from catpref._io.cache import default_folder
from catpref.adaptive.chooser import Answer, choose, learn_from, share_gained
from catpref.adaptive.prior import Prior, read_prior, write_prior
from catpref.design.trial_list import BY_LEARNING, Trial, read_trial_list
from catpref.lab import starting_prior
from catpref.stimuli.images import find_images


def made_up_prior(names: Sequence[str], dimensions: int = 5, seed: int = 0) -> Prior:
    """A prior in which tastes differ along a few directions."""
    features = np.random.default_rng(seed).normal(size=(len(names), dimensions)).astype(np.float16)
    return Prior(tuple(names), features.astype(float), np.zeros(len(names)), 0.25)


def prior_bytes(folder: Path, names: Sequence[str]) -> bytes:
    write_prior(folder / "made-up.safetensors", made_up_prior(names))
    return (folder / "made-up.safetensors").read_bytes()


def keep_made_up_priors(monkeypatch: pytest.MonkeyPatch, folder: Path, stimuli: Path | None = None) -> None:
    """Let sessions begin with made-up priors; those of all images of `stimuli` also in other processes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr(starting_prior, "_computed", lambda _, names, *__: prior_bytes(folder, names))
    if stimuli:
        for for_order in (False, True):
            starting_prior.starting_prior(stimuli, find_images(stimuli), None, for_order)
        assert any(default_folder().rglob("*"))


def as_chosen(folder: Path, stimuli: Path, rows: Sequence[dict[str, str]], seed: int) -> list[Trial]:
    """The trials that a session's files say were to be shown, up to the one after the last answer."""
    prior, schedule, answers = _kept(folder, stimuli, rows)
    return [
        choose(prior, learn_from(prior, schedule, answers[:number]), schedule, answers[:number], seed)
        for number in range(min(len(rows) + 1, len(schedule)))
    ]


def gained(folder: Path, stimuli: Path, rows: Sequence[dict[str, str]]) -> float:
    """The share of the accuracy that can be gained with some answers, 0 where no pair is to be chosen after them."""
    prior, schedule, answers = _kept(folder, stimuli, rows)
    if not schedule[len(answers)].is_open:
        return 0.0
    return share_gained(prior, learn_from(prior, schedule, answers), schedule)


def _kept(
    folder: Path, stimuli: Path, rows: Sequence[dict[str, str]]
) -> tuple[Prior, list[Trial], list[Answer]]:
    answers = [
        Answer(row["left_image"], row["right_image"], float(row["choice"]) if row["choice"] else None)
        for row in rows
    ]
    schedule = read_trial_list(folder / "trials.csv", stimuli, BY_LEARNING)
    return read_prior(folder / "prior.safetensors"), schedule, answers


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
