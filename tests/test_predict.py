import json
import shutil
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from networks_support import random_trunk, save_trunk
from PIL import Image
from safetensors.numpy import load_file
from support import call, faces, hurry, listing, refusal, shell, small_study, true_utilities, use_own_cache

from catpref.fit import main as fit
from catpref.predict import main

QUICK = ("--folds", "3", "--map-size", "32")
WARNING = (
    "catpref: the model was not shown to predict choices better than chance; "
    "what it says may mean nothing\n"
)  # of sixteen images only


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    use_own_cache(monkeypatch)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that was fitted with all models."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_own_cache(monkeypatch)
        hurry(monkeypatch)
        session = small_study(tmp_path_factory.mktemp("study"), images=16)
        models = ("--model", "utility", "siamese_cnn", "study_cnn")
        assert call(fit, session, *QUICK, *models).code == 0
    return session.parent


@pytest.fixture
def study(fitted: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change, with faces that were not in the session."""
    folder = tmp_path / "study"
    shutil.copytree(fitted, folder)
    (folder / "new" / "deeper").mkdir(parents=True)
    for number, path in enumerate(sorted(faces().glob("*.png"))[50:58]):
        shutil.copy(path, folder / "new" / ("deeper" if number % 2 else "") / path.name)
    return folder


def table(text: str) -> pd.DataFrame:
    return pd.read_csv(StringIO(text))


def test_known_images_are_ranked_as_by_the_fit(study: Path) -> None:
    done = call(main, study / "session_fit" / "model", study / "cats")
    assert (done.code, done.err) == (0, WARNING)
    ours, theirs = table(done.out), pd.read_csv(study / "session_fit" / "ranking.csv")
    assert list(ours.columns) == ["image", "utility", "utility_sd", "far"] and not ours["far"].any()
    assert [Path(name).name for name in ours["image"]] == list(theirs["image"])
    np.testing.assert_allclose(ours["utility"], theirs["utility"], atol=0.01)
    np.testing.assert_allclose(ours["utility_sd"], theirs["utility_sd"], atol=0.01)


def test_new_images_and_folders_are_ranked_by_a_fresh_process(study: Path) -> None:
    images = ["new", "cats/cat_0001.png", "new/cat_0051.png"]
    done = shell("catpref.predict", "session_fit/model", *images, "--out", "made/ranking.csv", cwd=study)
    assert done == (0, "made/ranking.csv\n", WARNING)
    ranking = pd.read_csv(study / "made" / "ranking.csv")
    assert len(ranking) == 9 and ranking["image"].is_unique, "an image given twice is ranked once"
    assert {"cats/cat_0001.png", "new/cat_0051.png", "new/deeper/cat_0052.png"} <= set(ranking["image"])
    assert ranking["utility"].is_monotonic_decreasing
    worth = [true_utilities()[int(Path(name).stem[4:]) - 1] for name in ranking["image"]]
    assert np.corrcoef(ranking["utility"], worth)[0, 1] > -0.5, "16 images teach little, but nothing contrary"


def test_images_of_another_kind_are_told(study: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(study / "new" / "noise.png")
    Image.linear_gradient("L").save(study / "new" / "ramp.png")
    model = study / "session_fit" / "model"
    done = call(main, model, study / "new")
    ranking = table(done.out)
    assert {Path(name).name for name in ranking["image"][ranking["far"] == 1]} == {"noise.png", "ramp.png"}
    assert done.code == 0 and done.err.startswith(f"{WARNING}catpref: 2 of 10 images are far from all")
    (study / "pairs.csv").write_text("left_image,right_image\ncat_0051.png,noise.png\n")
    done = call(main, model, "--pairs", study / "pairs.csv", "--stimuli", study / "new")
    assert (done.code, len(table(done.out))) == (0, 1) and "1 of 2 images are far" in done.err


def test_pairs_keep_their_columns(study: Path) -> None:
    pairs = pd.read_csv(study / "session.csv").iloc[::5].assign(remark='so "so", ä', empty=None)
    pairs.to_csv(study / "pairs.csv", index=False)
    model = study / "session_fit" / "model"
    done = call(
        main, model, "--pairs", study / "pairs.csv", "--stimuli", study / "cats", "--out", study / "out.csv"
    )
    assert done == (0, f"{study / 'out.csv'}\n", WARNING)
    written = pd.read_csv(study / "out.csv")
    assert list(written.columns) == [*pairs.columns, "p_right"]
    pd.testing.assert_frame_equal(
        written.drop(columns="p_right"), pd.read_csv(study / "pairs.csv"), check_dtype=False
    )
    assert ((written["p_right"] > 0) & (written["p_right"] < 1)).all()
    assert ((written["p_right"] > 0.5) == written["choice"]).mean() > 0.7, "trained on"


def test_a_pair_is_predicted_from_the_utilities_and_the_side_bias(study: Path) -> None:
    model = study / "session_fit" / "model"
    (study / "pairs.csv").write_text(
        "left_image,right_image\ncat_0051.png,deeper/cat_0052.png\ndeeper/cat_0052.png,cat_0051.png\n"
    )
    done = call(main, model, "--pairs", study / "pairs.csv", "--stimuli", study / "new")
    forth, back = table(done.out)["p_right"]
    bias = load_file(model / "utility.safetensors")["side_bias"][0]
    logits = np.log([forth / (1 - forth), back / (1 - back)])
    assert logits.mean() == pytest.approx(bias, abs=0.02)
    ranking = table(call(main, model, study / "new").out).set_index("image")["utility"]
    names = [str(study / "new" / name) for name in ("cat_0051.png", "deeper/cat_0052.png")]
    assert (logits[0] > logits[1]) == (ranking[names[1]] > ranking[names[0]])


@pytest.mark.parametrize(("known", "said"), [(True, ""), (None, ""), ("absent", ""), (False, WARNING)])
def test_a_model_remembers_whether_it_was_shown_to_be_better_than_chance(
    study: Path, known: bool | str | None, said: str
) -> None:
    model = study / "session_fit" / "model"
    description = json.loads((model / "model.json").read_text())
    found = json.loads((study / "session_fit" / "metrics.json").read_text())["better_than_chance"]
    assert description.pop("better_than_chance") is found is False
    if known != "absent":  # as in the folders of earlier versions
        description["better_than_chance"] = known
    (model / "model.json").write_text(json.dumps(description))
    for arguments in ([study / "new"], ["--pairs", study / "session.csv"]):
        done = call(main, model, *arguments)
        assert (done.code, done.err) == (0, said)


def keep_only(model: Path, name: str) -> None:
    description = json.loads((model / "model.json").read_text())
    for other in description["files_sha256"].keys() - {name}:
        del description["files_sha256"][other]
        (model / f"{other}.safetensors").unlink()
    if name != "study_cnn":
        description["map_size"] = None
    (model / "model.json").write_text(json.dumps(description))


def test_the_siamese_cnn_ranks_and_predicts_pairs(study: Path) -> None:
    model = study / "session_fit" / "model"
    by_utility = table(call(main, model, study / "cats").out).set_index("image")["utility"]
    keep_only(model, "siamese_cnn")
    ranking = table(call(main, model, study / "cats").out).set_index("image")
    assert by_utility.corr(ranking["utility"]) > 0.8 and ranking["utility_sd"].isna().all()
    predicted = table(call(main, model, "--pairs", study / "session.csv").out)
    assert ((predicted["p_right"] > 0.5) == predicted["choice"]).mean() > 0.7, "trained on"
    (model / "siamese_cnn.safetensors").write_bytes(b"x")
    assert "siamese_cnn.safetensors" in refusal(main, model, study / "cats")


def test_the_cnn_predicts_pairs_and_ranks_nothing(study: Path) -> None:
    model = study / "session_fit" / "model"
    keep_only(model, "study_cnn")
    done = call(main, model, "--pairs", study / "session.csv")
    assert (done.code, done.err) == (0, WARNING)
    first = table(done.out)
    assert len(first) == 120 and first["p_right"].between(0, 1).all()
    swapped = pd.read_csv(study / "session.csv").rename(
        columns={"left_image": "right_image", "right_image": "left_image"}
    )
    swapped.to_csv(study / "session.csv", index=False)
    again = table(call(main, model, "--pairs", study / "session.csv").out)
    np.testing.assert_allclose(again["p_right"], first["p_right"], atol=1e-5)
    assert "cannot rank" in refusal(main, model, study / "new")


@pytest.mark.usefixtures("quick_fits")
def test_a_model_on_ones_own_weights_finds_them_or_asks(study: Path, tmp_path: Path) -> None:
    weights = save_trunk(random_trunk("squeeze"), tmp_path / "trunk.pth")
    other = save_trunk(random_trunk("squeeze", seed=1), tmp_path / "other.pth")
    image = study / "new" / "cat_0051.png"
    for name, options in (
        ("file", ["--backbone", weights]),
        ("named", ["--backbone", "squeeze", "--weights", weights]),
    ):
        out = study / name
        done = call(fit, study / "session.csv", *options, "--out", out, "--model", "utility", "--folds", 3)
        assert (done.code, done.err) == (0, "")
        named = json.loads((out / "metrics.json").read_text())["embedding"]["backbone"]
        assert named == str(options[1])
        ranked = call(main, out / "model", image, "--weights", weights)
        assert (ranked.code, ranked.err) == (0, WARNING)
        assert "not the weights that" in refusal(main, out / "model", image, "--weights", other)
    assert call(main, study / "file" / "model", image, "--backbone", weights) == ranked
    assert "not the weights that" in refusal(main, study / "file" / "model", image, "--backbone", other)
    asked = refusal(main, study / "file" / "model", image)
    assert str(weights) in asked and "--backbone" in asked
    assert "--weights" in refusal(main, study / "named" / "model", image)
    assert "leave --backbone out" in refusal(main, study / "named" / "model", image, "--backbone", weights)
    weights.unlink()
    assert str(weights) in refusal(main, study / "file" / "model", image, "--backbone", weights)
    assert "brings its own" in refusal(main, study / "session_fit" / "model", image, "--weights", other)


# ---- bad input: code 2, one line, nothing changed ----------------------------------------------------------


@pytest.mark.parametrize(("arguments", "said"), [
    ([], "either images to rank or --pairs"),
    (["new", "--pairs", "session.csv"], "either images to rank or --pairs"),
    (["new", "--stimuli", "cats"], "--stimuli goes with --pairs"),
    (["nowhere.png"], "nowhere.png"),
    (["x" * 300], "File name too long"),
    (["session.csv"], "not an image"),
    (["session_fit/model"], "holds no images"),
    (["bad\udcff.png"], "not plain text"),
    (["new", "--out", "new/cat_0051.png"], "cat_0051.png: was not written by catpref"),
    (["new/cat_0051.png", "--out", "new/cat_0051.png"], "was not written by catpref"),
    (["--pairs", "session.csv", "--out", "session.csv"], "session.csv: was not written by catpref"),
    (["new", "--out", "cats"], "is not an ordinary file"),
    (["new", "--out", "session.csv/deeper.csv"], "cannot be written"),
    (["new", "--out", "x" * 300], "too long"),
    (["--pairs", "nowhere.csv"], "nowhere.csv"),
    (["--pairs", "session.csv", "--stimuli", "nowhere"], "nowhere"),
    (["--pairs", "session.csv", "--stimuli", "new"], "row 2"),
    (["new", "--device", "nonsense"], "nonsense"),
    (["new", "--nonsense"], "--nonsense"),
])  # fmt: skip
def test_odd_arguments_are_refused(
    study: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(study)
    shutil.copy(study / "cats" / "cat_0001.png", study / "bad\udcff.png")
    before = listing(study)
    assert said in refusal(main, "session_fit/model", *arguments)
    assert listing(study) == before


@pytest.mark.parametrize(("pairs", "said"), [
    ("left_image,right_image\ncat_0001.png,cat_0001.png\n", "row 2"),
    ("left_image,right_image\ncat_0001.png,../session.csv\n", "row 2, column right_image"),
    ("left_image,right_image\ncat_0001.png,cat_9999.png\n", "row 2, column right_image"),
    ("left_image\ncat_0001.png\n", "right_image"),
    ("", "empty"),
])  # fmt: skip
def test_bad_pairs_are_refused(study: Path, pairs: str, said: str) -> None:
    (study / "pairs.csv").write_text(pairs)
    before = listing(study)
    model = study / "session_fit" / "model"
    out = study / "out.csv"
    assert said in refusal(
        main, model, "--pairs", study / "pairs.csv", "--stimuli", study / "cats", "--out", out
    )
    assert listing(study) == before


def test_a_pair_of_one_image_is_left_out_or_refused(study: Path) -> None:
    rows = "cat_0001.png,cat_0002.png\ncat_0001.png,cat_0001.png\ncat_0002.png,cat_0003.png\n"
    (study / "pairs.csv").write_text(f"left_image,right_image\n{rows}")
    arguments = (study / "session_fit" / "model", "--pairs", study / "pairs.csv", "--stimuli", study / "cats")
    done = call(main, *arguments)
    assert (done.code, len(table(done.out))) == (0, 2) and "row 3:" in done.err
    assert "row 3, column right_image" in refusal(main, *arguments, "--strict")
    assert "--strict goes with --pairs" in refusal(main, arguments[0], study / "cats", "--strict")


@pytest.mark.parametrize("name", ["utility.safetensors", "siamese_cnn.safetensors", "study_cnn.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "gone", "a folder", "of another fit"])
def test_a_damaged_model_is_refused(study: Path, name: str, damage: str) -> None:
    path = study / "session_fit" / "model" / name
    content = path.read_bytes()
    path.unlink()
    match damage:
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "flipped":
            path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        case "empty":
            path.write_bytes(b"")
        case "a folder":
            path.mkdir()
        case "of another fit":
            other = "study_cnn" if path.stem == "utility" else "utility"
            shutil.copy(path.with_name(f"{other}.safetensors"), path)
    assert name in refusal(main, path.parent, study / "new" / "cat_0051.png")


@pytest.mark.parametrize(("name", "value", "said"), [
    ("schema_version", 1, "schema_version must be that of this version"),
    ("schema_version", None, "schema_version must be that of this version"),
    ("backbone", 5, "backbone"),
    ("backbone", ["x"], "backbone"),
    ("backbone", "nonsense", "nonsense"),
    ("backbone", "x" * 300, "which is not in it"),
    ("backbone", "../network.json", "which is not in it"),
    ("weights_sha256", "x", "weights_sha256"),
    ("weights_sha256", "0" * 64, "not the weights"),
    ("embedding", "nonsense", "embedding"),
    ("embedding", ["x"], "embedding"),
    ("embedding", None, "embedding"),
    ("map_size", None, "map_size"),
    ("map_size", "x", "map_size"),
    ("map_size", 0, "map_size"),
    ("map_size", 40, "7.weight is float32 of shape"),
    ("map_size", 10**9, "map_size"),
    ("map_layer", 7, "map_layer"),
    ("map_layer", "x", "map_layer"),
    ("files_sha256", {}, "files_sha256"),
    ("files_sha256", {"other": "x"}, "files_sha256"),
    ("files_sha256", {"utility": 3}, "files_sha256"),
    ("files_sha256", None, "files_sha256"),
    ("better_than_chance", "no", "better_than_chance must be true, false or null"),
    ("better_than_chance", 0, "better_than_chance"),
])  # fmt: skip
def test_a_damaged_description_is_refused(study: Path, name: str, value: object, said: str) -> None:
    path = study / "session_fit" / "model" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    complaint = refusal(main, path.parent, study / "new" / "cat_0051.png")
    assert said in complaint.replace(str(study), "")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5", b"null", b"{}", b"[" * 100_000, b"\xff"])
def test_a_description_that_is_none_is_refused(study: Path, content: bytes) -> None:
    path = study / "session_fit" / "model" / "model.json"
    path.write_bytes(content)
    assert "model.json" in refusal(main, path.parent, study / "new" / "cat_0051.png")


def test_what_is_no_model_is_refused(study: Path) -> None:
    for place in ("nowhere", "session_fit", "session.csv", "cats"):
        assert "give the folder model/ of a fit" in refusal(main, study / place, study / "new")
    assert "model.json" in refusal(main, "x" * 300, study / "new")
