"""The two-alternative forced choice: shows the trials of a plan and records the choices."""

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import psychopy

import catpref
from catpref.commands import BadInput
from catpref.trials import Trial
from experiments.loading import Pair, load_pair, loaded_ahead
from experiments.monitor import Monitor
from experiments.planning import Plan
from experiments.practice import practice_pairs
from experiments.recording import Recording, begin, describe
from experiments.screens import Area, Screens, largest_box
from experiments.stage import ANYWHERE, Shown, Stage, Stopped
from experiments.texts import Page, Texts

FIXATION = 0.5
"""Seconds from an answer to the next images."""

STOPPED_STAYS, END_STAYS = 2.0, 20.0
"""Seconds after which the last screen closes by itself."""

LEFT, RIGHT = "left image", "right image"

_DOUBLE_CLICK = 0.5


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

    Returns
    -------
    int
        How many trials of the session are answered; all of them unless the participant stopped.

    Raises
    ------
    BadInput
        If no window can be opened (then nothing is written), or the session cannot be written.
    """
    stage = Stage(texts.keys.stop, settings.windowed)
    try:
        screens = Screens(stage.window, texts, _box(stage, settings), settings.photodiode)
        description, sitting = _describe(plan, stage, screens, settings)
        if plan.begun:
            describe(plan.folder, description)
        else:
            begin(plan.folder, plan.whole, description)
        who = description["participant"], description["session"]
        recording = Recording(plan.folder, *who, plan.trials)
        late: list[float] = []

        def sum_up() -> None:
            sitting["answered"] = recording.answered - plan.answered
            sitting["frames"] = stage.frames()
            sitting["onsets_late"] = _summary(late, stage.frame)
            description["completed"] = recording.answered == len(plan.trials)
            describe(plan.folder, description)

        def end() -> None:
            sitting["ended"] = datetime.now().astimezone().isoformat(timespec="milliseconds")
            sum_up()

        try:
            with suppress(Stopped):
                _show_trials(plan, stage, screens, settings, recording, late, sum_up)
            _save(end, stage, screens, recording.answered)
        except BaseException:
            with suppress(BadInput):
                end()
            raise
        last, stays = texts.stopped.fill(done=recording.answered, trials=len(plan.trials)), STOPPED_STAYS
        if description["completed"]:
            last, stays = texts.part_end.fill(part=description["part"], parts=plan.parts), END_STAYS
            if not plan.left:
                last = texts.end
        with suppress(Stopped):
            stage.show(
                screens.page(last), None, {"page": ANYWHERE}, seconds=stays, clicks_after=_DOUBLE_CLICK
            )
        return recording.answered
    finally:
        stage.close()


def _show_trials(
    plan: Plan,
    stage: Stage,
    screens: Screens,
    settings: Settings,
    recording: Recording,
    late: list[float],
    sum_up: Callable[[], None],
) -> None:
    """Show instructions, practice, trials and breaks; each answer is on disk before its pair leaves the screen.

    `late` is given how much later than `FIXATION` after the last answer each pair came; `sum_up` is called before
    each break.
    """
    texts, start = screens.texts, stage.now()
    first = datetime.fromisoformat(plan.description["sittings"][0]["started"])
    start -= (datetime.now().astimezone() - first).total_seconds()
    trials, total = plan.trials[plan.answered :], len(plan.trials)
    practice = settings.practice if plan.description["part"] == 1 and not plan.answered else 0

    def page(content: Page, share: float | None = None) -> float:
        shown = stage.show(
            screens.page(content, share), texts.keys.go_on, {"page": ANYWHERE}, clicks_after=_DOUBLE_CLICK
        )
        return shown.at

    def pair(images: Iterator[Pair], after: float) -> Shown:
        stage.show(screens.fixation, until=after + FIXATION, meanwhile=lambda: screens.place(*next(images)))
        areas: dict[str, Area] = dict(zip((LEFT, RIGHT), screens.areas(), strict=True))
        answers = texts.keys.left + texts.keys.right
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
            late.append(onset - after - FIXATION)
            clicked = response in (LEFT, RIGHT)
            answer = partial(
                recording.answer,
                trial,
                int(response == RIGHT or response in texts.keys.right) if response else None,
                rt=at - onset if response else None,
                onset=onset - start,
                response="click" if clicked else response,
            )
            if _save(answer, stage, screens, recording.answered):
                at = stage.now()
            after = at
            if following and following.block != trial.block:
                with suppress(BadInput):  # the next answer says that the disk is full
                    sum_up()
                done = blocks.index(following.block)
                pause = texts.pause.fill(done=done, blocks=len(blocks))
                after = page(pause, recording.answered / total)


def _loads(
    practice: int, trials: Sequence[Trial], stimuli: Path, screens: Screens
) -> Iterator[Callable[[], Pair]]:
    """Give what loads each pair and fits it to the screen: first those to practise on, then the trials'."""
    drawn = practice_pairs(practice)

    def fitted(load: Callable[[], Pair]) -> Pair:
        left, right = load()
        return screens.fit(left), screens.fit(right)

    for _ in range(practice):
        yield partial(fitted, lambda: next(drawn))
    for trial in trials:
        yield partial(fitted, partial(load_pair, trial, stimuli))


def _save(save: Callable[[], None], stage: Stage, screens: Screens, done: int) -> bool:
    """Save something; as long as that fails, say so on the screen and try again. Returns whether it failed.

    Raises
    ------
    BadInput
        If it fails and the experimenter stops the session.
    """
    failed = False
    while True:
        try:
            save()
        except BadInput as problem:
            failed = True
            screen = screens.page(screens.texts.unsaved.fill(done=done, problem=problem))
            try:
                stage.show(screen, screens.texts.keys.go_on)
            except Stopped:
                raise problem from None
        else:
            return failed


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


def _describe(
    plan: Plan, stage: Stage, screens: Screens, settings: Settings
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give what session.json says now, and the part of it that is about this sitting."""
    height, monitor = int(stage.window.size[1]), settings.monitor
    sitting = {
        "started": datetime.now().astimezone().isoformat(timespec="milliseconds"),
        "ended": None,
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
    return plan.description, sitting


def _summary(late: Sequence[float], frame: float) -> dict[str, float | int] | None:
    """Say how much later than `FIXATION` after the last answer the pairs came, on this screen."""
    if not late:
        return None
    return {
        "median_s": float(np.median(late)),
        "max_s": max(late),
        "over_two_frames": sum(delay > 2 * frame for delay in late),
    }
