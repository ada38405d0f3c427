import torch

from catpref.models.adam import AdamW


def test_steps_are_those_of_torch() -> None:
    torch.manual_seed(0)
    start = [torch.randn(5, 3), torch.randn(())]
    own, theirs = ([one.clone().requires_grad_() for one in start] for _ in range(2))
    decays = [0.1, 0.0]
    groups = [{"params": [one], "weight_decay": decay} for one, decay in zip(theirs, decays, strict=True)]
    ours, reference = AdamW(own, decays, 0.03), torch.optim.AdamW(groups, lr=0.03)

    def loss(matrix: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
        return (matrix.square().sum() - number).square() + (matrix * number).sin().sum()

    for _ in range(20):
        ours.step(loss(*own))
        reference.zero_grad()
        loss(*theirs).backward()
        reference.step()
    torch.testing.assert_close(own, theirs)
    assert all((one != before).all() for one, before in zip(own, start, strict=True))
