"""Images that are ready when their trial comes, however many a session has."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from PIL import Image

from catpref.stimuli import image_path, open_image
from catpref.trials import Trial


def load_ahead(
    trials: Sequence[Trial], stimuli: Path, fit: Callable[[Image.Image], Image.Image], ahead: int = 2
) -> Iterator[tuple[Image.Image, Image.Image]]:
    """Give the left and right image of every trial in turn; a thread loads those of the next ones meanwhile.

    Parameters
    ----------
    trials, stimuli
        The trial list and its stimulus folder.
    fit
        Brings an image to the size at which it is shown.
    ahead
        How many trials to load ahead; no more than these are held in memory.

    Raises
    ------
    BadInput
        If an image has become unreadable since the list was checked.
    """

    def load(trial: Trial) -> tuple[Image.Image, Image.Image]:
        left, right = (image_path(stimuli, name) for name in (trial.left_image, trial.right_image))
        return fit(open_image(left)), fit(open_image(right))

    with ThreadPoolExecutor(1) as pool:
        coming = iter(trials)
        loading = deque(pool.submit(load, trial) for trial in islice(coming, ahead))
        while loading:
            ready = loading.popleft().result()
            loading.extend(pool.submit(load, trial) for trial in islice(coming, 1))
            yield ready
