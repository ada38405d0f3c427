"""Choices alone, for `benchmarks.validity --ceilings`: what they say of side bias, lapse rate and noise ceiling.

Each session has utilities of its own, drawn at random. No images, embedding or model of the taste is needed, so that
there is time for many observers: of every spread of utilities with every lapse rate, each side bias and each shape of
the utilities' distribution once with every one of either (a Latin square).
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from benchmarks.validity_sessions import Design, Observer, Row, appeal, of_observer, true_p_right
from catpref.design.designs import make_trials
from catpref.evaluation.noise_ceiling import noise_ceiling, taste_ceiling
from catpref.models import psychometric

_SPREADS = 0.0, 0.5, 1.5, 3.0  # standard deviation of the utilities, in logits
_LAPSES = 0.0, 0.05, 0.1, 0.2
_BIASES = 0.0, 0.5, 1.0, 2.0
_TAILS = np.inf, 4.0  # Student's degrees of freedom


def rows_of_choices(designs: Sequence[Design]) -> list[Row]:
    """Return every observer in every design."""
    return [Row(design, observer) for design in designs for observer in _observers()]


def _observers() -> list[Observer]:
    found = []
    for spread, lapse in product(range(len(_SPREADS)), range(len(_LAPSES))):
        own, bias = _SPREADS[spread], _BIASES[(spread + lapse) % len(_BIASES)]
        tails = _TAILS[(spread // 2 + lapse) % len(_TAILS)]
        name = f"{'t' if np.isfinite(tails) else 'sd'}-{own:g}-bias-{bias:g}-lapse-{_LAPSES[lapse]:g}"
        found.append(Observer(name, own=own, side_bias=bias, lapse=_LAPSES[lapse], tails=tails))
    return found


def run_choices(row: Row, number: int) -> dict[str, Any]:
    """Simulate a session's choices, and return what they say of the observer beside the truth, for JSON."""
    random = row.random(number)
    worth = row.observer.own * appeal(row.observer, row.design.images, random)
    names = [str(image) for image in range(row.design.images)]
    trials = make_trials(row.design.kind, names, row.design.repeats, seed=random)
    pairs = np.array([[int(trial.left_image), int(trial.right_image)] for trial in trials])
    difference = worth[pairs[:, 1]] - worth[pairs[:, 0]]
    p_right = true_p_right(row.observer, difference)
    observer = psychometric.fit(pairs, (random.random(len(pairs)) < p_right).astype(int))
    ceilings = noise_ceiling(None, observer), taste_ceiling(None, observer)
    return of_observer(observer, ceilings, p_right, difference)
