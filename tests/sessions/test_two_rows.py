"""Two rows a trial, one for each image."""

from pathlib import Path

import pytest

from catpref.errors import BadInput
from catpref.sessions.session import read_sessions
from catpref.sessions.table import SIDES, read_table
from catpref.sessions.two_rows import joined

SIDED = """participant,trialNumber,position,stimulus,chosen,rt,age
p01,1,right,b.png,0,,3
p01,1,left,a.png,1,0.5,3
p01,2,left,b.png,0,0.75,3
p01,2,right,c.png,1,0.75,3
p01,3,left,c.png,0,,3
p01,3,right,a.png,0,,3
p02,1,left,a.png,TRUE,1.5,4
p02,1,right,c.png,FALSE,1.5,4
"""


@pytest.fixture
def path(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Path:
    caplog.set_level("INFO", "catpref")
    for name in "abc":
        (tmp_path / f"{name}.png").touch()
    (tmp_path / "long.csv").write_text(SIDED)
    return tmp_path / "long.csv"


def test_images_with_a_side_and_a_mark(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    session = read_sessions([path])
    columns = ["participant", *SIDES, "choice", "rt", "age", "row"]
    assert session.trials[columns].to_numpy().tolist() == [
        ["p01", "a.png", "b.png", 0, 0.5, "3", 2],
        ["p01", "b.png", "c.png", 1, 0.75, "3", 4],
        ["p02", "a.png", "c.png", 0, 1.5, "4", 8],
    ]
    assert session.excluded == 1 and session.participants == 2
    said = "two rows a trial, told by column trialNumber, were joined: images = stimulus, chosen = chosen"
    assert caplog.messages == [f"{path}: {said}"]


def test_rows_without_a_partner_are_left_out(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text(SIDED + "p02,2,left,a.png,1,1,4\np02,3,left,a.png,1,1,4\np02,3,left,b.png,0,1,4\n")
    assert read_sessions([path]).excluded == 4
    assert "rows 10, 11, 12: is not one of two rows of a trial; left out (3 of 7 rows)" in caplog.text
    with pytest.raises(BadInput, match="row 10 is not one of two rows"):
        read_sessions([path], strict=True)


def test_both_images_marked_make_no_choice(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text(SIDED.replace("b.png,0,,3", "b.png,1,,3"))
    assert len(read_sessions([path]).trials) == 2
    assert "row 2: 'left+right' is not a choice" in caplog.text
    with pytest.raises(BadInput, match="row 2, column chosen: 'left"):
        read_sessions([path], strict=True)


def test_without_sides_there_are_winners(path: Path) -> None:
    path.write_text("pair,img,won\n1,a.png,0\n1,b.png,1\n2,b.png,1\n2,c.png,0\n3,a.png,1\n3,c.png,1\n")
    table = joined(read_table(path, SIDES))
    assert table is not None
    assert table["winner"] == ["b.png", "b.png"] and table["loser"] == ["a.png", "c.png"]
    assert (table.columns, table.ragged[0][0]) == (["pair", "winner", "loser"], 6)


@pytest.mark.parametrize(
    "text",
    [
        "left_image,right_image,choice,trial\na.png,b.png,0,1\nb.png,c.png,1,1\n",
        "trial,image,rating\n1,a.png,5\n1,b.png,4\n",
        "trial,image,chosen\n1,a.png,1\n2,b.png,0\n3,c.png,0\n",
        "trial,image,chosen\n1,a.png,1\n1,b.png,0\n1,c.png,0\n",
    ],
)
def test_other_tables_are_not_joined(path: Path, text: str) -> None:
    path.write_text(text)
    table = read_table(path, SIDES)
    assert joined(table) is None
