"""The options of an experiment."""

from argparse import ArgumentTypeError, _ArgumentGroup
from pathlib import Path

from catpref.adaptive.schedule import TRIALS
from catpref.command_line import Parser, add_list_options, non_negative, positive
from catpref.design.trial_list import is_adaptive
from catpref.lab.texts import ENGLISH

PRACTICE = 4
_REPEATS, _CATCH = "5%% of the pairs", "one for every 100 pairs"


def experiment_parser(design: str, script: str) -> Parser:
    """Make the parser of the experiment of one design; `script` is what the user types."""
    adaptive = is_adaptive(design)
    parser = Parser(
        script,
        f"Run {'an' if adaptive else 'a'} {design} session: two images a trial, and the question which one is cuter. "
        "A session that stopped is gone on with.",
        f"{script} --stimuli stimuli/cats --participant p01 {'' if adaptive else '--trials-per-session 500'}".strip(),
    )
    parser.add_argument("--stimuli", type=Path, required=True, metavar="DIR", help="the stimulus folder")
    _add_session(parser)
    trials = parser.add_argument_group("trials")
    if adaptive:
        _add_adaptive(trials)
    else:
        _add_list(trials)
    _add_trials(trials)
    _add_screen(parser)
    return parser


def _add_session(parser: Parser) -> None:
    who = parser.add_argument_group("whose session")
    who.add_argument(
        "--participant", metavar="CODE", help="a code such as p01, never a name; without it a dialog asks"
    )
    who.add_argument(
        "--session", type=positive, metavar="N",
        help="which of the participant's sessions (default: the one that stopped, else what comes next)",
    )  # fmt: skip
    who.add_argument(
        "--resume", action="store_true", help="go on with a session that stopped, without asking"
    )
    who.add_argument(
        "--out", type=Path, metavar="DIR", help="default: sessions/<participant>_<design>_<session>"
    )


def _add_list(trials: _ArgumentGroup) -> None:
    trials.add_argument(
        "--trials-file", type=Path, metavar="FILE", help="take this list instead of making one"
    )
    add_list_options(trials, repeats=_REPEATS, catch=_CATCH)


def add_adaptive_options(trials: _ArgumentGroup, repeats: str = "0", catch: str = "0") -> None:
    """Add the options that say how pairs are chosen from the answers; `repeats` and `catch` are their defaults."""
    trials.add_argument(
        "--rank", action="store_true",
        help="aim at the order of a few images; otherwise at predicting choices between new ones",
    )  # fmt: skip
    trials.add_argument(
        "--start-from", type=Path, metavar="MODEL",
        help="a fitted model of other observers, the folder model/ of a fit, to begin with what it knows",
    )  # fmt: skip
    trials.add_argument(
        "--until", type=_share, metavar="X",
        help="end it earlier, at this share of the accuracy that can be gained, such as 0.9",
    )  # fmt: skip
    trials.add_argument(
        "--minutes", type=_above_zero, metavar="M",
        help="end it earlier, after so many minutes, without the pauses between sittings",
    )  # fmt: skip
    add_list_options(
        trials, repeats=repeats, catch=catch, images="all, or with --rank 50",
        trials=f"{TRIALS}, or with --rank all pairs if they are fewer",
    )  # fmt: skip


def _add_adaptive(trials: _ArgumentGroup) -> None:
    add_adaptive_options(trials, repeats=_REPEATS, catch=_CATCH)
    trials.set_defaults(trials_file=None)


def _add_trials(trials: _ArgumentGroup) -> None:
    trials.add_argument(
        "--trials-per-session", type=positive, metavar="N",
        help="show the list in parts of so many trials; the next call takes the next part",
    )  # fmt: skip
    trials.add_argument(
        "--seed", type=non_negative, metavar="N",
        help="for all that is drawn (default: a new one, kept in session.json)",
    )  # fmt: skip
    trials.add_argument(
        "--practice", type=non_negative, metavar="K",
        help=f"pairs of drawn cats to practise on before the first trial (default: {PRACTICE}, or none where the "
        "stimulus set does not show cat faces)",
    )  # fmt: skip


def _add_screen(parser: Parser) -> None:
    screen = parser.add_argument_group("screen")
    screen.add_argument(
        "--texts", type=Path, metavar="FILE", default=ENGLISH,
        help="question, instructions and keys (default: %(default)s)",
    )  # fmt: skip
    screen.add_argument(
        "--timeout", type=_above_zero, metavar="S", help="seconds after which a trial ends without an answer"
    )
    screen.add_argument("--monitor", metavar="NAME", help="a profile of PsychoPy's Monitor Center")
    screen.add_argument(
        "--degrees", type=_above_zero, metavar="X",
        help="side of the images in degrees of visual angle (default: as large as the window allows)",
    )  # fmt: skip
    screen.add_argument(
        "--photodiode", action="store_true", help="a patch at the lower left, white while a pair is shown"
    )
    screen.add_argument("--windowed", action="store_true", help="do not fill the screen (for development)")


def _share(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 1:
        raise ArgumentTypeError(f"'{text}' is not a share above 0, such as 0.9, and at most 1")
    return number


def _above_zero(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e6:
        raise ArgumentTypeError(f"'{text}' is not a number above 0")
    return number
