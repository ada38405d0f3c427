"""What the user says of the columns and values of files, in Python, in a TOML file and to the commands."""

from collections.abc import Callable
from pathlib import Path

import pytest

import catpref
from catpref import predict
from catpref.command_line import as_typed
from catpref.errors import BadInput
from catpref.fit import main as fit
from catpref.sessions.__main__ import main as export
from catpref.sessions.columns import NOTHING, AsPython, asked
from catpref.sessions.session import read_pairs

ROWS = "top,bottom,pick,secs,who,choice\na.png,b.png,u,0.5,p1,x\nb.png,c.png,d,1.5,p1,y\nc.png,a.png,-,,p1,\n"
COLUMNS = "left=top,right=bottom,choice=pick,rt=secs,participant=who"
CHOICES = "left=u,right=d,none=-"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(name.encode())
    path = tmp_path / "odd.csv"
    path.write_text(ROWS)
    return path


def check(session: catpref.Session) -> None:
    trials = session.trials
    assert list(trials["choice"]) == [0, 1] and session.excluded == 1
    assert list(trials["left_image"]) == ["a.png", "b.png"]
    assert list(trials["choice_in_file"]) == ["x", "y"], "a column of that name is kept"
    assert list(trials["rt"]) == [0.5, 1.5] and list(trials["participant"]) == ["p1", "p1"]


def test_text_and_dictionaries(file: Path) -> None:
    check(catpref.read_session(file, columns=COLUMNS, choices=CHOICES))
    columns = {"left": "top", "right": "bottom", "choice": "pick", "rt": "secs", "participant": "who"}
    check(catpref.read_session([file], columns=columns, choices={"left": "u", "right": "d", "none": "-"}))


@pytest.mark.parametrize("as_path", [Path, str])
def test_a_toml_file(file: Path, tmp_path: Path, as_path: type) -> None:
    said = "\n".join("{} = '{}'".format(*entry.split("=")) for entry in COLUMNS.split(","))
    path = tmp_path / "columns.toml"
    path.write_text(f"[columns]\n{said}\n[choices]\nleft = 'u'\nright = 'd'\nnone = '-'\n")
    check(catpref.read_session(file, columns=as_path(path)))
    assert asked(path, {"left": 1, "right": 2}).choices == {"left": "1", "right": "2"}, (
        "what is given goes first"
    )
    for content in ("[columns", "[column]\nleft = 'a'", "[columns]\nup = 'a'", "left = 'a'"):
        path.write_text(content)
        with pytest.raises(BadInput):
            asked(path, None)


def test_names_may_hold_commas_and_blanks() -> None:
    assert asked("left=The left, first,right=R", None).columns == {"left": "The left, first", "right": "R"}


@pytest.mark.parametrize(
    ("columns", "choices", "word"),
    [
        ("imgL,imgR", None, "columns=left=imgL,right=imgR"),
        ("up=imgL", None, "name left, right, choice"),
        ("left=", None, "columns=left="),
        ("left=x,right=x", None, "names one twice"),
        (None, "left=1", "both sides"),
        (None, "left=1,right=1", "names one twice"),
        (None, "1,2", "choices=left=1,right=2"),
    ],
)
def test_what_is_not_understood(columns: AsPython | None, choices: AsPython | None, word: str) -> None:
    with pytest.raises(BadInput) as caught:
        asked(columns, choices)
    assert word in str(caught.value)
    assert asked(None, None) == NOTHING


def test_a_column_that_is_not_there_is_named_with_those_that_are(file: Path) -> None:
    with pytest.raises(BadInput) as caught:
        catpref.read_session(file, columns="left=top,right=below")
    assert "columns=right=below: no such column" in str(caught.value) and "top, bottom, pick" in str(
        caught.value
    )


def test_what_is_said_of_some_columns_leaves_the_others_to_be_recognised(tmp_path: Path, file: Path) -> None:
    file.write_text(
        "cueL,cueR,faceL,faceR,key_resp.keys\nc.png,a.png,a.png,b.png,f\na.png,b.png,b.png,c.png,j\n"
    )
    with pytest.raises(BadInput, match="columns=left=cueL,right=cueR"):
        catpref.read_session(file)
    session = catpref.read_session(file, columns="left=faceL,right=faceR")
    assert list(session.trials["choice"]) == [0, 1] and list(session.trials["left_image"]) == [
        "a.png",
        "b.png",
    ]
    file.write_text("left_image,right_image,choice\na.png,b.png,1\nb.png,c.png,2\n")
    turned = catpref.read_session(file, choices="left=2,right=1")
    assert list(turned.trials["choice"]) == [1, 0], "what is said goes before what would be recognised"


def test_pairs_to_predict_need_no_choice(file: Path) -> None:
    said = asked("left=top,right=bottom,choice=response", CHOICES)
    pairs, _ = read_pairs(file, None, said)
    assert list(pairs["left_image"]) == ["a.png", "b.png", "c.png"]


def test_messages_can_be_typed_in_python_and_in_a_shell() -> None:
    fit_options = "x.csv: name it: columns=left=imgL,right=imgR,participant=who; choices='left=a b,right=c'"
    with pytest.raises(SystemExit):  # declares the options of the command
        fit(["--help"])
    assert as_typed(fit_options) == (
        "x.csv: name it: --columns left=imgL,right=imgR,participant=who; --choices 'left=a b,right=c'"
    )


@pytest.mark.parametrize("command", [fit, export])
def test_commands_name_the_option(file: Path, tmp_path: Path, command: Callable[[list[str]], None]) -> None:
    out = ["--out", str(tmp_path / "out")] if command is fit else [str(tmp_path / "out")]
    first = [str(file)] if command is fit else ["export", str(file)]
    with pytest.raises(BadInput, match="columns=left=top,right=bottom,choice="):
        command([*first, *out])
    with pytest.raises(BadInput, match="--- nothing"):  # goes on to what the options lead to
        try:
            command([*first, *out, "--columns", COLUMNS, "--choices", "left=u,right=x"])
        except BadInput as problem:
            assert "'d' is not a choice" in str(problem)
            raise BadInput("--- nothing") from problem
    assert not (tmp_path / "out").exists()


def test_export_by_the_command(file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    export(["export", str(file), str(tmp_path / "bids"), "--columns", COLUMNS, "--choices", CHOICES])
    (written,) = (tmp_path / "bids").rglob("*_beh.tsv")
    assert [line.split("\t")[-1] != "" for line in written.read_text().splitlines()] == [True] * 4
    assert "choice = pick (u = left, d = right), rt = secs, participant = who" in caplog.text


def test_columns_go_with_pairs(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        predict.main([str(tmp_path), "image.png", "--columns", "left=a,right=b"])


def test_a_file_with_one_number_beside_one_with_others(file: Path, tmp_path: Path) -> None:
    header = "left_image,right_image,choice\n"
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text(header + "a.png,b.png,1\n")
    other.write_text(header + "a.png,b.png,1\nb.png,c.png,2\n")
    with pytest.raises(
        BadInput, match=r"one.csv: its column choice has no number but 1.*choices=left=1,right=2"
    ):
        catpref.read_session([other, one], tmp_path)
    told = catpref.read_session([other, one], tmp_path, choices="left=1,right=2")
    assert list(told.trials["choice"]) == [0, 1, 0]
    other.write_text(header + "a.png,b.png,1\nb.png,c.png,0\n")
    assert list(catpref.read_session([other, one], tmp_path).trials["choice"]) == [1, 0, 1]
