import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from networks_support import random_trunk, save_trunk
from PIL import Image
from safetensors.numpy import load_file
from support import (
    cache_home,
    call,
    listing,
    refusal,
    render_no_figures,
    shell,
    small_study,
    true_utilities,
    use_own_cache,
)

from catpref._io.outputs import output_folder
from catpref.evaluation.analysis import Analysis
from catpref.fit import main

QUICK = ("--folds", "3", "--map-size", "32")
SCORES = {
    *(
        "accuracy",
        "accuracy_ci95",
        "accuracy_with_side_bias",
        "accuracy_minus_first",
        "accuracy_minus_first_ci95",
    ),
    *(
        "log_loss",
        "log_loss_ci95",
        "brier",
        "ece",
        "ece_if_calibrated",
        "calibration",
        "auc",
        "auc_ci95",
        "collapsed",
    ),
    *("p_value", "p_value_corrected"),
}
TESTED = {"utility", "ridge", "luminance", "contrast"}
ENTRY = {"model", "embedding", "split", "n_train", "n_test", "repeats", "fit_seconds"} | SCORES
MODELS = ["utility", "siamese_cnn", "study_cnn"]
BASELINES = ["ridge", "majority_side", "luminance", "contrast", "bradley_terry"]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    use_own_cache(monkeypatch)


@pytest.fixture
def session(tmp_path: Path) -> Path:
    return small_study(tmp_path)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that was fitted by ``python -m catpref.fit`` with all models."""
    folder = tmp_path_factory.mktemp("study")
    small_study(folder)
    done = shell("catpref.fit", "session.csv", *QUICK, "--model", *MODELS, "--seed", 3, cwd=folder)
    assert (done.code, done.err) == (0, ""), "a plain run warns of nothing"
    embedded, mapped, *lines = done.out.splitlines()
    assert embedded.startswith("embeddings of ") and mapped.startswith("distance maps of ")
    assert lines[0].split()[:3] == ["model", "reads", "accuracy"]
    assert [line.split()[0] for line in lines[2:10]] == [*MODELS, *BASELINES]
    assert lines[-1] == "report: session_fit/report.html"
    return folder


def test_every_file_is_there_and_nothing_else(fitted: Path) -> None:
    assert sorted(path.name for path in fitted.iterdir()) == [
        "cats",
        "session.csv",
        "session.json",
        "session_fit",
    ]
    written = {name for name, content in listing(fitted / "session_fit").items() if content is not None}
    figures = {
        f"figures/{name}.{form}"
        for form in ("png", "pdf", "svg")
        for name in (
            "accuracy",
            "calibration",
            "layer_maps",
            "learning_curve",
            "training_siamese_cnn",
            "training_study_cnn",
        )
    }
    model = {
        ".catpref.json",
        "model/model.json",
        "model/utility.safetensors",
        "model/siamese_cnn.safetensors",
        "model/study_cnn.safetensors",
    }
    assert written == {"metrics.json", "predictions.csv", "ranking.csv", "report.html"} | figures | model
    for path in (fitted / "session_fit").rglob("*.*"):
        assert path.stat().st_mode & 0o044 == 0o044, "others may read it"


def test_the_metrics_have_the_schema(fitted: Path) -> None:
    text = (fitted / "session_fit" / "metrics.json").read_text()
    metrics = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert metrics["schema_version"] == 1 and metrics["seed"] == 3
    table = pd.read_csv(fitted / "session.csv")
    assert metrics["data"] == {
        "trials": 66, "images": 12, "participants": None, "choice_right": table["choice"].mean(), "excluded": 0,
        "catch": None, "duplicates": [],
    }  # fmt: skip
    for ceiling in ("noise_ceiling", "taste_ceiling"):
        assert set(metrics[ceiling]) == {"accuracy", "ci95", "method"}
    assert metrics["embedding"]["backbone"] == "squeeze-caffe" and metrics["embedding"]["size"] == 512
    assert re.fullmatch("[0-9a-f]{64}", metrics["embedding"]["weights_sha256"])
    assert [entry["model"] for entry in metrics["results"]] == MODELS
    assert list(metrics["baselines"]) == BASELINES
    for entry in [*metrics["results"], *metrics["baselines"].values()]:
        assert set(entry) == ENTRY
        once = entry["model"] in ("siamese_cnn", "study_cnn")
        assert (entry["split"], entry["n_train"], entry["repeats"]) == ("images", 28, 1 if once else 5)
        assert entry["n_test"] == 18 if once else 18 < entry["n_test"] <= 66
        low, high = entry["accuracy_ci95"]
        assert 0 <= low <= entry["accuracy"] <= high <= 1
        if entry["model"] in TESTED:
            assert 0 < entry["p_value"] <= entry["p_value_corrected"] <= 1
        else:
            assert entry["p_value"] is entry["p_value_corrected"] is None
    observer, curve = metrics["observer"], metrics["learning_curve"]
    low, high = observer["lapse_ci95"]
    assert 0 <= low < observer["lapse"] < high < 1
    assert observer["side_bias_ci95"][0] < observer["side_bias"] < observer["side_bias_ci95"][1]
    assert curve["model"] == "utility" and curve["trials"] == [14.0, 28.0], "a quarter of 28 is too few"
    assert len(curve["accuracy"]) == len(curve["accuracy_ci95"]) == 2
    assert curve["trials_for_90_percent"] is None, "two points are no curve"
    assert set(metrics["seconds"]) == {"embed", "fit", "total"}
    assert {"catpref", "python", "torch", "lpips", "numpy"} <= set(metrics["versions"])


def test_the_predictions_are_those_that_were_scored(fitted: Path) -> None:
    predictions = pd.read_csv(fitted / "session_fit" / "predictions.csv")
    first = ["model", "fold", "left_image", "right_image", "choice", "p_right"]
    assert list(predictions.columns[:6]) == first and {"trial", "mood", "source", "row"} < set(
        predictions.columns
    )
    metrics = json.loads((fitted / "session_fit" / "metrics.json").read_text())
    entries = {entry["model"]: entry for entry in [*metrics["results"], *metrics["baselines"].values()]}
    session = pd.read_csv(fitted / "session.csv")
    for name, rows in predictions.groupby("model"):
        assert sorted(rows["fold"].unique()) == [0, 1, 2]
        assert (rows.groupby("repeat").size() == 18).all()
        once = name in ("siamese_cnn", "study_cnn")
        assert rows["repeat"].nunique() == (1 if once else 5)
        for column, score in (("p_right_by_taste", "accuracy"), ("p_right", "accuracy_with_side_bias")):
            hits = np.where(rows[column] == 0.5, 0.5, (rows[column] > 0.5) == rows["choice"])
            assert hits.mean() == pytest.approx(entries[name][score])
        shown = session.iloc[rows["row"] - 2]
        for column in ("left_image", "right_image", "choice", "trial"):
            assert (shown[column].to_numpy() == rows[column].to_numpy()).all()
        for (fold, repeat), held_out in rows.groupby(["fold", "repeat"]):
            others = rows[(rows["fold"] != fold) & (rows["repeat"] == repeat)]
            mine, theirs = ({*each["left_image"], *each["right_image"]} for each in (held_out, others))
            assert not mine & theirs


def test_the_ranking_names_every_image_once(fitted: Path) -> None:
    ranking = pd.read_csv(fitted / "session_fit" / "ranking.csv")
    assert list(ranking.columns) == [
        "image", "utility", "utility_sd", "wins", "trials", "bradley_terry", "bradley_terry_se"
    ]  # fmt: skip
    assert ranking["trials"].sum() == 2 * ranking["wins"].sum() == 2 * 66
    assert ranking["bradley_terry"].corr(ranking["wins"]) > 0.9 and (ranking["bradley_terry_se"] > 0).all()
    assert sorted(ranking["image"]) == sorted(path.name for path in (fitted / "cats").iterdir())
    assert ranking["utility"].is_monotonic_decreasing and (ranking["utility_sd"] > 0).all()


def test_the_models_are_plain_numbers(fitted: Path) -> None:
    model = fitted / "session_fit" / "model"
    description = json.loads((model / "model.json").read_text())
    assert description["schema_version"] == 2 and description["map_size"] == 32
    for name in MODELS:
        assert load_file(model / f"{name}.safetensors")
    for path in (fitted / "session_fit").rglob("*"):
        assert path.suffix in {"", ".json", ".csv", ".html", ".pdf", ".png", ".safetensors", ".svg"}


class References(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [
            value or "" for name, value in attrs if name in {"src", "href", "srcset", "action", "data"}
        ]


def test_the_report_opens_offline(fitted: Path) -> None:
    html = (fitted / "session_fit" / "report.html").read_text(encoding="utf-8")
    page = References()
    page.feed(html)
    assert len(page.found) == 6 + 12, (
        "figures; faces by their wins, since the model is not better than chance"
    )
    assert "by their wins alone" in html and "From least to most preferred" not in html
    assert "No ranking by the model and no map of the image are shown" in html
    for reference in page.found:
        kind, content = reference.split(";base64,")
        assert kind in {"data:image/png", "data:image/jpeg"}
        base64.b64decode(content, validate=True)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not re.search(r"url\(|@import|https?:", html.split("</style>")[0])
    for said in ("chance 50%", "32 ×", "squeeze-caffe", "66", "noise ceiling"):
        assert said in html


def test_figures_are_pictures(fitted: Path) -> None:
    for path in (fitted / "session_fit" / "figures").glob("*.png"):
        with Image.open(path) as image:
            image.load()
            assert min(image.size) > 150
        pdf, svg = (path.with_suffix(suffix).read_bytes() for suffix in (".pdf", ".svg"))
        assert pdf.startswith(b"%PDF") and b"/FontFile2" in pdf and b"/Type3" not in pdf, "fonts are embedded"
        assert b"<text" in svg and b"<dc:date>" not in svg


def test_a_second_fit_is_the_same_and_replaces_the_first_as_a_whole(
    session: Path, fitted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    render_no_figures(monkeypatch)
    out = session.parent / "out"
    shutil.copytree(fitted / "session_fit", out)
    done = call(main, session, "--out", out, *QUICK, "--model", *MODELS[::-1], "--seed", 3)
    assert (done.code, done.err) == (0, "") and done.out.endswith(f"report: {out / 'report.html'}\n")
    for name in ("predictions.csv", "ranking.csv"):
        ours, theirs = (pd.read_csv(folder / name) for folder in (out, fitted / "session_fit"))
        drop = [column for column in ("source",) if column in ours]
        pd.testing.assert_frame_equal(
            ours.drop(columns=drop), theirs.drop(columns=drop), rtol=1e-4, atol=1e-4
        )
    assert {path.name for path in session.parent.iterdir()} == {"cats", "out", "session.csv", "session.json"}


@pytest.mark.usefixtures("quick_fits")
def test_one_model_by_trials(session: Path) -> None:
    done = call(
        main, session, "--model", "study_cnn", "--split", "trials", "--embedding", "layer-1-map", *QUICK
    )
    assert (done.code, done.err) == (0, "")
    out = session.parent / "session_fit"
    metrics = json.loads((out / "metrics.json").read_text())
    (entry,) = metrics["results"]
    assert (entry["model"], entry["split"], entry["n_train"], entry["n_test"]) == (
        "study_cnn",
        "trials",
        44,
        66,
    )
    assert entry["embedding"] == "layer-1-map 32"
    ranking = pd.read_csv(out / "ranking.csv")
    assert len(ranking) == 12 and ranking["utility"].isna().all(), "unknown is not made up"
    assert sorted(path.name for path in (out / "model").iterdir()) == ["model.json", "study_cnn.safetensors"]
    assert "From least to most preferred" not in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("quick_fits")
def test_a_noise_free_taste_is_found(tmp_path: Path) -> None:
    session = small_study(tmp_path, images=24)
    worth = true_utilities()
    table = pd.read_csv(session)
    caught = table[:3].assign(choice=[1, 1, 0], catch="left")
    left, right = (table[side].str[4:8].astype(int).to_numpy() - 1 for side in ("left_image", "right_image"))
    answers = table.assign(choice=(worth[right] > worth[left]).astype(int))
    pd.concat([answers, caught]).to_csv(session, index=False)
    assert call(main, session, "--model", "utility", "--split", "trials", "--folds", 3).code == 0
    metrics = json.loads((tmp_path / "session_fit" / "metrics.json").read_text())
    assert metrics["results"][0]["accuracy"] > 0.75 and metrics["results"][0]["auc"] > 0.8
    assert metrics["baselines"]["bradley_terry"]["accuracy"] > 0.85
    assert metrics["data"]["trials"] == len(table)
    assert metrics["data"]["catch"] == {"trials": 3, "passed": 2}
    report = (tmp_path / "session_fit" / "report.html").read_text(encoding="utf-8")
    assert "catch trials passed</dt><dd>2 of 3" in report
    assert metrics["noise_ceiling"]["accuracy"] > 0.85
    ranking = pd.read_csv(tmp_path / "session_fit" / "ranking.csv")
    true = worth[ranking["image"].str[4:8].astype(int) - 1]
    assert np.corrcoef(ranking["utility"], true)[0, 1] > 0.8


@pytest.mark.usefixtures("quick_fits")
def test_columns_like_those_of_the_predictions_are_kept(session: Path) -> None:
    table = pd.read_csv(session).assign(model="x", model_in_session="z", fold=7, p_right="y", row_index=5)
    table.to_csv(session, index=False)
    assert call(main, session, "--model", "utility", "--folds", 3).code == 0
    predictions = pd.read_csv(session.parent / "session_fit" / "predictions.csv")
    utility = predictions[predictions["model"] == "utility"]
    assert len(utility) == 18 and set(utility["fold"]) == {0, 1, 2}
    for name, value in {
        "model": "x",
        "model_in_session": "z",
        "fold": 7,
        "p_right": "y",
        "row_index": 5,
    }.items():
        assert any(
            (utility[column] == value).all() for column in utility if column.startswith(f"{name}_in_session")
        )


@pytest.mark.usefixtures("quick_fits")
def test_odd_names_and_pictures_are_no_trouble(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Analysis, "better_than_chance", True)  # so that names are shown
    folder = session.parent / "Süße Kätzchen"
    session.parent.joinpath("cats").rename(folder)
    (session.parent / "session.json").unlink()
    names = {path.name: f'"{path.stem}" <b> ä, ü 🐱.png' for path in folder.iterdir()}
    for name, new in names.items():
        (folder / name).rename(folder / new)
    images = sorted(folder.iterdir())
    for image, mode in zip(images, ("L", "P", "1", "RGBA", "LA"), strict=False):
        with Image.open(image) as picture:
            picture.convert(mode).save(image)
    Image.new("RGB", (1, 1), (200, 100, 0)).save(images[6])
    odd = folder / "Antworten einer Teilnehmerin.csv"
    pd.read_csv(session).replace(names).to_csv(odd, index=False)
    done = call(main, odd, "--model", "utility", "--folds", 3)
    assert (done.code, done.err) == (0, "")
    html = (folder / "Antworten einer Teilnehmerin_fit" / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;" in html and "<b>" not in html


@pytest.mark.usefixtures("quick_fits")
def test_a_session_of_copies_of_one_picture_is_refused(session: Path) -> None:
    first, *others = sorted((session.parent / "cats").iterdir())
    for path in others:
        shutil.copy(first, path)
    assert "in every trial both images show the same picture" in refusal(main, session, *QUICK)


@pytest.mark.usefixtures("quick_fits")
def test_copies_of_a_picture_count_as_one_image(session: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = pd.read_csv(session)
    table["choice"] = np.random.default_rng(1).integers(0, 2, len(table))  # unrelated to the images
    table.to_csv(session, index=False)
    cats, out = session.parent / "cats", session.parent / "out"
    copies = {path.name: f"{path.stem}_copy.png" for path in sorted(cats.iterdir())[:3]}
    for original, copy in copies.items():
        shutil.copy(cats / original, cats / copy)
    done = call(main, session, "--model", "utility", "--folds", 3, "--out", out)
    assert done.code == 0 and "several names" not in caplog.text
    plain = json.loads((out / "metrics.json").read_text())
    assert plain["data"]["duplicates"] == []

    sides = ["left_image", "right_image"]
    table.loc[::2, sides] = table.loc[::2, sides].replace(copies)
    beside = table.iloc[:3].assign(left_image=list(copies), right_image=list(copies.values()))
    pd.concat([table, beside]).to_csv(session, index=False)
    done = call(main, session, "--model", "utility", "--folds", 3, "--out", out)
    assert done.code == 0 and "several names" in caplog.text and "one beside itself: 3." in caplog.text
    assert "several names" in (out / "report.html").read_text(encoding="utf-8")
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["data"]["duplicates"] == [list(names) for names in copies.items()]
    assert metrics["data"]["trials"] == len(table) and metrics["data"]["images"] == 15
    assert metrics["results"][0]["accuracy"] == plain["results"][0]["accuracy"], "as if each had one name"
    ranking = pd.read_csv(out / "ranking.csv").set_index("image")
    assert sorted(ranking.index) == sorted({*table["left_image"], *table["right_image"]})
    for names in copies.items():
        assert ranking["utility"][names[0]] == ranking["utility"][names[1]]
    predictions = pd.read_csv(out / "predictions.csv").query("model == 'utility'")
    shown = predictions.melt(["fold", "repeat"], sides, value_name="image").replace({"image": copies})
    assert (shown.groupby(["repeat", "image"])["fold"].nunique() == 1).all(), "one fold, whatever its name"


@pytest.mark.usefixtures("quick_fits")
def test_the_smallest_sessions_can_be_fitted(session: Path) -> None:
    table = pd.read_csv(session)
    table.iloc[:20].to_csv(session, index=False)
    done = call(main, session, "--split", "trials", "--map-size", 32)
    assert (done.code, done.err) == (0, "")
    metrics = json.loads((session.parent / "session_fit" / "metrics.json").read_text())
    assert metrics["noise_ceiling"]["accuracy"] is None
    assert metrics["noise_ceiling"]["method"].startswith("not known better than")
    assert "20 trials of" in refusal(main, session, "--folds", 19, "--out", session.parent / "other")


# ---- bad input: code 2, one line, nothing changed ----------------------------------------------------------


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A study with what bad input needs, and an earlier result."""
    session = small_study(tmp_path)
    with output_folder(tmp_path / "session_fit", "fit") as out:
        (out / "metrics.json").write_text("an earlier fit")
    (tmp_path / "outside.png").write_bytes((tmp_path / "cats" / "cat_0001.png").read_bytes())
    (tmp_path / "text.pth").write_text("no checkpoint")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "metrics.json").write_text("of another program")
    save_trunk(random_trunk("squeeze"), tmp_path / "trunk.pth")
    return session


@pytest.mark.parametrize(("options", "said"), [
    (["--folds", "1"], "--folds 1"),
    (["--folds", "0"], "--folds"),
    (["--folds", "1000"], "1000 folds"),
    (["--folds", "4294967295"], "too few"),
    (["--map-size", "31"], "--map-size 31"),
    (["--map-size", "4000000000"], "--map-size 4000000000"),
    (["--seed", "-1"], "--seed"),
    (["--seed", "x"], "--seed"),
    (["--model", "nonsense"], "nonsense"),
    (["--split", "nonsense"], "nonsense"),
    (["--device", "nonsense"], "nonsense"),
    (["--embedding", "nonsense"], "grid8, grid4, global"),
    (["--embedding", "layer-8-map"], "layer-7-map"),
    (["--embedding", "grid4", "--model", "study_cnn"], "--model study_cnn"),
    (["--embedding", "mean-map", "--model", "utility"], "--model utility"),
    (["--backbone", "nonsense"], "neither a file nor one of"),
    (["--backbone", "x" * 300], "File name too long"),
    (["--backbone", "text.pth"], "text.pth"),
    (["--backbone", "cats"], "neither a file nor one of"),
    (["--backbone", "alex"], "alexnet-owt-7be5be79.pth"),
    (["--backbone", "vgg"], "397923af"),
    (["--backbone", "squeeze", "--weights", "nowhere.pth"], "nowhere.pth"),
    (["--backbone", "alex", "--weights", "trunk.pth"], "alex"),
    (["--weights", "trunk.pth"], "--weights trunk.pth"),
    (["--stimuli", "nowhere"], "nowhere"),
    (["--stimuli", "photos"], "row 2"),
    (["--out", "session.csv"], "session.csv"),
    (["--out", "session.csv/deeper", *QUICK, "--model", "utility"], "cannot be written"),
    (["--out", "photos"], "photos"),
    (["--out", "x" * 300], "File name too long"),
    (["--out", "."], "would be replaced whole, and session.csv is in it"),
    (["nowhere.csv"], "nowhere.csv"),
    (["session.csv"], "given twice"),
    (["--nonsense"], "--nonsense"),
])  # fmt: skip
def test_odd_options_are_refused(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], said: str
) -> None:
    monkeypatch.chdir(prepared.parent)
    monkeypatch.setenv("TORCH_HOME", "no-weights-here")
    before = listing(prepared.parent)
    assert said in refusal(main, "session.csv", *options)
    assert listing(prepared.parent) == before


def change(folder: Path, what: str) -> None:
    """Spoil a study in one way."""
    session, cats = folder / "session.csv", folder / "cats"
    table = pd.read_csv(session, dtype=str)
    image = cats / table.loc[3, "left_image"]
    match what:
        case "missing session":
            session.unlink()
        case "empty session":
            session.write_text("")
        case "no choice column":
            table = table.drop(columns="choice")
        case "no image column":
            table = table.drop(columns="left_image")
        case "odd choice":
            table.loc[3, "choice"] = "2"
        case "no answers":
            table["choice"] = ""
        case "one side":
            table["choice"] = "1"
        case "few trials":
            table = table.iloc[:5]
        case "missing image":
            image.rename(image.with_name("renamed.png"))
        case "a folder for an image":
            image.unlink()
            image.mkdir()
        case "truncated image":
            image.write_bytes(image.read_bytes()[:3000])
        case "text for an image":
            image.write_text("a cat")
        case "empty image":
            image.write_bytes(b"")
        case "bomb":
            Image.new("1", (9000, 9000)).save(image)
        case "dots":
            table.loc[3, "left_image"] = "../outside.png"
        case "absolute":
            table.loc[3, "left_image"] = str(folder / "outside.png")
        case "link out":
            image.unlink()
            image.symlink_to(folder / "outside.png")
        case "same image":
            table.loc[3, "left_image"] = table.loc[3, "right_image"]
        case "bad json":
            (folder / "session.json").write_text("{")
    if session.exists() and session.stat().st_size:
        table.to_csv(session, index=False)


@pytest.mark.parametrize(("what", "said"), [
    ("missing session", "session.csv"),
    ("empty session", "session.csv"),
    ("no choice column", "choice"),
    ("no image column", "left_image"),
    ("odd choice", "row 5, column choice"),
    ("no answers", "no trial has an answer"),
    ("one side", "only the right side"),
    ("few trials", "5 trials"),
    ("missing image", "row 5, column left_image"),
    ("a folder for an image", "row 5, column left_image"),
    ("truncated image", ".png"),
    ("text for an image", ".png"),
    ("empty image", ".png"),
    ("bomb", "megapixels"),
    ("dots", "row 5, column left_image"),
    ("absolute", "row 5, column left_image"),
    ("link out", "leads outside"),
    ("same image", "row 5"),
    ("bad json", "session.json"),
])  # fmt: skip
def test_bad_sessions_are_refused(prepared: Path, what: str, said: str) -> None:
    change(prepared.parent, what)
    before = listing(prepared.parent)
    for out in ((), ("--out", prepared.parent / "new" / "fit")):
        assert said in refusal(main, prepared, "--strict", *out)
        assert listing(prepared.parent) == before


def test_what_is_read_is_never_replaced(session: Path) -> None:
    """An earlier result into which the user has put the session, or the stimuli."""
    out = session.parent / "session_fit"
    with output_folder(out, "fit") as folder:
        (folder / "metrics.json").write_text("an earlier fit")
    shutil.copy(session, out / "session.csv")
    shutil.copytree(session.parent / "cats", out / "cats")
    before = listing(session.parent)
    cats = session.parent / "cats"
    assert "session.csv" in refusal(main, out / "session.csv", "--stimuli", cats, "--out", out)
    assert "cats" in refusal(main, session, "--stimuli", out / "cats", "--out", out)
    assert listing(session.parent) == before


def test_the_line_that_bad_input_gets(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(prepared.parent, "odd choice")
    monkeypatch.chdir(prepared.parent)
    before = listing(prepared.parent)
    assert refusal(main, "session.csv", "--strict") == (
        "catpref: session.csv: row 5, column choice: '2' is not a choice that is known; of '0', '1', '2', name what"
        " stands for a side: --choices left=1,right=2,none=0\n"
    )
    assert listing(prepared.parent) == before


def test_ctrl_c_leaves_nothing_behind(prepared: Path) -> None:
    before = listing(prepared.parent)
    environment = os.environ | {"XDG_CACHE_HOME": str(cache_home()), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "import catpref.fit, catpref.command_line; print('ready', flush=True);"
               "catpref.command_line.run(catpref.fit.main)", "session.csv",
               "--model", "study_cnn", "--map-size", "256"]  # fmt: skip
    running = subprocess.Popen(
        command, cwd=prepared.parent, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert running.stdout is not None
    assert running.stdout.readline() == b"ready\n"
    assert running.stdout.readline().startswith(b"distance maps of "), "the network follows"
    assert running.poll() is None, "it is still at work"
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=300)
    assert err == b""
    assert b"report" not in out
    assert running.returncode == 130
    assert listing(prepared.parent) == before
