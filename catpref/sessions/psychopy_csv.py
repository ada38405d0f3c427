"""The wide CSVs that PsychoPy and Pavlovia write: those of any experiment that shows two images a trial.

They have a row for every pass through any routine, and a column for everything that any of them noted, so that
what makes a trial has to be found:

- *The images* are in the two columns that `catpref.sessions.tidy` finds. Rows without images are those of other
  routines. Rows that a loop wrote whose name speaks of practice are left out.
- *The answer* is in those columns of keyboards (`key_resp.keys`), mice (`mouse.clicked_name`) and buttons
  (`left_button.numClicks`) that name sides, of which no two of a kind may have answered in one trial. It is the
  component that was clicked, if its name says the side; the image that was clicked; or what
  `catpref.sessions.coding` makes of keys. Of several keys in a trial the first counts, where all keys of every
  trial are noted; of other answers in a trial, all must name one side.
- *The reaction time* is that of the key or click that chose.
"""

import logging
import re
from itertools import combinations, compress

from catpref.errors import BadInput, shown
from catpref.sessions.answers import Source, notes_all, times_beside
from catpref.sessions.cells import is_nothing, number
from catpref.sessions.coding import Named, items_of, named
from catpref.sessions.columns import Asked, naming_sides, option
from catpref.sessions.table import Table
from catpref.sessions.words import is_practice, side_of, words

log = logging.getLogger(__name__)

_WRITTEN_BY_PSYCHOPY = re.compile(
    r"\.(keys|clicked_\w+|numClicks|started|stopped|thisN|thisTrialN|thisRepN)$"
)
_TIMES = {".keys": ".rt", ".clicked_name": ".time", ".clicked_image": ".time"}
_CLICKS, _CLICK_TIMES = ".numClicks", ".timesOn"
_PASS = re.compile(r"([^.]+)\.this(?:Rep|Trial)?N$")


def is_wide(table: Table) -> bool:
    """Return whether PsychoPy or PsychoJS wrote this table."""
    return any(_WRITTEN_BY_PSYCHOPY.search(name) for name in table.columns)


def without_practice(table: Table) -> Table:
    """Leave out the rows that a loop wrote whose name speaks of practice, and log how many of which loop."""
    passes = {name: found[1] for name in table.columns if (found := _PASS.match(name))}
    for loop in filter(is_practice, dict.fromkeys(passes.values())):
        cells = zip(*(table[name] for name, of in passes.items() if of == loop), strict=True)
        keep = [all(map(is_nothing, row)) for row in cells]
        if not all(keep):
            log.info(
                "%s: rows left out as practice of loop %s: %d", table.path, shown(loop), keep.count(False)
            )
        table = table.rows_at(compress(range(len(keep)), keep))
    return table


def answer_columns(table: Table) -> list[str]:
    """Return the columns that keyboards, mice and buttons noted answers in."""
    return [name for name in table.columns if name.endswith((*_TIMES, _CLICKS))]


def sources(table: Table, asked: Asked) -> list[Source]:
    """Find the columns with answers; `table` has `left_image` and `right_image`.

    Raises
    ------
    BadInput
        If two of a kind have answers in one trial, or none has any.
    """
    columns = answer_columns(table)
    found = [source_of(table, name, asked) for name in columns if not name.endswith(_CLICKS)] + _of_buttons(
        table
    )
    chosen = [source for source in found if any(source.sides)]
    said = shown(", ".join([source.column for source in chosen] or columns), 300)
    for one, other in combinations(chosen, 2):
        both = zip(one.sides, other.sides, strict=True)
        if _ending(one.column) == _ending(other.column) and any(a and b for a, b in both):
            name_it = option("columns", choice=one.column)
            raise BadInput(
                f"{table.path}: more than one of the columns {said} has answers; name the one that counts: {name_it}"
            )
    given = {item for name in columns for cell in table[name] for item in items_of(cell) if item}
    if not chosen and given:
        raise BadInput(
            f"{table.path}: none of the columns {said} has answers that are known (left, right, F, J); "
            + naming_sides(given)
        )
    return chosen


def source_of(table: Table, column: str, asked: Asked) -> Source:
    """Return the answers of a keyboard or mouse."""
    kind = "keys" if _ending(column) == ".keys" else "clicks"
    times = column.removesuffix(_ending(column)) + _TIMES[_ending(column)]
    first_counts = kind == "keys" and notes_all(table, column)
    return Source(
        column, named(table, column, kind, coding=asked.choices), times_beside(table, times), first_counts
    )


def _ending(column: str) -> str:
    return "." + column.rpartition(".")[2]


def _of_buttons(table: Table) -> list[Source]:
    """Return the answers of PsychoPy's button components whose names say the side, as one column."""
    clicks = {name: side_of(words(name)) for name in table.columns if name.endswith(_CLICKS)}
    sides = {name: side for name, side in clicks.items() if side is not None}
    if sorted(sides.values()) != [0, 1]:
        return []
    times = [times_beside(table, name.removesuffix(_CLICKS) + _CLICK_TIMES) for name in sides]
    answers: list[Named] = []
    beside: list[list[str]] = []
    for row, cells in enumerate(zip(*(table[name] for name in sides), strict=True)):
        clicked = [place for place, cell in enumerate(cells) if (number(cell) or 0) > 0]
        answers.append(tuple(list(sides.values())[place] for place in clicked))
        beside.append([next(iter(times[place][row]), "") for place in clicked])
    return [Source(" and ".join(sides), answers, beside)]
