import json
import os
import re
import shutil
from pathlib import Path

import pytest
from sessions_support import draw_pictures

from catpref.design.designs import make_trials
from catpref.design.trial_list import FULL, INCOMPLETE, RANDOM, read_trial_list, write_trial_list
from catpref.errors import BadInput
from catpref.lab.command import experiment
from catpref.lab.options import experiment_parser
from catpref.lab.planning import Plan, plan_session
from catpref.lab.recording import Recording, begin
from catpref.stimuli.images import find_images

QUESTION = "Which one is cuter?"


@pytest.fixture(scope="module")
def stimuli(tmp_path_factory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("stimuli"))


@pytest.fixture
def plan(stimuli, tmp_path, monkeypatch):
    """Plan sessions in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def plan(
        *arguments: object, participant: str = "p01", design: str = FULL, question: str = QUESTION
    ) -> Plan:
        parser = experiment_parser(design, "script")
        options = parser.parse_args(["--stimuli", str(stimuli), *map(str, arguments)])
        with plan_session(options, design, question, participant, options.session) as planned:
            return planned

    return plan


def answer(plan: Plan, trials: int | None = None) -> None:
    """Answer some trials of a session, by default all that are left."""
    if not plan.begun:
        begin(plan.folder, plan.whole, plan.description)
    recording = Recording(
        plan.folder, plan.description["participant"], plan.description["session"], plan.trials
    )
    for trial in plan.trials[plan.answered :][:trials]:
        recording.answer(trial, 1, 0.5, 1.0, "j")


def numbers(plan: Plan) -> list[int]:
    return [trial.trial for trial in plan.trials]


def test_a_new_list_has_repeats_and_catch_trials(plan):
    made = plan("--images", 20, "--seed", 3)
    assert made.description["list"] == dict(images=20, trials=190, repeats=9, catch=1, block=100, seed=3)
    assert numbers(made) == list(range(200))
    assert (made.folder, made.begun, made.answered) == (Path("sessions/p01_fully-sampled_1"), False, 0)
    assert (
        plan("--images", 20).description["list"]["seed"] != plan("--images", 20).description["list"]["seed"]
    )
    bare = plan("--images", 20, "--repeats", 0, "--catch", 0)
    assert numbers(bare) == list(range(190))
    assert not Path("sessions").exists()


def test_a_balanced_subset_is_a_design_of_its_own(plan):
    made = plan("--images", 20, "--trials", 30, "--seed", 3, design=INCOMPLETE)
    assert made.description["list"] == dict(images=20, trials=30, repeats=1, catch=0, block=100, seed=3)
    assert made.folder.name == "p01_balanced-incomplete_1" and len(made.trials) == 31
    answer(made, 7)
    assert plan("--images", 20, "--trials", 30, design=INCOMPLETE).answered == 7


def test_a_stopped_session_goes_on_where_it_stopped(plan):
    first = plan("--images", 6, "--seed", 3)
    answer(first, 7)
    for arguments in [(), ("--images", 6, "--seed", 3), ("--session", 1)]:
        again = plan(*arguments)
        assert (again.folder, again.begun, again.answered, again.left) == (first.folder, True, 7, 0)
        assert again.trials == first.trials
    answer(again)
    with pytest.raises(BadInput, match=r"every trial is answered; begin another list with --session 2"):
        plan()
    with pytest.raises(BadInput, match=r"every trial is answered; choose another --session or --out"):
        plan("--session", 1)
    other = plan("--session", 2, "--images", 6)
    assert (other.begun, other.folder.name, other.description["part"]) == (False, "p01_fully-sampled_2", 1)
    assert plan("--images", 6, participant="p02").folder.name == "p02_fully-sampled_1"
    assert plan("--trials", 6, design=RANDOM).folder.name == "p01_random-sampled_1"


def test_what_a_killed_session_could_not_say_is_said_by_the_next_call(plan):
    first = plan("--images", 5, "--repeats", 0, "--catch", 0)
    sitting = {"first_trial": 0, "answered": 0, "ended": None}
    first.description.update(completed=False, sittings=[sitting])
    answer(first, 4)
    again = plan()
    assert again.description["sittings"] == [sitting | {"answered": 4}]
    assert again.description["completed"] is False
    answer(again)
    for _ in range(2):
        with pytest.raises(BadInput, match="every trial is answered"):
            plan()
        said = json.loads((first.folder / "session.json").read_text())
        assert (said["completed"], said["sittings"][0]["answered"]) == (True, 10)


def test_the_parts_of_a_list_show_it_once(plan):
    shown, folders = [], []
    for number, arguments in enumerate(
        [("--images", 7, "--trials-per-session", 8, "--repeats", 2), (), ()], 1
    ):
        part = plan(*arguments)
        assert (part.description["part"], part.parts) == (number, 3)
        answer(part, 3)  # killed, and gone on with
        part = plan()
        assert (part.answered, part.description["part"]) == (3, number)
        answer(part)
        shown += numbers(part)
        folders.append(part.folder)
    assert shown == list(range(23))
    assert [folder.name[-1] for folder in folders] == ["1", "2", "3"]
    assert len({(folder / "trials.csv").read_bytes() for folder in folders}) == 1
    with pytest.raises(BadInput, match="every trial is answered"):
        plan()


def test_parts_can_be_asked_for_by_number_and_in_another_size(plan):
    first = plan("--images", 7, "--trials-per-session", 8, "--repeats", 0)
    answer(first, 3)
    with pytest.raises(BadInput, match="finish it first"):
        plan("--session", 2)
    answer(plan())
    second = plan("--session", 2, "--trials-per-session", 100)
    assert (numbers(second), second.parts) == (list(range(8, 21)), 2)


def test_one_folder_for_one_session(plan):
    first = plan("--images", 6, "--out", "mine")
    answer(first, 2)
    assert plan("--images", 6, "--out", "mine").answered == 2
    for arguments, who, complaint in [
        ((), dict(participant="p02"), "its participant is 'p01', not 'p02'"),
        ((), dict(design=RANDOM), "its design is 'fully-sampled', not 'random-sampled'"),
        (("--session", 2), {}, "mine: is not empty"),
    ]:
        with pytest.raises(BadInput, match=complaint):
            plan("--out", "mine", *arguments, **who)
    answer(plan("--out", "mine"))
    with pytest.raises(BadInput, match="every trial is answered"):
        plan("--out", "mine")


def test_what_contradicts_what_was_begun_is_refused(plan, stimuli, tmp_path):
    first = plan("--images", 6, "--seed", 3)
    answer(first, 2)
    write_trial_list(tmp_path / "other.csv", make_trials(FULL, find_images(stimuli)[:6], seed=9))
    assert plan("--trials-file", first.folder / "trials.csv").answered == 2
    for arguments, complaint in [
        (("--images", 7), "--images 7: the list of sessions/p01_fully-sampled_1 was made with 6"),
        (("--seed", 4), "--seed 4"),
        (("--trials-file", tmp_path / "other.csv"), "other.csv: is not the list of"),
        (("--stimuli", tmp_path), "was begun with"),
    ]:
        with pytest.raises(BadInput, match=re.escape(complaint)):
            plan(*arguments)
    with pytest.raises(BadInput, match="its question is"):
        plan(question="Which would you adopt?")
    described = first.folder / "session.json"
    content = json.loads(described.read_text())
    described.write_text(json.dumps({name: value for name, value in content.items() if name != "part"}))
    with pytest.raises(BadInput, match="of an earlier catpref"):
        plan()
    described.write_text("{")
    with pytest.raises(BadInput, match="cannot be read"):
        plan()
    described.write_text(json.dumps(content))
    (first.folder / "trials.csv").unlink()
    with pytest.raises(BadInput, match=r"trials\.csv: cannot be read"):
        plan()


def test_images_that_have_gone_are_noticed(stimuli, tmp_path, monkeypatch):
    cats = tmp_path / "cats"
    shutil.copytree(stimuli, cats)
    monkeypatch.chdir(tmp_path)
    options = experiment_parser(FULL, "script").parse_args(["--stimuli", str(cats), "--images", "6"])
    with plan_session(options, FULL, QUESTION, "p01", None) as plan:
        answer(plan, 2)
    image = cats / plan.trials[5].left_image
    image.write_bytes(image.read_bytes()[:300])
    with pytest.raises(BadInput, match="damaged"), plan_session(options, FULL, QUESTION, "p01", None):
        pass


def test_the_terminal_offers_to_go_on(plan, stimuli, monkeypatch, capsys):
    def opens() -> None:
        raise BadInput("a window would open")

    monkeypatch.setattr("catpref.lab.command.check_psychopy", opens)
    answer(plan("--images", 6), 7)
    command, arguments = experiment(FULL, "script"), ["--stimuli", str(stimuli), "--participant", "p01"]
    before = {path: path.read_bytes() for path in Path("sessions").rglob("*") if path.is_file()}
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115, PTH123
    with pytest.raises(BadInput, match="stopped after 7 of 15 trials; add --resume to go on from there"):
        command(arguments)
    for typed, goes_on in [("n", False), ("", True), ("Y", True)]:
        hands, terminal = os.openpty()
        os.write(hands, typed.encode() + b"\n")
        monkeypatch.setattr("sys.stdin", os.fdopen(terminal))
        if goes_on:
            with pytest.raises(BadInput, match="a window would open"):
                command(arguments)
        else:
            command(arguments)
            said = capsys.readouterr().out
            assert "was stopped after 7 of 15 trials. Go on from there? [Y/n]" in said
            assert said.endswith("cancelled; nothing was changed\n")
    with pytest.raises(BadInput, match="a window would open"):
        command([*arguments, "--resume"])
    assert {path: path.read_bytes() for path in Path("sessions").rglob("*") if path.is_file()} == before


@pytest.fixture
def no_window(monkeypatch):
    """No display: whoever tries to open a window is told so."""
    monkeypatch.delenv("DISPLAY", raising=False)


def test_bad_input_is_found_before_a_window_opens(no_window, stimuli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = tmp_path / "given.csv"
    full = make_trials(FULL, find_images(stimuli)[:5])
    write_trial_list(given, full)
    subset = tmp_path / "subset.csv"
    write_trial_list(subset, make_trials(INCOMPLETE, find_images(stimuli)[:10], trials=15))
    broken = tmp_path / "broken"
    broken.mkdir()
    for number in range(5):
        (broken / f"{number}.png").write_bytes((stimuli / full[0].left_image).read_bytes()[:-500])
    broken_list = tmp_path / "broken.csv"
    write_trial_list(broken_list, make_trials(FULL, find_images(broken)))
    old = tmp_path / "old"
    old.mkdir()
    (old / "notes.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    for design, folder, arguments, complaint in [
        (RANDOM, tmp_path / "nowhere", [], "no such stimulus folder"),
        (RANDOM, stimuli, [], "holds 40 of the 2000 images"),
        (FULL, stimuli, [], "ask for --images 40"),
        (FULL, stimuli, ["--images", "4"], "too few"),
        (FULL, stimuli, ["--images", "6", "--participant", "Anna Müller"], "no name or address"),
        (FULL, stimuli, ["--images", "6", "--participant", "../p01"], "no name or address"),
        (FULL, stimuli, ["--images", "6", "--out", str(old)], "old: is not empty"),
        (FULL, stimuli, ["--trials-file", str(tmp_path / "none.csv")], "none.csv: cannot be read"),
        (FULL, stimuli, ["--trials-file", str(given), "--images", "5"], "leave --images out"),
        (FULL, stimuli, ["--trials-file", str(given), "--seed", "1"], "leave --seed out"),
        (RANDOM, stimuli, ["--trials-file", str(given)], "the design is fully-sampled"),
        (FULL, broken, ["--trials-file", str(broken_list)], "damaged"),
        (FULL, stimuli, ["--images", "6", "--texts", str(given)], "given.csv: is not TOML"),
        (FULL, stimuli, ["--images", "6", "--degrees", "5"], "add --monitor"),
        (FULL, stimuli, ["--images", "6", "--trials-per-session", "5"], "leave --out out"),
        (FULL, stimuli, ["--trials", "2000"], "of 50 images a balanced subset"),
        (RANDOM, stimuli, ["--trials-file", str(subset)], "the design is balanced-incomplete"),
        (FULL, stimuli, ["--trials-file", str(subset), "--seed", "1"], "leave --seed out"),
        (FULL, stimuli, ["--trials-file", str(subset)], "no window can be opened"),
    ]:
        out = [] if "--out" in arguments else ["--out", str(tmp_path / "new")]
        who = [] if "--participant" in arguments else ["--participant", "p01"]
        with pytest.raises(BadInput, match=re.escape(complaint)):
            experiment(design, "script")(["--stimuli", str(folder), *out, *who, *arguments])
        assert sorted(tmp_path.rglob("*")) == before
    assert read_trial_list(given, stimuli) == full
