"""From what the columns with answers name to one choice and one reaction time a trial."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from catpref.sessions.cells import is_nothing
from catpref.sessions.coding import Named, items_of
from catpref.sessions.table import Table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A column with answers: what each cell names, the times beside it, and whether the first of several counts."""

    column: str
    named: list[Named]
    times: list[list[str]]
    first_counts: bool = False

    @cached_property
    def sides(self) -> list[set[int]]:
        """The sides that each cell names."""
        return [{side for side in cell if isinstance(side, int)} for cell in self.named]


def times_beside(table: Table, column: str | None) -> list[list[str]]:
    """Return the times in a column, none where there is no such column."""
    return [items_of(cell) for cell in table[column]] if column in table.columns else [[]] * len(table.rows)


def notes_all(table: Table, column: str) -> bool:
    """Return whether a column holds lists throughout, as where all keys are noted and a trial goes on after one."""
    return all(cell.lstrip().startswith("[") for cell in table[column] if not is_nothing(cell))


def with_choices(table: Table, sources: Sequence[Source]) -> Table:
    """Add the columns `choice`, and `rt` where there is none and any time is known.

    A choice is 0, 1 or empty. Where no side is named it is what stands there, and ``left+right`` where both are.
    """
    choices, times, doubled = [], [], 0
    for row in range(len(table.rows)):
        given = [source for source in sources if source.sides[row]]
        sides = set().union(*(source.sides[row] for source in given))
        if len(sides) == 2 and len(given) == 1 and given[0].first_counts:
            doubled += 1
            sides = {next(side for side in given[0].named[row] if isinstance(side, int))}
        if len(sides) == 1:
            (side,) = sides
            choices.append(str(side))
            times.append(_time(given[0], row, side))
            continue
        strays = [str(item) for source in sources for item in source.named[row] if item is not None]
        choices.append("left+right" if sides else "+".join(strays))
        times.append("")
    if doubled:
        log.info("%s: trials with answers of both sides, of which the first counts: %d", table.path, doubled)
    with_rt = "rt" not in table.columns and any(times)
    called = {**table.called, "choice": " and ".join(source.column for source in sources) or "choice"}
    return replace(table.with_columns(choice=choices, **({"rt": times} if with_rt else {})), called=called)


def _time(source: Source, row: int, side: int) -> str:
    """Return the time of the answer that chose.

    A list of times may be longer than that of names, since PsychoPy before 2024 notes a time for every click, but
    a name only for those on something that counts, the last of which ends the trial.
    """
    named, times = source.named[row], source.times[row]
    place = named.index(side) + len(times) - len(named)
    return times[place] if place >= 0 else ""
