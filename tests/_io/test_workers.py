import threading

import pytest
import torch

from catpref._io.workers import workers


def test_each_thread_computes_alone_and_afterwards_all_is_as_before() -> None:
    before = torch.get_num_threads()
    with workers() as pool:
        assert list(pool.map(lambda _: torch.get_num_threads(), range(4))) == [1] * 4
    assert torch.get_num_threads() == before


def test_a_failure_drops_what_has_not_begun() -> None:
    begun: list[int] = []
    gate = threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise ValueError
        gate.wait(5)

    with pytest.raises(ValueError), workers() as pool:
        results = pool.map(work, range(1000))
        gate.set()
        list(results)
    assert len(begun) < 1000
    assert torch.get_num_threads() >= 1
