import numpy as np
import pytest
import torch
from torch import Tensor

from catpref.models import standardised


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("chunk", [1, 70, 1 << 20])
def test_the_slices_make_up_the_whole(chunk: int, dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standardised, "_CHUNK", chunk)
    monkeypatch.setattr(standardised, "_NARROWEST", 1)
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


def test_batches_are_the_same_to_the_last_bit_as_all_at_once() -> None:
    """So that a ranking does not depend on how many images are read together."""
    random = np.random.default_rng(0)
    embeddings = random.normal(3, 2, (1500, 5000)).astype(np.float16)
    centre, scale = embeddings.mean(0, dtype=np.float32), embeddings.std(0, dtype=np.float32)
    onto = torch.from_numpy(random.normal(size=(5000, 65)).astype(np.float32))

    def projected(some: np.ndarray, of: int | None) -> np.ndarray:
        total = np.zeros((len(some), 67))

        def work(columns: slice, part: Tensor) -> np.ndarray:
            sizes = torch.stack([part.square().sum(1), part.abs().sum(1)], dim=1)
            return torch.hstack([part @ onto[columns], sizes]).numpy()

        for part in standardised.by_slices(some, centre, scale, work, of):
            total += part
        return total

    batches = np.vstack([projected(batch, 1500) for batch in np.array_split(embeddings, 3)])
    np.testing.assert_array_equal(batches, projected(embeddings, None))
