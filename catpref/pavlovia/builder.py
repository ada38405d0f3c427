"""The session as a PsychoPy Builder experiment: the screens of the lab, for a browser.

Builder's components draw the screens and read the keys. What they cannot do is in code components, in Python for
PsychoPy and in JavaScript for PsychoJS (``*in_browser.js`` and the snippets here). Both keep in `view` what the
components show: lengths in window heights, and what changes from trial to trial.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psychopy.experiment import Experiment
from psychopy.experiment.components.code import CodeComponent
from psychopy.experiment.components.image import ImageComponent
from psychopy.experiment.components.keyboard import KeyboardComponent
from psychopy.experiment.components.polygon import PolygonComponent
from psychopy.experiment.components.text import TextComponent
from psychopy.experiment.loops import TrialHandler
from psychopy.experiment.routines import Routine

from catpref.lab import layout
from catpref.lab.layout import BACKGROUND, FAINT, INK, SOFT
from catpref.lab.texts import Page, Texts, fonts
from catpref.sessions.participants import CODE

_HERE, _LAB = Path(__file__).parent, Path(layout.__file__).parent
_IN_PYTHON = [_LAB / "layout.py", _LAB / "lettering.py", _LAB / "text_image.py", _HERE / "in_psychopy.py"]
_IN_JAVASCRIPT = [_HERE / "in_browser.js", _HERE / "texts_in_browser.js"]
_OURS = re.compile("^from catpref.*\n", re.MULTILINE)

PRACTICE_FILE, TRIALS_FILE = "practice.csv", "trials.csv"


@dataclass(frozen=True)
class WebSession:
    """How many trials, blocks and practice trials there are; `key` tells the trial list from any other."""

    trials: int
    blocks: int
    practice: int
    key: str


def build(texts: Texts, plan: WebSession) -> Experiment:
    """Build the experiment that shows the rows of `PRACTICE_FILE` and `TRIALS_FILE`."""
    experiment = Experiment()
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
    _page(welcome, texts.instructions.fill(trials=plan.trials), go_on, "beginWelcome();")
    if plan.practice:
        intro = _routine(experiment, "practice_intro", skip="view.resumed")
        _page(intro, texts.practice.fill(practice=plan.practice), go_on, "beginPracticeIntro();")
        _pair(_routine(experiment, "practice"), texts, "practice_left_file", "practice_right_file")
        _loop(experiment, 1, "practices", PRACTICE_FILE, repeats="$view.practices")
        start = _routine(experiment, "start", skip="view.resumed")
        _page(start, texts.begin.fill(trials=plan.trials), go_on, "beginStart();")
    resume = _routine(experiment, "resume", skip="view.fresh")
    _page(resume, texts.resume, go_on, "beginResume();", body="$view.body")
    pause = _routine(experiment, "pause", skip="view.skip")
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
    parameters["stopType"].val = "time (s)"
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
            "resume_body": texts.resume.fill(done="{done}", trials=plan.trials).body,
            "pause": texts.pause.hint,
            "pause_body": texts.pause.fill(done="{done}", blocks=plan.blocks).body,
            "end": texts.end.hint,
            "end_body": texts.end.body,
            "stopped": texts.stopped.fill(done="{done}", trials=plan.trials).body,
            "loading": texts.web.loading,
            "offline": texts.web.offline,
            "code": texts.web.code,
        },
    }
    literal = json.dumps(known, indent=2, ensure_ascii=False)  # the same in both languages
    python = "\n".join(path.read_text(encoding="utf-8") for path in _IN_PYTHON)
    python = _OURS.sub("", python)  # where the script runs, there is no catpref
    javascript = "\n".join(path.read_text(encoding="utf-8") for path in _IN_JAVASCRIPT)
    _code(
        routine,
        "setup",
        before=(
            f"{python}\nPLAN.update({literal})",
            f"const PLAN = {literal};\n\n{javascript}",
        ),
        set_up=('set_up(win, thisExp, expInfo["participant"])', "setUp();"),
        finally_=("", "if (isCompleted && !uploads()) {\n  answers.forget();\n}"),
    )


def _page(
    routine: Routine, page: Page, go_on: list[str], javascript: str, python: str = "", body: str = ""
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
    """
    stop_python, stop_javascript = _STOP if go_on else ("", "")
    _code(
        routine,
        "page",
        begin=(python or f'begin_page("{routine.name}")', javascript),
        frame=(
            f"{stop_python}\nif page_frame(t):\n    continueRoutine = False",
            f"{stop_javascript}\nif (pageFrame()) {{\n  continueRoutine = false;\n}}",
        ),
    )
    lines = len(page.body.splitlines())
    _text(routine, "title", _literal(page.title), f"{0.1 + 0.024 * lines:.3f} * view.unit", layout.TITLE, INK)
    _text(routine, "body", body or _literal(page.body), "0", layout.BODY, INK)
    _text(routine, "hint", "$view.hint", f"{layout.PRESS} * view.unit", layout.HINT, SOFT)
    _keys(routine, go_on, "$view.ready")


def _bar(routine: Routine) -> None:
    """Show the share of the session that is done."""
    length, y = f"{layout.BAR} * view.unit", "-0.09 * view.unit"
    _rectangle(routine, "track", f"$({length}, {layout.BAR_HEIGHT})", f"$(0, {y})", FAINT)
    size = f"$(view.share * {length}, {layout.BAR_HEIGHT})"
    pos = f"$((view.share - 1) * {layout.BAR / 2} * view.unit, {y})"
    _rectangle(routine, "done", size, pos, INK)


def _pair(routine: Routine, texts: Texts, left: str, right: str, record: bool = False) -> None:
    """Fill a routine with a cross, then two images and the question, until one is chosen."""
    name, start = routine.name, str(layout.FIXATION)
    show = f"({name}_left, {name}_right, {left}, {right})"
    _code(routine, "begin", begin=(f"begin_pair{show}", f"beginPair{show};"))
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
