"""The columns of any table with one row a trial: which hold the images, the answer, the time, the participant.

Names count by their words (`catpref.sessions.words`), and what they seem to be must hold of the cells: of several
columns that may hold the answer, all must agree. Nothing is taken where more than one thing may be meant.
"""

from collections.abc import Callable
from itertools import combinations

from catpref.errors import BadInput, shown
from catpref.sessions.answers import Source
from catpref.sessions.cells import NO_PREFERENCE, is_nothing, number
from catpref.sessions.coding import Named, looks_like_image, named
from catpref.sessions.columns import Asked, naming_sides, option
from catpref.sessions.table import SIDES, Table
from catpref.sessions.words import IMAGE, KINDS, LEFT, RIGHT, side_of, word_set, words

_CHOSEN = word_set("chose choose chosen selected select picked pick preferred prefer prefers")
_ANSWER = _CHOSEN | word_set(
    "choice winner response resp answer ans selection decision preference judgment judgement key keypress button "
    "antwort wahl auswahl réponse reponse choix respuesta elección eleccion risposta scelta resposta escolha keuze"
)
_BESIDE = IMAGE | word_set(
    "side keyboard mouse pressed press user player participant subject trial afc human rater observer final"
)
_TIME = ({"rt"}, {"reaction", "time"}, {"response", "time"}, {"resp", "time"}, {"latency"}, {"reaktionszeit"})
_UNITS = word_set("ms msec msecs millisecond milliseconds s sec secs seconds in")
_WHO = word_set(
    "participant subject subj sub ppt pid observer worker respondent rater judge prolific vp versuchsperson proband "
    "sujet sujeto participante partecipante soggetto deelnemer proefpersoon"
)
_CODE = word_set("id ids nr no number num code private public")
_PLACE = word_set("position pos side location loc x")
_SWAPS = word_set("swap swapped flip flipped mirrored reversed switched counterbalance counterbalanced")


def image_columns(table: Table) -> tuple[str, str] | None:
    """Find the columns of the left, or first, and the right, or second, image; None where nothing looks like them.

    They are `left_image` and `right_image`, else two whose names differ in one word alone, left and right, A and B,
    or 1 and 2, and whose cells, or else whose names, are those of images.

    Raises
    ------
    BadInput
        If more than two columns may be meant.
    """
    present = set(SIDES).intersection(table.columns)
    if present:
        return SIDES if len(present) == 2 else None
    found = _pairs(table)
    of_images = [pair for pair in found if any(map(looks_like_image, table[pair[0]]))]
    of_images = of_images or [pair for pair in found if _may_name_images(table, pair)]
    different = {
        tuple(map(tuple, (table[left], table[right]))): (left, right) for left, right in of_images[::-1]
    }
    if len(different) > 1:
        shown_pairs = shown(" or ".join(" and ".join(pair) for pair in of_images[:4]), 300)
        left, right = min(of_images, key=lambda pair: side_of(words(pair[0])) is None)
        raise BadInput(
            f"{table.path}: the images may be in {shown_pairs}; name the right two: "
            f"{option('columns', left=left, right=right)}"
        )
    return of_images[0] if of_images else None


def columns_of_images(table: Table) -> list[str]:
    """Return the columns in which any cell is the name of an image file."""
    return [name for name in table.columns if any(map(looks_like_image, table[name]))]


def _pairs(table: Table) -> list[tuple[str, str]]:
    """Return the columns whose names differ in one word, and of which there is no third."""
    is_component = any(name.endswith((".keys", ".thisN", ".clicked_name")) for name in table.columns)
    split = {name: words(name) for name in table.columns if not (is_component and "." in name)}
    stems: dict[tuple[object, ...], dict[int, str]] = {}
    thirds: set[tuple[str, ...]] = set()
    for name, said in split.items():
        for place, word in enumerate(said):
            stem = (*said[:place], "*", *said[place + 1 :])
            for kind, sides in enumerate(KINDS):
                for side in (0, 1):
                    if word in sides[side]:
                        stems.setdefault((kind, len(word) > 1, *stem), {}).setdefault(side, name)
            if word in {"3", "c", "third", "center", "centre", "middle"}:
                thirds.add(stem)
    pairs = [(pair[0], pair[1]) for stem, pair in stems.items() if len(pair) == 2 and stem[2:] not in thirds]
    order = {name: place for place, name in enumerate(table.columns)}
    return sorted({*pairs}, key=lambda pair: order[pair[0]])


def _may_name_images(table: Table, pair: tuple[str, str]) -> bool:
    """Return whether columns are called as if they held images, and hold no numbers."""
    said = [set(words(name)) for name in pair]
    called = (said[0] & said[1]) - {"player", "input"} <= IMAGE
    cells = [cell for name in pair for cell in table[name] if not is_nothing(cell)]
    return called and not (cells and all(number(cell) is not None for cell in cells))


def source(table: Table, asked: Asked) -> Source | None:
    """Find the answers in a table with `left_image` and `right_image`; None where no column has any.

    Parameters
    ----------
    table
        The trials.
    asked
        What the user said.

    Raises
    ------
    BadInput
        If two columns disagree, or no value is known.
    """
    names = [asked.columns["choice"]] if "choice" in asked.columns else answer_columns(table)
    images = table.name_in_file(SIDES[0]), table.name_in_file(SIDES[1])
    found = {name: _of(table, name, asked, name == "choice" and images == SIDES) for name in names}
    known = [Source(name, cells, [[]] * len(cells)) for name, cells in found.items() if cells is not None]
    for one, other in combinations(known, 2):
        if any(a and b and a != b for a, b in zip(one.sides, other.sides, strict=True)):
            raise BadInput(
                f"{table.path}: the columns {shown(one.column)} and {shown(other.column)} may both be the "
                f"choice, and differ; name the one that counts: {option('columns', choice=one.column)}"
            )
    if not known:
        for name in names:
            if any(not is_nothing(cell) for cell in table[name]):
                raise _unknown(table, name)
        return None
    _check_order(table, images, [each.column for each in known])
    return max(known, key=lambda each: sum(map(bool, each.sides)))


def answer_columns(table: Table) -> list[str]:
    """Return the columns that are called as if they held answers."""
    return [name for name in table.columns if _may_be_answer(name)]


def _may_be_answer(name: str) -> bool:
    said = set(words(name))
    by_last = set(words(name.rpartition(".")[2])) if "." in name else set()
    sides = LEFT | RIGHT | {"a", "b"} if said & _CHOSEN else frozenset()
    return (bool(said & _ANSWER) and said <= _ANSWER | _BESIDE | sides) or by_last in ({"resp"}, {"choice"})


def _of(table: Table, name: str, asked: Asked, lone: bool) -> list[Named] | None:
    """Return what a column's cells name, if at least half of the values, or any that was told, is a side."""
    side = side_of(words(name)) if asked.choices is None else None
    if side is None and asked.choices is None and not {"a", "b"}.isdisjoint(words(name)):
        side = int("b" in words(name))
    if side is not None:  # such as chose_left
        yes = {"1": side, "true": side, "yes": side, "0": 1 - side, "false": 1 - side, "no": 1 - side}
        cells: list[Named] = [
            () if is_nothing(cell) else (yes.get(cell.strip().lower(), cell),) for cell in table[name]
        ]
    else:
        cells = named(table, name, "values", asked.choices, lone)
    given = [cell for cell in cells if any(item not in (None, str(NO_PREFERENCE)) for item in cell)]
    understood = sum(any(isinstance(item, int) for item in cell) for cell in given)
    is_told = asked.choices is not None or 2 * understood >= len(given)
    return cells if understood and is_told else None


def _unknown(table: Table, name: str) -> BadInput:
    """Return a complaint about a column of which no value is known."""
    values = sorted({cell.strip() for cell in table[name] if not is_nothing(cell)})
    row = next(row for row, cell in enumerate(table[name]) if cell.strip() == values[-1])
    return BadInput(
        f"{table.at(row, name)}: {shown(repr(values[-1]), 60)} is not a choice that is known; "
        + naming_sides(values)
    )


def _check_order(table: Table, images: tuple[str, str], answers: list[str]) -> None:
    """Refuse images that are called A and B, or 1 and 2, where another column may tell on which side they were."""
    if any(side_of(words(name)) is not None for name in images):
        return
    for name in (one for one in table.columns if one not in (*answers, *SIDES)):
        cells = {cell.strip().lower() for cell in table[name] if not is_nothing(cell)}
        said = words(name)
        places = side_of(said) is not None or not _PLACE.isdisjoint(said)
        of_sides = len(cells) == 2 and (places or {side_of(words(cell)) for cell in cells} == {0, 1})
        if of_sides or (len(cells) > 1 and not _SWAPS.isdisjoint(said)):
            raise BadInput(
                f"{table.path}: the column {shown(name)} may tell on which side {images[0]} was; put the images that "
                "were on the left and on the right into columns left_image and right_image"
            )


def time_column(table: Table, answer: str | None) -> str | None:
    """Find the column with reaction times, that of the answer first."""
    if "rt" in table.columns:
        return "rt"
    stem = answer.rpartition(".")[0] if answer else ""
    of_answer = [name for name in table.columns if stem and name.lower() == f"{stem}.rt".lower()]
    return next(iter(of_answer + _named(table, lambda said: said - _UNITS in _TIME)), None)


def participant_column(table: Table) -> str | None:
    """Find the column with participants' codes, a private one first."""
    if "participant" in table.columns:
        return "participant"
    found = _named(table, lambda said: bool(said & _WHO) and said <= _WHO | _CODE)
    return min(found, key=lambda name: "private" not in words(name), default=None)


def _named(table: Table, fits: Callable[[set[str]], bool]) -> list[str]:
    return [name for name in table.columns if fits(set(words(name)))]
