"""The command line of the experiments: makes or reads the trial list, checks everything, runs the session."""

import argparse
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from catpref.commands import BadInput, Parser, non_negative, positive, progress
from catpref.participants import check_participant
from catpref.stimuli import image_path, open_image
from catpref.trials import Trial, add_list_options, list_trials, read_trials
from experiments.recording import check_new


def experiment(design: str, script: str) -> Callable[[Sequence[str]], None]:
    """Give the command that runs a session of one design; `script` is what the user types."""
    parser = _parser(design, script)

    def command(arguments: Sequence[str]) -> None:
        options = parser.parse_args(arguments)
        seed, participant, session = options.seed, options.participant, options.session
        if participant is not None:
            _new_folder(options, design, participant, session)
        if options.trials_file:
            for name in ("images", "trials", "repeats", "block", "seed"):
                if getattr(options, name) != parser.get_default(name):
                    raise BadInput(
                        f"--{name} and --trials-file: the file says it already; leave --{name} out"
                    )
            trials = _read_list(options.trials_file, options.stimuli, design)
        else:
            seed = secrets.randbelow(2**32) if seed is None else seed
            trials = list_trials(
                options.stimuli,
                design,
                images=options.images,
                trials=options.trials,
                repeats=options.repeats,
                block=options.block,
                seed=seed,
            )

        check_psychopy()
        from experiments.dialog import ask_participant
        from experiments.two_afc import run_session

        if participant is None:
            asked = ask_participant(session)
            if asked is None:
                print("cancelled; nothing was written")
                return
            participant, session = asked
        folder = _new_folder(options, design, participant, session)
        answered = run_session(
            trials, options.stimuli, folder, participant, session, seed, windowed=options.windowed
        )
        stopped = "" if answered == len(trials) else "stopped, "
        print(f"{folder / 'session.csv'}: {stopped}{answered} of {len(trials)} trials answered")

    return command


def _parser(design: str, script: str) -> Parser:
    parser = Parser(
        script,
        f"Run a {design} session: two images a trial, and the question which one is cuter.",
        f"{script} --stimuli stimuli/cats --participant p01 --repeats 50",
    )
    parser.add_argument("--stimuli", type=Path, required=True, metavar="DIR", help="the stimulus folder")
    parser.add_argument(
        "--participant",
        metavar="CODE",
        help="letters, digits, - and _, never a name; without it a dialog asks",
    )
    parser.add_argument(
        "--session",
        type=positive,
        metavar="N",
        default=1,
        help="which of the participant's sessions (default: 1)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="default: sessions/<participant>_<design>_<session>"
    )
    parser.add_argument(
        "--trials-file", type=Path, metavar="FILE", help="take this list instead of making one"
    )
    add_list_options(parser)
    parser.add_argument(
        "--seed",
        type=non_negative,
        metavar="N",
        help="for all that is drawn (default: a new one, kept in session.json)",
    )
    parser.add_argument("--windowed", action="store_true", help="do not fill the screen (for development)")
    return parser


def _new_folder(options: argparse.Namespace, design: str, participant: str, session: int) -> Path:
    check_participant(participant)
    folder = options.out or Path("sessions") / f"{participant}_{design}_{session}"
    check_new(folder, options.trials_file)
    return folder


def _read_list(path: Path, stimuli: Path, design: str) -> list[Trial]:
    """Read a trial list whose every image can be shown."""
    trials = read_trials(path, stimuli)
    if trials[0].design != design:
        raise BadInput(f"{path}: the design is {trials[0].design}, not {design}; run the other experiment")
    names = sorted({name for trial in trials for name in (trial.left_image, trial.right_image)})
    for name in progress(names, "checking the images"):
        open_image(image_path(stimuli, name))
    return trials


def check_psychopy() -> None:
    """Raise BadInput where PsychoPy is not installed, or finds no display when imported."""
    try:
        import psychopy.visual  # noqa: F401
    except ModuleNotFoundError as problem:
        raise BadInput(f"{problem.name} is not installed; pip install 'catpref[experiment]'") from problem
    except Exception as problem:  # whatever pyglet raises
        raise BadInput(f"no window can be opened: {problem}") from problem
