"""Files of other programs and habits: read as they are meant, or refused with the argument that mends it."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import simulations

from catpref.errors import BadInput
from catpref.sessions.cells import number as value_of
from catpref.sessions.columns import NOTHING, Asked
from catpref.sessions.dialects import as_session
from catpref.sessions.rows import in_seconds
from catpref.sessions.table import SIDES, Table, read_table
from catpref.sessions.words import is_practice, side_of, words

Trial = tuple[str, str, int]
TRIALS: list[Trial] = [
    ("cat_0012.png", "cat_0011.png", 0), ("cat_0003.png", "cat_0005.png", 1), ("cat_0011.png", "cat_0012.png", 1),
    ("cat_0001.png", "cat_0002.png", 0),
]  # fmt: skip
CHOICES = ["0", "1", "1", "0"]
RT = ["1.225", "0.5", "0.75", "2.5"]


def table(header: str, *rows: Sequence[str]) -> Table:
    return Table(
        Path("file.csv"), header.split(","), [list(row) for row in rows], list(range(2, len(rows) + 2))
    )


def dressed(header: str, row: Callable[[str, str, int, str], Sequence[str]]) -> Table:
    return table(header, *(row(*trial, rt) for trial, rt in zip(TRIALS, RT, strict=True)))


def read(one: Table, asked: Asked = NOTHING) -> tuple[list[str], list[str] | None]:
    """Return choices and times, after a look at whether the images are those of the trials."""
    session = as_session(one, asked)
    for side, place in zip(SIDES, (0, 1), strict=True):
        names = [name.replace("\\", "/").rpartition("/")[2].partition(".")[0] for name in session[side]]
        assert names == [trial[place].partition(".")[0] for trial in TRIALS]
    if "rt" not in session.columns:
        return session["choice"], None
    times = in_seconds(one, [value_of(cell) for cell in session["rt"]])
    return session["choice"], ["" if time is None else f"{time:g}" for time in times]


def complaint(one: Table) -> str:
    with pytest.raises(BadInput) as caught:
        as_session(one)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    return message


# ---- words -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "side"),
    [("image_left", 0), ("leftImage", 0), ("leftimage", 0), ("imgL", 0), ("L", 0), ("Bild_rechts", 1),
     ("ArrowRight", 1),
     ("stim_R", 1), ("upright_face", None), ("wright", None), ("bright_02", None), ("lefty", None),
     ("left_right", None), ("bracketleft", None), ("LIGHT", None), ("lure", None)],
)  # fmt: skip
def test_a_side_is_a_whole_word(name: str, side: int | None) -> None:
    assert side_of(words(name)) == side


@pytest.mark.parametrize(
    ("name", "practice"),
    [("practice_trials", True), ("practiceTrials", True), ("practicetrials", True), ("prac_loop", True),
     ("training", True), ("warm_up", True), ("demo", True), ("trials", False), ("constrained_trials", False),
     ("demographics", False), ("swarm", False), ("warm_faces", False), ("spraculum", False)],
)  # fmt: skip
def test_practice_is_a_whole_word(name: str, practice: bool) -> None:
    assert is_practice(name) == practice


# ---- PsychoPy ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "answer"),
    [
        ("mouse.clicked_name,mouse.time", lambda c, rt: (f"[None, 'img_{'LR'[c]}']", f"[0.2, {rt}]")),
        ("mouse.clicked_name,mouse.time", lambda c, rt: (f'[null,"{("left", "right")[c]}_stim"]', f"[0.2,{rt}]")),
        ("mouse.clicked_name,mouse.time", lambda c, rt: (f"['image_{('left', 'right')[c]}']", f"[0.2, {rt}]")),
        ("key_resp.keys,key_resp.rt", lambda c, rt: (("ArrowLeft", "ArrowRight")[c], rt)),
        ("key_resp.keys,key_resp.rt", lambda c, rt: (("arrowleft", "arrowright")[c], rt)),
        ("key_resp.keys,key_resp.rt", lambda c, rt: (("num_4", "num_6")[c], rt)),
        ("key_resp.keys,key_resp.rt", lambda c, rt: (("Numpad1", "Numpad3")[c], rt)),
        ("key_resp.keys,key_resp.rt", lambda c, rt: (("KeyF", "KeyJ")[c], rt)),
        ("key_resp.keys,key_resp.rt", lambda c, rt: (f"['{('left', 'right')[c]}']", f"[{rt}]")),
        ("key_resp.keys,key_resp.rt", lambda c, rt: (("['left', 'right']", "['right', 'left']")[c], f"[{rt}, 9]")),
        ("key_resp.keys,key_resp.rt,conf.keys", lambda c, rt: (("left", "right")[c], rt, "13"[rt > "1"])),
        ("left_button.numClicks,left_button.timesOn,right_button.numClicks,right_button.timesOn",
         lambda c, rt: ("0", "", "1", f"[{rt}]") if c else ("1", f"[{rt}]", "0", "")),
    ],
)  # fmt: skip
def test_components_of_psychopy(columns: str, answer: Callable[[int, str], Sequence[str]]) -> None:
    one = dressed(
        f"left_image,right_image,{columns}", lambda a, b, c, rt: (f"stimuli/{a}", b, *answer(c, rt))
    )
    assert read(one) == (CHOICES, RT)


def test_a_click_on_a_component_that_is_called_as_the_column_of_its_image() -> None:
    one = dressed("img1,img2,mouse.clicked_name", lambda a, b, c, rt: (a, b, f"['img{c + 1}']"))
    assert read(one)[0] == CHOICES


def test_a_keyboard_for_each_block() -> None:
    def row(left: str, right: str, choice: int, rt: str) -> Sequence[str]:
        given = [("left", "right")[choice], rt]
        return left, right, *(["", "", *given] if float(rt) > 1 else [*given, "", ""])

    assert read(dressed("left_image,right_image,a.keys,a.rt,b.keys,b.rt", row)) == (CHOICES, RT)
    both = dressed("left_image,right_image,a.keys,b.keys", lambda a, b, c, rt: (a, b, "left", "right"))
    assert "more than one of the columns a.keys, b.keys" in complaint(both)
    assert "columns=choice=a.keys" in complaint(both)


def test_a_rating_with_two_keys_is_no_second_answer_that_is_guessed() -> None:
    one = dressed("left_image,right_image,a.keys,sure.keys", lambda a, b, c, rt: (a, b, "fj"[c], "21"[c]))
    assert "columns=choice=a.keys" in complaint(one)
    assert read(one, Asked({"choice": "a.keys"}, None))[0] == CHOICES


def test_first_of_two_keys_where_all_are_noted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "catpref")
    header = "left_image,right_image,key_resp.keys,key_resp.rt"
    noted = table(
        header, ("a.png", "b.png", "['left']", "[0.5]"), ("a.png", "b.png", "['right', 'left']", "[0.4, 0.9]")
    )
    session = as_session(noted)
    assert (session["choice"], session["rt"]) == (["0", "1"], ["0.5", "0.4"])
    assert "trials with answers of both sides, of which the first counts: 1" in caplog.text
    pressed = table(
        header, ("a.png", "b.png", "left", "0.5"), ("a.png", "b.png", "['left', 'right']", "[0.4, 0.9]")
    )
    assert as_session(pressed)["choice"] == ["0", "left+right"], "of single keys, two are no choice"


def test_a_stray_key_is_kept_for_the_reader_to_name() -> None:
    rows = [("a.png", "b.png", key) for key in ("left", "right", "escape")]
    assert as_session(table("left_image,right_image,key_resp.keys", *rows))["choice"] == ["0", "1", "escape"]


def test_names_that_hold_a_side_inside_a_word_choose_nothing() -> None:
    one = dressed(
        "left_image,right_image,mouse.clicked_name",
        lambda a, b, c, rt: (a, b, ("inverted_face", "upright_face")[c]),
    )
    assert "none of the columns mouse.clicked_name" in complaint(one)
    clicked = table(
        "left_image,right_image,mouse.clicked_image",
        ("upright_01.png", "lefty_02.png", "right/lefty_02.png"),
        ("lefty_02.png", "upright_01.png", "C:\\left\\upright_01.png"),
    )
    assert as_session(clicked)["choice"] == ["1", "1"]


def test_letters_that_are_initials_or_keys_are_refused_as_keys() -> None:
    one = dressed("left_image,right_image,key_resp.keys", lambda a, b, c, rt: (a, b, "lr"[c]))
    assert "of 'l', 'r', name what stands for a side: choices=left=l,right=r" in complaint(one)
    assert read(one, Asked({}, {"left": "l", "right": "r"}))[0] == CHOICES


def test_practice_is_counted_by_loop(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "catpref")
    header = "left_image,right_image,key_resp.keys,practice_loop.thisN,constrained.thisN"
    rows = [
        ("a.png", "b.png", "left", "0", ""),
        ("a.png", "b.png", "left", "1", ""),
        ("a.png", "b.png", "right", "", "0"),
    ]
    assert as_session(table(header, *rows))["choice"] == ["1"]
    assert "practice of loop practice_loop: 2" in caplog.text and "constrained" not in caplog.text


@pytest.mark.parametrize("column", ["attention_check", "is_catch", "attentionCheck", "catch_trial"])
def test_checks_that_are_not_read_are_said(caplog: pytest.LogCaptureFixture, column: str) -> None:
    caplog.set_level("INFO", "catpref")
    for header in (
        "left_image,right_image,choice",
        "left_image,right_image,response",
        "left_image,right_image,x.keys",
    ):
        rows = [("a.png", "b.png", "0", "0"), ("a.png", "b.png", "1", "1"), ("b.png", "a.png", "1", "TRUE")]
        assert as_session(table(f"{header},{column}", *rows))["choice"] == ["0", "1", "1"]
        assert f"column {column} marks 2 rows; it is not read" in caplog.text
        caplog.clear()


# ---- tables with a row a trial -----------------------------------------------------------------------------

PAIRS = [
    "imageA,imageB", "image1,image2", "img1,img2", "img_1,img_2", "stimulus_left,stimulus_right", "stim_L,stim_R",
    "option_a,option_b", "leftimage,rightimage", "Input.image1,Input.image2", "Left,Right",
    "Bild_links,Bild_rechts", "first_face,second_face", "left_image,right_image",
]  # fmt: skip
ANSWERS = [
    "choice",
    "response",
    "resp",
    "answer",
    "chosenImage",
    "chosen",
    "key",
    "selected_stimulus",
    "Answer.choice",
]
CODINGS = [
    *("01", "12", "LR", "AB", "fj", "zm", ("left", "right"), ("Left", "Right"), ("first", "second")),
    *(("image 1", "image 2"), ("links", "rechts")),
]


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("coding", CODINGS)
def test_pairs_of_columns_and_codings(pair: str, coding: Sequence[str]) -> None:
    assert read(dressed(f"{pair},response", lambda a, b, c, rt: (a, b, coding[c])))[0] == CHOICES


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("spelt", ["{}", "img/{}", "C:\\faces\\{}", "https://lab.org/a%20b/{}"])
def test_the_image_that_was_chosen(answer: str, spelt: str) -> None:
    for name in (lambda image: spelt.format(image), lambda image: spelt.format(image.partition(".")[0])):
        one = dressed(f"imageA,imageB,{answer}", lambda a, b, c, rt, name=name: (a, b, name((a, b)[c])))
        assert read(one)[0] == CHOICES
    assert (
        read(dressed(f"imageA,imageB,{answer}", lambda a, b, c, rt: (a, b, ("imageA", "imageB")[c])))[0]
        == CHOICES
    )


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("chose_left", lambda c: str(1 - c)),
        ("right_chosen", lambda c: ("FALSE", "TRUE")[c]),
        ("chose_b", str),
    ],
)
def test_whether_one_side_was_chosen(column: str, cell: Callable[[int], str]) -> None:
    assert read(dressed(f"left_face,right_face,{column}", lambda a, b, c, rt: (a, b, cell(c))))[0] == CHOICES


def test_of_two_columns_that_agree_the_fuller_counts() -> None:
    rows = [
        ("a.png", "b.png", "", "left"),
        ("b.png", "a.png", "2", "right"),
        ("a.png", "c.png", "timeout", ""),
    ]
    rows += [("a.png", "b.png", "1", "left"), ("a.png", "c.png", "", "right")]
    assert as_session(table("img1,img2,resp,chosen", *rows))["choice"] == ["0", "1", "", "0", "1"]


def test_no_preference_in_a_web_export() -> None:
    rows = [("a.png", "b.png", cell, "x") for cell in ("0.5", "1", "0.5", "0", "0.5")]
    session = as_session(table("left_image,right_image,choice,key_resp.keys", *rows))
    assert session["choice"] == ["0.5", "1", "0.5", "0", "0.5"]


def test_one_line_says_what_was_taken_for_what(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "catpref")
    header = "img1,img2,choice,reaction_time_ms,subject_id"
    one = dressed(header, lambda a, b, c, rt: (a, b, "12"[c], str(1000 * float(rt)), "s1"))
    assert read(one) == (CHOICES, RT)
    assert as_session(one)["participant"] == ["s1"] * 4
    assert caplog.messages[0] == (
        "file.csv: left = img1, right = img2, choice = choice (1 = left, 2 = right), rt = reaction_time_ms, "
        "participant = subject_id"
    )


def test_a_plain_session_is_taken_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "catpref")
    one = dressed(
        "left_image,right_image,choice,response,rt", lambda a, b, c, rt: (a, b, str(c), str(2 - c), rt)
    )
    assert as_session(one) == one and not caplog.messages
    only_right = dressed("left_image,right_image,choice", lambda a, b, c, rt: (a, b, "1"))
    assert as_session(only_right) == only_right


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        ("L,R,resp", lambda a, b, c: (a, b, str(2 * c - 1)), "choices=left=-1,right=1"),
        ("L,R,preference", lambda a, b, c: (a, b, "-02"[c * 2 :]), "choices=left=-02,right=2"),
        ("L,R,resp", lambda a, b, c: (a, b, str(c + 3)), "choices=left=3,right=4"),
        ("L,R,resp", lambda a, b, c: (a, b, "1"), "choices=left=VALUE,right=VALUE"),
        ("L,R,resp", lambda a, b, c: (a, b, "fm"[c]), "choices=left=f,right=m"),
        ("L,R,resp", lambda a, b, c: (a, b, "0" if c == 0 else "12"[a > "cat_0005"]), "left=1,right=2,none=0"),
        ("left_image,right_image,choice", lambda a, b, c: (a, b, "02"[c]), "row 3, column choice"),
        ("imageA,imageB,A_side,response", lambda a, b, c: (a, b, ("right", "left")[c], "left"), "A_side may tell"),
        ("imageA,imageB,A_on_left,response", lambda a, b, c: (a, b, str(c), "left"), "A_on_left may tell"),
        ("imageA,imageB,xA,xB,chosen", lambda a, b, c: (a, b, "-" * c + "9", "-" * (1 - c) + "9", a), "xA may tell"),
        ("left_image,right_image,choice", lambda a, b, c: (a, b, str(c > 0)), "choices=left=False,right=True"),
        ("image1,image2,swapped,response", lambda a, b, c: (a, b, str(c), "1"), "choices=left=VALUE"),
        ("image1,image2,flip,response", lambda a, b, c: (a, b, str(1 - c), str(c)), "flip may tell"),
        ("left_img,right_img,choice,response", lambda a, b, c: (a, b, str(c), "21"[c]), "columns=choice=choice"),
        ("img1,img2,img3,choice", lambda a, b, c: (a, b, "x.png", str(c)), "left=img1,right=img2,choice=choice"),
        ("top,bottom,resp", lambda a, b, c: (a, b, str(c)), "columns=left=top,right=bottom,choice=resp"),
        ("Top Image,Low Image,x", lambda a, b, c: (a, b, str(c)), "columns='left=Top Image,right=Low Image,choice="),
        ("left_image,right_image,response_correct", lambda a, b, c: (a, b, str(c)), "columns=choice=COLUMN"),
        ("StartDate,EndDate,ResponseId,Q1", lambda a, b, c: ("", "", "R_1", "2"), "one row a trial"),
        ("timestamp,stimuli,outcome", lambda a, b, c: ("1", "0.5", "1"), "columns=left=COLUMN"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_refused_with_what_would_tell(
    header: str, row: Callable[[str, str, int], Sequence[str]], said: str
) -> None:
    assert said in complaint(dressed(header, lambda a, b, c, rt: row(a, b, c)))


def test_images_called_as_numbers_are_not_taken_for_sides() -> None:
    one = table("img1,img2,choice", ("1.png", "2.png", "1"), ("2.png", "3.png", "2"), ("4.png", "1.png", "1"))
    assert "may stand for the other" in complaint(one)
    tens = table("img1,img2,choice", ("10.png", "20.png", "10"), ("20.png", "30.png", "30"))
    assert as_session(tens)["choice"] == ["0", "1"]


def test_rows_of_practice_by_a_column(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "catpref")
    rows = [
        ("practice", "a.png", "b.png", "left"),
        ("main", "a.png", "b.png", "right"),
        ("main", "b.png", "a.png", "left"),
    ]
    assert as_session(table("phase,img1,img2,choice", *rows))["choice"] == ["1", "0"]
    assert "practice by column phase: 1" in caplog.text


@pytest.mark.parametrize("answer", ["response", "key_resp.keys", "mouse.clicked_name"])
def test_answers_in_the_row_after_that_of_the_images(caplog: pytest.LogCaptureFixture, answer: str) -> None:
    caplog.set_level("INFO", "catpref")
    rows = [("", "", "0.5", "")]
    for left, right, choice in TRIALS:
        rows += [(left, right, "1", ""), ("", "", "", ("left", "right")[choice]), ("", "", "2", "")]
    assert read(table(f"left_image,right_image,x.started,{answer}", *rows))[0] == CHOICES
    assert "answers stand in the row after that of the images; trials joined: 4" in caplog.text
    rows[1] = (*rows[1][:3], "right")
    kept = as_session(table(f"left_image,right_image,x.started,{answer}", *rows))
    assert kept["choice"] == ["1", "", "", ""], "an answer beside the images is theirs"


# ---- jsPsych and Gorilla -----------------------------------------------------------------------------------


def images_of(left: str, right: str) -> str:
    return f'<div><img src="img/{left}" width="300"></div><div><img class="x" src=\'img/{right}\'></div>'


WELCOME = ("html-keyboard-response", "0", "5321", "<p>Welcome <img src='logo.png'></p>", " ", "")
JSPSYCH = [
    lambda a, b, c: ("image-button-response", "prompt.png", str(c), json.dumps([f"img/{a}", f"img/{b}"])),
    lambda a, b, c: (
        "html-button-response",
        "Which?",
        str(c),
        json.dumps([f"<img src='{a}'>", f"<img src='{b}'>"]),
    ),
    lambda a, b, c: ("html-button-response", images_of(a, b), str(c), ""),
    lambda a, b, c: ("html-button-response", images_of(a, b), str(1 - c), '["Right", "Left"]'),
    lambda a, b, c: ("html-keyboard-response", images_of(a, b), ("arrowleft", "arrowright")[c], ""),
    lambda a, b, c: ("html-keyboard-response", images_of(a, b), "fj"[c], '["f", "j"]'),
    lambda a, b, c: ("my-two-images", json.dumps([a, b]), ("left", "right")[c], ""),
    lambda a, b, c: ("my-two-images", f"{a},{b}", ("left", "right")[c], ""),
]


@pytest.mark.parametrize("row", JSPSYCH)
def test_jspsych(row: Callable[[str, str, int], Sequence[str]], tmp_path: Path) -> None:
    header = "trial_type,trial_index,rt,stimulus,response,choices"

    def trial(left: str, right: str, choice: int, rt: str) -> Sequence[str]:
        kind, stimulus, response, choices = row(left, right, choice)
        return kind, "1", str(round(1000 * float(rt))), stimulus, response, choices

    one = dressed(header, trial)
    one.rows.insert(0, list(WELCOME))
    one.lines.insert(0, 1)
    assert read(one) == (CHOICES, RT)
    objects = [dict(zip(one.columns, cells, strict=True)) for cells in one.rows]
    for trials in (objects, [objects[:2], objects[2:]], {"trials": objects}):
        (tmp_path / "data.json").write_text(json.dumps(trials))
        assert read(read_table(tmp_path / "data.json", SIDES)) == (CHOICES, RT)


def test_json_keeps_its_lists(tmp_path: Path) -> None:
    trials = [
        {"trial_type": "image-button-response", "trial_index": 1, "rt": 1000 * float(rt), "choices": [left, right],
         "response": choice}
        for (left, right, choice), rt in zip(TRIALS, RT, strict=True)
    ]  # fmt: skip
    path = tmp_path / "data.json"
    path.write_text("\n".join(json.dumps([trial]) for trial in trials))
    assert read(read_table(path, SIDES)) == (CHOICES, RT)


def test_jspsych_6_and_buttons_that_say_neither_side() -> None:
    codes = dressed("trial_type,trial_index,rt,stimulus,key_press", lambda a, b, c, rt: (
        "html-keyboard-response", "1", str(1000 * float(rt)), images_of(a, b), ("37", "39")[c]))  # fmt: skip
    assert read(codes)[0] == CHOICES
    header = "trial_type,trial_index,stimulus,response,choices"
    yes = dressed(
        header, lambda a, b, c, rt: ("html-button-response", "1", images_of(a, b), str(c), '["yes","no"]')
    )
    assert "choices=left=no,right=yes" in complaint(yes)
    assert read(yes, Asked({}, {"left": "yes", "right": "no"}))[0] == CHOICES


@pytest.mark.parametrize("points", [False, True])
@pytest.mark.parametrize("builder", [1, 2])
def test_gorilla(builder: int, points: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "catpref")
    kind, fixation, answer, other = [
        ("Zone Type", "fixation", "response_button_image", "continue_button"),
        ("Response Type", "", "response", "continue"),
    ][builder - 1]
    prefix = "Spreadsheet: " * (builder == 2)
    header = (
        f"Participant Public ID,Participant Private ID,{kind},Reaction Time,Response,{prefix}display,"
        + (f"{prefix}Left Image,{prefix}Right Image")
    )
    rows = []
    for number, ((left, right, choice), rt) in enumerate(zip([TRIALS[0], *TRIALS], ["9", *RT], strict=True)):
        shown = "practice" if number == 0 else "trials"
        for zone, time, response in ((fixation, "500.2", ""), (answer, str(1000 * float(rt)), (left, right)[choice]),
                                     (other, "20", "Next")):  # fmt: skip
            rows.append(("BLIND", "4711", zone, time, response, shown, left, right))
    rows.append(("END OF FILE", *[""] * 7))
    one = table(header.replace(" ", ".").replace(":", ".") if points and builder == 1 else header, *rows)
    assert read(one) == (CHOICES, RT)
    assert set(as_session(one)["participant"]) == {"4711"}
    assert "practice by column display: 1" in caplog.text


# ---- without sides -----------------------------------------------------------------------------------------


def winners_of(session: Table) -> list[tuple[str, str]]:
    pairs = zip(session[SIDES[0]], session[SIDES[1]], session["choice"], strict=True)
    return [(left, right) if choice == "0" else (right, left) for left, right, choice in pairs]


@pytest.mark.parametrize(
    "header", ["winner,loser", "winner_image,loser_image", "chosen,rejected", "chosen,unchosen"]
)
def test_winners(header: str) -> None:
    pairs = [(f"{number}.png", f"{number + 1}.png") for number in range(40)]
    session = as_session(table(header, *pairs))
    assert winners_of(session) == pairs
    assert session["choice"].count("1") == 20 and session["choice"] != sorted(session["choice"])
    assert set(session["sides_known"]) == {"no"}
    assert as_session(table(header, *pairs)) == session, "the same sides every time"


def test_counts_of_wins() -> None:
    rows = [("a.png", "b.png", "3", "1"), ("b.png", "c.png", "0", "2")]
    session = as_session(table("imageA,imageB,wins_a,wins_b", *rows))
    assert (
        sorted(winners_of(session))
        == [("a.png", "b.png")] * 3 + [("b.png", "a.png")] + [("c.png", "b.png")] * 2
    )
    assert set(session["sides_known"]) == {"no"} and session["choice"].count("1") == 3
    known = as_session(table("left_image,right_image,left_wins,right_wins", *rows))
    assert known["choice"] == ["0", "0", "0", "1", "1", "1"] and "sides_known" not in known.columns
    assert (
        winners_of(as_session(table("winner,loser,count", ("a.png", "b.png", "2"))))
        == [("a.png", "b.png")] * 2
    )
    assert len(as_session(table("n,winner,loser", ("7", "a.png", "b.png"))).rows) == 1, (
        "n may number the trials"
    )
    assert "row 2, column wins_b" in complaint(
        table("imageA,imageB,wins_a,wins_b", ("a.png", "b.png", "3", "0.5"))
    )
    assert "over" in complaint(table("winner,loser,count", ("a.png", "b.png", "1e9")))


# ---- any dress ---------------------------------------------------------------------------------------------

PATHS = ["{}", "stimuli/{}", "./img/{}", "C:\\Users\\right\\{}", "/home/left/{}", "https://x.org/upright/{}"]
SOURCES = ["key_resp.keys", "mouse.clicked_name", "mouse.clicked_image", *ANSWERS]
SPELLINGS = [*CODINGS, "aj", ("-1", "1"), ("num_4", "num_6"), ("left_pic", "right_pic"),
             ("upright", "inverted"), ("imageA", "imageB"), ("yes", "no"), ("image", "name")]  # fmt: skip


@settings(max_examples=simulations(75, 300), deadline=None)
@given(
    pair=st.sampled_from(PAIRS), source=st.sampled_from(SOURCES), spelling=st.sampled_from(SPELLINGS),
    path=st.sampled_from(PATHS), seed=st.integers(0, 2**16), size=st.integers(1, 8),
    names=st.sampled_from(["cat_{:04d}.png", "{}.jpg", "left_{}.png", "upright_{}_R.png", "Right {}.JPG"]),
    further=st.lists(st.sampled_from(["notes", "rating", "correct", "left_score", "right_score"]), unique=True),
    stray=st.sampled_from(["", "None", "escape", "timeout"]),
)  # fmt: skip
def test_a_side_is_right_or_the_file_is_refused(
    pair: str, source: str, spelling: Sequence[str], path: str, seed: int, size: int, names: str,
    further: list[str], stray: str,
) -> None:  # fmt: skip
    """Codings that no one can tell apart, such as 0 for right and 1 for left, are not among the spellings."""
    chance = random.Random(seed)
    truth, rows = [], []
    for _ in range(size):
        left, right = (names.format(number) for number in chance.sample(range(1, 30), 2))
        choice = chance.choice([0, 0, 0, 1, 1, 1, None])
        chosen = (left, right)[choice or 0]
        by_image = {"image": path.format(chosen), "name": chosen.rpartition(".")[0]}
        said = by_image.get(spelling[0], spelling[choice or 0])
        cells = {name: chance.choice(["1", "2", "left", "x"]) for name in further}
        rows.append(
            (path.format(left), path.format(right), stray if choice is None else said, *cells.values())
        )
        truth.append(choice)
    try:
        session = as_session(table(",".join([pair, source, *further]), *rows))
    except BadInput as problem:
        assert len(str(problem)) < 700
        return
    if (pair, source, *spelling) == ("left_image,right_image", "choice", "1", "2") and 1 not in truth:
        return  # a plain session, in which 1 is right
    for choice, found in zip(truth, session["choice"], strict=True):
        assert found == str(choice) or found not in ("0", "1"), (rows, session["choice"])
