import pytest
import torch

from catpref.models.components import leading


@pytest.mark.parametrize("shape", [(40, 12), (12, 40)])
def test_leading_directions_are_those_of_torch(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    torch.manual_seed(0)
    theirs = torch.svd_lowrank(matrix, q=5, niter=4)
    for own, other in zip(leading(matrix, 5, torch.Generator().manual_seed(0)), theirs, strict=True):
        torch.testing.assert_close(own, other)
