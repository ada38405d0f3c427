import numpy as np
from scipy.special import expit

from catpref.models.kernels import kernels_of
from catpref.models.learned import Learned, learn, of_known_images
from catpref.models.utility import project


def test_images_shown_once_are_not_said_to_be_known_too_well() -> None:
    """Of a taste that the embedding does not carry, Laplace's approximation alone is much too sure."""
    random = np.random.default_rng(0)
    embeddings = random.normal(size=(400, 30)).astype(np.float32)
    worth = random.normal(0, 1, 400)
    pairs = np.arange(400).reshape(-1, 2)
    choices = (random.random(200) < expit(worth[pairs[:, 1]] - worth[pairs[:, 0]])).astype(int)
    alone = learn(kernels_of(embeddings, pairs), choices, np.arange(200))

    def covered(learned: Learned) -> float:
        mean, sd = project(learned, embeddings).utilities(embeddings)
        return float((np.abs(mean - mean.mean() - worth + worth.mean()) <= 1.96 * sd).mean())

    assert covered(alone) < 0.75
    assert 0.9 < covered(of_known_images(alone, choices, lapse=0.02)) < 0.99
    assert 0.9 < covered(of_known_images(alone, choices, lapse=0.15)) < 0.99
