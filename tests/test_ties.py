"""Sessions with a third answer: kept as 0.5, learned from, and no part of any score."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import all_pairs, call, faces, hurry, refusal, true_utilities, use_own_cache

import catpref
from catpref.fit import main
from catpref.models.davidson import TIE, likelihood

IMAGES = 14
NU = 1.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    use_own_cache(monkeypatch)
    hurry(monkeypatch)


def study(folder: Path, participants: int = 1, ties: float = NU) -> Path:
    """Write cats/ and session.csv, whose observers answer all pairs by Davidson's model."""
    (folder / "cats").mkdir()
    names = sorted(path.name for path in faces().glob("*.png"))[:IMAGES]
    for name in names:
        shutil.copy(faces() / name, folder / "cats" / name)
    pairs = np.concatenate([all_pairs(IMAGES, seed) for seed in range(participants)])
    logits = 2 * (true_utilities()[pairs[:, 1]] - true_utilities()[pairs[:, 0]])
    p_left, p_tie = (np.exp(likelihood(logits, np.full(len(pairs), one), ties)[0]) for one in (0.0, TIE))
    drawn = np.random.default_rng(0).random(len(pairs))
    choices = np.where(drawn < p_left, 0, np.where(drawn < p_left + (p_tie if ties else 0), TIE, 1))
    pd.DataFrame({
        "participant": np.repeat([f"p{number}" for number in range(participants)], len(pairs) // participants),
        "left_image": [names[left] for left in pairs[:, 0]],
        "right_image": [names[right] for right in pairs[:, 1]],
        "choice": [f"{choice:g}" for choice in choices],
    }).to_csv(folder / "session.csv", index=False)  # fmt: skip
    (folder / "session.json").write_text('{"stimuli": "cats"}')
    return folder / "session.csv"


@pytest.mark.parametrize("participants", [1, 2])
def test_a_fit_learns_from_ties_and_is_scored_without_them(tmp_path: Path, participants: int) -> None:
    path = study(tmp_path, participants)
    out = tmp_path / "out"
    options = ("--model", "utility") if participants == 1 else ()
    done = call(main, path, "--out", out, "--folds", 3, *options)
    assert done.code == 0, done.err
    session = pd.read_csv(path)
    is_tie = session["choice"].to_numpy() == TIE
    assert 0.1 < is_tie.mean() < 0.4
    said = f"In {is_tie.sum()} of {len(session)} trials there was no preference."
    assert said in done.out and said in (out / "report.html").read_text(encoding="utf-8")
    data = json.loads((out / "metrics.json").read_text())["data"]
    assert (data["trials"], data["no_preference"]) == (len(session), is_tie.sum())
    assert data["choice_right"] == pytest.approx(session["choice"][~is_tie].mean())
    predictions = pd.read_csv(out / "predictions.csv")
    assert set(predictions["choice"]) == {0, 1}
    ranking = pd.read_csv(out / "ranking.csv").drop_duplicates("image").set_index("image")
    won: Any = session["choice"].groupby(session["right_image"]).sum()
    won = won.add((1 - session["choice"]).groupby(session["left_image"]).sum(), fill_value=0)
    assert ranking["wins"].to_dict() == won.to_dict()
    assert np.corrcoef(ranking["bradley_terry"].sort_index(), true_utilities()[:IMAGES])[0, 1] > 0.9


def test_without_ties_nothing_says_that_there_could_have_been(tmp_path: Path) -> None:
    taste = catpref.learn(catpref.read_session(study(tmp_path, ties=0.0)), model="utility", folds=3)
    taste.report(tmp_path / "out")
    assert "no_preference" not in (tmp_path / "out" / "metrics.json").read_text()
    assert "no preference" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "." not in "".join(pd.read_csv(tmp_path / "out" / "ranking.csv", dtype=str)["wins"])


def test_a_session_of_ties_alone_is_refused(tmp_path: Path) -> None:
    path = study(tmp_path)
    table = pd.read_csv(path).assign(choice=0.5)
    table.to_csv(path, index=False)
    assert "no side was ever chosen" in refusal(main, path)
    table.assign(choice=np.where(np.arange(len(table)) % 3, 0.5, 1)).to_csv(path, index=False)
    assert "only the right side was ever chosen" in refusal(main, path)


def test_a_newcomer_may_have_no_preference(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    taste = catpref.learn(catpref.read_session(study(tmp_path, 2)), folds=3)
    table = pd.read_csv(tmp_path / "session.csv").query("participant == 'p0'").assign(participant="p9")
    updated = taste.update(catpref.read_session(table, stimuli=tmp_path / "cats"))
    ranked = [
        updated.rank(tmp_path / "cats", participant=code)["utility"].sort_index() for code in ("p0", "p9")
    ]
    assert np.corrcoef(np.array(ranked))[0, 1] > 0.9
    assert "not one of" not in caplog.text
    updated.rank(tmp_path / "cats", participant="p8")
    assert "participant=p8: not one of the model's participants (p0, p1, p9)" in caplog.text
