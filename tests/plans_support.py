"""What tests of plans share: images of which little is seen, so that studies are quick to simulate."""

import functools

import numpy as np

from catpref.plans.observers import usual_habits
from catpref.plans.studies import Setting
from catpref.plans.world import WIDTH, World


@functools.cache
def small_world(images: int = 200) -> World:
    """Images of which little is seen, so that studies are quick."""
    random = np.random.default_rng(0)
    seen = random.standard_normal((images, 12)) @ random.standard_normal((12, 3 * WIDTH))
    factors = np.array([[1.0, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]])
    features = (seen / seen.std(0)).astype(np.float32)
    return World("a small world", features, factors, ("layer", "layer", "region", "late stage"))


@functools.cache
def setting(seed: int = 0) -> Setting:
    world = small_world()
    return Setting(world, usual_habits(world.blocks), seed)
