"""An adaptive session with real keys on a screen that nobody sees."""

import subprocess
import time

from adaptive_support import as_chosen, gained, keep_made_up_priors, made_up_prior
from sessions_support import Session, draw_pictures, is_shown

from catpref.lab.recording import COLUMNS
from catpref.sessions.session import read_sessions
from catpref.stimuli.images import find_images

SEED, BLOCK, UNTIL = 3, 5, 0.6


def test_a_ranking_ends_once_enough_is_gained(display, tmp_path, monkeypatch):
    """Pairs come from the answers, in the images on the screen, too; a time-out is a row, and teaches nothing."""
    stimuli = draw_pictures(tmp_path / "stimuli", 12)
    keep_made_up_priors(monkeypatch, tmp_path, stimuli)
    worth = dict(zip(find_images(stimuli), made_up_prior(range(12)).features[:, 0], strict=True))
    session = Session(
        display, "adaptive.py", tmp_path / "out", "--stimuli", stimuli, "--rank", "--until", UNTIL, "--seed", SEED,
        "--block", BLOCK, "--practice", 0, "--timeout", 6,
    )  # fmt: skip
    session.press("space")
    seen = []
    while gained(session.out, stimuli, rows := session.rows()) < UNTIL:
        trial = as_chosen(session.out, stimuli, rows, SEED)[-1]
        if len(rows) == 3:
            session.until(lambda: len(session.rows()) == 4)  # a time-out
            continue
        time.sleep(0.6)
        seen.append(is_shown(session.screen(), stimuli, trial))
        if len(rows) % BLOCK == 0:
            session.press("space")  # the instructions, or a break
        session.answer("j" if worth[trial.right_image] > worth[trial.left_image] else "f")
    session.until(lambda: session.description()["completed"])
    code, said, complained = session.leave("Left")
    rows, told = session.rows(), session.description()
    assert (code, complained) == (0, "")
    assert any(seen)  # on a slow computer, not all of them have come
    assert said.endswith(f"{len(rows)} of 66 trials answered, ended by --until\n")
    assert tuple(rows[0]) == (*COLUMNS, "chosen_by")
    assert {row["chosen_by"] for row in rows} == {"adaptive"} and {row["block"] for row in rows} >= {"0", "1"}
    answered = [row for row in rows if row["response"]]
    print(len(rows), told["adaptive"])
    assert len(answered) < len(rows) and all((row["choice"] == "") == (row not in answered) for row in rows)
    assert [(row["left_image"], row["right_image"]) for row in rows] == [
        (trial.left_image, trial.right_image) for trial in as_chosen(session.out, stimuli, rows, SEED)
    ][: len(rows)]
    assert (told["adaptive"]["ended"], told["trials"]) == ("until", 66)
    assert UNTIL <= told["adaptive"]["gained"] < 1
    (sitting,) = told["sittings"]
    assert sitting["answered"] == len(rows) and sitting["ended"]
    assert 0 < sitting["choosing"]["median_s"] <= sitting["choosing"]["max_s"]
    assert sitting["onsets_late"]["max_s"] >= sitting["onsets_late"]["median_s"]
    assert len(read_sessions([session.out / "session.csv"]).trials) == len(answered)
    again = subprocess.run(
        [*session.command, "--resume"], env=session.environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert (again.returncode, again.stdout, again.stderr.count("\n")) == (2, "", 1)
    assert f"ended after {len(rows)} trials, by --until {UNTIL}" in again.stderr
