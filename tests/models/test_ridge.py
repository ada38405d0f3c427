"""Ridge regression is scikit-learn's on the embedding, with a penalty chosen inside the training trials."""

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from support import all_pairs

from catpref.models import ridge
from catpref.models.kernels import kernels_of


class _Data:
    """A session whose embeddings are there already."""

    seed = 0

    def __init__(self, embeddings: np.ndarray, pairs: np.ndarray, choices: np.ndarray) -> None:
        self.pairs, self.choices = pairs, choices
        self.is_fair = np.ones(len(pairs), bool)
        self.kernels = kernels_of(embeddings, pairs)


def _session(images: int = 30, dimensions: int = 12, seed: int = 0) -> Any:
    random = np.random.default_rng(seed)
    embeddings = random.normal(size=(images, dimensions)).astype(np.float16)
    pairs = all_pairs(images)
    utilities = embeddings.astype(float) @ random.normal(size=dimensions)
    logits = utilities[pairs[:, 1]] - utilities[pairs[:, 0]]
    choices = (random.random(len(pairs)) < 1 / (1 + np.exp(-logits))).astype(int)
    return embeddings, _Data(embeddings, pairs, choices)


def test_it_is_the_plain_regression() -> None:
    embeddings, data = _session()
    train, test = np.arange(0, len(data.pairs), 2), np.arange(1, len(data.pairs), 2)
    fitted = ridge.RIDGE.fit(data, train, None)
    standard = embeddings.astype(float)
    standard = (standard - standard.mean(0)) / standard.std(0) / np.sqrt(standard.shape[1])
    differences = standard[data.pairs[:, 1]] - standard[data.pairs[:, 0]]
    plain = LogisticRegression(C=fitted.regression.C).fit(differences[train], data.choices[train])  # type: ignore
    ours, theirs = fitted.p_right(test), plain.predict_proba(differences[test])[:, 1]
    np.testing.assert_allclose(
        ours, theirs, atol=5e-3
    )  # inner products are float32, small directions left out


def test_a_weak_taste_has_a_strong_penalty() -> None:
    _, data = _session()
    everything = np.arange(len(data.pairs))
    strong = ridge.RIDGE.fit(data, everything, None)
    data.choices = np.random.default_rng(1).integers(0, 2, len(data.pairs))
    weak = ridge.RIDGE.fit(data, everything, None)
    assert weak.regression.C < strong.regression.C  # type: ignore


def test_test_trials_play_no_part() -> None:
    _, data = _session()
    train, test = np.arange(200), np.arange(200, len(data.pairs))
    before = ridge.RIDGE.fit(data, train, None).p_right(test)
    data.choices = data.choices.copy()
    data.choices[test] = 1 - data.choices[test]
    np.testing.assert_array_equal(ridge.RIDGE.fit(data, train, None).p_right(test), before)
