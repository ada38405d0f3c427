"""What the numbers of the repeated study say, and what they do not: the report's sentences are chosen by these."""

from collections.abc import Sequence

from catpref.replication.results import MAPS, Controls, Leak, Run, Sidedness, Study, Swap

_LEVEL = 0.05
_SAME = (
    0.02  # a change as rounding makes it, in bfloat16 too: of P(right), or of a map as a part of its range
)


def above_chance(run: Run, together: int = 1) -> bool:
    """Return whether choices were predicted better than chance, and better than by the more frequent answer.

    The whole interval has to lie above both, and choices that have nothing to do with the images must hardly ever
    be predicted as well: in less than 5% of the draws, divided by the number of runs that are judged together
    (Bonferroni).
    """
    return run.accuracy_ci95[0] > max(0.5, run.majority) and run.p_value < _LEVEL / together


def points(run: Run) -> float:
    """Return the accuracy above chance or above the more frequent answer, whichever is more, in percentage points."""
    return 100 * (run.accuracy - max(0.5, run.majority))


def successes(study: Study) -> list[Run]:
    """List the experiments that are above chance."""
    return [run for run, _ in study.experiments if above_chance(run, len(study.experiments))]


def blind(swap: Swap) -> bool:
    """Return whether exchanging the sides left the maps, and what the network says, as they were but for rounding."""
    return max(swap.p_change, swap.map_change) < _SAME


def keeps_sides(sidedness: Sidedness | None) -> bool:
    """Return whether images keep to their sides more than at random, so that a side may tell what is shown."""
    return sidedness is not None and sidedness.p_value < _LEVEL


def doubts(swaps: Sequence[Swap], controls: Controls, sidedness: Sidedness | None) -> list[str]:
    """List what speaks against the explanation that a map does not tell the sides, by name.

    Returns
    -------
    list of str
        Of ``"swap"``, an exchange of sides was noticed; ``"shuffled"`` and ``"noiseless"``, it predicted
        choices that a distance does not carry; ``"untaught"``, it did not learn what a distance does tell;
        ``"sides"``, images keep to their sides, so that maps may tell them.
    """
    against = {
        "swap": not all(map(blind, swaps)),
        "shuffled": above_chance(controls.shuffled),
        "noiseless": above_chance(controls.noiseless),
        "untaught": not above_chance(controls.apart),
        "sides": keeps_sides(sidedness),
    }
    return [name for name, holds in against.items() if holds]


def conclusion(study: Study) -> str:
    """Draw the run's conclusion.

    Returns
    -------
    str
        ``"explained"``: no experiment is above chance, and all controls agree on why; ``"open"``: none is, but
        something speaks against the explanation; ``"leaked"``: some are, all in a list whose images keep to
        their sides; ``"contradicted"``: some are, in lists in which maps should not tell the sides.
    """
    if above := successes(study):
        of_last = [run for run, _ in study.experiments[-len(MAPS) :]]  # whose sidedness is known
        kept = keeps_sides(study.sidedness) and all(run in of_last for run in above)
        return "leaked" if kept else "contradicted"
    swaps = [swap for _, swap in study.experiments]
    return "open" if doubts(swaps, study.controls, study.sidedness) else "explained"


def reading(known: Run, new: Run, together: int = 1) -> str:
    """Return what a reader of maps has learned where each image is on one side.

    Returns
    -------
    str
        ``"taste"``, if it is above chance on new images; ``"images"``, if on known images alone; else ``"nothing"``.
    """
    if above_chance(new, together):
        return "taste"
    return "images" if above_chance(known, together) else "nothing"


def gain(shown: Leak, together: int = 1) -> float:
    """Return the points that the better of the two readers wins by the sides, of those that are above chance."""
    return max(
        (points(run) for run in (shown.network, shown.linear) if above_chance(run, together)), default=0.0
    )


def leak(study: Study, name: str, sides: str, by: str = "trials") -> Leak:
    """Find the leak shown with these maps, sides and split."""
    return next(each for each in study.leaks if (each.map, each.sides, each.split) == (name, sides, by))
