"""What makes one row useless costs that row and a line, not the file."""

from pathlib import Path

import pandas as pd
import pytest
from support import call, refusal

import catpref
from catpref.errors import BadInput
from catpref.sessions import __main__ as door
from catpref.sessions.session import read_pairs, read_sessions

HEADER = "left_image,right_image,choice,rt,participant\n"
GOOD = "a.png,b.png,0,0.5,p01\nb.png,c.png,1,0.75,p01\nc.png,d.png,0,0.25,p01\nd.png,a.png,1,0.5,p01\n"


@pytest.fixture
def folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Path:
    caplog.set_level("INFO", "catpref")
    for name in "abcd":
        (tmp_path / f"{name}.png").touch()
    return tmp_path


def written(folder: Path, rows: str, header: str = HEADER) -> Path:
    (folder / "data.csv").write_text(header + rows)
    return folder / "data.csv"


@pytest.mark.parametrize(
    ("row", "reason", "refused"),
    [
        ("a.png,c.png,escape,0.5,p01", "row 6: 'escape' is not a choice", "use 0 (left), 1 (right), empty"),
        ("a.png,c.png,left+right,0.5,p01", "row 6: 'left+right' is not a choice", "column choice"),
        ("a.png,./a.png,1,0.5,p01", "row 6: './a.png' is the left image too", "column right_image"),
        ("a.png,,1,0.5,p01", "row 6: the image name is empty", "column right_image"),
        ("None,a.png,1,0.5,p01", "row 6: the image name is empty", "column left_image"),
        ("a.png,c.png,1,soon,p01", "row 6: 'soon' is not a time in seconds", "column rt"),
        ("x.png,y.png,maybe,0.5,p01", "row 6: 'maybe' is not a choice", "column choice"),
    ],
)
def test_one_unusable_row_is_left_out_counted_and_named(
    folder: Path, caplog: pytest.LogCaptureFixture, row: str, reason: str, refused: str
) -> None:
    path = written(folder, f"{GOOD}{row}\nb.png,d.png,,,p01\n")
    session = read_sessions([path])
    assert list(session.trials["row"]) == [2, 3, 4, 5] and list(session.trials["choice"]) == [0, 1, 0, 1]
    assert session.excluded == 2, "that row, and the one without an answer"
    assert caplog.messages == [f"{path}: {reason}; left out (1 of 6 rows)"]
    for read in (lambda: read_sessions([path], strict=True), lambda: catpref.read_session(path, strict=True)):
        with pytest.raises(BadInput) as caught:
            read()
        assert f"{path}: row 6, {refused.split(': ')[0] if 'column' in refused else ''}" in str(caught.value)
        assert refused in str(caught.value)


def test_several_unusable_rows_share_one_line(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = ["a.png,c.png,escape,1,p01\n"] * 3 + ["a.png,a.png,1,1,p01\n"]
    path = written(folder, GOOD + "".join(bad))
    assert read_sessions([path]).excluded == 4
    reasons = "rows 6, 7, 8: 'escape' is not a choice; row 9: 'a.png' is the left image too"
    assert caplog.messages == [f"{path}: {reasons}; left out (4 of 8 rows)"]
    many = written(folder, GOOD * 20 + bad[0] * 60)
    read_sessions([many])
    assert "rows 82, 83, 84, 85, 86, …: 'escape'" in caplog.text


def test_a_file_of_which_more_than_half_is_unusable_is_refused(folder: Path) -> None:
    bad = "a.png,c.png,escape,1,p01\n"
    assert len(read_sessions([written(folder, bad * 4 + GOOD)]).trials) == 4
    with pytest.raises(BadInput) as caught:
        read_sessions([written(folder, bad * 5 + GOOD)])
    assert "row 2, column choice: 'escape' is not a choice" in str(caught.value)
    assert "(5 of 9 rows cannot be used)" in str(caught.value)


def test_a_missing_image_is_of_the_stimulus_folder_not_of_the_row(folder: Path) -> None:
    with pytest.raises(BadInput, match=r"row 6, column left_image: image 'gone.png' is not in .*stimuli="):
        read_sessions([written(folder, GOOD + "gone.png,a.png,1,0.5,p01\n")])


def test_pairs_that_cannot_be_used_are_left_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(folder, "1,a.png,b.png\n2,a.png,a.png\n3,c.png,a.png\n", "id,left_image,right_image\n")
    pairs, _ = read_pairs(path)
    assert list(pairs["id"]) == ["1", "3"] and list(pairs.index) == [0, 1]
    assert caplog.messages == [f"{path}: row 3: 'a.png' is the left image too; left out (1 of 3 rows)"]
    with pytest.raises(BadInput, match="row 3, column right_image"):
        read_pairs(path, strict=True)


def test_an_export_leaves_unusable_rows_out_or_is_refused(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(folder, GOOD + "a.png,c.png,escape,0.5,p01\n")
    arguments = ("export", path, "--stimuli", folder, folder / "bids")
    assert "column choice: 'escape'" in refusal(door.main, *arguments, "--strict")
    assert not (folder / "bids").exists()
    assert call(door.main, *arguments).code == 0
    assert "left out (1 of 5 rows)" in caplog.text
    (table,) = (folder / "bids").rglob("*_beh.tsv")
    assert len(table.read_text().splitlines()) == 5


# ---- times -------------------------------------------------------------------------------------------------


def test_reaction_times_in_milliseconds(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = "a.png,b.png,0,1225,s01\nb.png,c.png,1,929,s01\nc.png,d.png,0,,s01\nd.png,a.png,1,693,s01\n"
    path = written(folder, rows)
    times = read_sessions([path]).trials["rt"]
    assert list(times.dropna()) == [1.225, 0.929, 0.693] and times.isna().sum() == 1
    assert caplog.messages == [f"{path}: the median of column rt is 929, so it was taken for milliseconds"]
    assert call(door.main, "export", path, "--stimuli", folder, folder / "bids").code == 0
    (table,) = (folder / "bids").rglob("*_beh.tsv")
    written_times = pd.read_csv(table, sep="\t")["response_time"]
    assert list(written_times.dropna()) == [1.225, 0.929, 0.693]


def test_reaction_times_in_microseconds(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(folder, "a.png,b.png,0,1225000,s01\nb.png,c.png,1,929000,s01\n")
    assert list(read_sessions([path]).trials["rt"]) == [1.225, 0.929]
    assert caplog.messages == [
        f"{path}: the median of column rt is 1.077e+06, so it was taken for microseconds"
    ]


def test_thousands_are_no_decimals(folder: Path) -> None:
    rows = 'a.png,b.png,0,"1,225",s01\nb.png,c.png,1,929,s01\nc.png,d.png,0,"12,693.5",s01\n'
    assert list(read_sessions([written(folder, rows)]).trials["rt"]) == [1.225, 0.929, 12.6935]
    rows = 'a.png,b.png,0,"1,225",s01\nb.png,c.png,1,"0,929",s01\n'
    assert list(read_sessions([written(folder, rows)]).trials["rt"]) == [1.225, 0.929]


def test_slow_answers_stay_seconds(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = "a.png,b.png,0,1.5,s01\nb.png,c.png,1,20,s01\nc.png,d.png,0,300,s01\n"
    assert list(read_sessions([written(folder, rows)]).trials["rt"]) == [1.5, 20, 300]
    assert not caplog.messages


# ---- answered twice ----------------------------------------------------------------------------------------


def test_pairs_answered_twice_are_kept_and_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    header = "left_image,right_image,key_resp.keys,key_resp.rt,participant,date\n"
    rows = [
        "a.png,b.png,left,0.5,p01,{}\n",
        "b.png,c.png,right,0.75,p01,{}\n",
        "c.png,d.png,left,0.5,p01,{}\n",
    ]
    first, second = "2024-03-01_10h00", "2024-03-01_10h20"
    restarted = "".join([row.format(first) for row in rows[:2]] + [row.format(second) for row in rows])
    session = read_sessions([written(folder, restarted, header)])
    assert len(session.trials) == 5
    again = "2 pairs were answered twice or more; the later answers count as repeats of the first"
    assert caplog.messages[-1] == again


@pytest.mark.parametrize("column", ["session", "participant", "repeat_of"])
def test_repeats_by_design_go_without_saying(
    folder: Path, caplog: pytest.LogCaptureFixture, column: str
) -> None:
    rows = f"a.png,b.png,0,\nb.png,a.png,1,{0 if column == 'repeat_of' else 'p02'}\n"
    assert (
        len(read_sessions([written(folder, rows, f"left_image,right_image,choice,{column}\n")]).trials) == 2
    )
    assert not caplog.messages


@pytest.mark.parametrize("coding", [["-1", "1"], ["-1", "0", "1"], ["1", "2", "0", "3"]])
def test_numbers_of_another_coding_are_no_stray_rows(folder: Path, coding: list[str]) -> None:
    """Left out one by one, those of one side would make a session of the other."""
    rows = "".join(f"a.png,b.png,{coding[row % len(coding)]},0.5,p01\n" for row in range(12))
    with pytest.raises(BadInput, match="name what"):
        read_sessions([written(folder, rows)])


@pytest.mark.parametrize("column", ["first_name", "ID"])
def test_people_in_another_column_are_not_pooled_in_silence(
    folder: Path, caplog: pytest.LogCaptureFixture, column: str
) -> None:
    rows = "".join(f"a.png,b.png,{row % 2},0.5,{('Anna', 'Ben', 'Cleo')[row % 3]}\n" for row in range(30))
    path = written(folder, rows, HEADER.replace("participant", column))
    assert read_sessions([path]).participants is None
    assert f"column {column} has 3 values, and all trials are taken for one person's" in caplog.text
    assert f"columns=participant={column}" in caplog.text
