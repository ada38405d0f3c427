"""The CSV of a task on Gorilla: a row an event, the spreadsheet's columns on every row of a trial.

Answers are the rows with a ``Response`` whose ``Response Type`` (Task Builder 2) is response, or whose ``Zone Type``
(Task Builder 1) is that of a response. Columns of the spreadsheet are called ``Spreadsheet: NAME`` in Task Builder 2.
``Reaction Time`` is in milliseconds. https://support.gorilla.sc/support/data-analysis
"""

from dataclasses import replace

from catpref.sessions.cells import is_nothing
from catpref.sessions.table import Table

_MARK = "Participant Private ID"
_PREFIX = "Spreadsheet: "
_KINDS = ("Response Type", "Zone Type")


def is_gorilla(table: Table) -> bool:
    """Return whether Gorilla wrote this table."""
    return {_MARK, "Response", "Reaction Time"} <= {name.replace(".", " ") for name in table.columns}


def answers(table: Table) -> Table:
    """Keep the rows with answers; R's names with points become Gorilla's, and the spreadsheet's lose their prefix."""
    columns = [name.replace(".", " ") if " " not in name else name for name in table.columns]
    short = [name.removeprefix(_PREFIX) for name in columns]
    columns = [one if short.count(one) == 1 else name for one, name in zip(short, columns, strict=True)]
    kinds = [columns.index(name) for name in _KINDS if name in columns]
    response = columns.index("Response")
    keep = [
        place
        for place, row in enumerate(table.rows)
        if not is_nothing(row[response])
        and all(is_nothing(row[kind]) or row[kind].lower().startswith("response") for kind in kinds)
    ]
    return replace(table.rows_at(keep), columns=columns)
