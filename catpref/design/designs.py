"""Trial lists: which two images are shown together, on which sides, in which order.

There are three designs. *Random-sampled*: every trial has two images of its own. *Fully-sampled*: every pair of
a few images, each once, with every image on the left as often as on the right, and no image in two successive
trials. *Balanced-incomplete*: likewise, but only some of the pairs, with every image in as many of them.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from catpref.design import incomplete
from catpref.design.trial_list import BLOCK, FULL, INCOMPLETE, RANDOM, Trial
from catpref.errors import BadInput
from catpref.stimuli.duplicates import near_duplicates
from catpref.stimuli.images import find_images

RANDOM_TRIALS, FULL_IMAGES = 1000, 50
FEWEST_IMAGES = {RANDOM: 2, FULL: 5, INCOMPLETE: incomplete.FEWEST}
"""With 3 or 4 images, every order of all pairs shows some image in two successive trials."""
FEWEST_FOR_CATCH = 6
"""A catch trial shows two images that are in neither of its neighbours."""

Pair = tuple[int, int]


def make_trials(
    design: str,
    names: Sequence[str],
    repeats: int = 0,
    block: int = BLOCK,
    seed: int | np.random.Generator = 0,
    catch: int = 0,
    trials: int | None = None,
) -> list[Trial]:
    """Make the trial list of one session.

    Parameters
    ----------
    design
        ``"random-sampled"``, ``"fully-sampled"`` or ``"balanced-incomplete"``.
    names
        The images: every one is shown. An even number for random-sampled, at least 5 for fully-sampled, 10 for
        balanced-incomplete.
    repeats
        How many trials, drawn at random, are shown again later with the sides swapped.
    block
        Trials a block.
    seed
        The same seed and names give the same list.
    catch
        How many catch trials to put in between.
    trials
        How many pairs a balanced-incomplete list has; of the other designs the images say it.

    Raises
    ------
    BadInput
        If there are too few images for the design, or too few trials for the repeats.
    """
    rng = np.random.default_rng(seed)
    if len(names) < FEWEST_IMAGES[design]:
        raise BadInput(
            f"{len(names)} images are too few; a {design} list needs at least {FEWEST_IMAGES[design]}"
        )
    pairs = _pairs(design, len(names), trials, rng)
    shown = insert_repeats(pairs, repeats, repeat_lag(len(pairs), block), rng)
    drawn = draw_catches([pairs[index] for index, _ in shown], catch, len(names), rng)
    catches = {one.after: one for one in drawn}
    made: list[Trial] = []

    def add(left: int, right: int, repeat_of: int | None = None, catch: str = "") -> None:
        number = len(made)
        made.append(Trial(number, number // block, design, names[left], names[right], repeat_of, catch))

    position: dict[int, int] = {}
    for number, (index, is_repeat) in enumerate(shown, start=1):
        left, right = pairs[index]
        if is_repeat:
            add(right, left, repeat_of=position[index])
        else:
            position[index] = len(made)
            add(left, right)
        if number in catches:
            add(*catches[number].pair, catch=catches[number].scrambled)
    return made


def _pairs(design: str, images: int, trials: int | None, rng: np.random.Generator) -> list[Pair]:
    """Return the pairs of a design, left and right, in order."""
    if design == RANDOM:
        return random_pairs(images, rng)
    if design == FULL:
        chosen = all_pairs(images)
    else:
        chosen = incomplete.balanced_subset(images, count_pairs(design, images, trials), rng)
    return keep_apart(balance_sides(chosen, rng), rng)


def random_pairs(images: int, rng: np.random.Generator) -> list[Pair]:
    """Pair the images 0 … `images` − 1 at random, each in one pair (of an odd number, one is left over)."""
    order = rng.permutation(images).tolist()
    return list(zip(order[0::2], order[1::2], strict=False))


def all_pairs(images: int) -> list[Pair]:
    """Return every pair of the images 0 … `images` − 1 once."""
    return [(first, second) for second in range(images) for first in range(second)]


def balance_sides(pairs: Sequence[Pair], rng: np.random.Generator) -> list[Pair]:
    """Choose the sides so that every image is on the left as often as on the right (±1 if its pairs are odd).

    The pairs are the edges of a graph, and a closed walk along edges not walked before leaves every image as
    often as it enters it (Euler). Images with an odd number of pairs get one more, with a blank that is
    dropped again, so that every walk ends where it began.
    """
    blank = 1 + max(max(pair) for pair in pairs)
    partners: list[list[int]] = [[] for _ in range(blank + 1)]
    for first, second in pairs:
        partners[first].append(second)
        partners[second].append(first)
    odd = [image for image in range(blank) if len(partners[image]) % 2]
    for image in odd:
        partners[image].append(blank)
        partners[blank].append(image)
    for image in range(blank + 1):
        rng.shuffle(partners[image])

    balanced = []
    for start in rng.permutation(blank + 1).tolist():
        here = start
        while partners[here]:
            there = partners[here].pop()
            partners[there].remove(here)
            if blank not in (here, there):
                balanced.append((here, there))
            here = there
    return balanced


def keep_apart(pairs: Sequence[Pair], rng: np.random.Generator) -> list[Pair]:
    """Shuffle all pairs of at least 5 images, or a balanced subset, so that no image is in two successive trials.

    In a random order, each clash of neighbours a, b is mended by reversing the stretch from b to a later d,
    where a goes with d, and b with what follows d. That leaves at least one clash less. From 7 images on such
    a d always exists, since every pair goes with at least half of the others (Palmer 1997, "The hidden
    algorithm of Ore's theorem on Hamiltonian cycles"; a blank that goes with everything stands between the
    last trial and the first). With 5 or 6 images there may be none; then another random order is tried.
    """
    sides = np.array([*pairs, (-1, -2)])  # the blank
    while True:
        cycle = rng.permutation(len(sides))
        while len(clashes := np.flatnonzero(_share(sides[cycle], sides[np.roll(cycle, -1)]))):
            cycle = np.roll(cycle, -clashes[0])
            following = np.roll(cycle, -1)
            mends = ~_share(sides[cycle[0]], sides[cycle]) & ~_share(sides[cycle[1]], sides[following])
            ends = np.flatnonzero(mends[2:]) + 2
            if not len(ends):
                break
            end = rng.choice(ends)
            cycle[1 : end + 1] = cycle[end:0:-1]
        else:
            cycle = np.roll(cycle, -1 - int(np.argmax(cycle == len(pairs))))
            return [pairs[index] for index in cycle[:-1]]


def repeat_lag(trials: int, block: int) -> int:
    """Return how many trials later a trial may be repeated: half a block, at least 10, if the list allows it."""
    return min(max(10, block // 2), trials // 2)


def insert_repeats(
    pairs: Sequence[Pair],
    repeats: int,
    lag: int,
    rng: np.random.Generator,
    among: Sequence[int] | None = None,
) -> list[tuple[int, bool]]:
    """Show some trials again, at least `lag` trials later, with no image in two successive trials.

    Only trials `among` those given are shown again, where it is.

    Returns
    -------
    list of (int, bool)
        For each trial of the longer list, the index into `pairs` and whether it is a repeat.

    Raises
    ------
    BadInput
        If so many repeats find no place.
    """
    sides = np.array(pairs)
    order, is_repeat = np.arange(len(pairs)), np.zeros(len(pairs), dtype=bool)
    candidates = range(len(pairs)) if among is None else among
    for index in rng.permutation(candidates):
        if is_repeat.sum() == repeats:
            break
        first_shown = int(np.flatnonzero((order == index) & ~is_repeat)[0])
        clash = _share(sides[index], sides[order])
        before, after = clash[first_shown + lag - 1 :], np.append(clash[first_shown + lag :], False)
        places = np.flatnonzero(~before & ~after) + first_shown + lag
        if len(places):
            place = rng.choice(places)
            order, is_repeat = np.insert(order, place, index), np.insert(is_repeat, place, True)
    if is_repeat.sum() < repeats:
        raise BadInput(
            f"--repeats {repeats}: only {is_repeat.sum()} of {len(candidates)} trials can be shown again at least "
            f"{lag} trials later with no image in two successive trials; ask for fewer repeats or more trials"
        )
    return list(zip(order.tolist(), is_repeat.tolist(), strict=True))


class CatchTrial(NamedTuple):
    """A catch trial to come `after` so many trials, with two images and the side that is `scrambled`."""

    after: int
    pair: Pair
    scrambled: str


def draw_catches(
    shown: Sequence[Pair], catch: int, images: int, rng: np.random.Generator
) -> list[CatchTrial]:
    """Draw catch trials: one in each of `catch` equal stretches of the session, half of them for each side.

    Parameters
    ----------
    shown
        The pairs of the session, in order.
    catch
        How many.
    images
        How many images there are to choose from. Of those that are not in the trial before or after, the
        ones least often in a catch trial so far are taken.

    Returns
    -------
    list of CatchTrial
        In order.

    Raises
    ------
    BadInput
        If there are too few images or trials.
    """
    if catch and images < FEWEST_FOR_CATCH:
        raise BadInput(f"--catch {catch}: catch trials need at least {FEWEST_FOR_CATCH} images")
    if catch > len(shown):
        raise BadInput(f"--catch {catch}: there are only {len(shown)} other trials; ask for fewer")
    sides = rng.permutation([("left", "right")[number % 2] for number in range(catch)]).tolist()
    used = np.zeros(images, dtype=int)
    drawn: list[CatchTrial] = []
    for number, side in enumerate(sides):
        after = int(rng.integers(number * len(shown) // catch, (number + 1) * len(shown) // catch)) + 1
        near = {image for pair in shown[after - 1 : after + 1] for image in pair}
        free = [image for image in rng.permutation(images).tolist() if image not in near]
        first, second = sorted(free, key=lambda image: used[image])[:2]
        used[[first, second]] += 1
        drawn.append(CatchTrial(after, (first, second), side))
    return drawn


def _share(pairs: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return where two arrays of pairs, shape (…, 2), have an image in common."""
    return (pairs[..., :, None] == others[..., None, :]).any((-2, -1))


def list_trials(
    folder: Path,
    design: str,
    images: int | None = None,
    trials: int | None = None,
    repeats: int = 0,
    block: int = BLOCK,
    seed: int = 0,
    catch: int = 0,
) -> list[Trial]:
    """Make a trial list from a stimulus folder, drawing the images with the seed.

    Parameters
    ----------
    folder
        The stimulus folder.
    design, repeats, block, seed, catch
        As for `make_trials`.
    images, trials
        How many; one follows from the other, but in a balanced-incomplete list. Without: 1000 random-sampled
        trials of 2000 images, or all 1225 pairs of 50 images.

    Raises
    ------
    BadInput
        If the numbers contradict each other, or the folder holds too few images, near-duplicates or damaged
        images.
    """
    needed = count_images(design, images, trials)
    names = find_images(folder)
    if len(names) < needed:
        most = f"--trials {len(names) // 2}" if design == RANDOM else f"--images {len(names)}"
        otherwise = f" or ask for {most}" if len(names) >= FEWEST_IMAGES[design] else ""
        raise BadInput(
            f"{folder}: holds {len(names)} of the {needed} images that a {design} list needs; add "
            f"{needed - len(names)} more{otherwise}"
        )
    rng = np.random.default_rng(seed)
    drawn = [names[index] for index in rng.permutation(len(names))[:needed]]
    made = make_trials(design, drawn, repeats, block, rng, catch, trials)
    check_no_copies(folder, names)
    return made


def check_no_copies(folder: Path, names: Sequence[str]) -> None:
    """Raise BadInput if two images of a stimulus folder show the same picture, or one is damaged."""
    copies = near_duplicates(folder, names)
    if copies:
        first, second = copies[0]
        more = f" ({len(copies)} such pairs in all)" if len(copies) > 1 else ""
        raise BadInput(f"{folder}: {first} and {second} are near-duplicates{more}; remove one of each pair")


def full_or_incomplete(images: int | None, trials: int | None) -> str:
    """Return the design that shows so many trials of all pairs: fully-sampled where that is every pair."""
    if trials is None or math.comb(images or _images_for(trials), 2) == trials:
        return FULL
    return INCOMPLETE


def count_images(design: str, images: int | None, trials: int | None) -> int:
    """Return how many images a list needs, given how many images or trials of the design were asked for.

    Raises
    ------
    BadInput
        If the two numbers contradict each other or the design.
    """
    if design == INCOMPLETE:
        needed = images or FULL_IMAGES
        count_pairs(design, needed, trials)
        return needed
    if design == RANDOM:
        needed = 2 * (trials or RANDOM_TRIALS) if images is None else images
        if needed % 2:
            raise BadInput(
                f"--images {needed}: random-sampled trials need an even number of images, two a trial"
            )
        rule = "each trial has two images of its own"
    else:
        needed = images or (_images_for(trials) if trials else FULL_IMAGES)
        if needed < FEWEST_IMAGES[FULL]:
            raise BadInput(
                f"{needed} images are too few for a fully-sampled list: with fewer than "
                f"{FEWEST_IMAGES[FULL]}, some image is always in two successive trials"
            )
        rule = "a fully-sampled list has every pair once"
    made = count_pairs(design, needed)
    if trials not in (None, made):
        raise BadInput(
            f"--trials {trials}: {needed} images make {made} trials, as {rule}; change one of the two"
        )
    return needed


def count_pairs(design: str, images: int, trials: int | None = None) -> int:
    """Return how many pairs a list of so many images has, repeats and catch trials aside.

    Raises
    ------
    BadInput
        If so many `trials` are no balanced subset of all pairs.
    """
    if design == RANDOM:
        return images // 2
    every = math.comb(images, 2)
    if design == FULL:
        return every
    if images < FEWEST_IMAGES[INCOMPLETE]:
        raise BadInput(
            f"--trials {trials}: a balanced subset of the pairs needs at least {FEWEST_IMAGES[INCOMPLETE]} images; "
            f"show all {every} pairs of {images} images"
        )
    if trials is None or not images <= trials < every:
        raise BadInput(
            f"--trials {trials}: of {images} images a balanced subset of the pairs has {images} to {every - 1}, so "
            "that every image is in two or more; change --trials or --images"
        )
    return trials


def _images_for(trials: int) -> int:
    """Return the largest number of images that have no more than `trials` pairs."""
    return (1 + math.isqrt(1 + 8 * trials)) // 2
