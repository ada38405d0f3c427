"""What comes next in adaptive sessions: parts, early ends, files that are kept, and files that were changed."""

import json
import os
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from adaptive_support import as_chosen, keep_made_up_priors, rows_of
from forked import Forked
from sessions_support import draw_pictures

from catpref.adaptive.chooser import choose
from catpref.design.trial_list import ADAPTIVE, RANKING
from catpref.errors import BadInput
from catpref.lab import starting_prior
from catpref.lab.command import experiment
from catpref.lab.options import experiment_parser
from catpref.lab.planning import Plan, plan_session, record
from catpref.lab.recording import begin
from catpref.lab.rescue import RESCUED_FROM, save_elsewhere
from catpref.sessions.session import read_sessions

QUESTION = "Which one is cuter?"
FILES = ["prior.safetensors", "session.csv", "session.json", "trials.csv"]

Planner = Callable[..., Plan]


@pytest.fixture(scope="module")
def stimuli(tmp_path_factory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("stimuli"))


@pytest.fixture
def plan(stimuli, tmp_path, monkeypatch) -> Planner:
    """Plan sessions in an empty folder, with a made-up prior."""
    monkeypatch.chdir(tmp_path)
    keep_made_up_priors(monkeypatch, tmp_path)

    def plan(*arguments: object, design: str = ADAPTIVE) -> Plan:
        options = parsed("--stimuli", stimuli, *arguments)
        with plan_session(options, design, QUESTION, "p01", options.session) as planned:
            return planned

    return plan


def parsed(*arguments: object) -> Namespace:
    return experiment_parser(ADAPTIVE, "script").parse_args([str(argument) for argument in arguments])


def answer(plan: Plan, trials: int | None = None, onset: float = 1.0) -> None:
    """Answer some trials of a session, by default all that are left."""
    adaptive = plan.adaptive
    assert adaptive
    if not plan.begun:
        begin(plan.folder, plan.whole, plan.description, adaptive.files)
    recording = record(plan)
    answers = list(plan.answers)
    for number, listed in enumerate(plan.trials[plan.answered :][:trials]):
        posterior = adaptive.learn(answers)
        trial = choose(adaptive.prior, posterior, adaptive.schedule, answers, adaptive.seed)
        assert trial.trial == listed.trial
        recording.answer(trial, (number + plan.answered) % 2, 0.5, onset, "j")
        answers.append(recording.answers[-1])


def said(plan: Plan) -> dict:
    return json.loads((plan.folder / "session.json").read_text())


def test_a_new_session_says_how_it_chooses(plan, stimuli):
    made = plan("--trials", 40, "--seed", 3, "--until", 0.9)
    assert made.description["list"] == dict(images=40, trials=40, repeats=2, catch=0, block=100, seed=3)
    told = made.description["adaptive"]
    assert (told["aim"], told["until"], told["minutes"], told["seed"]) == ("new images", 0.9, None, 3)
    assert not Path("sessions").exists()
    answer(made, 4)
    assert sorted(file.name for file in made.folder.iterdir()) == FILES
    assert made.folder == Path("sessions/p01_adaptive_1")
    ranking = plan("--seed", 3, design=RANKING)
    assert ranking.description["list"] == dict(images=40, trials=300, repeats=0, catch=3, block=100, seed=3)
    assert ranking.folder == Path("sessions/p01_adaptive-ranking_1")
    read = read_sessions([made.folder / "session.csv"], stimuli)
    assert read.trials["chosen_by"].tolist() == ["adaptive"] * 4


def test_a_stopped_session_goes_on_with_the_pair_that_it_would_have_shown(plan, stimuli):
    made = plan("--trials", 20, "--seed", 3, "--catch", 2)
    answer(made, 7)
    again = plan()
    assert (again.begun, again.answered, len(again.answers), again.left) == (True, 7, 7, 0)
    answer(again)
    rows = rows_of(made.folder / "session.csv")
    assert [(row["left_image"], row["right_image"]) for row in rows] == [
        (trial.left_image, trial.right_image) for trial in as_chosen(made.folder, stimuli, rows, 3)
    ]
    with pytest.raises(BadInput, match="every trial is answered; begin another list with --session 2"):
        plan()
    assert (said(made)["completed"], said(made)["adaptive"]["ended"]) == (True, "trials")


def test_parts_over_days_learn_from_all_that_came_before(plan):
    """The parts' pairs are those of one session with the same answers; each part's folder is enough to go on with."""
    whole = plan("--trials", 20, "--seed", 3, "--out", "whole")
    answer(whole)
    first = plan("--trials", 20, "--seed", 3, "--trials-per-session", 8)
    answer(first)
    second = plan()
    assert (second.description["part"], second.parts, len(second.answers)) == (2, 3, 8)
    answer(second, 5)
    assert sorted(file.name for file in second.folder.iterdir()) == ["earlier.csv", *FILES]
    shutil.move(first.folder, "elsewhere")
    again = plan()
    assert (again.folder, again.answered, len(again.answers)) == (second.folder, 5, 13)
    answer(again)
    third = plan()
    answer(third)
    folders = [Path("elsewhere"), second.folder, third.folder]
    shown = [row for folder in folders for row in rows_of(folder / "session.csv")]
    columns = ("trial", "left_image", "right_image", "choice", "chosen_by")
    assert [[row[name] for name in columns] for row in shown] == [
        [row[name] for name in columns] for row in rows_of(whole.folder / "session.csv")
    ]
    assert rows_of(third.folder / "earlier.csv") == shown[:16]
    with pytest.raises(BadInput, match="begin another list with --session 4"):
        plan()


def test_minutes_end_a_session_over_sittings_and_parts(plan):
    first = plan("--trials", 20, "--minutes", 1, "--trials-per-session", 8)
    answer(first, 7, onset=20)
    assert plan().unfinished  # 20.5 s
    answer(plan(), onset=30)
    second = plan()
    assert second.adaptive and second.adaptive.earlier_s == 30.5
    assert second.adaptive.progress(0.1, None, 14.75) == pytest.approx((30.5 + 14.75) / 60)
    answer(second, 2, onset=29.6)
    with pytest.raises(BadInput, match=r"ended after 2 trials, by --minutes 1; begin another list with --s"):
        plan()
    assert (said(second)["completed"], said(second)["adaptive"]["ended"]) == (True, "minutes")


def test_what_was_gained_ends_a_session_where_a_pair_is_to_be_chosen(plan):
    made = plan("--trials", 100, "--until", 0.7, "--seed", 3)
    while not made.ended_early:
        answer(made, 1)
        answers = record(made).answers
        adaptive = made.adaptive
        assert adaptive and len(answers) < 60
        made.description["adaptive"]["ended"] = adaptive.ended_by(answers, 0.0)
        made = replace(made, begun=True, answered=len(answers), answers=answers)
    assert made.answered > 5 and made.trials[made.answered].is_open
    gained = [adaptive.gained(adaptive.learn(answers[:number])) for number in range(len(answers) + 1)]
    first = next(number for number, share in enumerate(gained) if share and share >= 0.7)
    assert made.answered == first + (not made.trials[first].is_open)
    for arguments, instead in [((), "begin another list"), (("--session", 1), "choose another --session")]:
        with pytest.raises(BadInput, match=rf"ended after {made.answered} trials, by --until 0.7; {instead}"):
            plan(*arguments)
    assert (said(made)["completed"], said(made)["adaptive"]["ended"]) == (True, "until")


def test_a_prior_that_was_changed_or_lost_is_refused(plan):
    made = plan("--trials", 20)
    answer(made, 3)
    file = made.folder / "prior.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"x")
    with pytest.raises(BadInput, match=r"prior.safetensors: is not what the session was begun with; restore"):
        plan()
    file.unlink()
    with pytest.raises(BadInput, match=r"prior.safetensors: cannot be read \(No such file"):
        plan()
    file.write_bytes(content)
    assert plan().answered == 3


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("süß 0", "other 0"), "has images that trial 1 cannot have shown"),
        (("reserved", ""), "has images that trial 1 cannot have shown"),
        (("same", ""), "has images that trial 1 cannot have shown"),
        ((",adaptive\n", ",random\n"), "is not trial"),
        (("chosen_by", "chosen"), "is not as it was written"),
    ],
)
def test_rows_that_cannot_have_been_are_refused(plan, change, problem):
    made = plan("--trials", 20, "--seed", 3)
    answer(made, 3)
    file = made.folder / "session.csv"
    lines = file.read_text().splitlines(keepends=True)
    left, right = lines[2].split(",")[5:7]
    reserved = next(trial for trial in made.trials if not trial.is_open).left_image
    if change[0] == "reserved":
        lines[2] = lines[2].replace(left, reserved)
    elif change[0] == "same":
        lines[2] = lines[2].replace(left, right)
    elif change[0] == "süß 0":
        lines[2] = lines[2].replace(left, "other.png")
    else:
        lines = [line.replace(*change) for line in lines]
    file.write_text("".join(lines))
    with pytest.raises(BadInput, match=problem):
        plan()


def test_options_that_contradict_what_was_begun_are_refused(plan, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.json").write_text("{}")
    made = plan("--trials", 20, "--until", 0.9, "--start-from", model)
    assert made.description["adaptive"]["start_from"] == str(model)
    answer(made, 3)
    assert plan("--until", 0.9, "--start-from", model).answered == 3
    for options, said in [
        (("--until", 0.8), "--until 0.8: .* was begun with 0.9; leave --until out"),
        (("--minutes", 8), "--minutes 8.0: .* was begun with none; leave --minutes out"),
        (("--start-from", tmp_path), "--start-from .* was begun with .*model; leave --start-from out"),
        (("--trials", 30), "--trials 30: the list of .* was made with 20"),
    ]:
        with pytest.raises(BadInput, match=said):
            plan(*options)
    with pytest.raises(BadInput, match=r"not a fitted model \(no model.json\)"):
        plan("--start-from", tmp_path / "none", "--session", 2)


@pytest.mark.parametrize("damage", [{"until": "much"}, {"seed": -1}, {"earlier_s": None}, None])
def test_a_description_that_was_damaged_is_refused(plan, damage):
    made = plan("--trials", 20)
    answer(made, 3)
    told = said(made)
    told["adaptive"] = told["adaptive"] | damage if damage else 3
    (made.folder / "session.json").write_text(json.dumps(told))
    with pytest.raises(BadInput, match=r"session.json: adaptive"):
        plan()


def test_rescued_answers_come_back_with_their_prior(plan, tmp_path, monkeypatch):
    for name in ("HOME", "TMPDIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    made = plan("--trials", 20)
    answer(made, 3)
    shutil.copytree(made.folder, "before")
    answer(plan(), 2)
    home = {RESCUED_FROM: str(made.folder.absolute()), "sittings": []}
    rescued = save_elsewhere(made.folder, record(plan()).contents(said(made) | home))
    assert sorted(file.name for file in rescued.iterdir()) == FILES
    assert (rescued / "prior.safetensors").read_bytes() == Path("before/prior.safetensors").read_bytes()
    shutil.rmtree(made.folder)
    shutil.copytree("before", made.folder)
    again = plan()
    assert (again.answered, len(again.answers)) == (5, 5)


def test_without_torch_one_line_says_what_a_new_session_takes(stimuli, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("catpref.models")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(
        BadInput, match=r"its images are not embedded yet.*pip install .catpref\[fit\]"
    ) as said:
        starting_prior.compute(stimuli, ["süß 00.png"], None, for_order=False)
    assert "\n" not in str(said.value)


def test_a_prior_is_computed_where_psychopy_has_a_window(display, stimuli, tmp_path):
    """As after the dialog; there, what torchvision loads ended the process without a word."""
    script = """
import sys
from pathlib import Path
from psychopy import visual
from catpref.lab.starting_prior import starting_prior
from catpref.stimuli.images import find_images
visual.Window((100, 100))
stimuli = Path(sys.argv[1])
print(len(starting_prior(stimuli, find_images(stimuli)[:3], None, for_order=False)))
"""
    process = Forked(
        [sys.executable, "-c", script, stimuli],
        env=os.environ | {"DISPLAY": display, "XDG_CACHE_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0
    assert int(said.splitlines()[-1]) > 0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("--until 1.5", "'1.5' is not a share"),
        ("--until x", "is not a share"),
        ("--minutes 0", "not a number above"),
    ],
)
def test_options_that_say_nothing(stimuli, options, complaint, capsys):
    with pytest.raises(SystemExit):
        experiment(ADAPTIVE, "script")(["--stimuli", str(stimuli), *options.split()])
    assert complaint in capsys.readouterr().err
