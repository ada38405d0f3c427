"""The command of an experiment: finds out what comes next, checks everything, runs the session."""

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from catpref.command_line import warn_on_terminal
from catpref.design.designs import full_or_incomplete
from catpref.design.trial_list import ADAPTIVE, FULL, INCOMPLETE, RANKING, read_trial_list
from catpref.errors import BadInput, not_installed
from catpref.lab.options import experiment_parser
from catpref.lab.planning import Plan, plan_session
from catpref.lab.texts import load_texts


def experiment(design: str, script: str) -> Callable[[Sequence[str]], None]:
    """Return the command that runs a session of one design; `script` is what the user types."""

    def command(arguments: Sequence[str]) -> None:
        options = experiment_parser(design, script).parse_args(arguments)
        _check(options)
        with ExitStack() as held:
            _run(options, _design(options, design), held)

    return command


def _design(options: Namespace, design: str) -> str:
    """Return the design of the list: the experiment with all pairs shows a balanced subset, too."""
    if design == ADAPTIVE and options.rank:
        return RANKING
    if design != FULL:
        return design
    if options.trials_file:
        given = read_trial_list(options.trials_file, options.stimuli)[0].design
        return given if given == INCOMPLETE else design
    return full_or_incomplete(options.images, options.trials)


def _run(options: Namespace, design: str, held: ExitStack) -> None:
    """Run a session; `held` lets go of it at the end."""
    warn_on_terminal()
    texts = load_texts(options.texts)
    plan = None
    if options.participant is not None:
        plan = held.enter_context(
            plan_session(options, design, texts.question, options.participant, options.session)
        )
        if not _may_go_on(plan, options):
            return

    check_psychopy()
    from catpref.lab.dialog import ask_participant, ask_to_go_on
    from catpref.lab.fonts import check_fonts
    from catpref.lab.monitor import load_monitor
    from catpref.lab.practice import count_practice
    from catpref.lab.two_afc import Settings, run_session

    settings = Settings(
        practice=count_practice(options.practice, options.stimuli, texts.question),
        timeout=options.timeout,
        monitor=load_monitor(options.monitor) if options.monitor else None,
        degrees=options.degrees,
        photodiode=options.photodiode,
        windowed=options.windowed,
    )
    if plan is None:
        asked = ask_participant(options.session)
        if asked is None:
            print("cancelled; nothing was written")
            return
        plan = held.enter_context(plan_session(options, design, texts.question, *asked))
        if plan.answered and not (options.resume or ask_to_go_on(_offer(plan))):
            print("cancelled; nothing was changed")
            return
    check_fonts(options.texts, texts)  # after the dialogs: it starts Qt without a window
    answered = run_session(plan, texts, settings)
    total = len(plan.trials)
    stopped = "" if plan.description["completed"] else "stopped, "
    ended = f", ended by --{plan.ended_early}" if plan.ended_early else ""
    print(f"{plan.folder / 'session.csv'}: {stopped}{answered} of {total} trials answered{ended}")
    if answered == total and plan.left:
        print(f"trials of the list that are left: {plan.left}; the same command takes the next part")


def _check(options: Namespace) -> None:
    """Refuse options that contradict each other."""
    if options.out and options.trials_per_session:
        raise BadInput("--out and --trials-per-session: each part has a folder of its own; leave --out out")
    if options.degrees and not options.monitor:
        raise BadInput("--degrees: says nothing without the screen's measures; add --monitor")


def _offer(plan: Plan) -> str:
    return f"{plan.folder} was stopped after {plan.answered} of {len(plan.trials)} trials. Go on from there?"


def _may_go_on(plan: Plan, options: Namespace) -> bool:
    """Offer, on the terminal, to go on with a session that was stopped."""
    if not plan.answered or options.resume:
        return True
    if not sys.stdin.isatty():
        raise BadInput(
            f"{plan.folder}: was stopped after {plan.answered} of {len(plan.trials)} trials; add --resume to go "
            "on from there, or choose another --session"
        )
    if input(f"{_offer(plan)} [Y/n] ").strip().lower() in ("", "y", "yes"):
        return True
    print("cancelled; nothing was changed")
    return False


def check_psychopy() -> None:
    """Raise BadInput where PsychoPy is not installed, or finds no display when imported."""
    try:
        # Qt comes first, or takes PsychoPy's FreeType, which draws no emoji.
        import PyQt6.QtGui  # noqa: F401, I001
        import psychopy.visual  # noqa: F401
    except ModuleNotFoundError as problem:
        raise BadInput(not_installed(problem, "experiment")) from problem
    except Exception as problem:  # whatever pyglet raises
        raise BadInput(f"no window can be opened: {problem}") from problem
