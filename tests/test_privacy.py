"""Whatever tells who took part is in no file, folder or line that a fit and an export leave behind."""

import logging
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from support import call, small_study, use_own_cache

from catpref.fit import main as fit
from catpref.predict import main as predict
from catpref.sessions.__main__ import main as sessions

PEOPLE = {"Annegret Möllenkamp": "unnamed-1", "Bartholomäus": "unnamed-2", "p03": "p03"}
PLANTED = {
    "Vorname": "Quirinius", "e_mail": "", "IPAddress": "", "dob": "", "where": "192.0.2.77:8080",
    "contact": "q.n@example.org", "extra": "+49 151 23456789", "born": "1987-03-12", "comment": "Siebenschläfer",
    "file": "Annegret_1.csv", "home": "Lindenstraße 12", "talk": "my sister took part as Zenobia",
}  # fmt: skip
SECRETS = [
    *("Annegret", "Möllenkamp", "M\\u00f6llenkamp", "Bartholom", "Quirinius", "192.0.2.77", "q.n@example"),
    *("23456789", "1987-03-12", "Siebenschl", "Lindenstra", "Zenobia", "Kasimir"),
]  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Fit and export files with names in them, below a folder that is called by a name."""
    folder = tmp_path_factory.mktemp("lab") / "study"
    session = small_study(folder, images=12)
    home = folder / "home" / "Kasimir"
    home.mkdir(parents=True)
    files = []
    for person in PEOPLE:
        path = home / f"{person}_2024.csv"
        pd.read_csv(session).assign(participant=person, session=1, **PLANTED).to_csv(path, index=False)
        files.append(path)
    said, lines = "", StringIO()  # the terminal's lines go to the stream of whichever test came first
    log, handler = logging.getLogger("catpref"), logging.StreamHandler(lines)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_own_cache(monkeypatch)
        monkeypatch.setattr("catpref.evaluation.analysis._MOST_REPEATS", 1)
        where = ["--stimuli", folder / "cats"]
        model, pairs = folder / "out/fit/model", session
        for command, arguments in [
            (fit, [*files, *where, "--out", folder / "out/fit", "--folds", 3]),
            (fit, [files[0], *where, "--out", folder / "out/one", "--folds", 3, "--model", "utility"]),
            (sessions, ["export", *files, folder / "out/bids", *where]),
            (predict, [model, folder / "cats", "--out", folder / "out/ranking.csv"]),
            (predict, [model, "--pairs", pairs, "--out", folder / "out/pairs.csv"]),
        ]:
            done = call(command, *arguments)
            assert done.code == 0, done
            said += done.out + done.err
    log.removeHandler(handler)
    return folder / "out", said + lines.getvalue()


def test_no_file_that_is_written_tells_who_took_part(told: tuple[Path, str]) -> None:
    out, said = told
    paths = list(out.rglob("*"))
    assert len(paths) > 40
    for secret in SECRETS:
        assert secret not in said
        for path in paths:
            assert secret not in path.relative_to(out).as_posix()
            if path.is_file():
                content = path.read_bytes()
                assert all(secret.encode(coding) not in content for coding in ("utf-8", "utf-16-le")), path


def test_participants_have_one_code_in_all_outputs(told: tuple[Path, str]) -> None:
    out, said = told
    codes = set(PEOPLE.values())
    assert set(pd.read_csv(out / "fit/observers.csv")["participant"]) == codes
    assert set(pd.read_csv(out / "fit/ranking.csv")["participant"].dropna()) == codes
    predictions = pd.read_csv(out / "fit/predictions.csv")
    assert set(zip(predictions["source"], predictions["participant"], strict=True)) == {
        (f"file-{number}", code) for number, code in enumerate(PEOPLE.values(), start=1)
    }
    assert {path.name for path in (out / "bids").glob("sub-*")} == {"sub-unnamed1", "sub-unnamed2", "sub-p03"}
    assert {"mood", "trial"} < set(predictions.columns) and not set(PLANTED) & set(predictions.columns)
    assert "participants without a code, who are called unnamed-1 and so on: 2\n" in said
    assert f"who the participant is: {', '.join(PLANTED)}" in said
