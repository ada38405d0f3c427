"""Which studies are simulated, and how: in any order, each kept as soon as it is done."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from catpref._io import cache, cluster
from catpref._io.engines import Engine
from catpref.design.designs import FEWEST_IMAGES, full_or_incomplete
from catpref.design.trial_list import ADAPTIVE, FULL, INCOMPLETE, RANDOM
from catpref.errors import BadInput
from catpref.plans.studies import FEWEST_NEW, Cell, Setting, Study, simulate
from catpref.plans.world import World

DESIGNS = (RANDOM, FULL, ADAPTIVE)
FEWEST_TRIALS = 20
FEWEST_SHOWN = 10  # images: two to hold out, five times


class Grid(NamedTuple):
    """What is varied.

    Attributes
    ----------
    designs
        Of `DESIGNS`.
    trials
        Of each person.
    images
        For fully-sampled designs; empty takes as many as so many trials show all pairs of.
    people, noises
        As in `Cell`.
    """

    designs: Sequence[str]
    trials: Sequence[int]
    images: Sequence[int]
    people: Sequence[int]
    noises: Sequence[float]


def cells_of(grid: Grid, world: World) -> tuple[list[Cell], list[str]]:
    """Return the cells of a grid, and a line on each combination that there is none of, with the reason.

    Raises
    ------
    BadInput
        If a number is too small for any study, or no cell is left.
    """
    for name, least, numbers in (
        ("trials", FEWEST_TRIALS, grid.trials),
        ("images", FEWEST_IMAGES[INCOMPLETE], grid.images),
        ("people", 1, grid.people),
    ):
        for number in numbers:
            if number < least:
                raise BadInput(f"{name}={number}: is too few; take at least {least}")
    for noise in grid.noises:
        if not (math.isfinite(noise) and noise > 0):
            raise BadInput(f"noise={noise:g}: must be greater than 0; 1 is usual")
    found, left_out = {}, {}
    for design, trials, images in (one for asked in grid.designs for one in _lists(asked, grid)):
        if images < FEWEST_SHOWN:
            left_out[f"{design}, {trials} trials: shows {images} images, too few to hold any out"] = None
            continue
        if images + FEWEST_NEW > len(world):
            left_out[
                f"{design}, {trials} trials: shows {images} images, and of {world.name} there are {len(world)}, "
                f"of which {FEWEST_NEW} are to be new"
            ] = None
            continue
        for noise in grid.noises:
            for people in grid.people:
                found[Cell(design, trials, images, people, noise)] = None
    if not found:
        why = next(
            iter(left_out), "each image of a balanced subset is in two trials, so that there are fewer trials"
        )
        raise BadInput(f"no study can be simulated ({why}); take fewer trials or images")
    return list(found), list(left_out)


def _lists(design: str, grid: Grid) -> Iterable[tuple[str, int, int]]:
    """Yield design, trials and images of one person's lists."""
    for trials in grid.trials:
        if design in (RANDOM, ADAPTIVE):
            yield design, trials, 2 * trials
        elif not grid.images:  # as many as there may be for all pairs of them
            most = (1 + math.isqrt(1 + 8 * trials)) // 2
            yield FULL, math.comb(most, 2), most
        for images in grid.images if design == FULL else ():
            if trials >= images:
                most = min(trials, math.comb(images, 2))
                yield full_or_incomplete(images, most), most, images


def run(
    cells: Sequence[Cell], setting: Setting, studies: int, engine: Engine, folder: Path | None
) -> dict[Cell, list[Study]]:
    """Simulate so many studies of each cell, but for those that an earlier run kept.

    Parameters
    ----------
    cells
        What is simulated.
    setting
        The images, the people and the seed.
    studies
        Of each cell.
    engine
        Who does it.
    folder
        The cache, where each study is kept when it is done; None keeps nothing.
    """
    base = (
        *("=".join(one) for one in cluster.about()),
        setting.world.digest,
        repr(setting.habits),
        str(setting.seed),
    )
    # Each cell's first study before any second, large ones first: how long the rest takes is soon known.
    order = [
        (cell, number) for number in range(studies) for cell in sorted(cells, key=lambda cell: -cell.cost)
    ]
    keys = {one: cache.key_of("simulated study", *base, repr(tuple(one[0])), str(one[1])) for one in order}
    done = {one: study for one, key in keys.items() if (study := _kept(folder, key))}
    todo = [one for one in order if one not in done]
    with _Progress(order, done, engine) as progress:
        for number, study in engine.as_done(simulate, setting, todo):
            one = todo[number]
            done[one] = study
            cache.write(folder, keys[one], np.array(study))
            progress.add(one, study)
    return {cell: [done[cell, number] for number in range(studies)] for cell in cells}


def _kept(folder: Path | None, key: str) -> Study | None:
    numbers = cache.read(folder, key, np.float64, len(Study._fields).__eq__)
    return None if numbers is None else Study(*numbers.tolist())


class _Progress:
    """A bar that tells the time left, from what studies of each cell took so far."""

    def __init__(
        self, order: Sequence[tuple[Cell, int]], done: dict[tuple[Cell, int], Study], engine: Engine
    ) -> None:
        self._left = [cell for cell, number in order if (cell, number) not in done]
        self._seconds: dict[Cell, list[float]] = {}
        for (cell, _), study in done.items():
            self._seconds.setdefault(cell, []).append(study.seconds)
        self._engine = engine
        self._bar = tqdm(
            desc="simulating",
            total=len(order),
            initial=len(done),
            unit="study",
            disable=None,
            leave=False,
            bar_format="{desc} {bar} {n_fmt} of {total_fmt} studies, {elapsed} so far{postfix}",
        )

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def add(self, one: tuple[Cell, int], study: Study) -> None:
        """Count a study that is done."""
        self._left.remove(one[0])
        self._seconds.setdefault(one[0], []).append(study.seconds)
        left = time_left(self._left, self._seconds) / max(self._engine.workers, 1)
        self._bar.set_postfix_str(f"about {spoken(left)} left", refresh=False)
        self._bar.update()


def time_left(left: Sequence[Cell], seconds: dict[Cell, list[float]]) -> float:
    """Return how long studies of some cells take, from what studies took so far, in seconds of one worker.

    Those of a cell take what the others of it took on average; those of a cell without any, in proportion to
    `Cell.cost`.
    """
    known = [(cell, took) for cell, each in seconds.items() for took in each]
    by_cost = sum(took for _, took in known) / sum(cell.cost for cell, _ in known)
    return sum(
        sum(seconds[cell]) / len(seconds[cell]) if cell in seconds else by_cost * cell.cost for cell in left
    )


def spoken(seconds: float) -> str:
    """Return a time as one says it."""
    if seconds < 90:
        return f"{max(5, 5 * round(seconds / 5))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
