import codecs
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import simulations

from catpref.errors import BadInput
from catpref.sessions.session import Session, check_both_sides_chosen, read_pairs, read_sessions
from catpref.stimuli.folder import StimulusFolder

HEADER = "left_image,right_image,choice\n"
ROWS = "a.png,b.png,0\nb.png,c.png,1\nc.png,a.png,\n"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file in a folder that also holds the images a.png … d.png (their content is not looked at)."""
    for name in "abcd":
        (tmp_path / f"{name}.png").write_bytes(name.encode())

    def write_file(content: str | bytes, name: str = "session.csv") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


def complaint(*paths: Path, stimuli: Path | None = None, strict: bool = False) -> str:
    with pytest.raises(BadInput) as caught:
        read_sessions(paths, stimuli, strict=strict)
    return str(caught.value)


def pairs_and_choices(session: Session) -> list[tuple[str, str, int]]:
    trials = session.trials
    return list(zip(trials["left_image"], trials["right_image"], trials["choice"], strict=True))


ANSWERED = [("a.png", "b.png", 0), ("b.png", "c.png", 1)]


# ---- the plain session -------------------------------------------------------------------------------------


def test_a_plain_session(write: Write, tmp_path: Path) -> None:
    path = write(HEADER + ROWS)
    session = read_sessions([path])
    assert pairs_and_choices(session) == ANSWERED
    assert list(session.trials.index) == [0, 1]
    assert list(session.trials["row"]) == [2, 3]
    assert set(session.trials["source"]) == {str(path)}
    assert session.trials["choice"].dtype == np.int64
    assert session.images == ["a.png", "b.png", "c.png"]
    assert (session.excluded, session.stimuli) == (1, tmp_path)
    assert session.participants is None
    assert session.noise_ceiling is None


def test_optional_columns_are_typed_and_further_ones_kept(write: Write) -> None:
    session = read_sessions(
        [
            write(
                "participant,session,block,trial,choice,rt,right_image,left_image,repeat_of,mood\n"
                "p1,001,0,0,1,0.5,a.png,b.png,,good\n"
                "p1,001,0,1.0,1.0,,c.png,b.png,,\n"
                "p1,001,1,2,0.0,NA,b.png,a.png,0.0,bad\n"
            )
        ]
    )
    trials = session.trials
    assert list(trials["choice"]) == [1, 1, 0]
    assert list(trials["session"]) == ["001"] * 3
    assert list(trials["trial"]) == [0, 1, 2]
    assert trials["repeat_of"].dtype == "Int64"
    assert trials["repeat_of"].isna().tolist() == [True, True, False]
    assert trials["repeat_of"][2] == 0
    assert trials["rt"][0] == 0.5
    assert np.isnan(trials["rt"][1]) and np.isnan(trials["rt"][2])
    assert list(trials["mood"]) == ["good", "", "bad"]
    assert session.participants == 1


def test_labels_that_are_no_numbers_stay_text(write: Write) -> None:
    session = read_sessions([write("trial,block,left_image,right_image,choice\nt1,1,a.png,b.png,0\n")])
    assert list(session.trials["trial"]) == ["t1"]
    assert list(session.trials["block"]) == [1]


@pytest.mark.parametrize("encode", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_line_ends_and_byte_order_marks(
    write: Write, encode: str, line_end: str, separator: str
) -> None:
    text = "left_image,right_image,choice,rt,note\na.png,b.png,0,0.25,süß\n\nb.png,c.png,1,1.5,\n"
    text = text.replace(",", separator).replace("\n", line_end)
    if separator == ";":
        text = text.replace("0.25", "0,25")
    session = read_sessions([write(text.encode(encode))])
    assert pairs_and_choices(session) == ANSWERED
    assert list(session.trials["rt"]) == [0.25, 1.5]
    assert list(session.trials["row"]) == [2, 4]
    assert list(session.trials["note"]) == ["süß", ""]


def test_quoted_cells_may_hold_separators_and_line_ends(write: Write) -> None:
    path = write('left_image,right_image,note,choice\na.png,b.png,"one, two\nthree",0\nb.png,c.png,"",1\n')
    session = read_sessions([path])
    assert pairs_and_choices(session) == ANSWERED
    assert list(session.trials["row"]) == [2, 4]


def test_an_unnamed_index_column_is_ignored(write: Write) -> None:
    assert read_sessions([write(",left_image,right_image,choice\n0,a.png,b.png,1\n")]).participants is None


def test_a_file_spelt_in_two_ways_is_one_image(write: Write, tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to("a.png")
    session = read_sessions([write(HEADER + "./a.png,b.png,0\na.png,c.png,0\nlink.png,d.png,1\n")])
    assert session.images == ["a.png", "b.png", "c.png", "d.png"]


def test_catch_trials_are_counted_and_never_fitted(write: Write) -> None:
    rows = "a.png,b.png,0,\na.png,c.png,1,left\nb.png,c.png,1,\nc.png,b.png,1,right\nd.png,a.png,,left\n"
    path = write(HEADER.replace("choice", "choice,catch") + rows)
    session = read_sessions([path])
    assert pairs_and_choices(session) == ANSWERED
    assert session.catch == (2, 1), "the face was chosen in row 3, the scrambled image in row 5"
    assert (session.excluded, "catch" in session.trials) == (1, False)
    assert read_sessions([path, write(HEADER + ROWS, "other.csv")]).catch == (2, 1)
    assert read_sessions([write(HEADER + ROWS)]).catch is None
    none_shown = write(HEADER.replace("choice", "catch,choice") + "a.png,b.png,,1\n", "none.csv")
    assert read_sessions([none_shown]).catch is None
    only_catch = write(HEADER.replace("choice", "catch,choice") + "a.png,b.png,left,1\n", "only.csv")
    assert "no trial has an answer" in complaint(only_catch)


# ---- PsychoPy's and Pavlovia's wide files ------------------------------------------------------------------


def run_psychopy(folder: Path, conditions: str, keys: list[object], **entries: object) -> Path:
    """Write CSVs as a Builder experiment does, with PsychoPy's own handlers."""
    data = pytest.importorskip("psychopy.data")
    (folder / "conditions.csv").write_text(conditions)
    experiment = data.ExperimentHandler(
        name="2afc",
        extraInfo={"participant": "p01", "session": "001"},
        dataFileName=str(folder / "wide"),
        savePickle=False,
        saveWideText=False,
    )
    experiment.addData("instructions.started", 0.1)
    experiment.addData("key_start.keys", "space")
    experiment.addData("key_start.rt", 2.5)
    experiment.nextEntry()
    trials = data.TrialHandler(
        nReps=1,
        method="sequential",
        trialList=data.importConditions(str(folder / "conditions.csv")),
        name="trials",
        extraInfo=experiment.extraInfo,
    )
    experiment.addLoop(trials)
    for number, _ in enumerate(trials):
        trials.addData("key_resp.keys", keys[number])
        if keys[number] is not None:
            trials.addData("key_resp.rt", 0.5 + number)
        for name, value in entries.items():
            trials.addData(name, value)
        experiment.nextEntry()
    experiment.addData("thanks.started", 99.0)
    experiment.nextEntry()
    experiment.saveAsWideText(str(folder / "wide.csv"))
    experiment.saveAsWideText(str(folder / "wide_semicolon.csv"), delim=";")
    experiment.saveAsWideText(str(folder / "wide.tsv"), delim="\t")
    if "participant" not in conditions:
        trials.saveAsWideText(str(folder / "trials_only.csv"))
    experiment.abort()
    return folder / "wide.csv"


CONDITIONS = "left_image,right_image\na.png,b.png\nb.png,c.png\nc.png,a.png\n"


@pytest.mark.parametrize("name", ["wide.csv", "wide_semicolon.csv", "wide.tsv", "trials_only.csv"])
def test_psychopys_wide_csv(write: Write, tmp_path: Path, name: str) -> None:
    run_psychopy(tmp_path, CONDITIONS, ["left", "j", None])
    session = read_sessions([tmp_path / name])
    assert pairs_and_choices(session) == ANSWERED
    assert (session.excluded, session.participants) == (1, 1)
    assert list(session.trials["rt"]) == [0.5, 1.5]
    if name == "wide.csv":
        assert list(session.trials["row"]) == [3, 4]
        assert list(session.trials["trials.thisN"]) == ["0", "1"]


def test_a_trial_list_as_psychopys_conditions(write: Write, tmp_path: Path) -> None:
    # importConditions turns repeat_of, which has gaps, into floats.
    conditions = (
        "trial,block,design,left_image,right_image,repeat_of\n"
        "0,0,fully-sampled,a.png,b.png,\n1,0,fully-sampled,c.png,d.png,\n2,1,fully-sampled,b.png,a.png,0\n"
    )
    session = read_sessions([run_psychopy(tmp_path, conditions, ["f", "right", ["j"]])])
    assert list(session.trials["choice"]) == [0, 1, 1]
    assert list(session.trials["trial"]) == [0, 1, 2]
    assert session.trials["repeat_of"].isna().tolist() == [True, True, False]
    assert session.trials["repeat_of"][2] == 0


def test_psychopys_lists_and_columns_written_twice(write: Write, tmp_path: Path) -> None:
    conditions = CONDITIONS.replace("\n", ",p01\n").replace("right_image,p01", "right_image,participant", 1)
    entries: dict[str, object] = {"clicked": ["a", "b"]}
    path = run_psychopy(tmp_path, conditions, ["left", "right", "left"], **entries)
    text = path.read_text(encoding="utf-8-sig")
    assert text.splitlines()[0].split(",").count("participant") == 2
    session = read_sessions([path])
    assert list(session.trials["choice"]) == [0, 1, 0]
    assert list(session.trials["clicked"]) == ["['a', 'b']"] * 3
    assert session.participants == 1


@pytest.mark.parametrize(
    "prefix", ["", "./", "resources/", "./resources/stimuli/", "resources//./", "stimuli/cats/", "cats/"]
)
def test_pavlovias_wide_csv_with_paths(tmp_path: Path, prefix: str) -> None:
    cats = tmp_path / "cats"
    cats.mkdir()
    for name in "abc":
        (cats / f"{name}.png").touch()
    path = tmp_path / "PARTICIPANT_2afc.csv"
    path.write_text(
        "\ufeffinstr.started,left_image,right_image,key_resp.keys,key_resp.rt,trials.thisN,participant,OS\n"
        "0.1,,,,,,p7,Linux\n"
        f'3.5,{prefix}a.png,{prefix}b.png,left,0.5,0,p7,"Linux, x86"\n'
        f"5.5,{prefix}b.png,{prefix}c.png,right,0.75,1,p7,Linux\n"
        f"7.5,{prefix}c.png,{prefix}a.png,,,2,p7,Linux\n"
    )
    session = read_sessions([path], cats)
    assert pairs_and_choices(session) == ANSWERED
    assert (session.excluded, session.participants) == (1, 1)
    found = [Path(name) for name in read_pairs(path, cats)[0]["left_image"]]
    assert found == [Path("a.png"), Path("b.png"), Path("c.png")]


def test_a_prefix_is_kept_where_it_names_a_real_folder(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "stimuli/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    path = tmp_path / "wide.csv"
    path.write_text("left_image,right_image,key_resp.keys\nstimuli/a.png,b.png,f\n")
    assert read_sessions([path]).images == ["b.png", "stimuli/a.png"]


@pytest.mark.parametrize(
    "name", ["../a.png", "resources/../../a.png", "resources//etc/passwd", "/etc/passwd"]
)
def test_no_prefix_leads_out_of_the_folder(write: Write, tmp_path: Path, name: str) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "b.png").touch()
    path = write(f"left_image,right_image,key_resp.keys\n{name},b.png,f\n")
    assert "row 2, column left_image" in complaint(path, stimuli=tmp_path / "set")


def test_choice_wins_over_keys_and_two_answer_columns_are_refused(write: Write) -> None:
    keys = "left_image,right_image,key_a.keys,key_b.keys"
    with_choice = write(f"{keys},choice\na.png,b.png,left,right,1\n")
    assert pairs_and_choices(read_sessions([with_choice])) == [("a.png", "b.png", 1)]
    message = complaint(write(f"{keys}\na.png,b.png,left,right\n"))
    assert "key_a.keys" in message and "key_b.keys" in message and "choice" in message
    assert "key_a.keys" in complaint(write(f"{keys}\na.png,b.png,space,x\n"))


@pytest.mark.parametrize(
    "columns",
    ["leftImage,rightImage", "stim_L,stim_R", "imgL,imgR", "Left,Right", "face_left_file,face_right_file"],
)
def test_the_images_of_other_experiments(write: Write, columns: str) -> None:
    path = write(
        f"{columns},mouse.leftButton,mouse.rightButton,left_score,right_score,key_resp.keys\n"
        "a.png,b.png,1,0,3,4,left\nb.png,c.png,0,1,4,3,right\n"
    )
    assert pairs_and_choices(read_sessions([path])) == ANSWERED


def test_several_pairs_of_columns_with_images_are_refused(write: Write) -> None:
    path = write("cueLeft,cueRight,faceLeft,faceRight,key_resp.keys\na.png,b.png,c.png,d.png,left\n")
    message = complaint(path)
    assert all(
        name in message for name in ("cueLeft and cueRight", "faceLeft and faceRight", "columns=left=cueLeft")
    )


def test_practice_is_left_out(write: Write) -> None:
    path = write(
        "left_image,right_image,key_resp.keys,practiceTrials.thisN,trials.thisN\n"
        "x.png,y.png,left,0,\n,,,,\na.png,b.png,left,,0\nb.png,c.png,right,,1\n"
    )
    session = read_sessions([path])
    assert pairs_and_choices(session) == ANSWERED
    assert list(session.trials["trial"]) == [0, 1] and list(session.trials["row"]) == [4, 5]


@pytest.mark.parametrize(
    ("column", "left", "right"),
    [
        ("key_resp.keys", "left", "right"),
        ("key_resp.keys", "F", "j"),
        ("key_resp.keys", "['a']", "['l', 'l']"),
        ("key_resp.keys", "z", "m"),
        ("key_resp.keys", "1", "2"),
        ("key_resp.keys", "1.0", "2,0"),
        ("key_resp.keys", "0", "1"),
        ("mouse.clicked_name", "['image_left']", "['rightImage', 'next_button']"),
        ("mouse.clicked_name", "imgL", "imgR"),
        ("mouse.clicked_image", "['stimuli/a.png']", "stimuli/c.png"),
        ("choice", "0E+00", "1.0e0"),
        ("choice", "left", "right"),
    ],
)
def test_answers_by_keys_clicks_and_touch(write: Write, column: str, left: str, right: str) -> None:
    path = write(
        f'left_image;right_image;trials.thisN;go.keys;"{column}"\n'
        f'stimuli/a.png;stimuli/b.png;0;space;"{left}"\n'
        f'stimuli/b.png;stimuli/c.png;1;space;"{right}"\n'
        "stimuli/c.png;stimuli/a.png;2;space;None\n"
    )
    session = read_sessions([path])
    assert pairs_and_choices(session) == ANSWERED
    assert session.excluded == 1


@pytest.mark.parametrize(
    ("left", "right", "word"),
    [
        ("s", "d", "none of the columns key_resp.keys"),
        ("1", "1", "none of the columns key_resp.keys"),
        ("y", "n", "none of the columns key_resp.keys"),
        ("left", "left,right", "row 3"),
        ("f", "escape", "row 3, column key_resp.keys: 'escape'"),
    ],
)
def test_keys_that_are_no_sides(write: Write, left: str, right: str, word: str) -> None:
    path = write(f'left_image,right_image,key_resp.keys\na.png,b.png,"{left}"\nb.png,c.png,"{right}"\n')
    assert word in complaint(path, strict=True)


def test_a_keyboard_and_a_mouse_in_one_experiment(write: Write) -> None:
    header = "left_image,right_image,key_resp.keys,key_resp.rt,mouse.time,mouse.clicked_name\n"
    path = write(
        header + 'a.png,b.png,left,"[0.5]",[],[]\nb.png,c.png,None,,"[1.5e0, 2.5]",["right_image"]\n'
        "c.png,d.png,,,,\n"
    )
    session = read_sessions([path])
    assert pairs_and_choices(session) == ANSWERED
    assert list(session.trials["rt"]) == [0.5, 2.5], "of more times than names, the last are theirs"
    both = write(header + "a.png,b.png,left,0.5,0.5,right_image\n")
    assert "row 2, column key_resp.keys and mouse.clicked_name: 'left+right'" in complaint(both)


@pytest.mark.parametrize(
    "name",
    ["../stimuli/{}.png", "stimuli\\{}.png", ".\\{}.png", "{}", "resources/{}", "../../cats/stimuli/{}.png"],
)
def test_ways_in_which_an_experiment_reached_the_set(tmp_path: Path, name: str) -> None:
    cats = tmp_path / "cats"
    cats.mkdir()
    for letter in "abc":
        (cats / f"{letter}.png").touch()
    path = tmp_path / "wide.csv"
    path.write_text(f"left_image,right_image,key_resp.keys\n{name.format('a')},{name.format('b')},f\n")
    assert read_sessions([path], cats).images == ["a.png", "b.png"]


def test_a_name_without_ending_must_mean_one_file(write: Write) -> None:
    write("", "a.jpg")
    assert "'a'" in complaint(write("left_image,right_image,key_resp.keys\na,b,f\n"))


def test_files_without_a_trial_are_left_out_of_several(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "catpref")
    whole = write(HEADER + ROWS)
    left_early = write("consent.started,key_resp.keys,participant\n0.1,space,p2\n", "left_early.csv")
    at_instructions = write(
        "left_image,right_image,key_resp.keys,key_resp.started\n,,space,2.5\n", "early.csv"
    )
    header = write(HEADER, "header.csv")
    session = read_sessions([left_early, whole, at_instructions, header])
    assert pairs_and_choices(session) == ANSWERED and session.excluded == 1
    assert len(caplog.messages) == 3 and "left_early.csv: shows no pair" in caplog.messages[0]
    assert "no column left_image; it has: consent.started" in complaint(left_early)
    assert "no trials" in complaint(at_instructions, header)


def test_a_partial_and_a_full_file_are_one_session(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "catpref")
    header = "left_image,right_image,key_resp.keys,key_resp.rt,participant,session,date"
    first = "a.png,b.png,left,0.5,p1,001,monday"
    partial = write(f"{header}\n{first}\nb.png,c.png,,,p1,001,monday\n", "partial.csv")
    full = write(f"{header},trials.thisN\n{first},0\nb.png,c.png,right,1.5,p1,001,monday,1\n", "full.csv")
    session = read_sessions([partial, full])
    assert pairs_and_choices(session) == ANSWERED
    assert list(session.trials["source"]) == [str(partial), str(full)]
    assert session.excluded == 0, "the trial without an answer has one in the other file"
    assert "2 trials stand in the files twice" in caplog.text
    again = write(f"{header}\na.png,b.png,right,0.6,p1,001,tuesday\n", "again.csv")
    assert len(read_sessions([full, again]).trials) == 3, "answered anew on another day"


def test_a_session_that_went_on_has_its_earlier_answers_again(write: Write) -> None:
    header = "participant,session,date,trial,left_image,right_image,choice,rt,onset\n"
    first = write(header + "p1,1,9h00,0,a.png,b.png,0,0.5123,1.5\np1,1,9h00,1,b.png,c.png,,,\n", "1.csv")
    rows = "p1,1,9h30,0,a.png,b.png,0,0.5123,1.5\np1,1,9h30,1,b.png,c.png,1,0.75,\n"
    session = read_sessions([first, write(header + rows, "2.csv")])
    assert pairs_and_choices(session) == ANSWERED and session.excluded == 0
    anew = write(header + rows.replace("0.5123", "0.6").replace("0.75", "0.8"), "3.csv")
    assert len(read_sessions([first, anew]).trials) == 3


def test_a_trial_shown_again_counts_with_its_first_answer(write: Write) -> None:
    header = "participant,session,block,trial,left_image,right_image,choice\n"
    first = write(header + "p1,1,0,0,a.png,b.png,0\np1,1,0,1,c.png,a.png,\n", "p1_1/session.csv")
    second = write(
        header + "p1,1,0,1,c.png,a.png,1\np1,1,0.0,0.0,a.png,b.png,1\np2,1,0,0,a.png,b.png,1\n",
        "p1_2/session.csv",
    )
    folder = first.parent.parent
    session = read_sessions([first, second], folder)
    assert pairs_and_choices(session) == [("a.png", "b.png", 0), ("c.png", "a.png", 1), ("a.png", "b.png", 1)]
    assert (session.excluded, session.participants) == (0, 2)
    nobodys = [write(header + ",1,0,0,a.png,b.png,1\n", f"{name}/session.csv") for name in ("x", "y")]
    assert len(read_sessions(nobodys, folder).trials) == 2, "two people may have answered the same list"


def test_no_names_or_addresses_are_kept(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "catpref")
    path = write(
        "participant,Last Name,E-mail,where,note,time,left_image,right_image,choice\n"
        "Anna Müller,Müller,,192.0.2.7,write to a.m@example.org,10:22:33,a.png,b.png,0\n"
        "p2,,,,,2026.2.5,b.png,c.png,1\n"
        "anna@example.org,,,2001:db8::1,,,b.png,c.png,1\n"
    )
    trials = read_sessions([path]).trials
    assert list(trials["participant"]) == ["unnamed-1", "p2", "unnamed-2"]
    kept = {"participant", "time", "left_image", "right_image", "choice", "source", "row"}
    assert set(trials.columns) == kept
    assert "Last Name, E-mail, where, note" in caplog.text and "üller" not in caplog.text
    write("", "cat@2.png")
    assert read_sessions([write(HEADER + "cat@2.png,a.png,0\n")]).images == ["a.png", "cat@2.png"]


# ---- several files, the stimulus folder, the noise ceiling -------------------------------------------------


def test_sessions_of_different_participants_are_pooled(write: Write) -> None:
    first = write("participant,left_image,right_image,choice\np1,a.png,b.png,0\n", "one.csv")
    second = write(
        "participant,left_image,right_image,choice,mood\np2,b.png,c.png,1,ok\np2,c.png,d.png,,\n", "2.csv"
    )
    session = read_sessions([first, second])
    assert pairs_and_choices(session) == ANSWERED
    assert (session.participants, session.excluded) == (2, 1)
    assert list(session.trials["source"]) == [str(first), str(second)]
    assert list(session.trials["row"]) == [2, 2]
    nameless = write(HEADER + "c.png,d.png,1\n", "nameless.csv")
    assert read_sessions([first, nameless]).participants is None
    blank = write("participant,left_image,right_image,choice\n,a.png,b.png,0\n", "blank.csv")
    assert read_sessions([blank]).participants is None
    unanswered = write(HEADER + "c.png,d.png,\n", "unanswered.csv")
    assert read_sessions([first, unanswered]).excluded == 1


def test_a_file_given_twice_is_refused(write: Write, tmp_path: Path) -> None:
    path = write(HEADER + ROWS)
    (tmp_path / "again.csv").symlink_to(path)
    assert "twice" in complaint(path, tmp_path / "again.csv")


def test_where_the_stimulus_folder_comes_from(tmp_path: Path) -> None:
    for folder in ("own", "shared", "cats", "given", "data"):
        (tmp_path / folder).mkdir()
        for name in "abc":
            (tmp_path / folder / f"{name}.png").touch()
    path = tmp_path / "data" / "monday.csv"
    path.write_text(HEADER + ROWS)
    assert read_sessions([path]).stimuli == path.parent
    (path.parent / "session.json").write_text('{"stimuli": "../shared"}')
    assert read_sessions([path]).stimuli.resolve() == tmp_path / "shared"
    assert read_pairs(path)[1].resolve() == tmp_path / "shared"
    (path.parent / "monday.json").write_text("{}")
    assert read_sessions([path]).stimuli.resolve() == tmp_path / "shared"
    (path.parent / "monday.json").write_text(json.dumps({"stimuli": str(tmp_path / "cats")}))
    assert read_sessions([path]).stimuli == tmp_path / "cats"
    assert read_sessions([path], tmp_path / "given").stimuli == tmp_path / "given"
    other = tmp_path / "data" / "tuesday.csv"
    other.write_text(HEADER + ROWS)
    assert "stimuli=" in complaint(path, other)
    assert len(read_sessions([path, other], tmp_path / "given").trials) == 4


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ('{"stimuli": "nowhere"}', "nowhere"),
        ('{"stimuli": 3}', "3"),
        (json.dumps({"stimuli": "x" * 5000}), "xxx"),
        ('{"stimuli": "\\u0000"}', "x00"),
        ("[1]", "object"),
        ("{", "JSON"),
        ("[" * 100_000, "JSON"),
        ("1" * 10_000, "JSON"),
        ('{"noise_ceiling": 85}', "noise_ceiling"),
        ('{"noise_ceiling": NaN}', "noise_ceiling"),
        ('{"noise_ceiling": "high"}', "noise_ceiling"),
    ],
)
def test_a_bad_json_beside_the_session(write: Write, content: str, word: str) -> None:
    write(content, "session.json")
    message = complaint(write(HEADER + ROWS))
    assert "session.json" in message and word in message


def test_only_a_sessions_own_json_knows_its_noise_ceiling(write: Write) -> None:
    write('{"noise_ceiling": 0.8}', "session.json")
    simulated, other = write(HEADER + ROWS), write(HEADER + ROWS, "other.csv")
    assert read_sessions([simulated]).noise_ceiling == 0.8
    assert read_sessions([other]).noise_ceiling is None
    assert read_sessions([simulated, other]).noise_ceiling is None
    write('{"noise_ceiling": 0.5}', "other.json")
    write(HEADER + ROWS + ROWS + ROWS, "other.csv")
    assert read_sessions([simulated, other]).noise_ceiling == pytest.approx(0.8 / 4 + 0.5 * 3 / 4)


# ---- pairs to predict --------------------------------------------------------------------------------------


def test_pairs_need_no_choice_and_keep_their_cells(write: Write, tmp_path: Path) -> None:
    text = "id,left_image,right_image,choice\n007,./a.png,b.png,maybe\n1.50,b.png,c.png,\n"
    pairs, folder = read_pairs(write(text, "pairs.csv"))
    assert folder == tmp_path
    assert pairs.to_csv(index=False, lineterminator="\n") == text
    assert list(read_pairs(write("left_image,right_image\na.png,b.png\n"))[0].columns) == [
        "left_image",
        "right_image",
    ]


def test_pairs_are_checked_as_a_session_is(write: Write) -> None:
    for row in ("a.png,a.png", "a.png,../x.png", "a.png,gone.png"):
        with pytest.raises(BadInput, match="row 2, column right_image"):
            read_pairs(write(f"left_image,right_image\n{row}\n"))


# ---- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["empty"]),
        (b"\n\n", ["empty"]),
        (codecs.BOM_UTF8, ["empty"]),
        (HEADER, ["no trials"]),
        (HEADER + ",,\n", ["no trials"]),
        (HEADER + "a.png,b.png,\n", ["no trial has an answer"]),
        ("left_image,right_image\na.png,b.png\n", ["choice", "left_image, right_image"]),
        ("left,right_image,choice\na.png,b.png,0\n", ["no column left_image", "left, right_image, choice"]),
        ("hello", ["a header but no trials"]),
        ("hello\nworld\n", ["no column left_image", "hello"]),
        ((HEADER + ROWS).encode("utf-16")[:-1], ["row 4", "UTF-16"]),
        ((HEADER + ROWS).replace("c.png", "\x81.png").encode("latin-1"), ["row 3", "UTF-8"]),
        (codecs.BOM_UTF8 + HEADER.encode() + b"\xff.png,b.png,0\n", ["row 2", "UTF-8"]),
        (b"\x89PNG\r\n\x1a\n\0\0", ["row 1", "UTF-8"]),
        ((HEADER + "a.png,b.png,0\n\0,b.png,1\n"), ["row 3", "NUL"]),
        (HEADER + "a.png,b.png,0\nb.png,c.png,2\n", ["row 3, column choice", "'2'"]),
        (HEADER + "\na.png,b.png,up\n", ["row 3, column choice", "'up'"]),
        (HEADER + "a.png,b.png,0.4\n", ["row 2, column choice", "'0.4'"]),
        (HEADER + "a.png,b.png,nan\n", ["row 2, column choice", "'nan'"]),
        (HEADER + "a.png,b.png,10\n", ["row 2, column choice", "'10'"]),
        (HEADER + "a.png,b.png,-0\n", ["row 2, column choice", "'-0'"]),
        (HEADER + "a.png,,0\n", ["row 2, column right_image", "empty"]),
        (HEADER + "a.png,gone.png,0\n", ["row 2, column right_image", "gone.png"]),
        (HEADER + "../a.png,b.png,0\n", ["row 2, column left_image", "outside"]),
        (HEADER + "/etc/passwd,b.png,0\n", ["row 2, column left_image"]),
        (HEADER + "escape.png,b.png,0\n", ["row 2, column left_image", "outside"]),
        (HEADER + "folder,b.png,0\n", ["row 2, column left_image"]),
        (HEADER + "a.png,b.png,0\nc.png,c.png,0\n", ["row 3", "c.png", "left image too"]),
        (HEADER + "a.png,./a.png,0\n", ["row 2", "left image too"]),
        (HEADER + "a.png,inside.png,0\n", ["row 2", "left image too"]),
        (HEADER + "a.png,b.png\n", ["row 2", "2 cells", "3"]),
        (HEADER + "a.png,b.png,0\na.png,b.png,0,x\n", ["row 3", "4 cells", "3"]),
        (HEADER + 'a.png,b.png,0\na.png,"b.png,0\nc.png,a.png,1\n', ["row 3", "CSV"]),
        (HEADER + "a" * 200_000 + ",b.png,0\n", ["row 2", "CSV"]),
        (HEADER + "a" * 5_000 + ",b.png,0\n", ["row 2, column left_image"]),
        ("choice," + HEADER + "0,a.png,b.png,1\n", ["two columns choice"]),
        ("x" * 100_000, ["header is too long"]),
        ("catch," + HEADER + ",a.png,b.png,0\nup,b.png,c.png,1\n", ["row 3, column catch", "'up'"]),
        ("rt," + HEADER + "0.5,a.png,b.png,0\nfast,b.png,c.png,1\n", ["row 3, column rt", "'fast'"]),
        ("onset," + HEADER + "inf,a.png,b.png,0\n", ["row 2, column onset", "'inf'"]),
        (HEADER.replace("choice", "key_resp.keys") + "a.png,b.png,f\nb.png,a.png,q\n", ["row 3", "'q'"]),
        (HEADER.replace("choice", "trials.thisN") + "a.png,b.png,0\n", ["choice", "trials.thisN"]),
        (HEADER.replace("choice", "key_resp.keys") + "a.png,,f\n", ["row 2, column right_image"]),
        (HEADER.replace("choice", "key_resp.keys") + ",,f\n", ["no trials"]),
        ("leftImage,rightImage,left_image,a.keys\na.png,b.png,c.png,f\n", ["no column right_image"]),
        ("leftImage,rightImage,participant\na.png,b.png,p1\n", ["no column choice"]),
        (HEADER + "a.png,b.png,1_0\n", ["row 2, column choice", "'1_0'"]),
        ("rt," + HEADER + "1e400,a.png,b.png,0\n", ["row 2, column rt"]),
    ],
)
def test_bad_files(write: Write, tmp_path: Path, content: str | bytes, words: list[str]) -> None:
    (tmp_path / "set" / "folder").mkdir(parents=True)
    for name in "abc":
        (tmp_path / "set" / f"{name}.png").touch()
    (tmp_path / "set" / "escape.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "set" / "inside.png").symlink_to("a.png")
    message = complaint(write(content), stimuli=tmp_path / "set", strict=True)
    assert message.startswith(str(tmp_path / "session.csv"))
    assert all(word in message for word in words), message
    assert len(message) < 600


@pytest.mark.posix
def test_paths_that_are_no_files(tmp_path: Path, write: Write) -> None:
    assert "no such file" in complaint(tmp_path / "gone.csv")
    assert "is a folder" in complaint(tmp_path)
    assert "not an ordinary file" in complaint(Path("/dev/zero"))
    os.mkfifo(tmp_path / "pipe.csv")
    assert "not an ordinary file" in complaint(tmp_path / "pipe.csv")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    assert "cannot be read" in complaint(tmp_path / "loop.csv")
    assert "cannot be read" in complaint(tmp_path / ("x" * 5000))
    with (tmp_path / "huge.csv").open("wb") as huge:
        huge.truncate(2**33)
    assert "MiB" in complaint(tmp_path / "huge.csv")
    assert "stimuli=" in complaint(write(HEADER + ROWS), stimuli=tmp_path / "nowhere")


def test_only_one_side_chosen(write: Write) -> None:
    with pytest.raises(BadInput, match="only the right side"):
        check_both_sides_chosen(
            read_sessions([write(HEADER + "a.png,b.png,1\nb.png,c.png,1\na.png,c.png,\n")])
        )
    check_both_sides_chosen(read_sessions([write(HEADER + ROWS)]))


# ---- size and hostility ------------------------------------------------------------------------------------


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that were followed from the root on, which takes most of the time."""
    paths: list[str] = []

    follow = os.path.realpath
    monkeypatch.setattr("os.path.realpath", lambda path, **how: paths.append(path) or follow(path, **how))
    return paths


def test_twenty_thousand_trials_of_two_thousand_images_read_at_once(
    tmp_path: Path, followed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []
    find = StimulusFolder.file
    monkeypatch.setattr(StimulusFolder, "file", lambda folder, name: found.append(name) or find(folder, name))
    names = [f"cats/{number:04d}.png" for number in range(2000)]
    (tmp_path / "cats").mkdir()
    for name in names:
        (tmp_path / name).touch()
    rng = np.random.default_rng(0)
    pairs = np.array([rng.permutation(2000)[:2] for _ in range(20_000)])
    table = pd.DataFrame(np.array(names)[pairs], columns=pd.Index(["left_image", "right_image"]))
    table.assign(choice=rng.integers(0, 2, 20_000), rt=1.0).to_csv(tmp_path / "session.csv", index=False)
    session = read_sessions([tmp_path / "session.csv"])
    assert (len(session.trials), len(session.images)) == (20_000, 2000)
    assert len(found) <= 2 * 2000 and len(followed) < 20, "each image is looked up, not each trial's"


@pytest.mark.parametrize(
    ("header", "left", "right", "most"),
    [
        (HEADER, "d/../{}.png", "./{}.png", 20),
        ("leftImage,rightImage,key_resp.keys\n", "resources/{}", "{}", 10_020),  # each name once
    ],
)
def test_ten_thousand_names_are_found_at_once(
    tmp_path: Path, followed: list[str], header: str, left: str, right: str, most: int
) -> None:
    (tmp_path / "d").mkdir()
    for number in range(10_000):
        (tmp_path / f"{number}.png").touch()
    rows = [f"{left.format(2 * row)},{right.format(2 * row + 1)},1\n" for row in range(5000)]
    rows[0] = rows[0].replace(",1\n", ",0\n")
    (tmp_path / "session.csv").write_text(header + "".join(rows))
    session = read_sessions([tmp_path / "session.csv"])
    assert len(session.images) == 10_000
    assert len(followed) <= most


def test_a_path_of_thousands_of_copies_ends_soon(write: Write, followed: list[str]) -> None:
    header = "left_image,right_image,key_resp.keys\n"
    message = complaint(write(f"{header}{'stimuli/' * 4000}a.png,b.png,f\n"))
    assert "row 2, column left_image" in message and len(message) < 600
    assert len(followed) < 20, "not every copy is looked into"


@pytest.mark.parametrize(
    "piece", [b",", b"\n", b'"', b"\r", b"a,b,0\n", b"a.png,b.png,0\n", b",,\n", b"[", b"\xef\xbb\xbf"]
)
def test_a_mebibyte_of_anything_ends_soon(write: Write, piece: bytes) -> None:
    content = HEADER.encode() + piece * (2**20 // len(piece))
    start = time.process_time()
    with suppress(BadInput):
        read_sessions([write(content)])
    assert time.process_time() - start < 30, "where it took more than proportional time, hours"


NAMES = [
    *("left_image", "right_image", "leftImage", "rightImage", "choice", "catch", "key_resp.keys"),
    *(
        "mouse.clicked_name",
        "mouse.time",
        "trials.thisN",
        "practice.thisN",
        "rt",
        "trial",
        "participant",
        "date",
        "",
    ),
]
IMAGES = [
    "a.png",
    "b.png",
    "./a.png",
    "../x",
    "/x",
    "resources/b.png",
    "c:x",
    "\\",
    "..",
    ".",
    "~",
    "x" * 300,
]
CELLS = st.sampled_from([*NAMES, *IMAGES, "0", "1", "left", "None", "1.0", "0,5", "é", "\ud7ff", '"', "\0"])
TABLES = st.lists(st.lists(CELLS, min_size=1, max_size=5), min_size=1, max_size=5)
SESSIONS = st.builds(
    lambda keys, rows, separator, end: end.join(
        separator.join(row) for row in [["left_image", "right_image", keys, "rt", "trial"], *rows]
    ).encode(),
    st.sampled_from(["choice", "key_resp.keys"]),
    st.lists(st.lists(CELLS, min_size=5, max_size=5), min_size=1, max_size=4),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
LOOSE = st.builds(
    lambda rows, separator: "\n".join(separator.join(row) for row in rows).encode(),
    TABLES,
    st.sampled_from([",", ";", "\t"]),
)


@settings(
    max_examples=simulations(100, 400),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(content=st.one_of(st.binary(max_size=300), LOOSE, SESSIONS), beside=st.none() | st.binary(max_size=40))
def test_any_bytes_give_a_session_or_one_clear_complaint(
    write: Write, tmp_path: Path, content: bytes, beside: bytes | None
) -> None:
    path = write(content)
    (tmp_path / "session.json").unlink(missing_ok=True)
    if beside is not None:
        write(beside, "session.json")
    for read in (lambda: read_sessions([path]), lambda: read_pairs(path)):
        try:
            result = read()
        except BadInput as problem:
            assert str(problem).startswith(str(tmp_path / "session."))
        else:
            if isinstance(result, Session):
                assert set(result.images) <= {"a.png", "b.png", "c.png", "d.png"}
                assert set(result.trials["choice"]) <= {0, 1}
