"""The two-alternative forced choice: shows the trials of a plan and records the choices."""

import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import psychopy

import catpref
from catpref.design.trial_list import Trial
from catpref.errors import BadInput
from catpref.lab.layout import DOUBLE_CLICK, END_STAYS, FIXATION
from catpref.lab.loading import Pair, load_pair, loaded_ahead
from catpref.lab.monitor import Monitor
from catpref.lab.planning import Plan
from catpref.lab.practice import practice_pairs
from catpref.lab.recording import Recording, begin, running
from catpref.lab.rescue import RESCUED_FROM, save_elsewhere
from catpref.lab.screens import Area, Screens, largest_box
from catpref.lab.stage import ANYWHERE, Shown, Stage, Stopped
from catpref.lab.texts import Keys, Page, Texts
from catpref.sessions.cells import NO_PREFERENCE

STOPPED_STAYS = 2.0
"""Seconds after which the last screen of a session that was stopped closes by itself."""

LEFT, RIGHT, THIRD = "left image", "right image", "third answer"

_CLOCK_MOVED = 10.0
"""Seconds by which the clock of the day may gain or lose in a sitting before a line says so."""


class SavedElsewhere(BadInput):
    """The session could not be saved in its folder, and was saved in `folder` when the experimenter stopped it."""

    def __init__(self, problem: BadInput, folder: Path, answered: int) -> None:
        super().__init__(
            f"{problem}. All {answered} answers are saved in {folder}; once the session's own folder is there and "
            "can be written, the same command takes them from there and goes on"
        )
        self.folder = folder


@dataclass(frozen=True)
class Settings:
    """How trials are shown.

    Attributes
    ----------
    practice
        How many pairs to practise on before the first trial.
    timeout
        Seconds after which a trial ends without an answer.
    monitor, degrees
        The screen's measures, and the side of the images' square in degrees of visual angle; without, the
        images are as large as the window allows, and angles are unknown.
    photodiode
        Draw a patch in the corner that is white while a pair is shown.
    windowed
        Use a window that does not fill the screen.
    """

    practice: int = 0
    timeout: float | None = None
    monitor: Monitor | None = None
    degrees: float | None = None
    photodiode: bool = False
    windowed: bool = False


def run_session(plan: Plan, texts: Texts, settings: Settings) -> int:
    """Run one session, or the rest of it, from the instructions to the last screen.

    The caller holds a session that was begun already (see `catpref.lab.planning.plan_session`).

    Returns
    -------
    int
        How many trials of the session are answered; all of them unless the participant stopped.

    Raises
    ------
    BadInput
        If no window can be opened (then nothing is written), or the session cannot be written.
    """
    with ExitStack() as held:
        stage = Stage(texts.keys.stop, settings.windowed)
        held.callback(stage.close)
        screens = Screens(stage.window, texts, _box(stage, settings), settings.photodiode)
        _describe(plan, stage, screens, settings)
        description, began = plan.description, stage.now()
        if not plan.begun:
            begin(plan.folder, plan.whole, description)
            held.enter_context(running(plan.folder))
        who = description["participant"], description["session"]
        recording = Recording(plan.folder, *who, plan.trials)
        recording.describe(description)
        session = _Session(plan, stage, screens, recording, began)
        try:
            with suppress(Stopped):
                _show_trials(session, settings)
            session.save(session.end)
        except SavedElsewhere as problem:
            last = texts.stopped.fill(done=session.given, trials=len(plan.trials))
            with suppress(Stopped):
                stage.show(screens.page(replace(last, body=f"{last.body}\n\n{problem.folder}")), None)
            raise
        except BaseException:
            with suppress(BadInput):
                session.end()
            if recording.unsaved:
                with suppress(BadInput):
                    print(f"catpref: all answers are saved in {session.rescue()}", file=sys.stderr)
            raise
        last, stays = texts.stopped.fill(done=recording.answered, trials=len(plan.trials)), STOPPED_STAYS
        if description["completed"]:
            last, stays = texts.part_end.fill(part=description["part"], parts=plan.parts), END_STAYS
            if not plan.left:
                last = texts.end
        with suppress(Stopped):
            stage.show(screens.page(last), None, {"page": ANYWHERE}, seconds=stays, clicks_after=DOUBLE_CLICK)
        return recording.answered


@dataclass
class _Session:
    """A session that runs: what it has of screens and files, and how it is saved.

    Attributes
    ----------
    began
        When this sitting began, on the stage's clock.
    late
        How much later than `FIXATION` after the last answer each pair came.
    """

    plan: Plan
    stage: Stage
    screens: Screens
    recording: Recording
    began: float
    late: list[float] = field(default_factory=list)

    @property
    def given(self) -> int:
        """How many answers were given, saved or not."""
        return self.recording.answered + bool(self.recording.unsaved)

    def sum_up(self) -> None:
        """Write into session.json how far the session has come."""
        self._tell(self.recording.answered)
        self.recording.describe(self.plan.description)

    def end(self) -> None:
        """Write into session.json that this sitting has ended, and how."""
        self._tell_the_end(self.recording.answered)
        self.recording.describe(self.plan.description)

    def rescue(self) -> Path:
        """Save the whole session in another place than its folder, and return which.

        Raises
        ------
        BadInput
            If there is none.
        """
        self._tell_the_end(self.given)
        home = {RESCUED_FROM: str(self.plan.folder.absolute())}
        return save_elsewhere(self.plan.folder, self.recording.contents(self.plan.description | home))

    def save(self, save: Callable[[], None]) -> bool:
        """Save something; as long as that fails, say so on the screen and try again. Returns whether it failed.

        Raises
        ------
        SavedElsewhere
            If it fails, and the experimenter stops the session.
        BadInput
            If it can be saved nowhere, and the window was closed.
        """
        failed, nowhere = False, ""
        while True:
            try:
                save()
            except BadInput as problem:
                failed = True
                page = self.screens.texts.unsaved.fill(
                    done=self.recording.answered, problem=f"{problem}{nowhere}"
                )
                try:
                    self.stage.show(self.screens.page(page), self.screens.texts.keys.go_on)
                except Stopped:
                    nowhere = f"\n{self._stop_elsewhere(problem)}"
            else:
                return failed

    def _stop_elsewhere(self, problem: BadInput) -> BadInput:
        """Raise SavedElsewhere; where that is impossible, too, return why, so that the screen can say it."""
        try:
            folder = self.rescue()
        except BadInput as nowhere:
            if self.stage.closed:
                row = self.recording.unsaved.decode().strip()
                raise BadInput(f"{problem}, {nowhere}; the answer that could not be saved: {row}") from None
            return nowhere
        raise SavedElsewhere(problem, folder, self.given)

    @property
    def _sitting(self) -> dict[str, Any]:
        return self.plan.description["sittings"][-1]

    def _tell(self, answered: int) -> None:
        self._sitting["answered"] = answered - self.plan.answered
        self._sitting["frames"] = self.stage.frames()
        self._sitting["onsets_late"] = _summary(self.late, self.stage.frame)
        self.plan.description["completed"] = answered == len(self.plan.trials)

    def _tell_the_end(self, answered: int) -> None:
        self._tell(answered)
        now = datetime.now().astimezone()
        self._sitting["ended"] = now.isoformat(timespec="milliseconds")
        by_the_day = (now - datetime.fromisoformat(self._sitting["started"])).total_seconds()
        moved = by_the_day - (self.stage.now() - self.began)
        if abs(moved) > _CLOCK_MOVED and "clock_moved_s" not in self._sitting:
            print(
                f"catpref: {self.plan.folder}: the computer's clock moved by {moved:.0f} s in this sitting: it was "
                f"set, or the computer slept (onsets do not depend on it)",
                file=sys.stderr,
            )
            self._sitting["clock_moved_s"] = round(moved, 3)


def _show_trials(session: _Session, settings: Settings) -> None:
    """Show instructions, practice, trials and breaks; each answer is on disk before its pair leaves the screen."""
    plan, stage, screens, recording = session.plan, session.stage, session.screens, session.recording
    texts = screens.texts
    start = session.began - plan.seconds  # had all sittings followed each other without a pause
    trials, total = plan.trials[plan.answered :], len(plan.trials)
    practice = settings.practice if plan.description["part"] == 1 and not plan.answered else 0

    def page(content: Page, share: float | None = None) -> float:
        shown = stage.show(
            screens.page(content, share), texts.keys.go_on, {"page": ANYWHERE}, clicks_after=DOUBLE_CLICK
        )
        return shown.at

    def pair(images: Iterator[Pair], after: float) -> Shown:
        stage.show(screens.fixation, until=after + FIXATION, meanwhile=lambda: screens.place(*next(images)))
        areas: dict[str, Area] = dict(zip((LEFT, RIGHT), screens.areas(), strict=True))
        if texts.keys.no_preference:
            areas[THIRD] = screens.third_area()
        answers = texts.keys.left + texts.keys.right + texts.keys.no_preference
        with stage.frames_count():
            return stage.show(screens.trial, answers, areas, seconds=settings.timeout or inf)

    with loaded_ahead(_loads(practice, trials, plan.stimuli, screens)) as images:
        if plan.answered:
            after = page(texts.resume.fill(done=plan.answered, trials=total), plan.answered / total)
        else:
            after = page(texts.instructions.fill(trials=total))
        if practice:
            after = page(texts.practice.fill(practice=practice))
            for _ in range(practice):
                after = pair(images, after).at
            after = page(texts.begin.fill(trials=total))
        blocks = sorted({trial.block for trial in plan.trials})
        for trial, following in zip(trials, [*trials[1:], None], strict=True):
            onset, response, at = pair(images, after)
            session.late.append(onset - after - FIXATION)
            clicked = response in (LEFT, RIGHT, THIRD)
            answer = partial(
                recording.answer,
                trial,
                _choice(response, texts.keys) if response else None,
                rt=at - onset if response else None,
                onset=onset - start,
                response="click" if clicked else response,
            )
            if session.save(answer):
                at = stage.now()
            after = at
            if following and following.block != trial.block:
                with suppress(BadInput):  # the next answer says that the disk is full
                    session.sum_up()
                done = blocks.index(following.block)
                pause = texts.pause.fill(done=done, blocks=len(blocks))
                after = page(pause, recording.answered / total)


def _choice(response: str, keys: Keys) -> float:
    """Return the choice that a key or a click stands for."""
    if response == THIRD or response in keys.no_preference:
        return NO_PREFERENCE
    return int(response == RIGHT or response in keys.right)


def _loads(
    practice: int, trials: Sequence[Trial], stimuli: Path, screens: Screens
) -> Iterator[Callable[[], Pair]]:
    """Return what loads each pair and fits it to the screen: first those to practise on, then the trials'."""
    drawn = practice_pairs(practice)

    def fitted(load: Callable[[], Pair]) -> Pair:
        left, right = load()
        return screens.fit(left), screens.fit(right)

    for _ in range(practice):
        yield partial(fitted, lambda: next(drawn))
    for trial in trials:
        yield partial(fitted, partial(load_pair, trial, stimuli))


def _box(stage: Stage, settings: Settings) -> int:
    """Choose the side of the images' square, in pixels."""
    width, height = (int(side) for side in stage.window.size)
    largest, monitor = largest_box(width, height), settings.monitor
    if monitor and not settings.windowed and monitor.size_px != (width, height):
        raise BadInput(
            f"--monitor {monitor.name}: the profile says {' × '.join(map(str, monitor.size_px))} pixels, the "
            f"screen has {width} × {height}; correct the profile in PsychoPy's Monitor Center"
        )
    if not (monitor and settings.degrees):
        return largest
    box = 2 * round(monitor.pixels(settings.degrees) / 2)
    if not 0 < box <= largest:
        raise BadInput(
            f"--degrees {settings.degrees:g}: that would be {box} pixels; there is room for {largest}, which "
            f"are {monitor.angle(largest):.1f} degrees"
        )
    return box


def _describe(plan: Plan, stage: Stage, screens: Screens, settings: Settings) -> None:
    """Begin a sitting in what session.json says."""
    height, monitor = int(stage.window.size[1]), settings.monitor
    sitting = {
        "started": datetime.now().astimezone().isoformat(timespec="milliseconds"),
        "ended": None,
        "onset": plan.seconds,
        "first_trial": plan.description["first_trial"] + plan.answered,
        "answered": 0,
        "fixation_s": FIXATION,
        "timeout_s": settings.timeout,
        "keyboard": stage.backend,
        "screen": stage.describe()
        | {
            "image_px": screens.box,
            "image_heights": screens.box / height,
            "image_deg": monitor.angle(screens.box) if monitor else None,
            "monitor": asdict(monitor) if monitor else None,
            "photodiode": settings.photodiode,
        },
        "frames": None,
        "onsets_late": None,
        "versions": {
            "python": platform.python_version(),
            "psychopy": psychopy.__version__,
            "catpref": catpref.__version__,
        },
    }
    plan.description["completed"] = False
    plan.description.setdefault("sittings", []).append(sitting)


def _summary(late: Sequence[float], frame: float) -> dict[str, float | int] | None:
    """Return how much later than `FIXATION` after the last answer the pairs came, on this screen."""
    if not late:
        return None
    return {
        "median_s": float(np.median(late)),
        "max_s": max(late),
        "over_two_frames": sum(delay > 2 * frame for delay in late),
    }
