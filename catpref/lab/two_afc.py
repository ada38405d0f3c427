"""The two-alternative forced choice: shows the trials of a plan and records the choices."""

import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psychopy
from PIL.Image import Image

import catpref
from catpref.adaptive.chooser import Answer
from catpref.design.trial_list import Trial
from catpref.errors import BadInput
from catpref.lab.adaptive import ENTRY, MINUTES, TRIALS_SHOWN
from catpref.lab.choosing import Chooser, Enough
from catpref.lab.layout import DOUBLE_CLICK, END_STAYS, FIXATION
from catpref.lab.loading import load_pair, loaded_ahead
from catpref.lab.monitor import Monitor
from catpref.lab.planning import Plan, record
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
            begin(plan.folder, plan.whole, description, plan.adaptive.files if plan.adaptive else {})
            held.enter_context(running(plan.folder))
        recording = record(plan)
        recording.describe(description)
        session = _Session(plan, stage, screens, recording, began)
        if plan.adaptive:
            session.chooser = Chooser(plan.adaptive, plan.answers)
        try:
            try:
                with suppress(Stopped):
                    _show_trials(session, settings)
            except Enough as enough:
                session.ended = enough.why
            session.save(session.end)
        except SavedElsewhere as problem:
            last = texts.stopped.fill(done=session.given, trials=session.total)
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
        last, stays = texts.stopped.fill(done=recording.answered, trials=session.total), STOPPED_STAYS
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
    chooser
        Chooses the pairs of an adaptive session.
    ended
        Why an adaptive session ended before its last trial.
    """

    plan: Plan
    stage: Stage
    screens: Screens
    recording: Recording
    began: float
    late: list[float] = field(default_factory=list)
    chooser: Chooser | None = None
    ended: str | None = None

    @property
    def start(self) -> float:
        """When it would have begun, had all sittings followed each other without a pause."""
        return self.began - self.plan.seconds

    @property
    def total(self) -> int | str:
        """How many trials it has, as participants read it: at most so many, where it can end earlier."""
        total = len(self.plan.trials)
        if self.plan.adaptive and self.plan.adaptive.may_end_early:
            return self.screens.texts.at_most.format(trials=total)
        return total

    @property
    def progress(self) -> float:
        """How far it is, from 0 to 1."""
        answered = self.recording.answered / len(self.plan.trials)
        if not (self.plan.adaptive and self.chooser):
            return answered
        return self.plan.adaptive.progress(answered, self.chooser.gained, self.stage.now() - self.start)

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

    def check_the_time(self) -> None:
        """Raise Enough if a session that ends by the time has taken it, and would go on."""
        seconds = self.stage.now() - self.start
        unfinished = self.recording.answered < len(self.plan.trials)
        if self.plan.adaptive and unfinished and self.plan.adaptive.is_over(seconds):
            raise Enough(MINUTES)

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
        everything = answered == len(self.plan.trials)
        self.plan.description["completed"] = everything or self.ended is not None
        if self.chooser:
            self._sitting["choosing"] = _duration(self.chooser.seconds)
            told = self.plan.description[ENTRY]
            told["ended"] = self.ended or (TRIALS_SHOWN if everything else None)
            told["gained"] = self.chooser.gained if self.chooser.gained is not None else told["gained"]

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


class _Ready(NamedTuple):
    """A trial with its images, fitted to the screen; `trial` is None where it is practice."""

    trial: Trial | None
    left: Image
    right: Image


def _show_trials(session: _Session, settings: Settings) -> None:
    """Show instructions, practice, trials and breaks; each answer is on disk before its pair leaves the screen."""
    plan, stage, screens, recording = session.plan, session.stage, session.screens, session.recording
    texts = screens.texts
    trials = plan.trials[plan.answered :]
    practice = settings.practice if plan.description["part"] == 1 and not plan.answered else 0

    def page(content: Page, share: float | None = None) -> float:
        shown = stage.show(
            screens.page(content, share), texts.keys.go_on, {"page": ANYWHERE}, clicks_after=DOUBLE_CLICK
        )
        return shown.at

    def pair(coming: Future[_Ready], after: float) -> Shown:
        def place() -> None:
            screens.place(*coming.result()[1:])

        stage.show(screens.fixation, until=after + FIXATION, meanwhile=place, ready=coming.done)
        areas: dict[str, Area] = dict(zip((LEFT, RIGHT), screens.areas(), strict=True))
        if texts.keys.no_preference:
            areas[THIRD] = screens.third_area()
        answers = texts.keys.left + texts.keys.right + texts.keys.no_preference
        with stage.frames_count():
            return stage.show(screens.trial, answers, areas, seconds=settings.timeout or inf)

    def pause(block: int, coming: Future[_Ready]) -> float:
        blocks = sorted({trial.block for trial in plan.trials})
        with suppress(BadInput):  # the next answer says that the disk is full
            session.sum_up()
        content = texts.pause.fill(done=blocks.index(block), blocks=len(blocks))
        if plan.adaptive:
            coming.result()  # no break where nothing comes after it
            content = texts.progress.fill(percent=round(100 * session.progress))
        return page(content, session.progress)

    with ExitStack() as held:
        images = held.enter_context(loaded_ahead(_loads(practice, trials, session)))
        if session.chooser:
            held.callback(session.chooser.close)  # before the loading waits for it
        if plan.answered:
            after = page(texts.resume.fill(done=plan.answered, trials=session.total), session.progress)
        else:
            after = page(texts.instructions.fill(trials=session.total))
        if practice:
            after = page(texts.practice.fill(practice=practice))
            for _ in range(practice):
                after = pair(next(images), after).at
            after = page(texts.begin.fill(trials=session.total))
        for before, listed in zip([None, *trials], trials, strict=False):
            coming = next(images)
            if before and before.block != listed.block:
                after = pause(listed.block, coming)
            onset, response, at = pair(coming, after)
            session.late.append(onset - after - FIXATION)
            trial = coming.result().trial
            assert trial is not None
            choice = _choice(response, texts.keys) if response else None
            if session.chooser:
                session.chooser.add(Answer(trial.left_image, trial.right_image, choice))
            clicked = response in (LEFT, RIGHT, THIRD)
            answer = partial(
                recording.answer,
                trial,
                choice,
                rt=at - onset if response else None,
                onset=onset - session.start,
                response="click" if clicked else response,
            )
            if session.save(answer):
                at = stage.now()
            after = at
            session.check_the_time()


def _choice(response: str, keys: Keys) -> float:
    """Return the choice that a key or a click stands for."""
    if response == THIRD or response in keys.no_preference:
        return NO_PREFERENCE
    return int(response == RIGHT or response in keys.right)


def _loads(practice: int, trials: Sequence[Trial], session: _Session) -> Iterator[Callable[[], _Ready]]:
    """Return what loads each pair and fits it to the screen: first those to practise on, then the trials'."""
    drawn, fit = practice_pairs(practice), session.screens.fit

    def practised() -> _Ready:
        left, right = next(drawn)
        return _Ready(None, fit(left), fit(right))

    def loaded(trial: Trial) -> _Ready:
        trial = session.chooser.filled(trial) if session.chooser else trial
        left, right = load_pair(trial, session.plan.stimuli)
        return _Ready(trial, fit(left), fit(right))

    for _ in range(practice):
        yield practised
    for trial in trials:
        yield partial(loaded, trial)


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


def _duration(seconds: Sequence[float]) -> dict[str, float] | None:
    """Return how long the choices of pairs took."""
    return {"median_s": float(np.median(seconds)), "max_s": max(seconds)} if seconds else None


def _summary(late: Sequence[float], frame: float) -> dict[str, float | int] | None:
    """Return how much later than `FIXATION` after the last answer the pairs came, on this screen."""
    if not late:
        return None
    return {
        "median_s": float(np.median(late)),
        "max_s": max(late),
        "over_two_frames": sum(delay > 2 * frame for delay in late),
    }
