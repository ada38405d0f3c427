"""What is fixed of an adaptive session before it begins: the kind of each trial, and all pairs not chosen in it.

Every fifth trial is a *random* pair of images that are reserved for such trials, on which a taste is judged. The
others are *adaptive*: their images are chosen, when their time comes, among all that are not reserved. Repeats show
random trials again; catch trials show reserved images. Where the aim is the order of a few images, all of them are
candidates: there are neither random trials nor repeats.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from catpref.design.designs import (
    FEWEST_FOR_CATCH,
    FULL_IMAGES,
    Pair,
    balance_sides,
    check_no_copies,
    draw_catches,
    insert_repeats,
    random_pairs,
    repeat_lag,
)
from catpref.design.trial_list import ADAPTIVE, AT_RANDOM, BLOCK, BY_ANSWERS, RANKING, Trial
from catpref.errors import BadInput
from catpref.stimuli.images import find_images

TRIALS = 300
EVERY = 5
"""One trial in so many is a random pair of reserved images."""

FEWEST_CANDIDATES = 6
"""Two are left where the images of the trials before and after are left out."""


def make_schedule(
    names: Sequence[str],
    trials: int = TRIALS,
    repeats: int = 0,
    block: int = BLOCK,
    seed: int | np.random.Generator = 0,
    catch: int = 0,
    design: str = ADAPTIVE,
) -> list[Trial]:
    """Make the trial list of one adaptive session; adaptive trials have no images yet.

    Parameters
    ----------
    names
        The images.
    trials
        How many, random ones included.
    repeats
        How many of the random trials are shown again later with the sides swapped, in addition.
    block
        Trials a block.
    seed
        The same seed and names give the same list.
    catch
        How many catch trials to put in between, in addition.
    design
        ``"adaptive"``, or ``"adaptive-ranking"`` where the aim is the order of the images.

    Raises
    ------
    BadInput
        If there are too few images or random trials.
    """
    rng = np.random.default_rng(seed)
    _check_numbers(design, trials, repeats)
    order: list[int] = rng.permutation(len(names)).tolist()
    if design == RANKING:
        randoms, drawn_from, candidates = 0, order, len(names)
    else:
        randoms = trials // EVERY
        drawn_from = order[: _count_reserved(len(names), randoms, catch)]
        candidates = len(names) - len(drawn_from)
    if candidates < FEWEST_CANDIDATES or math.comb(candidates, 2) < trials - randoms:
        raise BadInput(
            f"{len(names)} images are too few for --trials {trials}; add images, or ask for fewer trials"
        )
    positions = range(EVERY - 1, EVERY * randoms, EVERY)
    pairs: list[Pair] = [(-1 - 2 * number, -2 - 2 * number) for number in range(trials)]  # alike with none
    for position, pair in zip(positions, _reserved_pairs(len(drawn_from), randoms, rng), strict=True):
        pairs[position] = pair
    shown = insert_repeats(pairs, repeats, repeat_lag(trials, block), rng, positions)
    catches = {
        one.after: one
        for one in draw_catches([pairs[index] for index, _ in shown], catch, len(drawn_from), rng)
    }
    made: list[Trial] = []

    def add(pair: Pair | None, repeat_of: int | None = None, catch: str = "", chosen_by: str = "") -> None:
        left, right = (names[drawn_from[pair[0]]], names[drawn_from[pair[1]]]) if pair else ("", "")
        number = len(made)
        made.append(Trial(number, number // block, design, left, right, repeat_of, catch, chosen_by))

    first_shown: dict[int, int] = {}
    for number, (index, is_repeat) in enumerate(shown, start=1):
        left, right = pairs[index]
        if is_repeat:
            add((right, left), repeat_of=first_shown[index])
        elif index in positions:
            first_shown[index] = len(made)
            add((left, right), chosen_by=AT_RANDOM)
        else:
            add(None, chosen_by=BY_ANSWERS)
        if number in catches:
            add(catches[number].pair, catch=catches[number].scrambled)
    return made


def list_schedule(
    folder: Path,
    design: str,
    images: int | None = None,
    trials: int | None = None,
    repeats: int = 0,
    block: int = BLOCK,
    seed: int = 0,
    catch: int = 0,
) -> tuple[list[str], list[Trial]]:
    """Make the trial list of an adaptive session from a stimulus folder, drawing the images with the seed.

    Parameters
    ----------
    folder
        The stimulus folder.
    design, repeats, block, seed, catch
        As for `make_schedule`.
    images, trials
        How many: see `count_images` and `count_trials`.

    Returns
    -------
    names : list of str
        The images, in order.
    schedule : list of Trial
        What `make_schedule` makes of them.

    Raises
    ------
    BadInput
        If the folder holds too few images, near-duplicates or damaged images.
    """
    found = find_images(folder)
    needed = count_images(folder, design, images)
    rng = np.random.default_rng(seed)
    names = sorted(found[index] for index in rng.permutation(len(found))[:needed])
    made = make_schedule(names, count_trials(design, needed, trials), repeats, block, rng, catch, design)
    check_no_copies(folder, names)
    return names, made


def count_images(folder: Path, design: str, images: int | None) -> int:
    """Return how many images of a folder a session shows: all, but 50 where the aim is their order.

    Raises
    ------
    BadInput
        If the folder does not hold as many as were asked for.
    """
    found = len(find_images(folder))
    if images and images > found:
        raise BadInput(f"--images {images}: {folder} holds {found}; ask for fewer, or add images")
    return images or (min(found, FULL_IMAGES) if design == RANKING else found)


def count_trials(design: str, images: int, trials: int | None) -> int:
    """Return how many trials a session has, repeats and catch trials aside: 300, or all pairs if they are fewer."""
    return trials or (min(TRIALS, math.comb(images, 2)) if design == RANKING else TRIALS)


def reserved_images(schedule: Sequence[Trial]) -> frozenset[str]:
    """Return the images that no adaptive trial may show."""
    if schedule[0].design == RANKING:
        return frozenset()
    fixed = (trial for trial in schedule if not trial.is_open)
    return frozenset(name for trial in fixed for name in (trial.left_image, trial.right_image))


def _check_numbers(design: str, trials: int, repeats: int) -> None:
    if design == RANKING and repeats:
        raise BadInput(f"--repeats {repeats}: only random trials are shown again, and --rank has none")
    if design != RANKING and trials < EVERY:
        raise BadInput(f"--trials {trials}: an adaptive session has at least {EVERY}, every fifth at random")


def _count_reserved(images: int, randoms: int, catch: int) -> int:
    """Return how many images to reserve: two a random trial, but no more than a quarter of a small set."""
    fewest = FEWEST_FOR_CATCH if catch else 2
    enough = next(count for count in range(fewest, images + randoms + 3) if math.comb(count, 2) >= randoms)
    return max(enough, min(2 * randoms, images // 4))


def _reserved_pairs(reserved: int, number: int, rng: np.random.Generator) -> list[Pair]:
    """Draw different pairs of the reserved images, each image about as often as the others and on either side."""
    drawn: list[Pair] = []
    seen: set[frozenset[int]] = set()
    while len(drawn) < number:
        new = [pair for pair in random_pairs(reserved, rng) if frozenset(pair) not in seen]
        drawn += new[: number - len(drawn)]
        seen.update(map(frozenset, drawn))
    if not drawn:
        return []
    balanced = balance_sides(drawn, rng)
    return [balanced[index] for index in rng.permutation(number)]
