import numpy as np
import pytest

from catpref.models import kernels


def test_a_large_matrix_has_its_greatest_eigenvalues(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    directions = np.linalg.qr(random.normal(size=(2100, 30)))[0]
    gram = directions @ np.diag(np.arange(1.0, 31)) @ directions.T
    monkeypatch.setattr(kernels, "_MOST_DIRECTIONS", 40)
    values, vectors = kernels._greatest(gram)
    np.testing.assert_allclose(values[-30:], np.arange(1.0, 31), rtol=1e-6)
    np.testing.assert_allclose(gram @ vectors[:, -1], 30 * vectors[:, -1], atol=1e-6)
