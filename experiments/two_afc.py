"""The two-alternative forced choice: shows the trials of a list and records the choices."""

import platform
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import psychopy

import catpref
from catpref.trials import Trial
from experiments.loading import load_ahead
from experiments.recording import Recording
from experiments.screens import Screens
from experiments.stage import Stage, Stopped
from experiments.texts import load_texts

FIXATION = 0.5
"""Seconds from an answer to the next images."""

STOPPED_STAYS, END_STAYS = 2.0, 20.0
"""Seconds after which the last screen closes by itself."""


def run_session(
    trials: Sequence[Trial],
    stimuli: Path,
    folder: Path,
    participant: str,
    session: int,
    seed: int | None = None,
    windowed: bool = False,
) -> int:
    """Run one session, from the instructions to the last screen.

    Parameters
    ----------
    trials
        The trial list; its images are known to be readable.
    stimuli
        The stimulus folder.
    folder
        Where session.csv, session.json and trials.csv go; it holds no session yet.
    participant, session
        The participant's code, and which of their sessions this is.
    seed
        The seed of the list, for session.json; None if the list came from a file.
    windowed
        Use a window that does not fill the screen.

    Returns
    -------
    int
        How many trials were answered; fewer than `trials` if the participant stopped.

    Raises
    ------
    BadInput
        If no window can be opened (then nothing is written), or the session cannot be written.
    """
    texts = load_texts()
    stage = Stage(texts.keys.stop, windowed)
    screens = Screens(stage.window, texts)
    try:
        recording = Recording(folder, participant, session, trials)
        started, start = datetime.now().astimezone(), stage.now()
        description = {
            "stimuli": str(stimuli.resolve()),
            "participant": participant,
            "session": session,
            "design": trials[0].design,
            "question": texts.question,
            "seed": seed,
            "trials": len(trials),
            "started": started.isoformat(timespec="milliseconds"),
            "ended": None,
            "completed": False,
            "fixation_s": FIXATION,
            "keyboard": stage.backend,
            "screen": stage.describe(),
            "frames": None,
            "versions": {
                "python": platform.python_version(),
                "psychopy": psychopy.__version__,
                "catpref": catpref.__version__,
            },
        }
        recording.describe(description)
        try:
            with suppress(Stopped):
                run_trials(trials, stimuli, stage, screens, recording, start)
        finally:
            recording.close()
            description["ended"] = datetime.now().astimezone().isoformat(timespec="milliseconds")
            description["completed"] = recording.answered == len(trials)
            description["frames"] = stage.frames()
            recording.describe(description)
        if description["completed"]:
            last, stays = texts.end, END_STAYS
        else:
            last, stays = texts.stopped.fill(done=recording.answered, trials=len(trials)), STOPPED_STAYS
        with suppress(Stopped):
            stage.show(screens.page(last), keys=None, seconds=stays)
        return recording.answered
    finally:
        stage.close()


def run_trials(
    trials: Sequence[Trial], stimuli: Path, stage: Stage, screens: Screens, recording: Recording, start: float
) -> None:
    """Show the instructions, trials and breaks; each answer is on disk before the next trial is drawn.

    Raises
    ------
    Stopped
        When the participant does not want to go on.
    """
    texts = screens.texts
    blocks = trials[-1].block + 1
    welcome = texts.instructions.fill(trials=len(trials))
    stage.show(screens.page(welcome), texts.keys.go_on)
    images = load_ahead(trials, stimuli, screens.fit)
    answers = texts.keys.left + texts.keys.right
    for trial, following in zip(trials, [*trials[1:], None], strict=True):
        with stage.frames_count():
            stage.show(screens.fixation, seconds=FIXATION, meanwhile=lambda: screens.place(*next(images)))
            onset, key, pressed = stage.show(screens.trial, answers)
        recording.answer(trial, int(key in texts.keys.right), rt=pressed - onset, onset=onset - start)
        if following and following.block != trial.block:
            pause = texts.pause.fill(done=following.block, blocks=blocks)
            stage.show(screens.page(pause, following.trial / len(trials)), texts.keys.go_on)
