import threading
from collections.abc import Iterator

import pytest
import torch

from catpref._io.workers import workers

THREADS = 3
"""Not one, which is what each thread of a pool has."""


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def test_each_thread_computes_alone_and_afterwards_all_is_as_before() -> None:
    meeting = threading.Barrier(THREADS, timeout=200)  # so many work at the same time

    def work(_: int) -> int:
        meeting.wait()
        return torch.get_num_threads()

    with workers() as pool:
        assert list(pool.map(work, range(2 * THREADS))) == [1] * 2 * THREADS
    assert torch.get_num_threads() == THREADS


def test_a_failure_drops_what_has_not_begun_and_gives_the_threads_back() -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise ValueError
        threading.Event().wait(0.01)

    with pytest.raises(ValueError), workers() as pool:
        first, *_ = [pool.submit(work, number) for number in range(1000)]
        first.result()
    assert 0 < len(begun) < 1000
    assert torch.get_num_threads() == THREADS
