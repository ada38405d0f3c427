"""What ``in_browser.js`` does in the browser, for PsychoPy: this file is copied into the code component "setup".

Everything is on the disk already, so that there is less to do.
"""

import csv
import math
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PIL import Image
from psychopy import event, visual
from psychopy.hardware import DeviceManager

from catpref.lab.layout import DOUBLE_CLICK, END_STAYS, HINT_BELOW, WEB, lay_out  # its text in the copy
from catpref.lab.text_image import TextImage  # likewise

visual.TextStim = TextImage

PLAN: dict[str, Any] = {}  # the texts, the keys and the numbers of trials, filled in at the end of the copy

view = SimpleNamespace(
    unit=1.0, box=0.5, centre=0.3, wrap=1.05,
    resumed=False, fresh=True, ready=True, hint="", body="", share=0.0, skip=False, block=None, stays=math.inf,
    practices=1, repeats=1, rows="",
    left_size=(0.5, 0.5), right_size=(0.5, 0.5),
    win=None, experiment=None, keyboard=None, mouse=None, click=0.0, touched=None, onset=None,
)  # fmt: skip


def set_up(win, experiment, participant):
    """Stop before anything is recorded if the participant's code could be a name or an address."""
    if not re.fullmatch(PLAN["code"], participant):
        experiment.abort()
        win.close()
        sys.exit(PLAN["texts"]["code"])
    view.win, view.experiment = win, experiment
    win.depthTest = (
        False  # as TextStim does; or, with PsychoPy's frame buffer, the first frame hides all others
    )
    view.mouse = event.Mouse(win=win)
    view.keyboard = DeviceManager.getDevice("defaultKeyboard")
    report_presses(view.keyboard)
    measure()


def report_presses(keyboard):
    """Have each press reported once, when it comes.

    PsychoPy 2026 drops a press that is released before it looks, as button boxes do; on a busy computer it takes one
    from before the onset, which came late, for an answer in no time.
    """
    parse = keyboard.parseMessage

    def press(message):
        found = parse(message) if message["down"] else None
        return found if found is not None and found.rt >= 0 else None

    keyboard.parseMessage = press


def stopped():
    """Return whether a stop key was pressed."""
    return view.keyboard.getKeys(keyList=PLAN["stop"], waitRelease=False)


def measure():
    """Note the lengths in this window, in window heights."""
    width, height = view.win.size
    view.unit, view.wrap, view.box, view.centre = (length / height for length in lay_out(width, height, WEB))


def begin_page(name):
    """Prepare a page that goes on with a key or a click."""
    measure()
    view.hint = PLAN["texts"][name]
    view.stays = END_STAYS if name == "end" else math.inf
    reset_clicks()


def begin_end():
    """Save the last answer, and prepare the last page."""
    save()
    view.body = PLAN["texts"]["end_body"]
    begin_page("end")


def begin_pause(block, trial):
    """Save the answer before, and prepare a break, which comes before the first trial of each block but the first."""
    if view.block is not None:
        save()
    view.skip = view.block in (None, block)
    view.block = block
    view.share = trial / PLAN["trials"]
    view.body = PLAN["texts"]["pause_body"].replace("{done}", str(block))
    begin_page("pause")


def save():
    """Replace the CSV by one with all answers, in one step: a kill leaves the one or the other, whole."""
    entries, name = view.experiment.entries, view.experiment.dataFileName
    columns = dict.fromkeys(column for entry in entries for column in entry)
    new = Path(f"{name}.part")
    with new.open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(entries)
        file.flush()
        os.fsync(file.fileno())
    new.replace(f"{name}.csv")


def begin_pair(left, right, left_file, right_file):
    """Return the stimuli their images."""
    measure()
    left.image, right.image = f"images/{left_file}", f"images/{right_file}"
    view.left_size, view.right_size = fit(left.image), fit(right.image)
    view.touched, view.onset = None, None


def fit(path):
    """Return the size at which an image fits into the box."""
    width, height = Image.open(path).size
    return view.box * width / max(width, height), view.box * height / max(width, height)


def page_frame(t):
    """Return whether the page has been clicked (not by the second half of a double click), or has stayed enough."""
    return (clicked() and view.click > DOUBLE_CLICK) or t > view.stays


def pair_frame(clock, shown):
    """Note the onset of the images; true when one, or the third answer, has been clicked."""
    if shown and view.onset is None:
        view.onset = math.inf
        view.win.callOnFlip(note_onset, clock)
    elif shown and clicked():
        x, y = view.mouse.getPos()
        if abs(abs(x) - view.centre) < view.box / 2 and abs(y) < view.box / 2:
            view.touched = int(x > 0), view.click
        elif (
            PLAN["no_preference"]
            and abs(x) < view.centre / 2
            and 0 < -y - view.box / 2 < 2 * HINT_BELOW * view.unit
        ):
            view.touched = 0.5, view.click
    return view.touched is not None


def note_onset(clock):
    """Count from the flip with which the images appear."""
    view.onset = clock.getTime()
    reset_clicks()


def reset_clicks():
    """Forget clicks, and count the seconds to the next one from now."""
    view.mouse.clickReset()
    view.click = 0.0


def clicked():
    """Return whether there was a click since the last frame; `view.click` is its time, however short it was."""
    before, view.click = view.click, view.mouse.getPressed(getTime=True)[1][0]
    return view.click not in (0.0, before)


def record_answer(experiment, key, key_time):
    """Record the choice, the reaction time and the onset."""
    of_key = 0.5 if key in PLAN["no_preference"] else int(key in PLAN["right"])
    choice, rt = view.touched or (of_key, key_time)
    experiment.addData("choice", choice)
    experiment.addData("rt", rt)
    experiment.addData("onset", view.onset)
