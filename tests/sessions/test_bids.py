import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from support import call, refusal

from catpref.sessions.__main__ import main
from catpref.sessions.session import read_sessions, read_trials

HEADER = (
    "participant,session,design,block,trial,left_image,right_image,choice,rt,onset,repeat_of,catch,mood\n"
)
ROWS = (
    '{0},{1},fully-sampled,0,0,a.png,b.png,0,0.512345,1.5,,,"say ""sü\u00df"",\tthen\nleave \\\\n"\n'
    "{0},{1},fully-sampled,0,1,cats/d.png,b.png,1,1e-05,2.25,,left,None\n"
    "{0},{1},fully-sampled,0,2,b.png,a.png,1,0.3333333333333333,3.5,0,,\n"
    "{0},{1},fully-sampled,1,3,b.png,cats/d.png,,,4.5,,,x;y\n"
)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "cats/d.png"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).touch()
    for participant, session in (("p01", "1"), ("p01", "2"), ("p-02", "1")):
        write(tmp_path, participant, session)
    return tmp_path


def write(study: Path, participant: str, session: str, name: str = "session.csv") -> Path:
    folder = study / f"{participant}_{session}"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(HEADER + ROWS.format(participant, session), encoding="utf-8")
    return folder / name


def export(study: Path, *sessions: Path) -> list[Path]:
    done = call(main, "export", *sessions, "--stimuli", study / "set", study / "bids")
    assert done.code == 0, done
    return [Path(line) for line in done.out.splitlines()]


def test_an_export_reads_back_as_the_same_table(study: Path) -> None:
    sessions = sorted(study.glob("p*/session.csv"))
    files = export(study, *sessions)
    assert [str(path.relative_to(study / "bids")) for path in files] == [
        "sub-p02/ses-1/beh/sub-p02_ses-1_task-2afc_beh.tsv",
        "sub-p01/ses-1/beh/sub-p01_ses-1_task-2afc_beh.tsv",
        "sub-p01/ses-2/beh/sub-p01_ses-2_task-2afc_beh.tsv",
    ]
    for paths in ([sessions, files], [sessions[:1], files[:1]]):
        ours, theirs = (
            read_trials(those, study / "set")[0].drop(columns=["source", "row"]) for those in paths
        )
        pd.testing.assert_frame_equal(ours, theirs)
        fitted, back = (read_sessions(those, study / "set") for those in paths)
        assert fitted.catch == back.catch and fitted.catch is not None
        assert fitted.excluded == back.excluded == len(paths[0])


def test_every_column_is_described(study: Path) -> None:
    (path, *_) = export(study, study / "p01_1" / "session.csv")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line.count("\t") for line in lines] == [12] * 5, "the validator of BIDS counts them"
    columns = lines[0].split("\t")
    assert columns[7:9] == ["choice", "response_time"] and "rt" not in columns
    assert lines[-1].split("\t")[7:9] == ["n/a", "n/a"]
    about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert all(about[name]["Description"] for name in columns)
    assert about["response_time"]["Units"] == about["onset"]["Units"] == "s"
    assert about["choice"]["Levels"] == {"0": "the left image", "1": "the right image"}
    description = json.loads((study / "bids" / "dataset_description.json").read_text())
    assert description["BIDSVersion"] == "1.10.0"
    assert (study / "bids" / "participants.tsv").read_text() == "participant_id\nsub-p01\n"


def test_parts_of_one_session_are_runs(study: Path) -> None:
    first = study / "p01_1" / "session.csv"
    second = study / "p01_1" / "part2.csv"
    second.write_text(first.read_text().replace(",0,0,a", ",0,10,a").replace(",0,1,c", ",0,11,c"))
    names = [path.name for path in export(study, first, second)]
    assert names == [f"sub-p01_ses-1_task-2afc_run-{run}_beh.tsv" for run in (1, 2)]
    text = "participant,left_image,right_image,choice\np1,a.png,b.png,0\n"
    (study / "plain.csv").write_text(text)
    (path,) = export(study, study / "plain.csv")
    assert path.relative_to(study / "bids") == Path("sub-p1/beh/sub-p1_task-2afc_beh.tsv")


def test_accounts_of_online_workers_are_not_exported(study: Path) -> None:
    worker = "5f3c9a1b2c3d4e5f60718293"
    (path,) = export(study, write(study, worker, "1"))
    assert path.name == "sub-online1_ses-1_task-2afc_beh.tsv"
    assert not any(worker in one.read_text() for one in (study / "bids").rglob("*") if one.suffix)


def test_what_cannot_be_exported(study: Path) -> None:
    nobodys = study / "nobodys.csv"
    nobodys.write_text("left_image,right_image,choice\na.png,b.png,0\n")

    def said(*sessions: Path) -> str:
        return refusal(main, "export", *sessions, study / "bids", "--stimuli", study / "set")

    assert "does not say whose it is" in said(nobodys)
    twins = said(study / "p-02_1" / "session.csv", write(study, "p_02", "1"))
    assert "sub-p02" in twins and "rename" in twins
    assert "letters and digits" in said(write(study, "p03", "__"))
    assert "letters and digits" in said(write(study, "p03", "-"))
    assert not (study / "bids").exists()
    mine = study / "bids"
    mine.mkdir()
    (mine / "dataset_description.json").write_text("{}")
    assert "not written by catpref" in said(study / "p01_1" / "session.csv")
    shutil.rmtree(mine)
    export(study, study / "p01_1" / "session.csv")
    assert len(export(study, study / "p01_2" / "session.csv")) == 1, "its own export is replaced"
