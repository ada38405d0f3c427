"""Tables as spreadsheets, PsychoPy, jsPsych and JATOS write them, whatever they are called."""

import io
import json
import pickle
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from catpref.errors import BadInput
from catpref.sessions.session import Session, read_sessions
from catpref.sessions.table import SIDES, read_table

HEADER = "left_image,right_image,choice,rt,note"
ROWS = ["a.png,b.png,0,0.77,Straße wählen", "b.png,c.png,1,1.006,"]
CSV = "\n".join([HEADER, *ROWS, ""])


def read(folder: Path, content: str | bytes, name: str = "session.csv") -> Session:
    for image in "abc":
        (folder / f"{image}.png").touch()
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_sessions([folder / name])


def check(session: Session) -> None:
    """Check that it is the session of `CSV`."""
    trials = session.trials
    assert trials[[*SIDES, "choice", "rt"]].to_numpy().tolist() == [
        ["a.png", "b.png", 0, 0.77],
        ["b.png", "c.png", 1, 1.006],
    ]
    assert list(trials["note"]) == ["Straße wählen", ""]
    assert session.excluded == 0


def refusal(folder: Path, content: str | bytes, name: str = "session.csv") -> str:
    with pytest.raises(BadInput) as caught:
        read(folder, content, name)
    assert str(caught.value).startswith(str(folder / name))
    return str(caught.value)


# ---- text --------------------------------------------------------------------------------------------------


def test_windows_1252_is_read_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "catpref")
    check(read(tmp_path, CSV.encode("cp1252")))
    assert "session.csv: is not UTF-8, so it was read as Windows-1252" in caplog.text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_unicode_goes_without_saying(tmp_path: Path, caplog: pytest.LogCaptureFixture, encoding: str) -> None:
    caplog.set_level("INFO", "catpref")
    check(read(tmp_path, CSV.encode(encoding)))
    assert not caplog.messages


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;", "sep=;;;;", "\ufeffsep=;", "\nsep=;"])
def test_a_first_line_that_tells_the_separator_is_no_header(tmp_path: Path, line: str) -> None:
    rows = CSV.replace(",", ";").replace("0.77", "0,77")
    session = read(tmp_path, f"{line}\n{rows}")
    check(session)
    assert list(session.trials["row"]) == [line.count("\n") + row for row in (3, 4)]


def test_the_separator_that_is_told_counts(tmp_path: Path) -> None:
    check(read(tmp_path, "sep=|\r\n" + CSV.replace(",", "|").replace("\n", "\r\n")))
    assert "has a header but no trials" in refusal(tmp_path, f"sep=;\n{HEADER}\n")
    assert "is empty" in refusal(tmp_path, "sep=;\n")


def test_spaces_after_commas(tmp_path: Path) -> None:
    check(read(tmp_path, CSV.replace(",", ", ")))
    check(read(tmp_path, CSV.replace(",", ", ").replace("b.png", '"b.png"')))
    session = read(tmp_path, CSV.replace("Straße", " Straße"))
    assert session.trials["note"][0] == " Straße wählen", (
        "without spaces in the header, one in a cell is text"
    )


@pytest.mark.parametrize(
    ("header", "rows"), [(",", ","), (",,", ",,"), ("", ",,"), (",,", ","), (",", ""), ("", ", ,")]
)
def test_empty_columns_at_the_end(tmp_path: Path, header: str, rows: str) -> None:
    check(read(tmp_path, "\n".join([HEADER + header, *(row + rows for row in ROWS)])))


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    for copy in (["0.77", "1.006"], ["", ""], ["None", "--"]):
        lines = [f"{HEADER},rt", *(f"{row},{cell}" for row, cell in zip(ROWS, copy, strict=True))]
        check(read(tmp_path, "\n".join(lines)))
    before = ["rt," + HEADER, *("," + row for row in ROWS)]
    check(read(tmp_path, "\n".join(before)))
    assert "two columns rt" in refusal(tmp_path, "\n".join([f"{HEADER},rt", f"{ROWS[0]},0.78"]))


def test_a_header_only_is_a_session_that_was_broken_off(tmp_path: Path) -> None:
    wide = "pre_loop.thisN,key_resp.keys,participant,session,date"
    for header in (wide, wide + "\n", HEADER, "imageA,imageB,chosen\n,,\n"):
        assert refusal(tmp_path, header).endswith("has a header but no trials")


def test_a_row_with_too_many_cells_is_left_out_and_a_file_of_such_rows_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = read(tmp_path, CSV + "c.png,a.png,0,1.0,one, two\n")
    assert (len(session.trials), session.excluded) == (2, 1)
    assert "row 4: has 6 cells, but the header has 5; left out (1 of 3 rows)" in caplog.text
    with pytest.raises(BadInput, match="row 4 has 6 cells"):
        read_sessions([tmp_path / "session.csv"], strict=True)
    assert "row 2 has 2 cells, but the header has 5" in refusal(tmp_path, f"{HEADER}\na.png,b.png\n")


# ---- JSON --------------------------------------------------------------------------------------------------

TRIALS = [
    {"left_image": "a.png", "right_image": "b.png", "choice": 0, "rt": 0.77, "note": "Straße wählen"},
    {"choice": 1, "right_image": "c.png", "left_image": "b.png", "rt": 1.006, "view": [{"x": 1}, None]},
]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(TRIALS),
        "\ufeff\n" + json.dumps(TRIALS, indent=2, ensure_ascii=False),
        "\n".join(json.dumps([trial]) for trial in TRIALS),
        json.dumps([TRIALS[:1], TRIALS[1:]]),
    ],
)
def test_a_list_of_objects_in_json(tmp_path: Path, text: str) -> None:
    check(read(tmp_path, CSV, "data.csv"))
    session = read(tmp_path, text, "data.json")
    check(session)
    check(read(tmp_path, CSV, "data.csv"))
    check(read(tmp_path, text, "data.txt"))
    assert list(session.trials["row"]) == [1, 2]
    assert list(session.trials["view"]) == ["", '[{"x": 1}, null]']
    assert session.noise_ceiling is None


def test_an_object_around_the_trials(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"subject": "p01", "trials": TRIALS}))
    assert read_table(tmp_path / "x.json", SIDES)["left_image"] == ["a.png", "b.png"]


def test_an_object_a_line(tmp_path: Path) -> None:
    check(read(tmp_path, "\n".join(map(json.dumps, TRIALS)), "data.jsonl"))


def test_cells_of_json_are_text(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('[{"a": true, "b": null, "c": "ü", "d": {"e": [1.5]}, "f": "\\ud800"}]')
    table = read_table(tmp_path / "x.json", SIDES)
    assert table.columns == [*"abcdf"]
    assert table.rows == [["true", "", "ü", '{"e": [1.5]}', "?"]]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[]", "no list of trials"),
        ("[1, 2]", "no list of trials"),
        ("[[[]]]", "no list of trials"),
        ('[{"left_image": "a.png"}, 1]', "no list of trials"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[" + "1" * 5000 + "]", "JSON"),
        ('{"stimuli": "cats"}', "no column left_image"),
        ("[" + ",".join(f'{{"{number}": 0}}' for number in range(3000)) + "]", "cells"),
    ],
)
def test_json_that_is_no_session(tmp_path: Path, text: str, word: str) -> None:
    message = refusal(tmp_path, text, "data.json")
    assert word in message and len(message) < 300


# ---- workbooks and archives --------------------------------------------------------------------------------

FRAME = pd.DataFrame(TRIALS)[[*SIDES, "choice", "rt", "note"]]


def workbook(**sheets: pd.DataFrame) -> bytes:
    pytest.importorskip("openpyxl")
    file = io.BytesIO()
    with pd.ExcelWriter(file) as writer:
        for name, frame in sheets.items():
            frame.to_excel(writer, sheet_name=name, index=False)
    return file.getvalue()


def test_a_workbook(tmp_path: Path) -> None:
    check(read(tmp_path, workbook(trials=FRAME), "session.xlsx"))
    check(read(tmp_path, workbook(trials=FRAME), "session.csv"))
    practice = pd.DataFrame({"question": ["ready?"], "key": ["y"]})
    session = read(tmp_path, workbook(practice=practice, trials=FRAME, empty=pd.DataFrame()), "session.xlsx")
    check(session)
    assert list(session.trials["row"]) == [2, 3]


def test_workbooks_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = workbook(first=FRAME, second=FRAME)
    assert "has several sheets (first, second)" in refusal(tmp_path, two, "session.xlsx")
    assert "no workbook that can be read" in refusal(tmp_path, two[:-200], "session.xlsx")
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a.csv", CSV)
    assert "no workbook that can be read" in refusal(tmp_path, other.getvalue(), "session.zip")
    assert "no trials" in refusal(tmp_path, workbook(empty=pd.DataFrame()), "session.xlsx")
    monkeypatch.setattr("catpref.sessions.file_kinds._LARGEST_WORKBOOK", 1000)
    assert "too large when unpacked" in refusal(tmp_path, two, "session.xlsx")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    assert "pip install openpyxl" in refusal(tmp_path, two, "session.xlsx")


def test_archives_are_refused_with_what_to_give_in_their_place(tmp_path: Path) -> None:
    data = pickle.dumps(TRIALS)
    for name, content in (("p01.psydat", data), ("p01.psydat", "(dp0\n."), ("p01.csv", data)):
        message = refusal(tmp_path, content, name)
        assert (
            "is a Python pickle" in message and "the CSV that PsychoPy saved beside it (p01.csv)" in message
        )
    old = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500)
    assert "save it as .xlsx or as CSV" in refusal(tmp_path, old, "session.xls")
