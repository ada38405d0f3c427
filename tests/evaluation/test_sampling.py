import numpy as np
import pytest
from scipy.special import expit
from support import all_pairs, most, simulations

from catpref.design.splits import split
from catpref.evaluation import sampling
from catpref.evaluation.sampling import p_value, simulate
from catpref.evaluation.scores import areas
from catpref.models import psychometric

FULL = all_pairs(30)
ONCE = np.random.default_rng(0).permutation(300).reshape(-1, 2)


def session(
    pairs: np.ndarray, seed: int, carried: float, own: float, side_bias: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """What is seen of each image, and the choices of an observer whose taste it carries in part."""
    random = np.random.default_rng((seed, 2))
    features = random.normal(size=(int(pairs.max()) + 1, 10))
    worth = carried * features[:, 0] + own * random.normal(size=len(features))
    p_right = expit(worth[pairs[:, 1]] - worth[pairs[:, 0]] + side_bias)
    return features, (random.random(len(pairs)) < p_right).astype(int)


@pytest.mark.parametrize(("pairs", "own", "side_bias"), [
    (FULL, 2.0, 0.0),  # consistent, with a taste that has nothing to do with what is seen
    (FULL, 0.0, 1.0),
    (ONCE, 1.5, 0.5),
    (ONCE, 0.0, 0.0),
])  # fmt: skip
def test_without_taste_no_p_value_is_more_likely_than_another(
    pairs: np.ndarray, own: float, side_bias: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "PERMUTATIONS", 99)
    found = []
    for seed in range(simulations(40, 160)):
        features, choices = session(pairs, seed, 0.0, own, side_bias)
        found.append(p_value(features, pairs, choices, split(pairs, "images", 5, seed), seed))
    assert np.mean(np.array(found) <= 0.05) <= 0.125 and 0.4 < np.mean(found) < 0.62


def test_a_taste_that_is_carried_is_found() -> None:
    for pairs in (FULL, ONCE):
        features, choices = session(pairs, 0, 2.0, 0.5)
        assert p_value(features, pairs, choices, split(pairs, "images", 5, 0)) < 0.01


@pytest.mark.parametrize(("pairs", "own"), [(FULL, 2.0), (FULL, 0.0), (ONCE, 0.0)])
def test_the_interval_covers_one_half_without_taste(pairs: np.ndarray, own: float) -> None:
    """Wilson's interval covered in 0.83: what fold A teaches of fold B is what B teaches of A."""
    inside, runs = 0, simulations(30, 120)
    observer = psychometric.fit(pairs, session(pairs, 0, 0.0, own)[1])  # all are alike, and a fit takes long
    for seed in range(runs):
        features, choices = session(pairs, seed, 0.0, own)
        folds = split(pairs, "images", 5, seed)
        found = simulate(features, pairs, folds, observer, seed)
        # The cross-validated accuracy of the ridge regression itself.
        scale = sampling._scale(features, pairs)
        hits = sampling._hits((features / scale)[None], pairs, np.where(choices == 1, 1.0, -1.0), folds)[0]
        low, high = found.interval(float(hits) / sum(len(test) for _, test in folds))
        inside += low <= 0.5 <= high
    assert inside >= runs - most(runs)


@pytest.mark.parametrize(("pairs", "own"), [(FULL, 2.0), (ONCE, 0.0)])
def test_the_reach_of_an_auc_is_that_of_observers_without_taste(pairs: np.ndarray, own: float) -> None:
    features, choices = session(pairs, 0, 0.0, own, 1.0)
    folds = split(pairs, "images", 5, 0)
    found = simulate(features, pairs, folds, psychometric.fit(pairs, choices)).of_auc
    rows = np.concatenate([test for _, test in folds])
    fold = np.repeat(np.arange(5), [len(test) for _, test in folds])
    differences = (features[pairs[:, 1]] - features[pairs[:, 0]]) / sampling._scale(features, pairs)
    inside = []
    for seed in range(200):
        random = np.random.default_rng((seed, 3))
        worth = own * random.normal(size=len(features))  # of other observers, who saw the same images
        p_right = expit(worth[pairs[:, 1]] - worth[pairs[:, 0]] + 1.0)
        answers = np.where(random.random(len(pairs)) < p_right, 1.0, -1.0)
        predicted = []
        for train, test in folds:
            seen, centred = differences[train], answers[train] - answers[train].mean()
            predicted.append(
                differences[test] @ sampling._ridge(seen.T @ seen, seen.T @ centred[:, None])[:, 0]
            )
        auc = areas(np.concatenate(predicted), answers[rows] > 0, fold, np.ones((1, len(rows))))[0]
        assert found is not None
        low, high = found.interval(float(auc))
        inside.append(low <= 0.5 <= high)
    assert 0.9 <= np.mean(inside) <= 0.99


def test_an_interval_holds_its_accuracy() -> None:
    features, choices = session(FULL, 0, 2.0, 0.5)
    folds = split(FULL, "images", 5, 0)
    found = simulate(features, FULL, folds, psychometric.fit(FULL, choices))
    assert found.expected[0] == pytest.approx(0.5) and (np.diff(found.expected) > 0).all()
    for accuracy in (0.0, 0.31, 0.5, 0.77, 1.0):
        low, high = found.interval(accuracy)
        assert 0 <= low <= accuracy <= high <= 1 and high - low < 0.4
