import numpy as np
import pytest
from torch import Tensor

from catpref.models import standardised


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("chunk", [1, 70, 1 << 20])
def test_the_slices_make_up_the_whole(chunk: int, dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standardised, "_CHUNK", chunk)
    random = np.random.default_rng(0)
    known = random.normal(3, 2, (10, 33)).astype(dtype)
    before = known.copy()
    centre, scale = known.mean(0).astype(np.float32), known.std(0).astype(np.float32)
    seen = np.zeros((10, 33))

    def work(columns: slice, part: Tensor) -> tuple[int, Tensor]:
        seen[:, columns] += part.numpy()
        return columns.start, part.zero_()

    starts = [start for start, _ in standardised.by_slices(known, centre, scale, work)]
    assert starts == sorted(starts) and len(starts) == {1: 33, 70: 5, 1 << 20: 1}[chunk]
    np.testing.assert_allclose(seen, (known - centre) / scale, atol=1e-3 if dtype == np.float16 else 1e-5)
    np.testing.assert_array_equal(known, before, "what the work does to its slice stays there")
