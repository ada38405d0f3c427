import json
from pathlib import Path

import numpy as np
import pytest
from support import call

from catpref.errors import BadInput
from catpref.sessions.__main__ import main
from catpref.sessions.session import read_sessions

HEADER = "participant,session,design,trial,left_image,right_image,choice,repeat_of,catch,chosen_by\n"
ROWS = (
    "p01,1,adaptive,0,a.png,b.png,0,,,random\n"
    "p01,1,adaptive,1,c.png,d.png,1,,,adaptive\n"
    "p01,1,adaptive,2,c.png,e.png,1,,,adaptive\n"
    "p01,1,adaptive,3,a.png,b.png,1,,left,\n"
    "p01,1,adaptive,4,b.png,a.png,1,0,,\n"
    "p01,1,adaptive,5,d.png,c.png,1,1,,\n"
    "p01,1,adaptive,6,f.png,e.png,0,,,\n"
)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for name in "abcdef":
        (tmp_path / f"{name}.png").touch()
    (tmp_path / "session.csv").write_text(HEADER + ROWS)
    return tmp_path


def test_repeats_count_with_what_they_repeat_and_what_is_not_known_is_no_fair_sample(study: Path) -> None:
    session = read_sessions([study / "session.csv"])
    assert session.trials["chosen_by"].tolist() == ["random", "adaptive", "adaptive", None, None, None]
    assert session.chosen_by is not None
    assert session.chosen_by.tolist() == ["random", "adaptive", "adaptive", "random", "adaptive", "adaptive"]
    assert session.is_fair.tolist() == [True, False, False, True, False, False]
    assert session.catch == (1, 1)


def test_files_without_the_column_were_not_chosen_by_answers(study: Path) -> None:
    plain = study / "plain.csv"
    plain.write_text("participant,left_image,right_image,choice\np01,a.png,c.png,0\np01,a.png,d.png,1\n")
    alone = read_sessions([plain])
    assert alone.chosen_by is None and alone.is_fair.all() and "chosen_by" not in alone.trials
    together = read_sessions([plain, study / "session.csv"])
    assert together.chosen_by is not None and together.chosen_by[:3].tolist() == ["", "", "random"]
    assert together.is_fair.tolist() == [True, True, True, False, False, True, False, False]


def test_a_repeat_is_of_the_same_participant(study: Path) -> None:
    other = study / "other.csv"
    other.write_text(HEADER + "p02,1,adaptive,0,c.png,d.png,1,,,random\np02,1,adaptive,1,d.png,c.png,1,0,,\n")
    session = read_sessions([study / "session.csv", other])
    assert session.is_fair.tolist() == [True, False, False, True, False, False, True, True]


@pytest.mark.parametrize("cell", ["Random", " random ", "random"])
def test_spellings(study: Path, cell: str) -> None:
    (study / "session.csv").write_text(HEADER + ROWS.replace("random", cell))
    assert read_sessions([study / "session.csv"]).is_fair.sum() == 2


def test_another_word_costs_the_row_and_one_line(study: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = study / "session.csv"
    path.write_text(HEADER + ROWS.replace("1,,,adaptive", "1,,,by hand", 1))
    assert len(read_sessions([path]).trials) == 5
    assert caplog.messages[0] == (
        f"{path}: row 3: 'by hand' does not say how the pair was chosen; left out (1 of 7 rows)"
    )
    said = "row 3, column chosen_by: 'by hand' does not say how the pair was chosen; write adaptive, random"
    with pytest.raises(BadInput, match=said):
        read_sessions([path], strict=True)


def test_the_export_keeps_and_describes_it(study: Path) -> None:
    path, out = study / "session.csv", study / "bids"
    assert call(main, "export", path, "--stimuli", study, out).code == 0
    (table,) = out.rglob("*_beh.tsv")
    about = json.loads(table.with_suffix(".json").read_text())
    assert set(about["chosen_by"]["Levels"]) == {"adaptive", "random"}
    assert {"adaptive", "adaptive-ranking"} < set(about["design"]["Levels"])
    there, back = (read_sessions([one], study) for one in (path, table))
    np.testing.assert_array_equal(there.is_fair, back.is_fair)
    assert there.trials["chosen_by"].tolist() == back.trials["chosen_by"].tolist()


def test_the_export_of_other_sessions_does_not_speak_of_it(study: Path) -> None:
    path = study / "plain.csv"
    path.write_text("participant,design,left_image,right_image,choice\np01,fully-sampled,a.png,c.png,0\n")
    assert call(main, "export", path, "--stimuli", study, study / "bids").code == 0
    (about,) = (study / "bids").rglob("*_beh.json")
    assert "adaptive" not in about.read_text()
