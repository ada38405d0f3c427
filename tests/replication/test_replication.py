"""The study is repeated with fewer faces than it had, unless ``CATPREF_STUDY=full``, which takes thrice the time."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import portalocker
import pytest
from support import call, faces, refusal, shared, small_study, use_own_cache

from catpref.perception.backbones import load_backbone
from catpref.perception.lpips_maps import distance_maps
from catpref.replication import command, runs
from catpref.replication.command import main
from catpref.replication.results import MAPS, Study

pytestmark = pytest.mark.slow
FACES = 50 if os.environ.get("CATPREF_STUDY") == "full" else 32
TRIALS = FACES * (FACES - 1) // 2
TEST = -(-TRIALS // 5)
EXAMPLE = "study.npz"


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    use_own_cache(monkeypatch)


@pytest.fixture(scope="module")
def simulated() -> Path:
    """What the study writes, once for all processes, and beside it the example that it shows."""
    out = shared() / "study"

    def repeat(*arguments: Any) -> Study:
        study = runs.repeat_study(*arguments)
        left, right, maps = study.example
        np.savez(shared() / EXAMPLE, left=str(left), right=str(right), **maps)
        return study

    with (
        portalocker.Lock(shared() / "study.lock", timeout=400),
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        if out.exists():
            return out
        use_own_cache(monkeypatch)
        monkeypatch.setattr(command, "repeat_study", repeat)
        monkeypatch.setattr(command, "_FULL_IMAGES", FACES)
        monkeypatch.setattr(runs, "LEAK_EPOCHS", 1)  # what they find is not tested here
        done = call(main, "--simulate", faces(), "--out", out, "--map-size", 32)
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(f"report: {out / 'report.html'}\n")
    return out


def test_a_distance_map_does_not_tell_the_sides(simulated: Path) -> None:
    numbers = json.loads((simulated / "study.json").read_text())
    assert [run["title"] for run in numbers["experiments"]] == [
        f"mean map, fully-sampled, {TRIALS} trials",
        f"first-layer map, fully-sampled, {TRIALS} trials",
    ]
    for run in numbers["experiments"]:
        assert (run["n_train"], run["n_test"], len(run["history"])) == (TRIALS - TEST, TEST, 10)
        assert run["accuracy_ci95"][0] < 0.5
        assert run["swap"]["same_face"] == 0 and run["swap"]["same_side"] == 1
        assert run["swap"]["map_change"] < 1e-5
        assert run["swap"]["p_change"] < 1e-4
    assert (numbers["conclusion"], numbers["above_chance"]) == ("explained", [])
    controls = numbers["controls"]
    assert controls["shuffled"]["accuracy_ci95"][0] < 0.5 and controls["noiseless"]["accuracy_ci95"][0] < 0.5
    assert controls["apart"]["accuracy"] > 0.8, "what a distance says, the network learns"
    experiment = numbers["experiments"][0]
    assert controls["made"] == {key: value for key, value in experiment.items() if key != "swap"}


def test_the_maps_shown_are_those_of_the_faces_shown(simulated: Path) -> None:
    with np.load(simulated.parent / EXAMPLE, allow_pickle=False) as example:
        maps = dict(example)
    left, right = (Path(str(maps.pop(side))) for side in ("left", "right"))
    assert set(maps) == set(MAPS)
    for name, content in maps.items():
        pairs = np.array([(0, 1), (1, 0)])
        own = distance_maps([left, right], pairs, load_backbone(), 32, MAPS[name])
        np.testing.assert_allclose(content, own, atol=1e-4 * np.ptp(own))


def test_maps_tell_images_that_keep_to_their_sides(simulated: Path) -> None:
    leaks = json.loads((simulated / "study.json").read_text())["leaks"]
    assert len(leaks) == 8
    for name in ("mean map", "first-layer map"):
        read = {(each["sides"], each["split"]): each["linear"] for each in leaks if each["map"] == name}
        by_lot, known = read["sides at random", "trials"], read["each image on one side", "trials"]
        new = read["each image on one side", "images"]
        crossing = FACES // 2 * (FACES - FACES // 2)
        assert (by_lot["n_train"], known["n_train"] + known["n_test"]) == (TRIALS - TEST, crossing)
        assert known["accuracy"] > 0.58 and known["p_value"] < 0.01
        assert by_lot["p_value"] > 0.01 and new["p_value"] > 0.05
    recognised = {(each["sides"], each["split"]): each["recognised"] for each in leaks}
    assert recognised["each image on one side", "trials"] > 0.7
    assert recognised["each image on one side", "images"] == 0.5, "nothing is known of new images"


def test_the_report_is_one_page(simulated: Path) -> None:
    html = (simulated / "report.html").read_text()
    for said in ("Exchange the sides", "What can leak", f"{TRIALS} trials", "--ink: #24272c"):
        assert said in html
    assert "http" not in html.replace("charset", "") and "<script" not in html
    assert html.count("data:image/png;base64,") == 4
    assert {path.name for path in (simulated / "figures").iterdir()} == {
        "controls.png", "histories.png", "leaks.png", "swap.png",
    }  # fmt: skip


def test_a_persons_session(tmp_path: Path) -> None:
    session = small_study(tmp_path)
    done = call(main, session, "--out", tmp_path / "out", "--map-size", 32, "--seed", 1)
    assert (done.code, done.err) == (0, "")
    run, _ = json.loads((tmp_path / "out" / "study.json").read_text())["experiments"]
    assert (run["n_train"], run["n_test"]) == (52, 14) and np.isfinite(run["p_value"])


def test_what_cannot_be_run_is_said(tmp_path: Path) -> None:
    session = small_study(tmp_path)
    assert "either" in refusal(main)
    odd = session.with_name("odd.csv")
    odd.write_text(session.read_text().replace(",1,", ",escape,", 1))
    assert "is not a choice" in refusal(main, odd, "--stimuli", tmp_path / "cats", "--strict")
    assert "either" in refusal(main, session, "--simulate", faces())
    assert "--map-size 20" in refusal(main, session, "--map-size", 20)
    assert "parameters.csv" in refusal(main, "--simulate", tmp_path / "cats", "--out", tmp_path / "out")
    assert "not written by catpref" in refusal(main, session, "--out", tmp_path / "cats")
