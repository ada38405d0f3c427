"""Tables with two rows a trial, one an image: the trial, the image, whether it was chosen, perhaps its side."""

from itertools import groupby

from catpref.sessions import tidy
from catpref.sessions.coding import looks_like_image
from catpref.sessions.table import Table
from catpref.sessions.words import side_of, word_set, words

_YES, _NO = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no"}
_TRIAL = ({"trial"}, {"pair"}, {"question"})
_COUNTED = word_set("id nr no number num n index")
_WHOSE = {"session", "block", "run"}


def joined(table: Table) -> Table | None:
    """Join the rows of each trial; None where a table is no such, or its rows do not come in pairs.

    It gets columns `left_image`, `right_image` and `choice` where a column says the side of each image, else `winner`
    and `loser`, in place of what they are made of. Trials with no image chosen, or both, have these empty.
    """
    of_images = [name for name in table.columns if any(map(looks_like_image, table[name]))]
    chosen = [
        name
        for name in tidy.answer_columns(table)
        if {cell.strip().lower() for cell in table[name]} <= _YES | _NO
    ]
    trial = [name for name in table.columns if {*words(name)} - _COUNTED in _TRIAL]
    if (len(of_images), len(chosen)) != (1, 1) or not trial:
        return None
    who = [tidy.participant_column(table), *(name for name in table.columns if name in _WHOSE)]
    keys = list(zip(*(table[name] for name in [*filter(None, who), trial[0]]), strict=True))
    groups = [[row for row, _ in group] for _, group in groupby(enumerate(keys), key=lambda each: each[1])]
    if any(len(group) != 2 for group in groups) or len({*keys}) < len(groups):
        return None
    images = table[of_images[0]]
    won = [cell.strip().lower() in _YES for cell in table[chosen[0]]]
    sides = {name: [side_of(words(cell)) for cell in table[name]] for name in table.columns}
    told = [name for name, of in sides.items() if all({of[a], of[b]} == {0, 1} for a, b in groups)]
    side = told[0] if len(told) == 1 else None
    places = [
        place for place, name in enumerate(table.columns) if name not in (of_images[0], chosen[0], side)
    ]
    first = Table(
        table.path,
        [table.columns[place] for place in places],
        [[table.rows[row][place] for place in places] for row, _ in groups],
        [table.lines[row] for row, _ in groups],
    )
    clear = [won[a] != won[b] for a, b in groups]
    if side is None:
        order = [(a, b) if won[a] else (b, a) for a, b in groups]
        shown = [(images[a] * known, images[b] * known) for (a, b), known in zip(order, clear, strict=True)]
        winner, loser = map(list, zip(*shown, strict=True))
        return first.with_columns(winner=winner, loser=loser)
    order = [(a, b) if sides[side][a] == 0 else (b, a) for a, b in groups]
    return first.with_columns(
        left_image=[images[left] for left, _ in order],
        right_image=[images[right] for _, right in order],
        choice=[str(int(won[right])) * known for (_, right), known in zip(order, clear, strict=True)],
    )
