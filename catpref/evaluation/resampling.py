"""Sessions drawn again: images, or groups of images, with replacement."""

from collections.abc import Iterator

import numpy as np

from catpref.design.splits import connected_groups

_LEAST_GROUPS = 20


def resampled(pairs: np.ndarray, draws: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Resample a session: how often each trial counts, in one draw after the other.

    Where trials fall into many groups that share no image, groups are drawn. Else images are, and each trial
    counts as often as both its images were drawn (the node bootstrap of dyadic data, Snijders & Borgatti 1999).

    Parameters
    ----------
    pairs
        The images of each trial as indices, shape (trials, 2).
    draws
        Number of draws; those in which no trial is left are not given.
    seed
        Seed of the draws.
    """
    images, indices = np.unique(pairs, return_inverse=True)
    left, right = indices.reshape(-1, 2).T
    group = connected_groups(indices.reshape(-1, 2))
    groups = int(group.max()) + 1
    units = groups if groups >= _LEAST_GROUPS else len(images)
    random = np.random.default_rng(seed)
    for _ in range(draws):
        drawn = np.bincount(random.integers(units, size=units), minlength=units)
        weights = drawn[group[left]] if units == groups else drawn[left] * drawn[right]
        if weights.any():
            yield weights
