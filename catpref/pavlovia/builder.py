"""The session as a PsychoPy Builder experiment: the screens of the lab, for a browser.

Builder's components draw the screens and read the keys. What they cannot do is in code components, in Python for
PsychoPy and in JavaScript for PsychoJS (``*in_browser.js`` and the snippets here). Both keep in `view` what the
components show: lengths in window heights, and what changes from trial to trial.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Any

from psychopy.experiment import Experiment
from psychopy.experiment.components.code import CodeComponent
from psychopy.experiment.components.image import ImageComponent
from psychopy.experiment.components.keyboard import KeyboardComponent
from psychopy.experiment.components.polygon import PolygonComponent
from psychopy.experiment.components.text import TextComponent
from psychopy.experiment.loops import TrialHandler
from psychopy.experiment.routines import Routine

from catpref.adaptive.prior import FILE as PRIOR_FILE
from catpref.design.trial_list import BY_ANSWERS
from catpref.lab import layout
from catpref.lab.layout import BACKGROUND, FAINT, INK, SOFT
from catpref.lab.texts import Page, Texts, fonts
from catpref.sessions.participants import CODE

_HERE, _LAB = Path(__file__).parent, Path(layout.__file__).parent
_IN_PYTHON = [_LAB / "layout.py", _LAB / "lettering.py", _LAB / "text_image.py", _HERE / "in_psychopy.py"]
_IN_JAVASCRIPT = [_HERE / "in_browser.js", _HERE / "texts_in_browser.js"]
_CHOOSING, _IN_WORKER = _HERE / "choosing_in_browser.js", _HERE / "adaptive.js"
_OURS = re.compile("^from catpref.*\n", re.MULTILINE)

PRACTICE_FILE, TRIALS_FILE = "practice.csv", "trials.csv"

IMAGES_FILE = "images.json"
"""Name, file and size of all images of an adaptive session, in the order of its prior."""

AHEAD = 64 * 2**20
"""Bytes of images that an adaptive session loads though it may never show them."""

PATIENCE = 1.5
"""Seconds of a pair's cross after which an adaptive session says what it waits for."""

_NOT_HERE = """\
import sys
sys.exit("this session chooses its pairs from the answers, in a browser only: index.html, or --preview; "
         "in the lab, run python experiments/adaptive.py")
"""


@dataclass(frozen=True)
class Choosing:
    """What the pairs of an adaptive session are drawn with, and what ends it early.

    Attributes
    ----------
    seed
        What they are drawn with.
    until, minutes
        At which share of the accuracy that can be gained, or after how many minutes, it ends; None: not by that.
    """

    seed: int
    until: float | None
    minutes: float | None

    @property
    def may_end_early(self) -> bool:
        """Whether fewer than all trials may be enough."""
        return self.until is not None or self.minutes is not None


@dataclass(frozen=True)
class WebSession:
    """How many trials, blocks and practice trials there are; `key` tells the trial list from any other.

    `choosing` is None where all pairs are fixed.
    """

    trials: int
    blocks: int
    practice: int
    key: str
    choosing: Choosing | None = None


def build(texts: Texts, plan: WebSession) -> Experiment:
    """Build the experiment that shows the rows of `PRACTICE_FILE` and `TRIALS_FILE`."""
    experiment, choosing = Experiment(), plan.choosing is not None
    total = _total(texts, plan)
    for name, value in {
        "Experiment info": "{'participant': 'str(randint(100000, 999999))', 'session': '1'}",
        "Data file delimiter": "comma",
        "Show mouse": True,
        "measureFrameRate": False,
        "color": BACKGROUND,
        "Units": "height",
        "Enable Escape": False,  # texts.toml says which keys stop a session
        "Save log file": False,
        "Save psydat file": False,
        "Save wide csv file": False,  # `save` does, after each answer
        "HTML path": "",
        "End Message": _literal(f"{texts.end.title} {texts.end.body}"),
    }.items():
        experiment.settings.params[name].val = value

    go_on = texts.keys.go_on
    welcome = _routine(experiment, "welcome", skip="view.resumed")
    _set_up(welcome, texts, plan)
    _page(welcome, texts.instructions.fill(trials=total), go_on, "beginWelcome();", choosing=choosing)
    if plan.practice:
        intro = _routine(experiment, "practice_intro", skip="view.resumed")
        practice = texts.practice.fill(practice=plan.practice)
        _page(intro, practice, go_on, "beginPracticeIntro();", choosing=choosing)
        _pair(_routine(experiment, "practice"), texts, "practice_left_file", "practice_right_file")
        _loop(experiment, 1, "practices", PRACTICE_FILE, repeats="$view.practices")
        start = _routine(experiment, "start", skip="view.resumed")
        _page(start, texts.begin.fill(trials=total), go_on, "beginStart();", choosing=choosing)
    resume = _routine(experiment, "resume", skip="view.fresh")
    _page(resume, texts.resume, go_on, "beginResume();", body="$view.body", choosing=choosing)
    pause = _routine(experiment, "pause", skip="view.skip")
    if choosing:
        _code(pause, "progress", frame=("", "progressFrame();"))
        _page(pause, texts.progress, go_on, "beginPause(block);", body="$view.body", choosing=True)
        _bar(pause, "set every frame")
        _chosen_pair(_routine(experiment, "pair"), texts)
    else:
        _page(pause, texts.pause, go_on, "beginPause(block);", "begin_pause(block, trial)", body="$view.body")
        _bar(pause)
        _pair(_routine(experiment, "pair"), texts, "left_file", "right_file", record=True)
    _loop(experiment, 2, "trials", TRIALS_FILE, repeats="$view.repeats", rows="$view.rows")
    _page(_routine(experiment, "end"), texts.end, [], "beginEnd();", "begin_end()", body="$view.body")
    for routine in experiment.routines.values():
        for component in routine:
            if isinstance(component, TextComponent):
                component.params["font"].val = fonts(texts, "Arial, DejaVu Sans")
    return experiment


# ---- Builder's parts ---------------------------------------------------------------------------------------


def _routine(experiment: Experiment, name: str, skip: str = "") -> Routine:
    routine = experiment.addRoutine(name)
    routine.settings.params["skipIf"].val = skip
    experiment.flow.addRoutine(routine, len(experiment.flow))
    return routine


def _loop(experiment: Experiment, routines: int, name: str, file: str, repeats: str, rows: str = "") -> None:
    """Put the last routines of the flow into a loop over the rows of a conditions file."""
    loop = TrialHandler(experiment, name, "sequential", conditionsFile=file, selectedRows=rows)
    loop.params["nReps"].val = repeats
    end = len(experiment.flow)
    experiment.flow.addLoop(loop, end - routines, end)


def _add(routine: Routine, component: Any, start: str = "0", stop: str = "", **values: Any) -> None:
    """Add a component; what it takes from `view` is set anew at each repeat, where Builder allows it."""
    parameters = component.params
    for name, value in values.items():
        parameters[name].val = value
        if "view." in str(value) and parameters[name].allowedUpdates:
            parameters[name].updates = "set every repeat"
    parameters["startType"].val = "condition" if start.startswith("$") else "time (s)"
    parameters["startVal"].val = start
    parameters["stopType"].val = "condition" if stop.startswith("$") else "time (s)"
    parameters["stopVal"].val = stop
    parameters["saveStartStop"].val = False
    routine.addComponent(component)


def _text(
    routine: Routine, name: str, text: str, y: str, height: float, color: str, start: str = "0", x: str = "0"
) -> None:
    component = TextComponent(routine.exp, routine.name, f"{routine.name}_{name}")
    values = {
        "text": text,
        "pos": f"$({x}, {y})",
        "letterHeight": f"{height} * view.unit",
        "wrapWidth": "view.wrap",
        "color": color,
    }
    _add(routine, component, start, **values)
    if text.startswith("$view."):
        component.params["text"].updates = "set every frame"


def _keys(routine: Routine, keys: list[str], start: str) -> None:
    component = KeyboardComponent(routine.exp, routine.name, f"{routine.name}_key", store="first key")
    _add(routine, component, start, allowedKeys=", ".join(map(repr, keys)))


def _rectangle(routine: Routine, name: str, size: str, pos: str, color: str, stop: str = "") -> None:
    component = PolygonComponent(routine.exp, routine.name, f"{routine.name}_{name}", shape="rectangle")
    values = {"fillColor": color, "lineColor": color, "lineWidth": "0", "size": size, "pos": pos}
    _add(routine, component, stop=stop, **values)


def _code(routine: Routine, name: str, **parts: tuple[str, str]) -> None:
    """Add a code component: to each part belong Python and JavaScript."""
    component = CodeComponent(routine.exp, routine.name, f"{routine.name}_{name}", codeType="Both")
    names = {
        "before": ("Before Experiment", "Before JS Experiment"),
        "set_up": ("Begin Experiment", "Begin JS Experiment"),
        "begin": ("Begin Routine", "Begin JS Routine"),
        "frame": ("Each Frame", "Each JS Frame"),
        "end": ("End Routine", "End JS Routine"),
        "finally_": ("End Experiment", "End JS Experiment"),
    }
    for part, codes in parts.items():
        for parameter, code in zip(names[part], codes, strict=True):
            component.params[parameter].val = code
    routine.addComponent(component)


def _total(texts: Texts, plan: WebSession) -> int | str:
    """Return how many trials there are, as participants read it: at most so many, where it can end earlier."""
    early = plan.choosing is not None and plan.choosing.may_end_early
    return texts.at_most.format(trials=plan.trials) if early else plan.trials


def _literal(text: str) -> str:
    """Escape what Builder would take for code."""
    return text.replace("$", r"\$")


# ---- screens -----------------------------------------------------------------------------------------------

_STOP = (
    "if stopped():\n    thisExp.status = FINISHED",
    "if (stopped()) {\n  quitPsychoJS(stoppedText(), false);\n}",
)


def _set_up(routine: Routine, texts: Texts, plan: WebSession) -> None:
    """Add the functions that the other code components call."""
    total, pause = _total(texts, plan), texts.progress if plan.choosing else texts.pause
    fields = {"percent": "{percent}"} if plan.choosing else {"done": "{done}", "blocks": plan.blocks}
    known = {
        "key": plan.key,
        "trials": plan.trials,
        "blocks": plan.blocks,
        "practice": plan.practice,
        "trials_file": TRIALS_FILE,
        "practice_file": PRACTICE_FILE,
        "right": texts.keys.right,
        "no_preference": texts.keys.no_preference,
        "stop": texts.keys.stop,
        "code": f"^{CODE}$",
        "end_stays": layout.END_STAYS,
        "double_click": layout.DOUBLE_CLICK,
        "layout": layout.WEB._asdict()
        | {"box": layout.BOX, "gap": layout.GAP, "hint_below": layout.HINT_BELOW},
        "texts": {
            "welcome": texts.instructions.hint,
            "practice_intro": texts.practice.hint,
            "start": texts.begin.hint,
            "resume": texts.resume.hint,
            "resume_body": texts.resume.fill(done="{done}", trials=total).body,
            "pause": pause.hint,
            "pause_body": pause.fill(**fields).body,
            "end": texts.end.hint,
            "end_body": texts.end.body,
            "stopped": texts.stopped.fill(done="{done}", trials=total).body,
            "loading": texts.web.loading,
            "offline": texts.web.offline,
            "code": texts.web.code,
        },
    }
    if plan.choosing:
        known["adaptive"] = {
            "prior": PRIOR_FILE,
            "images": IMAGES_FILE,
            "open": BY_ANSWERS,
            "seed": plan.choosing.seed % 2**32,
            "until": plan.choosing.until,
            "minutes": plan.choosing.minutes,
            "ahead": AHEAD,
            "fixation": layout.FIXATION,
            "patience": PATIENCE,
        }
    literal = json.dumps(known, indent=2, ensure_ascii=False)  # the same in both languages
    python = "\n".join(path.read_text(encoding="utf-8") for path in _IN_PYTHON)
    python = _OURS.sub("", python)  # where the script runs, there is no catpref
    javascript = "\n".join(path.read_text(encoding="utf-8") for path in _IN_JAVASCRIPT)
    before = f"{python}\nPLAN.update({literal})", f"const PLAN = {literal};\n\n{javascript}"
    set_up = 'set_up(win, thisExp, expInfo["participant"])', "setUp();"
    if plan.choosing:
        before = _NOT_HERE, f"{before[1]}\n{_choosing_in_javascript()}"
        set_up = "", "setUp();\nsetUpChoosing();"
    _code(
        routine,
        "setup",
        before=before,
        set_up=set_up,
        finally_=("", "if (isCompleted && !uploads()) {\n  answers.forget();\n}"),
    )


def _choosing_in_javascript() -> str:
    """Return what chooses pairs: as one function, whose text a worker can be made of, and what calls it."""
    room = indent(_IN_WORKER.read_text(encoding="utf-8"), "  ", lambda line: line.strip() != "")
    return (
        f"function adaptive() {{\n{room}\n  return {{ begin, choosing, finish }};\n}}\n\n"
        f"{_CHOOSING.read_text(encoding='utf-8')}"
    )


def _page(
    routine: Routine,
    page: Page,
    go_on: list[str],
    javascript: str,
    python: str = "",
    body: str = "",
    choosing: bool = False,
) -> None:
    """Fill a routine with a text that waits for a key or a touch.

    Parameters
    ----------
    routine, page
        The routine, and what it says.
    go_on
        The keys; where there are none, any key goes on.
    javascript, python
        The code at its beginning.
    body
        The variable with the text of the page, if that is known only then.
    choosing
        Whether it is left, too, when an adaptive session is over.
    """
    stop_python, stop_javascript = _STOP if go_on else ("", "")
    left = "choosingPageFrame()" if choosing else "pageFrame()"
    _code(
        routine,
        "page",
        begin=(python or f'begin_page("{routine.name}")', javascript),
        frame=(
            f"{stop_python}\nif page_frame(t):\n    continueRoutine = False",
            f"{stop_javascript}\nif ({left}) {{\n  continueRoutine = false;\n}}",
        ),
    )
    lines = len(page.body.splitlines())
    _text(routine, "title", _literal(page.title), f"{0.1 + 0.024 * lines:.3f} * view.unit", layout.TITLE, INK)
    _text(routine, "body", body or _literal(page.body), "0", layout.BODY, INK)
    _text(routine, "hint", "$view.hint", f"{layout.PRESS} * view.unit", layout.HINT, SOFT)
    _keys(routine, go_on, "$view.ready")


def _bar(routine: Routine, updates: str = "set every repeat") -> None:
    """Show the share of the session that is done."""
    length, y = f"{layout.BAR} * view.unit", "-0.09 * view.unit"
    _rectangle(routine, "track", f"$({length}, {layout.BAR_HEIGHT})", f"$(0, {y})", FAINT)
    size = f"$(view.share * {length}, {layout.BAR_HEIGHT})"
    pos = f"$((view.share - 1) * {layout.BAR / 2} * view.unit, {y})"
    _rectangle(routine, "done", size, pos, INK)
    for name in ("size", "pos"):
        routine[-1].params[name].updates = updates


def _pair(routine: Routine, texts: Texts, left: str, right: str, record: bool = False) -> None:
    """Fill a routine with a cross, then two images and the question, until one is chosen."""
    name, start = routine.name, str(layout.FIXATION)
    show = f"({name}_left, {name}_right, {left}, {right})"
    _code(routine, "begin", begin=(f"begin_pair{show}", f"beginPair{show};"))
    _pair_screen(routine, texts, start)
    python, javascript = _STOP
    _code(
        routine,
        "answer",
        frame=(
            f"{python}\nif pair_frame(globalClock, {name}_left.status == STARTED):\n    continueRoutine = False",
            f"{javascript}\nif (pairFrame({name}_left.status === PsychoJS.Status.STARTED)) {{\n"
            "  continueRoutine = false;\n}",
        ),
        end=(
            f"record_answer(thisExp, {name}_key.keys, {name}_key.rt)",
            f"recordAnswer(trial, {name}_key.keys, {name}_key.rt);",
        )
        if record
        else ("", ""),
    )


def _chosen_pair(routine: Routine, texts: Texts) -> None:
    """Fill a routine likewise, for a pair that is chosen, and whose images may arrive, while the cross is shown."""
    _code(
        routine,
        "begin",
        begin=("", "beginNextPair();"),
        frame=("", "showWhenReady(t, pair_left, pair_right);"),
    )
    _pair_screen(routine, texts, "$view.shown")
    _text(routine, "waiting", "$view.hint", f"{layout.PRESS} * view.unit", layout.HINT, SOFT)
    shown = "pair_left.status === PsychoJS.Status.STARTED"
    _code(
        routine,
        "answer",
        frame=("", f"{_STOP[1]}\nif (nextPairFrame({shown})) {{\n  continueRoutine = false;\n}}"),
        end=("", "leavePair(trials, trial, pair_key.keys, pair_key.rt);"),
    )


def _pair_screen(routine: Routine, texts: Texts, start: str) -> None:
    """Show a cross, and from `start` on two images and the question."""
    name = routine.name
    for part, size in {"across": layout.CROSS, "down": layout.CROSS[::-1]}.items():
        _rectangle(routine, part, str(size), "(0, 0)", INK, stop=start)
    above = f"view.box / 2 + {layout.QUESTION_ABOVE} * view.unit"
    _text(routine, "question", _literal(texts.question), above, layout.QUESTION, INK, start)
    y = f"-view.box / 2 - {layout.HINT_BELOW} * view.unit"
    for side, sign, hint in (("left", "-", texts.hints.left), ("right", "", texts.hints.right)):
        image = ImageComponent(routine.exp, name, f"{name}_{side}")
        pos, size = f"$({sign}view.centre, 0)", f"$(view.{side}_size[0], view.{side}_size[1])"
        _add(routine, image, start, image="", size=size, pos=pos)
        _text(routine, f"{side}_hint", _literal(hint), y, layout.HINT, SOFT, start, x=f"{sign}view.centre")
    if texts.hints.no_preference:
        third = _literal(texts.hints.no_preference)
        _text(routine, "third_hint", third, y, layout.HINT, SOFT, start)
    _keys(routine, texts.keys.left + texts.keys.right + texts.keys.no_preference, start)
