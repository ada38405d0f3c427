import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from catpref.design.designs import make_trials
from catpref.design.simulated_observers import SimulatedObserver
from catpref.design.trial_list import FULL, write_trial_list
from catpref.errors import BadInput
from catpref.sessions.session import read_sessions
from catpref.simulate import main
from catpref.stimuli.catface import sample_parameters

FILES = ("session.csv", "session.json", "session_truth.json", "session_utilities.csv")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Make faces/ (12 faces whose pictures are never opened) and trials.csv (66 pairs, 10 repeats)."""
    faces = tmp_path / "faces"
    faces.mkdir()
    table = sample_parameters(12, 1)
    table.insert(0, "file", [f"cat_{number}.png" for number in range(12)])
    table.to_csv(faces / "parameters.csv", index=False)
    for number, name in enumerate(table["file"]):
        (faces / name).write_bytes(bytes([number]))
    write_trial_list(tmp_path / "trials.csv", make_trials(FULL, list(table["file"]), repeats=10))
    return tmp_path


def simulate(study: Path, *options: str, out: str = "out/session.csv") -> Path:
    main([str(study / "trials.csv"), "--stimuli", str(study / "faces"), "--out", str(study / out), *options])
    return study / out


def test_a_simulated_session_is_read_as_any_other(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = simulate(study, "--seed", "3")
    session = read_sessions([out])
    assert (len(session.trials), len(session.images), session.excluded) == (76, 12, 0)
    assert session.stimuli == study / "faces"
    assert session.participants == 1
    assert session.trials["repeat_of"].notna().sum() == 10
    about = json.loads(out.with_suffix(".json").read_text())
    assert about["simulated"] is True and about["seed"] == 3 and "catpref" in about["versions"]
    assert session.noise_ceiling == about["noise_ceiling"]
    assert capsys.readouterr().out == f"{out}: 76 trials, noise ceiling {about['noise_ceiling']:.3f}\n"
    assert sorted(path.name for path in out.parent.glob("[!.]*")) == sorted(FILES)


def test_the_truth_beside_the_session_is_the_observer(study: Path) -> None:
    out = simulate(study, "--noise", "0.3", "--side-bias", "-0.5", "--lapse", "0.1")
    truth = json.loads(out.with_name("session_truth.json").read_text())
    assert (truth["noise"], truth["side_bias"], truth["lapse"]) == (0.3, -0.5, 0.1)
    worth = pd.read_csv(out.with_name("session_utilities.csv")).set_index("image")["utility"]
    parameters = pd.read_csv(study / "faces" / "parameters.csv", index_col="file")
    standardised = (parameters - parameters.mean()) / parameters.std(ddof=0)
    weighed = sum(standardised[name] * weight for name, weight in truth["weights"].items())
    pd.testing.assert_series_equal(worth, weighed, check_names=False)
    trials = read_sessions([out]).trials
    observer = SimulatedObserver(worth.to_dict(), 0.3, -0.5, 0.1)
    assert truth["noise_ceiling"] == pytest.approx(
        observer.noise_ceiling(trials["left_image"], trials["right_image"])
    )


def test_a_noise_free_session_follows_the_utilities_written_beside_it(study: Path) -> None:
    out = simulate(study, "--noise", "0")
    worth = pd.read_csv(out.with_name("session_utilities.csv")).set_index("image")["utility"]
    trials = read_sessions([out]).trials
    higher = worth[trials["right_image"]].to_numpy() > worth[trials["left_image"]].to_numpy()
    assert (trials["choice"] == higher).all()
    assert read_sessions([out]).noise_ceiling == 1


def test_the_seed_decides_everything(study: Path) -> None:
    first, again, other = (
        simulate(study, "--seed", seed, out=f"{n}/session.csv") for n, seed in enumerate("112")
    )
    for name in FILES:
        assert first.with_name(name).read_bytes() == again.with_name(name).read_bytes()
        assert first.with_name(name).read_bytes() != other.with_name(name).read_bytes()
    assert read_sessions([first, other]).participants == 2


def test_a_simulation_may_be_replaced_but_nothing_else(study: Path) -> None:
    out = simulate(study, "--seed", "1")
    before = out.read_bytes()
    simulate(study, "--seed", "2")
    assert out.read_bytes() != before
    (study / "trials.json").write_text('{"simulated": true}')
    with pytest.raises(BadInput, match=r"trials\.json: was not written by catpref"):
        simulate(study, out="trials.csv")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("about", [None, "{}", "[]", "{", '{"simulated": false}', '{"simulated": "no"}'])
def test_data_of_people_are_never_overwritten(study: Path, name: str, about: str | None) -> None:
    folder = study / "out"
    folder.mkdir()
    (folder / name).write_text("precious")
    if about is not None:
        (folder / "session.json").write_text(about)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(BadInput, match="was not written by catpref; choose another"):
        simulate(study)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("options", "out", "word"),
    [
        (["--noise=-1"], "out/session.csv", "noise"),
        (["--noise", "nan"], "out/session.csv", "noise"),
        (["--lapse", "2"], "out/session.csv", "lapse"),
        (["--stimuli", "nowhere"], "out/session.csv", "parameters.csv"),
        ([], "trials.csv", "trials.csv"),
        ([], "out/session.json", ".csv"),
        ([], "out", ".csv"),
        ([], "faces/parameters.csv/session.csv", "session"),
    ],
)
def test_bad_input_changes_nothing(study: Path, options: list[str], out: str, word: str) -> None:
    before = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    with pytest.raises(BadInput, match=word):
        simulate(study, *options, out=out)
    assert {path: path.read_bytes() for path in study.rglob("*") if path.is_file()} == before


def test_as_a_command(study: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "catpref.simulate",
        "trials.csv",
        "--stimuli",
        "faces",
        "--out",
        "session.csv",
    ]
    done = subprocess.run(command, cwd=study, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("session.csv: 76 trials, noise ceiling 0.")
    assert json.loads((study / "session.json").read_text())["stimuli"] == str(study / "faces")
    (study / "faces" / "cat_3.png").unlink()
    refused = subprocess.run(command, cwd=study, capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1 and "cat_3.png" in refused.stderr


def test_help_ends_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    assert "example:\n  python -m catpref.simulate" in capsys.readouterr().out
