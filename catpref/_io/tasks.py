"""Tasks and what came of them, whichever engine does them; see `catpref._io.engines`, which needs torch."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from catpref._io.engines import Engine

Common = TypeVar("Common")
Item = TypeVar("Item")
Result = TypeVar("Result")


def by_number(done: Iterable[tuple[int, Result]]) -> list[Result]:
    """Return results that come with their tasks' numbers, in any order, in the order of the tasks."""
    return [result for _, result in sorted(done, key=itemgetter(0))]


def where_seen(
    engine: "Engine",
    function: Callable[[Common, Item], Result | None],
    common: Common,
    items: Sequence[Item],
    with_content: Callable[[Item], Item],
) -> Iterator[tuple[int, Result | None]]:
    """Do tasks that read files: workers that see the files read them there, others are sent what is in them.

    Parameters
    ----------
    engine
        Who does them.
    function, common, items
        See `catpref._io.engines.Engine.as_done`; None is the result of a task whose files are not seen.
    with_content
        Puts what is in its files into an item; called when the task is handed out.
    """
    unseen = []
    for number, found in engine.as_done(function, common, items):
        if found is None:
            unseen.append(number)
        else:
            yield number, found
    if unseen:
        sent = _WithContent([items[number] for number in unseen], with_content)
        for place, found in engine.as_done(function, common, sent):
            yield unseen[place], found


class _WithContent(Sequence[Item], Generic[Item]):
    """Items, each with what is in its files as soon as it is asked for, and no longer."""

    def __init__(self, items: Sequence[Item], with_content: Callable[[Item], Item]) -> None:
        self._items, self._with_content = items, with_content

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, number: Any) -> Any:
        return self._with_content(self._items[number])
