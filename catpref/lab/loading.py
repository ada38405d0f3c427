"""Images that are ready when their trial comes, however many a session has."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeVar

from PIL import Image

from catpref.design.trial_list import Trial
from catpref.stimuli.images import image_path, open_image
from catpref.stimuli.scrambling import scramble

Pair = tuple[Image.Image, Image.Image]
Loaded = TypeVar("Loaded")


def load_pair(trial: Trial, stimuli: Path) -> Pair:
    """Load the left and right image of a trial; of a catch trial, one of them scrambled.

    Raises
    ------
    BadInput
        If an image has become unreadable since the list was checked.
    """
    left, right = (open_image(image_path(stimuli, name)) for name in (trial.left_image, trial.right_image))
    if trial.catch == "left":
        return scramble(left), right
    if trial.catch == "right":
        return left, scramble(right)
    return left, right


@contextmanager
def loaded_ahead(loads: Iterable[Callable[[], Loaded]], ahead: int = 2) -> Iterator[Iterator[Future[Loaded]]]:
    """Return what each of `loads` gives, in turn, while a thread prepares the next ones, from now on.

    Parameters
    ----------
    loads
        One for each trial: loads its images and fits them to the screen.
    ahead
        How many trials to load ahead; no more than these, and the one that was taken last, are held in memory.
    """
    coming = iter(loads)
    with ThreadPoolExecutor(1) as pool:
        loading = deque(pool.submit(load) for load in islice(coming, ahead))

        def in_turn() -> Iterator[Future[Loaded]]:
            while loading:
                first = loading.popleft()
                loading.extend(pool.submit(load) for load in islice(coming, 1))
                yield first

        try:
            yield in_turn()
        finally:
            pool.shutdown(cancel_futures=True)
