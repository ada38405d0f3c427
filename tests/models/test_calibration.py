import numpy as np
from scipy.special import expit

from catpref.models.calibration import fit_gain


def test_the_gain_of_many_choices_is_recovered() -> None:
    random = np.random.default_rng(0)
    logits = 2 * random.standard_normal(20_000)
    choices = (random.random(20_000) < expit(1.7 * logits)).astype(int)
    gain, at_best = fit_gain(lambda gain: gain * logits, choices)
    assert abs(gain - 1.7) < 0.1
    signs = 2 * choices - 1
    assert at_best < -np.log(expit(signs * logits)).sum(), "better than no gain at all"


def test_without_choices_the_gain_is_one() -> None:
    gain, at_best = fit_gain(lambda gain: np.zeros(0), np.zeros(0, int))
    assert abs(gain - 1) < 1e-3 and abs(at_best) < 1e-6
    gain, at_best = fit_gain(lambda gain: np.zeros(0), np.zeros(0, int), (0.5, 0.2))
    assert abs(gain - np.exp(0.5)) < 1e-3, "but the usual one"
