"""Which columns of a file are what: from the table of any dialect to one with catpref's own columns.

A plain session.csv is taken as it is. Of any other table one line says what was taken for what; where that cannot be
told, the complaint names the file's columns and the argument that would tell.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import compress

from catpref.errors import BadInput, shown
from catpref.sessions import answers, bids, gorilla, jspsych, psychopy_csv, tidy, two_rows, winners
from catpref.sessions.answers import Source
from catpref.sessions.cells import NO_PREFERENCE, YES, is_nothing, number
from catpref.sessions.coding import chosen_image, items_of, meaning_of
from catpref.sessions.columns import NOTHING, Asked, has, option
from catpref.sessions.table import SIDES, Table, free_name
from catpref.sessions.words import is_practice, word_set, words

log = logging.getLogger(__name__)

_QUALTRICS = ({"StartDate", "EndDate", "ResponseId"}, {"Start Date", "End Date", "Response ID"})
_PHASES = word_set("phase task part block section stage display")
_PHASES_BESIDE = word_set("test type trial name label session spreadsheet experiment")
_CHECKS = word_set("attention check is catch trial attn practice")
_BY_IMAGE = "the image that was chosen"


def as_session(table: Table, asked: Asked = NOTHING, answered: bool = True) -> Table:
    """Return a table with `left_image`, `right_image` and, where `answered`, `choice`, whatever its dialect.

    `choice` is 0, 1 or empty, or what stands in the file where it is neither. Where there are reaction times and
    participants, `rt` is in seconds and `participant` has their codes; whatever else there is, is kept.

    Parameters
    ----------
    table
        The cells of a file.
    asked
        What the user said of its columns.
    answered
        Whether choices are needed.

    Raises
    ------
    BadInput
        If it cannot be told which columns hold the images and the choice, or what the choices stand for.
    """
    if not table.rows:
        return replace(table, columns=[*SIDES, "choice"])  # what it calls its columns makes no difference
    if not answered:
        asked = Asked(
            {what: name for what, name in asked.columns.items() if what not in ("choice", "rt")}, None
        )
    if bids.is_beh(table.path):
        table = bids.with_own_names(table)
    table = asked.renamed(table)
    if "choice" not in asked.columns and asked.choices is None and _is_plain(table, answered):
        return _finished(table, [])
    if any(marks <= {*table.columns} for marks in _QUALTRICS):
        raise BadInput(
            f"{table.path}: is a Qualtrics export, with one row a participant; write one row a trial, with columns "
            "such as participant, left_image, right_image and choice"
        )
    table = _of_other_programs(table)
    images = tidy.image_columns(table)
    if images is None:
        return _without_images(table, asked, answered)
    table = _with_answers_below(table.renamed(dict(zip(images, SIDES, strict=True))))
    table = _kept(table, [not all(map(is_nothing, pair)) for pair in _pairs(table)])
    table = _without_practice(table)
    if not answered or not table.rows:
        return _finished(table, SIDES)
    return _answered(table, asked)


def check_codings(tables: Sequence[Table]) -> None:
    """Refuse a file that has only 1 in its column `choice`, the right, beside one with 1 and 2, where it is the left.

    Raises
    ------
    BadInput
        With both files, and the argument that would tell.
    """
    coded = [table for table in tables if "choice" in table.columns]
    seen = [(table.path, {number(cell) for cell in table["choice"]} - {None}) for table in coded]
    of_two = next((path for path, values in seen if 2 in values and values <= {1, 2}), None)
    for path, values in seen:
        if of_two is not None and values == {1}:
            raise BadInput(
                f"{path}: its column choice has no number but 1, which is the left in {of_two} and the right where "
                f"it is alone; name what it means: {option('choices', left='1', right='2')}"
            )


def _is_plain(table: Table, answered: bool) -> bool:
    """Return whether a table has the columns of a session.csv, and, where `answered`, no choice of another coding."""
    if not {*SIDES, *["choice"] * answered} <= {*table.columns} or _is_of_program(table):
        return False
    if not answered:
        return True
    given = {cell for cell in table["choice"] if not is_nothing(cell)}
    others = {cell for cell in given if number(cell) not in (0, NO_PREFERENCE, 1)}
    of_numbers = any(cell.strip().lstrip("+-−")[:1].isdigit() and number(cell) is not None for cell in others)
    if of_numbers or (others and others == given):
        return False
    chosen = (
        chosen_image(cell, pair)
        for cell, pair in zip(table["choice"], _pairs(table), strict=True)
        if cell in others
    )
    return not others or (not meaning_of(others, "values") and all(side is None for side in chosen))


def _is_of_program(table: Table) -> bool:
    return psychopy_csv.is_wide(table) or jspsych.is_jspsych(table) or gorilla.is_gorilla(table)


def _of_other_programs(table: Table) -> Table:
    if jspsych.is_jspsych(table):
        return jspsych.with_items(table, have_images=tidy.image_columns(table) is not None)
    return gorilla.answers(table) if gorilla.is_gorilla(table) else table


def _without_images(table: Table, asked: Asked, answered: bool) -> Table:
    """Read a table of winners, or of two rows a trial; any other shows no pair of images."""
    joined = two_rows.joined(table)
    if joined is not None and {*SIDES} <= {*joined.columns}:
        if answered and "choice" not in joined.called:
            return _answered(joined, asked)
        return _finished(_timed(joined) if answered else joined, [])
    table = table if joined is None else joined
    pair = winners.winner_columns(table) if answered else None
    if pair is not None:
        log.info(
            "%s: %s = the image that won, %s = the one that lost; sides are not known",
            table.path,
            *map(shown, pair),
        )
        return _finished(_timed(winners.of_winners(table, pair)), [])
    if psychopy_csv.is_wide(table) and len(tidy.columns_of_images(table)) < 2:  # left before the first trial
        return replace(table, rows=[], lines=[])
    check_images(table)
    raise AssertionError


def check_images(table: Table) -> None:
    """Refuse a table without the columns of the images.

    Raises
    ------
    BadInput
        With the columns that there are, and the argument that would tell which are meant.
    """
    for side in SIDES:
        if side not in table.columns:
            left, right, *_ = (*tidy.columns_of_images(table), None, None)
            if left is not None and right is None:
                raise BadInput(
                    f"{table.path}: the header has no column {side}, and one column of images, {shown(left)}; "
                    f"{has(table)}; write one row a trial, with both images, in columns left_image and right_image"
                )
            choice = next(iter(tidy.answer_columns(table)), None)
            raise BadInput(
                f"{table.path}: the header has no column {side}; {has(table)}; name what is meant: "
                f"{option('columns', left=left, right=right, choice=choice)}"
            )


def _answered(table: Table, asked: Asked) -> Table:
    """Find the answers of trials with images, and their times."""
    sources = _sources(table, asked)
    counts = winners.count_columns(table) if not sources else None
    if counts is not None:
        return _finished(winners.of_counts(table, counts), SIDES, f"wins = {counts[0]} and {counts[1]}")
    if not sources and not [*tidy.answer_columns(table), *psychopy_csv.answer_columns(table)]:
        raise BadInput(
            f"{table.path}: the header has no column choice, and none of keys or clicks; {has(table)}; name it: "
            f"{option('columns', choice=None)}"
        )
    said = [f"choice = {shown(source.column)}{_coding(table, source)}" for source in sources]
    if asked.columns.get("choice", "choice") != "choice":  # what is called so is something else
        table = table.renamed({"choice": free_name("choice", table.columns)})
    table = answers.with_choices(table, sources)
    if psychopy_csv.is_wide(table) and "trial" not in table.columns:
        table = table.with_columns(trial=[str(row) for row in range(len(table.rows))])
    return _finished(_timed(table), SIDES, *said)


def _timed(table: Table) -> Table:
    """Call the column with the times of the answers ``rt``."""
    time = tidy.time_column(table, table.name_in_file("choice"))
    return table if time in (None, "rt") else table.renamed({time: "rt"})


def _sources(table: Table, asked: Asked) -> list[Source]:
    """Return the columns with answers: of PsychoPy's components, where no column is called choice, or any other."""
    chosen = asked.columns.get("choice")
    of_components = psychopy_csv.answer_columns(table)
    if chosen in of_components:
        return [psychopy_csv.source_of(table, chosen, asked)]
    if of_components and chosen is None and "choice" not in table.columns:
        found = psychopy_csv.sources(table, asked)
        if found or not tidy.answer_columns(table):
            return found
    source = tidy.source(table, asked)
    return [] if source is None else [source]


def _coding(table: Table, source: Source) -> str:
    """Return what stands for which side in a column, for the line that says so."""
    if source.column not in table.columns:
        return ""
    meant: dict[str, int] = {}
    for cell, pair, said in zip(table[source.column], _pairs(table), source.named, strict=True):
        for item, side in zip(items_of(cell), said, strict=len(said) > 0):
            if isinstance(side, int):
                by_image = chosen_image(item, pair) == side and not source.column.endswith(".keys")
                meant[_BY_IMAGE if by_image else item] = side
    spelt = []
    for item, side in sorted(meant.items(), key=lambda each: each[1]):
        known = item == _BY_IMAGE or item.lower() == ("left", "right")[side]
        spelt.append(shown(item, 40) + ("" if known else f" = {('left', 'right')[side]}"))
    return f" ({', '.join(spelt[:4])})" if spelt else ""


def _with_answers_below(table: Table) -> Table:
    """Join each row with images and the next, where answers stand only there: an experiment began a row too many."""
    columns = [*tidy.answer_columns(table), *psychopy_csv.answer_columns(table)]
    answers_in = [table.columns.index(name) for name in columns]
    answered = [any(not is_nothing(row[place]) for place in answers_in) for row in table.rows]
    shows = [not all(map(is_nothing, pair)) for pair in _pairs(table)]
    below = [
        row + 1 for row in range(len(shows) - 1) if shows[row] and not shows[row + 1] and answered[row + 1]
    ]
    if any(map(all, zip(shows, answered, strict=True))) or 2 * len(below) < sum(shows) or not below:
        return table
    log.info(
        "%s: answers stand in the row after that of the images; trials joined: %d", table.path, len(below)
    )
    rows = list(table.rows)
    for row in below:
        pairs = zip(rows[row - 1], rows[row], strict=True)
        rows[row - 1] = [above if is_nothing(cell) else cell for above, cell in pairs]
    return replace(table, rows=rows)


def _without_practice(table: Table) -> Table:
    """Leave out rows of practice, by the loop that wrote them or by a column such as ``phase``, and log how many."""
    table = psychopy_csv.without_practice(table)
    for column in table.columns:
        said = set(words(column))
        if said & _PHASES and said <= _PHASES | _PHASES_BESIDE:
            keep = [not is_practice(cell) for cell in table[column]]
        elif said <= {"is", "practice", "trial"} and "practice" in said:
            keep = [cell.strip().lower() not in YES for cell in table[column]]
        else:
            continue
        if any(keep) and not all(keep):
            rows = keep.count(False)
            log.info("%s: rows left out as practice by column %s: %d", table.path, shown(column), rows)
            table = _kept(table, keep)
    return table


def _finished(table: Table, spoken: Sequence[str], *said: str) -> Table:
    """Return the table with `participant`, after lines on what was taken for what and on checks not read."""
    who = tidy.participant_column(table)
    if who is not None and who != "participant":
        table = table.renamed({who: "participant"})
    parts = [f"{side.removesuffix('_image')} = {shown(table.name_in_file(side))}" for side in spoken]
    others = [
        f"{own} = {shown(name)}" for own in ("rt", "participant") if (name := table.name_in_file(own)) != own
    ]
    if said or others:
        log.info("%s: %s", table.path, ", ".join([*parts, *said, *others]))
    for column in table.columns:
        checked = set(words(column))
        if column != "catch" and checked & {"attention", "catch", "attn", "practice"} and checked <= _CHECKS:
            marked = sum(cell.strip().lower() in YES for cell in table[column])
            if marked:
                log.info(
                    "%s: column %s marks %d rows; it is not read, and they count as choices: "
                    "only catch = left or right is",
                    table.path, shown(column), marked,
                )  # fmt: skip
    return table


def _pairs(table: Table) -> list[tuple[str, str]]:
    return list(zip(table[SIDES[0]], table[SIDES[1]], strict=True))


def _kept(table: Table, keep: Sequence[bool]) -> Table:
    return table.rows_at(compress(range(len(keep)), keep))
