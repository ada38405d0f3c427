"""A balanced subset of all pairs, for more images than a participant can see all pairs of."""

import math
from itertools import combinations, pairwise

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

FEWEST = 10
"""Images. From 10 on, every pair of a balanced subset shares no image with at least half of the others, so that
`designs.keep_apart` always finds an order (Dirac); of fewer images, a participant sees all pairs at once."""

Pair = tuple[int, int]


def balanced_subset(images: int, trials: int, rng: np.random.Generator) -> list[Pair]:
    """Draw pairs in which every image is as often as any other, ±1, and which no group of images is cut off from.

    These are Kendall's two conditions for incomplete paired comparisons (1955, "Further contributions to the theory
    of paired comparisons", Biometrics 11, 43–62): without the first, some utilities are known better than others;
    without the second, utilities of the groups cannot be compared.

    Parameters
    ----------
    images
        How many, at least `FEWEST`.
    trials
        How many pairs: at least `images`, at most all of them.
    rng
        Draws them.

    Returns
    -------
    list of (int, int)
        No pair twice.
    """
    everything = math.comb(images, 2)
    while True:
        if trials <= everything / 2:
            pairs = _draw(images, trials, rng, rng.permutation(images))
        else:  # What is left out is as balanced as what is kept.
            out = {frozenset(pair) for pair in _draw(images, everything - trials, rng)}
            pairs = [pair for pair in combinations(range(images), 2) if frozenset(pair) not in out]
        ends = np.array(pairs)
        links = coo_array((np.ones(len(pairs)), (ends[:, 0], ends[:, 1])), shape=(images, images))
        if np.ptp(np.bincount(ends.ravel(), minlength=images)) <= 1 and connected_components(links)[0] == 1:
            return pairs


def _draw(images: int, trials: int, rng: np.random.Generator, circle: np.ndarray | None = None) -> list[Pair]:
    """Draw pairs, first the neighbours on a circle, then of the images least often drawn; now and then unbalanced."""
    met = np.eye(images, dtype=bool)
    count = np.zeros(images, dtype=int)
    around = [] if circle is None else list(pairwise([*circle.tolist(), int(circle[0])]))
    pairs: list[Pair] = []
    while len(pairs) < trials:
        if len(pairs) < len(around):
            one, other = around[len(pairs)]
        else:
            order = rng.permutation(images)
            one = int(order[count[order].argmin()])
            partners = order[~met[one, order]]
            other = int(partners[count[partners].argmin()])
        met[one, other] = met[other, one] = True
        count[[one, other]] += 1
        pairs.append((one, other))
    return pairs
