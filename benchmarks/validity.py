"""Whether the statistics hold in simulated sessions (``python -m benchmarks.validity``).

Observers whose taste is known answer trial lists of drawn cats; each session is analysed as a real one would be, and
what the report says is compared with the truth. A row is one design with one observer, the same in each session, who
sees other images every time. With ``--ceilings``, sessions are choices alone, of many observers, to see what they say
of side bias, lapse rate and noise ceiling. Sessions are kept as soon as they are done, so that a run that was ended
goes on, and ``--sessions`` can be raised later; those that other code of catpref analysed do not count.
"""

import hashlib
import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import torch

import catpref
from benchmarks import validity_choices, validity_sessions
from benchmarks.validity_choices import rows_of_choices, run_choices
from benchmarks.validity_sessions import (
    FULL_SIZE,
    SMALL,
    Cats,
    Row,
    draw_cats,
    rows_of,
    run_session,
)
from benchmarks.validity_summary import Measure, summarise, summarise_choices, tables
from catpref._io.files import sha256_of
from catpref._io.progress import progress
from catpref.command_line import Parser, positive, run
from catpref.errors import BadInput
from catpref.perception.backbones import DEFAULT, load_backbone

IMAGES, _FEW_IMAGES = 2400, 70
_SESSIONS, _FEW_SESSIONS = 20, 3

_PAGE = """# Validation

Do the numbers of a report hold? Observers whose taste is known answer trial lists of drawn cats, each session is
analysed as a real one (`--model utility`), and what the report says is compared with the truth. This page was written
by `python -m benchmarks.validity --page`; none of its numbers is typed by hand. [Noise ceilings of more
observers](validation-of-ceilings.md), from choices alone, have a page of their own.

A row is a design and an observer, the same one in each of its *n* sessions, who sees other images every time.

{designs}

{observers}

Standard deviations are over images, in logits. What the embedding carries of a taste is linear in it; an image's own
appeal has nothing to do with it.

After ± stands one standard error of the simulation. **Bold** numbers miss their target, which stands in the head of
the column, by more than two of them; what is not bold is not thereby shown to hold it, least of all with small *n*.
The truth of accuracy, log loss, AUC and differences is their mean over the row's sessions, since held-out images are
new images; of the calibration slope, their median; where the embedding carries nothing of the taste, it is known.

{tables}"""

_CEILINGS = """# Validation of the noise ceiling

Do side bias, lapse rate and noise ceiling hold, whoever answers? Observers whose utilities are known answer trial
lists, and what one psychometric model of all trials says is compared with the truth. This page was written by
`python -m benchmarks.validity --ceilings --page`; none of its numbers is typed by hand. [Validation](validation.md)
is of whole reports.

A row is a design and an observer, whose utilities are drawn anew in each of its *n* sessions: Gaussian, or, where its
name begins with *t*, from Student's t with four degrees of freedom. The name says their standard deviation and the
side bias in logits, and the lapse rate.

{designs}

After ± stands one standard error of the simulation. **Bold** numbers miss their target, which stands in the head of
the column, by more than two of them; what is not bold is not thereby shown to hold it, least of all with small *n*.

{tables}"""


def main(arguments: Sequence[str]) -> None:
    """Run the benchmark."""
    parser = Parser(
        "python -m benchmarks.validity",
        "Simulate sessions, and compare what the report says with the truth.",
        "python -m benchmarks.validity --sessions 400 --jobs 2 --json --page docs/explanation/validation.md",
    )
    parser.add_argument(
        "--sessions",
        type=positive,
        metavar="N",
        help=f"of each row (default: {_SESSIONS}; 400 for the full size)",
    )
    parser.add_argument(
        "--rows",
        nargs="+",
        default=["*"],
        metavar="NAME",
        help="such as full-50/carried or 'random-300/*' (default: all)",
    )
    parser.add_argument(
        "--jobs", type=positive, default=1, metavar="N", help="processes (default: %(default)s)"
    )
    parser.add_argument(
        "--ceilings",
        action="store_true",
        help="choices alone, of more observers: side bias, lapse rate and noise ceiling",
    )
    parser.add_argument("--small", action="store_true", help="short sessions, to see that this works")
    parser.add_argument(
        "--out", type=Path, default=Path("stimuli/validity"), metavar="DIR",
        help="where faces and finished sessions are kept (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--page", type=Path, metavar="FILE.md", help="write the results as a page, too")
    parser.add_argument("--json")
    options = parser.parse_args(arguments)
    every = (rows_of_choices if options.ceilings else rows_of)(SMALL if options.small else FULL_SIZE)
    rows = [row for row in every if any(fnmatch(row.name, asked) for asked in options.rows)]
    if not rows:
        raise BadInput(f"rows={' '.join(options.rows)}: none of {', '.join(row.name for row in every)}")
    options.out.mkdir(parents=True, exist_ok=True)
    cats = None if options.ceilings else draw_cats(options.out, _FEW_IMAGES if options.small else IMAGES)
    wanted = options.sessions or (_FEW_SESSIONS if options.small else _SESSIONS)
    kept = options.out / "sessions.jsonl"
    _simulate(rows, wanted, cats, kept, options.jobs)
    done = _finished(kept)
    found = {
        row: _summary(row, done, summarise_choices if options.ceilings else summarise)
        for row in every
        if any(name == row.name for name, _ in done)
    }
    for row in rows:
        entry = {"row": row.name, "sessions": found[row][0]}
        entry |= {key: [_rounded(one) for one in measure] for key, measure in found[row][1].items()}
        print(json.dumps(entry) if options.json else entry, flush=True)
    if options.page:
        options.page.write_text(_page(found, _CEILINGS if options.ceilings else _PAGE), encoding="utf-8")


def _simulate(rows: Sequence[Row], wanted: int, cats: Cats | None, kept: Path, jobs: int) -> None:
    """Run what sessions are missing, all rows' first ones first, and add each to the file as soon as it is done."""
    done, code = _finished(kept), _code()
    missing = [(row, number) for number in range(wanted) for row in rows if (row.name, number) not in done]
    # Fresh processes: a forked copy of one in which torch has started threads can hang.
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _start, (cats,))
    with pool, kept.open("a", encoding="utf-8") as file:
        running = {pool.submit(_one, row, number): (row, number) for row, number in missing}
        try:
            for one in progress(as_completed(running), "simulating", total=len(running), unit="session"):
                row, number = running[one]
                line = {"row": row.name, "number": number, "code": code} | one.result()
                file.write("\n" + json.dumps(line))  # a line that was cut short ends here
                file.flush()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


_worker: dict[str, Any] = {}


def _start(cats: Cats | None) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    if cats:
        _worker.update(cats=cats, backbone=load_backbone(DEFAULT))


def _end_with_parent() -> None:
    """Let no process that was left behind when a run was killed go on for hours."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _one(row: Row, number: int) -> dict[str, Any]:
    return run_session(row, number, **_worker) if _worker else run_choices(row, number)


def _code() -> str:
    """Return a digest of the code that makes sessions' numbers, to know which ones other code made."""
    files = [
        validity_choices.__file__,
        validity_sessions.__file__,
        *sorted(Path(catpref.__file__).parent.rglob("*.py")),
    ]
    digests = [sha256_of(Path(file)) for file in files]
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]


def _finished(kept: Path) -> dict[tuple[str, int], Mapping[str, Any]]:
    """Return the finished sessions of today's code, by row and number; a line that was cut short does not count."""
    code, done = _code(), {}
    for line in kept.read_text(encoding="utf-8").splitlines() if kept.exists() else ():
        try:
            session = json.loads(line)
        except json.JSONDecodeError:
            continue
        if session["code"] == code:
            done[session["row"], session["number"]] = session
    return done


def _summary(
    row: Row,
    done: Mapping[tuple[str, int], Mapping[str, Any]],
    summarised: Callable[[Row, Sequence[Mapping[str, Any]]], dict[str, Measure]],
) -> tuple[int, dict[str, Measure]]:
    sessions = [session for (name, _), session in sorted(done.items()) if name == row.name]
    return len(sessions), summarised(row, sessions)


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)


def _page(found: Mapping[Row, tuple[int, Mapping[str, Measure]]], template: str) -> str:
    designs = dict.fromkeys(row.design for row in found)
    sets = ["| design | images | pairs | repeated |", "| --- | --- | --- | --- |"]
    sets += [f"| {one.name} | {one.images} | {one.pairs} | {one.repeats} |" for one in designs]
    head = "| observer | carried by the embedding | the image's own | side bias (logits) | lapse rate |"
    people = [head, "| --- | --- | --- | --- | --- |"]
    people += [
        f"| {one.name} | {one.carried:g} | {one.own:g} | {one.side_bias:g} | {one.lapse:g} |"
        for one in dict.fromkeys(row.observer for row in found)
    ]
    return template.format(designs="\n".join(sets), observers="\n".join(people), tables=tables(found))


if __name__ == "__main__":
    run(main)
