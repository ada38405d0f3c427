"""Splits of the trials into training and test folds, by images or by trials."""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from catpref.errors import BadInput

Fold = tuple[np.ndarray, np.ndarray]
"""Indices of the training trials and of the test trials."""

_LEAST_TRAINING_TRIALS = 10
_NONE = -1  # the fold of what is never tested
_ATTEMPTS = 100  # at an assignment in which every fold has something to train on and to test


def split(
    pairs: np.ndarray,
    by: str,
    folds: int,
    seed: int,
    tested: np.ndarray | None = None,
    is_fair: np.ndarray | None = None,
) -> list[Fold]:
    """Split trials for cross-validation.

    Parameters
    ----------
    pairs
        Shape (trials, 2): the images of each trial as indices 0 … n − 1.
    by
        ``"images"``: no image of a test trial is in any training trial; trials that pair a training image with
        a test image are in neither. ``"trials"``: images are shared, but all trials of the same two images
        (a repeat, say) stay together.
    folds
        Number of folds.
    seed
        Seed of the random assignment.
    tested
        Which trials may be tested, shape (trials,); the others are only learned from. None: all.
    is_fair
        Which trials are a fair sample, shape (trials,): of these the folds are made, the others (adaptive ones) are
        only learned from, in every fold whose test trials have none of their images. None: all.

    Returns
    -------
    list of (ndarray, ndarray)

    Raises
    ------
    BadInput
        If there are too few trials or images for so many folds.
    """
    if folds < 2:
        raise BadInput(f"folds={folds}: cross-validation needs at least 2")
    assign = {"images": _by_images, "trials": _by_trials}[by]
    random = np.random.default_rng(seed)
    is_fair = np.ones(len(pairs), bool) if is_fair is None else is_fair
    may_be_tested = is_fair if tested is None else is_fair & tested
    for _ in range(_ATTEMPTS if folds <= is_fair.sum() else 0):
        made = []
        for train, test in assign(pairs, folds, random, is_fair):
            test = test[may_be_tested[test]]
            if len(train) < _LEAST_TRAINING_TRIALS or not len(test):
                break
            made.append((train, test))
        else:
            return made
    if not is_fair.all():
        raise BadInput(
            f"{is_fair.sum()} random trials beside {(~is_fair).sum()} adaptive ones are too few for {folds} folds "
            f"split by {by}; collect more, or try fewer folds"
        )
    raise BadInput(
        f"{len(pairs)} trials of {len(np.unique(pairs))} images are too few for {folds} folds split by {by}; "
        "collect more, or try fewer folds or split=trials"
    )


def connected_groups(pairs: np.ndarray) -> np.ndarray:
    """Return which group of images, connected by chains of trials, each image is in.

    Parameters
    ----------
    pairs
        Shape (trials, 2): the images of each trial as indices 0 … n − 1.

    Returns
    -------
    ndarray
        The group of each image, from 0, shape (n,).
    """
    images = int(pairs.max(initial=-1)) + 1
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(images, images))
    return connected_components(links, directed=False)[1]


def _by_images(
    pairs: np.ndarray, folds: int, random: np.random.Generator, is_fair: np.ndarray
) -> Iterator[Fold]:
    fold_of = np.full(int(pairs.max()) + 1, _NONE)
    among, shown = np.unique(pairs[is_fair], return_inverse=True)
    if is_fair.all():  # images that were in no trial keep their numbers
        among, shown = np.arange(len(fold_of)), pairs
    fold_of[among] = _folds_of_images(shown.reshape(-1, 2), folds, random)
    for fold in range(folds):
        is_test = (fold_of == fold)[pairs]
        yield np.flatnonzero(~is_test.any(1)), np.flatnonzero(is_test.all(1))


def _folds_of_images(pairs: np.ndarray, folds: int, random: np.random.Generator) -> np.ndarray:
    images = int(pairs.max()) + 1
    # Images that no chain of trials connects can be told apart without losing a trial. Where most are
    # connected, as when all pairs are shown, trials between training and test images have to go.
    group_of = connected_groups(pairs)
    sizes = np.bincount(group_of[pairs[:, 0]], minlength=group_of.max() + 1)
    if sizes.max() > len(pairs) / 2 or np.count_nonzero(sizes) < folds:
        group_of, sizes = np.arange(images), np.ones(images)
    return _balanced(sizes, folds, random)[group_of]


def _by_trials(
    pairs: np.ndarray, folds: int, random: np.random.Generator, is_fair: np.ndarray
) -> Iterator[Fold]:
    _, couple_of = np.unique(np.sort(pairs, axis=1), axis=0, return_inverse=True)
    couple_of = couple_of.ravel()
    fair = np.unique(couple_of[is_fair])
    fold_of_couple = np.full(int(couple_of.max()) + 1, _NONE)
    fold_of_couple[fair] = _balanced(np.ones(len(fair)), folds, random)
    fold_of = fold_of_couple[couple_of]
    for fold in range(folds):
        yield np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)


def _balanced(sizes: np.ndarray, folds: int, random: np.random.Generator) -> np.ndarray:
    """Deal groups out to folds of about the same size: in random order, large ones first, to the smallest fold."""
    order = random.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold_of, load = np.empty(len(sizes), int), np.zeros(folds)
    for group in order:
        fold_of[group] = load.argmin()
        load[fold_of[group]] += sizes[group]
    return fold_of
