"""Fits of adaptive sessions, from session.csv to the report."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from adaptive_sessions import write_session
from support import call, hurry, use_own_cache

from catpref.adaptive.prior import FILE
from catpref.fit import main

QUICK = ("--model", "utility", "--embedding", "global", "--folds", "3")


def fit(session: Path, *options: object) -> tuple[dict[str, Any], str, str]:
    """Fit a session; returns the metrics, the page, and what was printed."""
    done = call(main, session, "--out", session.parent / "fit", *options)
    assert (done.code, done.err) == (0, ""), done
    out = session.parent / "fit"
    page = (out / "report.html").read_text(encoding="utf-8")
    return json.loads((out / "metrics.json").read_text()), " ".join(page.split()), done.out


@pytest.fixture(scope="module", autouse=True)
def quick(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        use_own_cache(patch)
        hurry(patch)
        yield


@pytest.fixture(scope="module")
def adaptive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty trials, 12 of them random, of which three are repeated; 34 images."""
    return write_session(tmp_path_factory.mktemp("adaptive"), 60, taste=4.0, repeats=3, images=34)


def test_accuracy_is_of_the_random_trials(adaptive: Path) -> None:
    metrics, page, said = fit(adaptive, *QUICK)
    assert metrics["data"]["trials"] == 63
    assert metrics["data"]["chosen_by"] == {"adaptive": 48, "random": 15}
    entries = [*metrics["results"], *metrics["baselines"].values()]
    assert {(entry["n_train"], entry["n_test"]) for entry in entries} == {(58, 15)}
    predictions = pd.read_csv(adaptive.parent / "fit" / "predictions.csv")
    assert set(predictions["chosen_by"].dropna()) == {"random"} and "adaptive" not in set(
        predictions["chosen_by"]
    )
    assert "15 of 15 random trials held out (and 48 adaptive ones only learned from)" in said
    for what in (
        "Of 63 trials, 48 were chosen adaptively.",
        "of the 15 random trials alone",
        "accuracy on them would be too low or too high to compare with other sessions",
        "What was asked, and what it taught",
        "learned from the first",
    ):
        assert what in page, what
    methods = page[page.index('aria-label="Methods paragraph"') :]
    assert "(adaptive design)" in methods and "Of 63 trials, 48 were chosen adaptively." in methods
    assert "nan" not in methods.lower()


def test_without_its_prior_a_session_is_followed_by_the_embedding(adaptive: Path, tmp_path: Path) -> None:
    shutil.copytree(adaptive.parent / "cats", tmp_path / "cats")
    shutil.copy(adaptive, tmp_path / "session.csv")
    (tmp_path / FILE).write_text("damaged")
    done = call(
        main, tmp_path / "session.csv", "--stimuli", tmp_path / "cats", "--out", tmp_path / "fit", *QUICK
    )
    assert done.code == 0
    assert "What was asked, and what it taught" in (tmp_path / "fit" / "report.html").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize(("trials", "rank", "why"), [
    (40, True, "Accuracy is judged on random trials, and of these there are none."),
    (20, False, "Accuracy is judged on random trials, and of these there are 4, too few."),
])  # fmt: skip
def test_without_enough_random_trials_there_is_no_accuracy(
    tmp_path: Path, trials: int, rank: bool, why: str
) -> None:
    session = write_session(tmp_path, trials, rank=rank, images=12 if rank else 20)
    metrics, page, said = fit(session, *QUICK)
    for entry in [*metrics["results"], *metrics["baselines"].values()]:
        assert entry["accuracy"] is entry["accuracy_ci95"] is entry["p_value"] is entry["calibration"] is None
        assert entry["n_test"] == 0
    assert (
        metrics["better_than_chance"]
        is metrics["learning_curve"]
        is metrics["noise_ceiling"]["accuracy"]
        is None
    )
    assert metrics["observer"]["lapse"] > 0
    assert why in said and why in page and "how well it predicts others is not known" in said
    assert "<h2>Accuracy</h2>" not in page and "<h2>Calibration</h2>" not in page
    out = tmp_path / "fit"
    assert pd.read_csv(out / "ranking.csv")["utility"].notna().all()
    assert pd.read_csv(out / "predictions.csv").empty
    assert "None" not in page[page.index('aria-label="Methods paragraph"') :]


def test_adaptive_sessions_of_several_people(adaptive: Path, tmp_path: Path) -> None:
    """One adaptive, one not, of the same images; and both without random trials."""
    table = pd.read_csv(adaptive)
    table["chosen_by"] = table["chosen_by"].where(table["repeat_of"].isna(), "")
    plain = table.drop(columns="chosen_by").assign(participant="p02", design="random-sampled")
    plain.to_csv(tmp_path / "plain.csv", index=False)
    cats = adaptive.parent / "cats"
    options = ("--stimuli", cats, "--folds", "3", "--embedding", "global", "--out", tmp_path / "fit")
    done = call(main, adaptive, tmp_path / "plain.csv", *options)
    assert done.code == 0, done
    metrics = json.loads((tmp_path / "fit" / "metrics.json").read_text())
    assert (
        metrics["data"]["chosen_by"] == {"adaptive": 48, "random": 15} and metrics["observers"]["count"] == 2
    )
    predictions = pd.read_csv(tmp_path / "fit" / "predictions.csv")
    assert len(predictions) and "adaptive" not in set(predictions["chosen_by"])

    only = table[table["chosen_by"] == "adaptive"]
    pd.concat([only, only.assign(participant="p02")]).to_csv(tmp_path / "none.csv", index=False)
    done = call(main, tmp_path / "none.csv", *options)
    assert done.code == 0, done
    metrics = json.loads((tmp_path / "fit" / "metrics.json").read_text())
    assert metrics["results"][0]["accuracy"] is None and len(metrics["observers"]["per_observer"]) == 2
    page = (tmp_path / "fit" / "report.html").read_text(encoding="utf-8")
    assert "of these there are none" in page and "nan%" not in page
