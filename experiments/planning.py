"""Which trials a participant sees next: a new list, its next part, or the rest of a session that stopped."""

import argparse
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from catpref.commands import BadInput
from catpref.participants import check_new_participant
from catpref.stimuli import image_path, open_image, parallel, threads
from catpref.trials import BLOCK, Trial, count_images, count_pairs, list_trials, read_trials
from experiments.recording import DESCRIPTION, TRIALS, Recording, check_new, describe, read_description

SESSIONS = Path("sessions")

PAIRS_A_REPEAT, PAIRS_A_CATCH = 20, 100
"""By default 5% of the pairs are shown again, and every hundred pairs bring a catch trial: who presses blindly
passes 9 or more of 10 catch trials once in 93 sessions."""

_LIST = ("images", "trials", "repeats", "catch", "block", "seed")


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
    begun
        Whether the folder is there already.
    """

    folder: Path
    stimuli: Path
    whole: list[Trial]
    description: dict[str, Any]
    answered: int = 0
    begun: bool = False

    @property
    def trials(self) -> list[Trial]:
        """The trials of the session."""
        return self.whole[self.description["first_trial"] :][: self.description["trials"]]

    @property
    def unfinished(self) -> bool:
        """Whether there are trials of the session without an answer."""
        return self.answered < len(self.trials)

    @property
    def left(self) -> int:
        """How many trials of the list come after this session."""
        return len(self.whole) - self.description["first_trial"] - self.description["trials"]

    @property
    def parts(self) -> int:
        """In how many parts the list is shown."""
        size = self.description["trials_per_session"] or len(self.whole)
        return self.description["part"] + -(-self.left // size)


def plan_session(
    options: argparse.Namespace, design: str, question: str, participant: str, session: int | None
) -> Plan:
    """Find out what comes next, and check that every image of it can be shown.

    Parameters
    ----------
    options
        The command line of an experiment.
    design
        ``"random-sampled"`` or ``"fully-sampled"``.
    question
        What the participant is asked.
    participant, session
        The code, and which of their sessions; by default the one that was stopped, else the next one.

    Raises
    ------
    BadInput
        If everything is answered already, what is asked for contradicts what was begun, or the list or an
        image cannot be used.
    """
    check_new_participant(participant)
    stem = f"{participant}_{design}_"

    def at(number: int) -> Path:
        return options.out or SESSIONS / f"{stem}{number}"

    def who(number: int) -> dict[str, Any]:
        return {"participant": participant, "session": number, "design": design, "question": question}

    begun = [number for number in _numbers(options.out, stem) if (at(number) / DESCRIPTION).exists()]
    if session is None and begun:
        plan = _reopen(at(begun[-1]), options, who(begun[-1]))
        if plan.unfinished:
            return plan
        if plan.left:
            return _next_part(plan, at(begun[-1] + 1), options, who(begun[-1] + 1))
        raise BadInput(
            f"{plan.folder}: every trial is answered; begin another list with --session {begun[-1] + 1}"
        )
    session = session or 1
    if session in begun:
        plan = _reopen(at(session), options, who(session))
        if plan.unfinished:
            return plan
        raise BadInput(f"{plan.folder}: every trial is answered; choose another --session or --out")
    if session - 1 in begun and read_description(at(session - 1)).get("trials_per_session"):
        plan = _reopen(at(session - 1), options, who(session - 1))
        if plan.unfinished:
            raise BadInput(f"{plan.folder}: has trials without an answer; finish it first, without --session")
        if plan.left:
            return _next_part(plan, at(session), options, who(session))
    return _new(at(session), options, who(session))


def _numbers(out: Path | None, stem: str) -> list[int]:
    """List the numbers of the sessions that could have been begun, in order."""
    if out:
        return [read_description(out).get("session", 1)] if (out / DESCRIPTION).exists() else []
    endings = [path.name.removeprefix(stem) for path in SESSIONS.glob(f"{stem}*")]
    return sorted(int(ending) for ending in endings if ending.isascii() and ending.isdigit())


def _reopen(folder: Path, options: argparse.Namespace, who: dict[str, Any]) -> Plan:
    """Take up a session that was begun, if it is the one that is asked for."""
    description = read_description(folder)
    for name, value in who.items():
        if description.get(name) != value:
            raise BadInput(
                f"{folder / DESCRIPTION}: its {name} is '{description.get(name)}', not '{value}'; "
                "choose another --session or --out"
            )
    if not {"list", "part", "first_trial", "trials", "trials_per_session"} <= description.keys():
        raise BadInput(f"{folder / DESCRIPTION}: is of an earlier catpref; choose another --session or --out")
    if options.stimuli.resolve() != Path(description["stimuli"]):
        raise BadInput(
            f"--stimuli {options.stimuli}: {folder} was begun with {description['stimuli']}; if that folder has "
            f"moved, say so in {DESCRIPTION}"
        )
    for name in _LIST:
        asked, made = getattr(options, name), description["list"][name]
        if asked not in (None, made):
            raise BadInput(
                f"--{name} {asked}: the list of {folder} was made with {made}; leave --{name} out, or begin "
                "another list with --session"
            )
    trials = read_trials(folder / TRIALS, options.stimuli)
    if options.trials_file and read_trials(options.trials_file, options.stimuli) != trials:
        raise BadInput(f"{options.trials_file}: is not the list of {folder}; leave --trials-file out")
    plan = Plan(folder, options.stimuli, trials, description, begun=True)
    answered = Recording(folder, who["participant"], who["session"], plan.trials).answered
    _note_a_kill(plan, answered)
    _check_images(plan.trials[answered:], plan.stimuli)
    return replace(plan, answered=answered)


def _note_a_kill(plan: Plan, answered: int) -> None:
    """Say of a killed sitting what it could not say itself: how far it came, and that nothing was left."""
    for sitting in plan.description.get("sittings", [])[-1:]:
        sitting["answered"] = plan.description["first_trial"] + answered - sitting["first_trial"]
    if answered == len(plan.trials) and not plan.description.get("completed"):
        plan.description["completed"] = True
        describe(plan.folder, plan.description)


def _next_part(plan: Plan, folder: Path, options: argparse.Namespace, who: dict[str, Any]) -> Plan:
    """Give the trials that come after those of a finished part."""
    size = options.trials_per_session or plan.description["trials_per_session"]
    kept = {name: plan.description[name] for name in ("stimuli", "list")}
    part = {
        "part": plan.description["part"] + 1,
        "first_trial": plan.description["first_trial"] + plan.description["trials"],
        "trials": min(size, plan.left),
        "trials_per_session": size,
    }
    following = Plan(folder, plan.stimuli, plan.whole, who | kept | part)
    _check_images(following.trials, plan.stimuli)
    return following


def _new(folder: Path, options: argparse.Namespace, who: dict[str, Any]) -> Plan:
    """Make or read the list of a session that begins one."""
    check_new(folder)
    made: dict[str, Any]
    if options.trials_file:
        for name in _LIST:
            if getattr(options, name) is not None:
                raise BadInput(f"--{name} and --trials-file: the file says it already; leave --{name} out")
        made = dict.fromkeys(_LIST)
        trials = read_trials(options.trials_file, options.stimuli)
        if trials[0].design != who["design"]:
            raise BadInput(
                f"{options.trials_file}: the design is {trials[0].design}, not {who['design']}; run the other "
                "experiment"
            )
        _check_images(trials, options.stimuli)
    else:
        images = count_images(who["design"], options.images, options.trials)
        pairs = count_pairs(who["design"], images)
        made = {
            "images": images,
            "trials": pairs,
            "repeats": pairs // PAIRS_A_REPEAT if options.repeats is None else options.repeats,
            "catch": pairs // PAIRS_A_CATCH if options.catch is None else options.catch,
            "block": options.block or BLOCK,
            "seed": secrets.randbelow(2**32) if options.seed is None else options.seed,
        }
        trials = list_trials(options.stimuli, who["design"], **made)
    size = options.trials_per_session
    part = {"part": 1, "first_trial": 0, "trials": min(size or len(trials), len(trials))}
    description = who | {"stimuli": str(options.stimuli.resolve()), "list": made} | part
    return Plan(folder, options.stimuli, trials, description | {"trials_per_session": size})


def _check_images(trials: Sequence[Trial], stimuli: Path) -> None:
    names = sorted({name for trial in trials for name in (trial.left_image, trial.right_image)})
    files = [image_path(stimuli, name) for name in names]
    for _ in parallel(threads(), open_image, files, "checking the images"):
        pass
