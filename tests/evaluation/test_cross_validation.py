import numpy as np
from engines_support import Scrambled
from plans_support import small_world

from catpref.design.splits import split
from catpref.evaluation import cross_validation
from catpref.models.interface import Data
from catpref.models.population import ALONE, POPULATION, SHARED


def test_several_participants_are_fitted_elsewhere_as_here() -> None:
    """To the last bit; and what a fold's trials taught is learned once for the models that build on it."""
    random = np.random.default_rng(0)
    pairs = np.array([random.choice(30, 2, replace=False) for _ in range(120)])
    who = np.repeat(np.arange(3), 40)
    data = Data(small_world().some(np.arange(30)), pairs, random.integers(0, 2, 120), who=who)
    splits = [split(pairs, "images", 2, 0)]
    models, engine = (POPULATION, SHARED, ALONE), Scrambled()
    here = cross_validation.fit(models, data, splits).held_out
    there = cross_validation.fit(models, data, splits, engine).held_out
    for model in models:
        for one, other in zip(here[model.name], there[model.name], strict=True):
            assert np.array_equal(one.p_right, other.p_right) and np.array_equal(one.trials, other.trials)
    assert engine.done == ["_fit", "_fit"], "one task a fold"
