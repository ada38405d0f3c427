"""Splits of the trials into training and test folds, by images or by trials."""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import KFold

from catpref.commands import BadInput

Fold = tuple[np.ndarray, np.ndarray]
"""Indices of the training trials and of the test trials."""

_LEAST_TRAINING_TRIALS = 10


def split(pairs: np.ndarray, by: str, folds: int, seed: int) -> list[Fold]:
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

    Returns
    -------
    list of (ndarray, ndarray)

    Raises
    ------
    BadInput
        If there are too few trials or images for so many folds.
    """
    made = list(_by_images(pairs, folds, seed) if by == "images" else _by_trials(pairs, folds, seed))
    least = min((len(train) for train, _ in made), default=0)
    if len(made) < folds or least < _LEAST_TRAINING_TRIALS or not all(len(test) for _, test in made):
        raise BadInput(
            f"{len(pairs)} trials of {len(np.unique(pairs))} images are too few for {folds} folds split by {by}; "
            "collect more trials or ask for fewer --folds"
        )
    return made


def _by_images(pairs: np.ndarray, folds: int, seed: int) -> Iterator[Fold]:
    images = int(pairs.max()) + 1
    if images < folds:
        return
    # Images that no chain of trials connects can be told apart without losing a trial. Where everything is
    # connected, as when all pairs are shown, trials between training and test images have to go.
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(images, images))
    groups, group_of = connected_components(links, directed=False)
    trials_in_group = np.bincount(group_of[pairs[:, 0]], minlength=groups)
    if groups < folds or trials_in_group.max() > len(pairs) / folds:
        group_of = np.arange(images)
        groups = images
    for _, test_groups in KFold(folds, shuffle=True, random_state=seed).split(np.arange(groups)):
        is_test = np.isin(group_of, test_groups)[pairs]
        yield np.flatnonzero(~is_test.any(1)), np.flatnonzero(is_test.all(1))


def _by_trials(pairs: np.ndarray, folds: int, seed: int) -> Iterator[Fold]:
    _, couple_of = np.unique(np.sort(pairs, axis=1), axis=0, return_inverse=True)
    couples = int(couple_of.max()) + 1
    if couples < folds:
        return
    for train, test in KFold(folds, shuffle=True, random_state=seed).split(np.arange(couples)):
        yield np.flatnonzero(np.isin(couple_of, train)), np.flatnonzero(np.isin(couple_of, test))
