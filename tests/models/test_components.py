from concurrent.futures import ThreadPoolExecutor

import torch

from catpref.models.components import drawing


def test_threads_that_draw_beside_each_other_draw_what_torch_would() -> None:
    def draw(seed: int) -> list[torch.Tensor]:
        random, found = torch.Generator().manual_seed(seed), []
        for _ in range(20):
            with drawing(random):
                found += [torch.randn(100), torch.nn.Linear(50, 50).weight.detach()]
        return found

    state = torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        beside = list(pool.map(draw, range(8)))
    assert torch.equal(torch.get_rng_state(), state), "torch's own generator is as it was"
    for seed, of_thread in enumerate(beside):
        torch.manual_seed(seed)
        for own, (_, alone) in zip(
            of_thread[1::2],
            ((torch.randn(100), torch.nn.Linear(50, 50).weight) for _ in range(20)),
            strict=True,
        ):
            assert torch.equal(own, alone)
