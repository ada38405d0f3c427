"""Which trials a participant sees next: a new list, its next part, or the rest of a session that stopped."""

import argparse
import hashlib
import json
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from catpref._io.parallel import parallel, threads
from catpref._io.reading import read_bytes
from catpref.adaptive import schedule
from catpref.adaptive.chooser import Answer
from catpref.design.designs import count_images, count_pairs, list_trials
from catpref.design.trial_list import BLOCK, BY_LEARNING, FIXED, RANKING, Trial, is_adaptive, read_trial_list
from catpref.errors import BadInput
from catpref.lab.adaptive import (
    ENTRY,
    MINUTES,
    TRIALS_SHOWN,
    UNTIL,
    Adaptive,
    begin_adaptive,
    check_options,
    next_adaptive,
    reopen_adaptive,
)
from catpref.lab.description import LIST, check_description, time_of
from catpref.lab.recording import (
    DESCRIPTION,
    LARGEST,
    SESSION,
    TRIALS,
    Recording,
    check_new,
    describe,
    read_description,
    running,
)
from catpref.lab.rescue import find_rescued, take_back
from catpref.sessions.participants import check_participant
from catpref.stimuli.images import image_path, open_image

SESSIONS = Path("sessions")

PAIRS_A_REPEAT, PAIRS_A_CATCH = 20, 100
"""By default 5% of the pairs are shown again, and every hundred pairs bring a catch trial: who presses blindly
passes 9 or more of 10 catch trials once in 93 sessions."""

_LONGEST_PAUSE = timedelta(days=366)
"""Between two sittings; what looks longer is a clock that is wrong."""


@dataclass(frozen=True)
class Plan:
    """What one call of an experiment shows.

    Attributes
    ----------
    folder
        The session's folder.
    stimuli
        The stimulus folder.
    whole
        The whole trial list, of which the session may be a part.
    description
        What session.json says or is to say.
    answered
        How many trials of the session have an answer already.
    seconds
        When the last of these answers was given, from the start of the session.
    begun
        Whether the folder is there already.
    adaptive
        What an adaptive session has beside.
    answers
        The answers that it has already, those of earlier parts among them.
    """

    folder: Path
    stimuli: Path
    whole: list[Trial]
    description: dict[str, Any]
    answered: int = 0
    seconds: float = 0.0
    begun: bool = False
    adaptive: Adaptive | None = None
    answers: Sequence[Answer] = ()

    @property
    def trials(self) -> list[Trial]:
        """The trials of the session."""
        return self.whole[self.description["first_trial"] :][: self.description["trials"]]

    @property
    def unfinished(self) -> bool:
        """Whether there are trials of the session without an answer, which are to be shown."""
        return self.answered < len(self.trials) and not self.ended_early

    @property
    def ended_early(self) -> str | None:
        """Why an adaptive session ended before its last trial; None if it did not."""
        ended = self.description.get(ENTRY, {}).get("ended")
        return ended if ended in (MINUTES, UNTIL) else None

    @property
    def left(self) -> int:
        """How many trials of the list come after this session."""
        if self.ended_early:
            return 0
        return len(self.whole) - self.description["first_trial"] - self.description["trials"]

    @property
    def parts(self) -> int:
        """In how many parts the list is shown."""
        size = self.description["trials_per_session"] or len(self.whole)
        return self.description["part"] + -(-self.left // size)


@contextmanager
def plan_session(
    options: argparse.Namespace, design: str, question: str, participant: str, session: int | None
) -> Iterator[Plan]:
    """Find out what comes next, and check that every image of it can be shown.

    Within the block, a session that was begun is held: no other process runs it.

    Parameters
    ----------
    options
        The command line of an experiment.
    design
        ``"random-sampled"``, ``"fully-sampled"``, ``"balanced-incomplete"``, ``"adaptive"`` or
        ``"adaptive-ranking"``.
    question
        What the participant is asked.
    participant, session
        The code, and which of their sessions; by default the one that was stopped, else the next one.

    Raises
    ------
    BadInput
        If everything is answered already, what is asked for contradicts what was begun, another process runs
        the session, or a file of it, the list or an image cannot be used.
    """
    with ExitStack() as held:
        yield _plan(options, design, question, participant, session, held)


def _plan(
    options: argparse.Namespace,
    design: str,
    question: str,
    participant: str,
    session: int | None,
    held: ExitStack,
) -> Plan:
    """Find out what comes next; `held` lets go of the session at its end."""
    check_participant(participant)
    stem = f"{participant}_{design}_"

    def at(number: int) -> Path:
        return options.out or SESSIONS / f"{stem}{number}"

    def who(number: int) -> dict[str, Any]:
        return {"participant": participant, "session": number, "design": design, "question": question}

    begun = [number for number in _numbers(options.out, stem) if (at(number) / DESCRIPTION).exists()]
    if session is None and begun:
        plan = _reopen(at(begun[-1]), options, who(begun[-1]), held)
        if plan.unfinished:
            return plan
        held.close()
        if plan.left:
            return _next_part(plan, at(begun[-1] + 1), options, who(begun[-1] + 1))
        raise BadInput(f"{_over(plan)}; begin another list with --session {begun[-1] + 1}")
    session = session or 1
    if session in begun:
        plan = _reopen(at(session), options, who(session), held)
        if plan.unfinished:
            return plan
        raise BadInput(f"{_over(plan)}; choose another --session or --out")
    if session - 1 in begun and read_description(at(session - 1)).get("trials_per_session"):
        plan = _reopen(at(session - 1), options, who(session - 1), held)
        if plan.unfinished:
            raise BadInput(f"{plan.folder}: has trials without an answer; finish it first, without --session")
        held.close()
        if plan.left:
            return _next_part(plan, at(session), options, who(session))
    return _new(at(session), options, who(session))


def _over(plan: Plan) -> str:
    """Return that, and why, nothing is left to be shown of a session."""
    if plan.ended_early:
        limit = plan.description[ENTRY][plan.ended_early]
        return f"{plan.folder}: ended after {plan.answered} trials, by --{plan.ended_early} {limit:g}"
    return f"{plan.folder}: every trial is answered"


def _numbers(out: Path | None, stem: str) -> list[int]:
    """List the numbers of the sessions that could have been begun, in order."""
    if out:
        if not (out / DESCRIPTION).exists():
            return []
        description = read_description(out)
        check_description(out / DESCRIPTION, description)
        return [description["session"]]
    endings = [path.name.removeprefix(stem) for path in SESSIONS.glob(f"{stem}*")]
    return sorted(int(ending) for ending in endings if ending.isascii() and ending.isdigit())


def _reopen(folder: Path, options: argparse.Namespace, who: dict[str, Any], held: ExitStack) -> Plan:
    """Take up a session that was begun, if it is the one that is asked for, and hold it."""
    held.enter_context(running(folder))
    description = read_description(folder)
    _check_description(folder, options, who, description)
    designs = BY_LEARNING if is_adaptive(description["design"]) else FIXED
    trials = read_trial_list(folder / TRIALS, options.stimuli, designs)
    _check_whole_list(folder / TRIALS, trials, description)
    if options.trials_file and read_trial_list(options.trials_file, options.stimuli) != trials:
        raise BadInput(f"{options.trials_file}: is not the list of {folder}; leave --trials-file out")
    adaptive = None
    if is_adaptive(description["design"]):
        adaptive = reopen_adaptive(folder, description[ENTRY], trials)
    plan = Plan(folder, options.stimuli, trials, description, begun=True, adaptive=adaptive)
    recording = record(plan)
    rescued = take_back(recording, description)
    if rescued:
        print(f"{folder}: took the answers that had been saved in {rescued}")
    answers = [*(adaptive.earlier if adaptive else ()), *recording.answers]
    plan = replace(plan, answered=recording.answered, seconds=recording.seconds, answers=answers)
    _note_a_kill(plan)
    if plan.unfinished:
        _check_images(plan)
    _warn_of_the_clock(folder, description)
    return plan


def record(plan: Plan) -> Recording:
    """Return the session.csv of a session that was begun, to go on with where it stops."""
    description, adaptive = plan.description, plan.adaptive
    return Recording(
        plan.folder,
        description["participant"],
        description["session"],
        plan.trials,
        adaptive.candidates if adaptive else frozenset(),
        adaptive.files if adaptive else {},
    )


def _check_description(
    folder: Path, options: argparse.Namespace, who: dict[str, Any], description: dict[str, Any]
) -> None:
    """Raise BadInput unless a session.json is whole, and of the session that is asked for."""
    check_description(folder / DESCRIPTION, description)
    for name, value in who.items():
        if description[name] != value:
            raise BadInput(
                f"{folder / DESCRIPTION}: its {name} is '{str(description[name])[:200]}', not '{value}'; "
                "choose another --session or --out"
            )
    if str(options.stimuli.resolve()) != description["stimuli"]:
        raise BadInput(
            f"--stimuli {options.stimuli}: {folder} was begun with {description['stimuli'][:500]}; if that folder "
            f"has moved, say so in {DESCRIPTION}"
        )
    for name in LIST:
        asked, made = getattr(options, name), description["list"][name]
        if asked not in (None, made):
            raise BadInput(
                f"--{name} {asked}: the list of {folder} was made with {made}; leave --{name} out, or begin "
                "another list with --session"
            )
    if is_adaptive(description["design"]):
        check_options(folder, options, description[ENTRY])


def _check_whole_list(path: Path, trials: Sequence[Trial], description: dict[str, Any]) -> None:
    """Raise BadInput unless a session's trials.csv is what it was at the beginning, and none of it was cut off."""
    shown = description["first_trial"] + description["trials"]
    sizes = [description["list"][name] for name in ("trials", "repeats", "catch")]
    if "whole_list" in description:
        expected = description["whole_list"]["trials"]
    elif None not in sizes:  # of an earlier catpref
        expected = sum(sizes)
    else:
        expected = shown if description["trials_per_session"] is None else max(shown, len(trials))
    instead = "restore it, or choose another --session or --out"
    if len(trials) != expected or shown > expected:
        raise BadInput(
            f"{path}: has {len(trials)} trials, {DESCRIPTION} says {max(expected, shown)}; {instead}"
        )
    if "whole_list" in description and description["whole_list"] != whole_list(trials):
        raise BadInput(f"{path}: is not the list that the session was begun with; {instead}")


def whole_list(trials: Sequence[Trial]) -> dict[str, int | str]:
    """Return what session.json says of the trial list, so that a change of it is noticed."""
    rows = [
        [row.trial, row.block, row.design, row.left_image, row.right_image, row.repeat_of, row.catch]
        for row in trials
    ]
    if is_adaptive(trials[0].design):
        rows = [[*row, trial.chosen_by] for row, trial in zip(rows, trials, strict=True)]
    return {"trials": len(trials), "sha256": hashlib.sha256(json.dumps(rows).encode()).hexdigest()}


def _warn_of_the_clock(folder: Path, description: dict[str, Any]) -> None:
    """Print a line if the clock was set since the last sitting; the onsets do not depend on it."""
    times = [
        time
        for sitting in description.get("sittings", [])
        for time in (time_of(sitting.get("started")), time_of(sitting.get("ended")))
        if time
    ]
    now = datetime.now().astimezone()
    if times and not timedelta(seconds=-1) <= now - times[-1] <= _LONGEST_PAUSE:
        print(
            f"catpref: {folder}: the last sitting was at {times[-1]:%Y-%m-%d %H:%M}, and now it is "
            f"{now:%Y-%m-%d %H:%M}; the computer's clock was wrong then, or is now (onsets do not depend on it)",
            file=sys.stderr,
        )


def _note_a_kill(plan: Plan) -> None:
    """Note of a killed sitting what it could not write itself: how far it came, and that nothing was left."""
    for sitting in plan.description.get("sittings", [])[-1:]:
        sitting["answered"] = plan.description["first_trial"] + plan.answered - sitting["first_trial"]
    everything = plan.answered == len(plan.trials)
    ended = plan.ended_early
    if plan.adaptive and not ended:
        ended = plan.adaptive.ended_by(plan.answers, plan.seconds) or (TRIALS_SHOWN if everything else None)
        plan.description[ENTRY]["ended"] = ended
    if (everything or ended) and plan.description.get("completed") is not True:
        plan.description["completed"] = True
        describe(plan.folder, plan.description)


def _next_part(plan: Plan, folder: Path, options: argparse.Namespace, who: dict[str, Any]) -> Plan:
    """Return the trials that come after those of a finished part."""
    size = options.trials_per_session or plan.description["trials_per_session"]
    kept = {name: plan.description[name] for name in ("stimuli", "list")}
    part = {
        "part": plan.description["part"] + 1,
        "first_trial": plan.description["first_trial"] + plan.description["trials"],
        "trials": min(size, plan.left),
        "trials_per_session": size,
    }
    _check_not_rescued(folder)
    description = who | kept | part | {"whole_list": whole_list(plan.whole)}
    adaptive = plan.adaptive
    if adaptive:
        content = read_bytes(plan.folder / SESSION, LARGEST)
        adaptive, description[ENTRY] = next_adaptive(adaptive, plan.description[ENTRY], content, plan.seconds)
    following = Plan(folder, plan.stimuli, plan.whole, description, adaptive=adaptive, answers=plan.answers)
    _check_images(following)
    return following


def _new(folder: Path, options: argparse.Namespace, who: dict[str, Any]) -> Plan:
    """Make or read the list of a session that begins one."""
    check_new(folder)
    _check_not_rescued(folder)
    if is_adaptive(who["design"]):
        return _new_adaptive(folder, options, who)
    made: dict[str, Any]
    if options.trials_file:
        for name in LIST:
            if getattr(options, name) is not None:
                raise BadInput(f"--{name} and --trials-file: the file says it already; leave --{name} out")
        made = dict.fromkeys(LIST)
        trials = read_trial_list(options.trials_file, options.stimuli)
        if trials[0].design != who["design"]:
            raise BadInput(
                f"{options.trials_file}: the design is {trials[0].design}, not {who['design']}; run the other "
                "experiment"
            )
        _check_images(Plan(folder, options.stimuli, trials, {"first_trial": 0, "trials": len(trials)}))
    else:
        images = count_images(who["design"], options.images, options.trials)
        pairs = count_pairs(who["design"], images, options.trials)
        made = {
            "images": images,
            "trials": pairs,
            "repeats": pairs // PAIRS_A_REPEAT if options.repeats is None else options.repeats,
            "catch": pairs // PAIRS_A_CATCH if options.catch is None else options.catch,
            "block": options.block or BLOCK,
            "seed": secrets.randbelow(2**32) if options.seed is None else options.seed,
        }
        trials = list_trials(options.stimuli, who["design"], **made)
    return Plan(folder, options.stimuli, trials, who | _first_part(options, made, trials))


def _new_adaptive(folder: Path, options: argparse.Namespace, who: dict[str, Any]) -> Plan:
    """Make the list of an adaptive session, and what it begins with."""
    design = who["design"]
    images = schedule.count_images(options.stimuli, design, options.images)
    pairs = schedule.count_trials(design, images, options.trials)
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    repeats = 0 if design == RANKING else pairs // PAIRS_A_REPEAT
    made = {
        "images": images,
        "trials": pairs,
        "repeats": repeats if options.repeats is None else options.repeats,
        "catch": pairs // PAIRS_A_CATCH if options.catch is None else options.catch,
        "block": options.block or BLOCK,
        "seed": seed,
    }
    names, trials = schedule.list_schedule(options.stimuli, design, **made)
    adaptive, said = begin_adaptive(options, names, trials, seed)
    description = who | _first_part(options, made, trials) | {ENTRY: said}
    return Plan(folder, options.stimuli, trials, description, adaptive=adaptive)


def _first_part(options: argparse.Namespace, made: dict[str, Any], trials: Sequence[Trial]) -> dict[str, Any]:
    """Return what session.json says of a new list and its first part."""
    size = options.trials_per_session
    return {
        "stimuli": str(options.stimuli.resolve()),
        "list": made,
        "part": 1,
        "first_trial": 0,
        "trials": min(size or len(trials), len(trials)),
        "trials_per_session": size,
        "whole_list": whole_list(trials),
    }


def _check_not_rescued(folder: Path) -> None:
    """Raise BadInput if answers of a session in `folder` were saved elsewhere: its folder has gone since."""
    rescued = find_rescued(folder)
    if rescued:
        raise BadInput(
            f"{rescued[-1]}: holds the answers of {folder}, which is not there any more; put that back, or rename "
            "this folder to it, and repeat the command"
        )


def _check_images(plan: Plan) -> None:
    """Raise BadInput unless every image that the session may still show can be read."""
    fixed = [trial for trial in plan.trials[plan.answered :] if not trial.is_open]
    names = {name for trial in fixed for name in (trial.left_image, trial.right_image)}
    names |= plan.adaptive.candidates if plan.adaptive else set()
    files = [image_path(plan.stimuli, name) for name in sorted(names)]
    for _ in parallel(threads(), open_image, files, "checking the images"):
        pass
