import copy

import pytest
import torch
from torch.nn.functional import cross_entropy, max_pool2d

from catpref.models import study_cnn, study_training


@pytest.mark.parametrize("size", [(6, 8), (7, 9), (8, 5), (2, 3)])
def test_pooling_is_max_pooling(size: tuple[int, int]) -> None:
    # No two values are equal: of equal ones either may be the greatest.
    planes = [torch.randperm(size[0] * size[1]) - 20 for _ in range(6)]
    values = torch.stack(planes).reshape(2, 3, *size).bfloat16()
    ours, theirs = (values.clone().requires_grad_() for _ in range(2))
    pooled, wanted = study_training.pool(ours), max_pool2d(theirs, 2)
    assert torch.equal(pooled, wanted)
    slope = torch.randn_like(wanted)
    pooled.backward(slope)
    wanted.backward(slope)
    assert ours.grad is not None and theirs.grad is not None and torch.equal(ours.grad, theirs.grad)


def test_of_equal_places_only_one_has_the_gradient() -> None:
    values = torch.ones(1, 1, 4, 4, dtype=torch.bfloat16, requires_grad=True)
    study_training.pool(values).sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad[0, 0], torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0]] * 2).bfloat16())


def test_a_step_is_a_step_of_backpropagation() -> None:
    torch.manual_seed(0)
    plain = study_cnn.build(48).eval()  # without dropout, whose draws would differ
    fast = copy.deepcopy(plain)
    maps, choices = torch.rand(5, 1, 48, 48), torch.tensor([0, 1, 1, 0, 1])
    with torch.autocast("cpu", torch.bfloat16):  # in float32, other places would be the greatest
        loss = cross_entropy(plain(maps).float(), choices)
    loss.backward()
    before = copy.deepcopy(fast.state_dict())
    threads = torch.get_num_threads()
    with study_training.stepping(fast, torch.optim.SGD(fast.parameters(), lr=1.0), batch=8) as step:
        got, logits = step(maps, choices)
    assert torch.get_num_threads() == threads
    assert logits.shape == (5, 2) and got == pytest.approx(loss.item(), rel=0.01)
    for (name, parameter), now in zip(plain.named_parameters(), fast.state_dict().values(), strict=True):
        assert parameter.grad is not None
        step_taken = before[name] - now
        error = (step_taken - parameter.grad).norm() / parameter.grad.norm()
        assert error < 0.05, f"{name}: bfloat16 has 8 bits"


@pytest.mark.skipif(
    not study_training.pays("cpu", 512), reason="this processor does not multiply in bfloat16"
)
def test_large_maps_are_learned() -> None:
    random = torch.Generator().manual_seed(0)
    choices = torch.randint(0, 2, (64,), generator=random)
    maps = torch.rand(64, 128, 128, generator=random) * 0.3
    for each, choice in zip(maps, choices.tolist(), strict=True):
        each[:, 64 * choice : 64 * (choice + 1)] += 0.4
    model = study_cnn.fit(maps.numpy(), choices.numpy())
    assert model.history[-1].accuracy > 0.95
    assert ((model.p_right(maps.numpy()) > 0.5) == choices.numpy()).mean() > 0.95
