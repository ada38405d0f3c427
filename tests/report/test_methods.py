import dataclasses
import html
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import hurry, small_study, use_own_cache

import catpref
from catpref.evaluation.analysis import Analysis
from catpref.evaluation.scores import Calibration
from catpref.report import methods, page
from catpref.sessions.session import CatchTrials


@pytest.fixture(scope="module")
def fit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Analysis, Path]:
    folder = tmp_path_factory.mktemp("methods")
    path = small_study(folder)
    table = pd.read_csv(path)
    table["participant"] = "p01"
    table["design"] = "fully-sampled"
    table["rt"] = np.linspace(0.1, 2, len(table))
    table.to_csv(path, index=False)
    with pytest.MonkeyPatch.context() as patch:
        use_own_cache(patch)
        hurry(patch)
        taste = catpref.learn(catpref.read_session(path), model="utility", folds=3)
        taste.report(folder / "fit")
    assert taste.analysis is not None
    return taste.analysis, folder / "fit"


def test_the_paragraph_has_the_numbers_of_the_metrics(fit: tuple[Analysis, Path]) -> None:
    metrics = json.loads((fit[1] / "metrics.json").read_text())
    page_text = html.unescape((fit[1] / "report.html").read_text(encoding="utf-8"))
    match = re.search(r'<textarea class="methods"[^>]*>(.*?)</textarea>', page_text, re.DOTALL)
    assert match is not None
    text = match.group(1)
    first, data, observer = metrics["results"][0], metrics["data"], metrics["observer"]
    percent = "{:.1f}% (95% interval {:.1f} to {:.1f}%)"
    plain = "{:.2f} (95% interval {:.2f} to {:.2f})"
    line, ceiling, times = first["calibration"], metrics["taste_ceiling"], metrics["reaction_times"]
    parts = [
        f"by {data['participants']} participant:",
        f"{data['trials']} answered trials of {data['images']} images (fully-sampled design)",
        f"(embedding {first['embedding']}), of the network {metrics['embedding']['backbone']}",
        metrics["embedding"]["weights_sha256"][:12],
        "head of two image classifiers trained on ImageNet, efficientnet-lite0 (224 × 224 pixels) and "
        "efficientnet-lite2 (260 × 260 pixels), averaged over",
        f"{metrics['embedding']['size']} × {metrics['embedding']['size']} pixels",
        f"{first['n_train']} training trials, {first['n_test']} trials held out",
        percent.format(*(100 * part for part in (first["accuracy"], *first["accuracy_ci95"]))),
        f"p = {first['p_value']:.3f} ({first['p_value_corrected']:.3f} if corrected for 3 tests",
        "slope " + plain.format(line["slope"], *line["slope_ci95"]),
        "intercept " + plain.format(line["intercept"], *line["intercept_ci95"]),
        "side bias was " + plain.format(observer["side_bias"], *observer["side_bias_ci95"]),
        percent.format(*(100 * part for part in (observer["lapse"], *observer["lapse_ci95"]))),
        f"reaction time was {times['median']:.2f} s",
        f"catpref {metrics['versions']['catpref']}",
        f"seed {metrics['seed']}",
    ]
    if ceiling["accuracy"] is not None:
        parts.append(
            "noise ceiling, with the side bias set aside, is {:.1f}%".format(100 * ceiling["accuracy"])
        )
    for part in parts:
        assert part in text, part
    assert "None" not in text and "nan" not in text.lower()


def test_what_is_unknown_is_left_out(fit: tuple[Analysis, Path]) -> None:
    analysis = fit[0]
    session = analysis.session
    bare = dataclasses.replace(
        session, trials=session.trials.drop(columns=["participant", "design", "rt"]), noise_ceiling=None
    )
    result = analysis.results[0]
    scores = dataclasses.replace(result.scores, p_value=None, calibration=Calibration(None, None, None, None))
    ceiling = dataclasses.replace(analysis.taste_ceiling, accuracy=None, ci95=None)
    unknown = dataclasses.replace(
        analysis,
        session=bare,
        taste_ceiling=ceiling,
        reaction_times=None,
        results=[dataclasses.replace(result, scores=scores, embedding=None)],
    )
    text = methods.paragraph(unknown)
    assert "None" not in text and "nan" not in text.lower() and "  " not in text
    for word in (
        "participant",
        "design",
        "reaction",
        "p-value",
        "p =",
        "ceiling",
        "slope",
        "catch",
        "network",
    ):
        assert word not in text, word


def test_the_summary_tells_catch_trials_reaction_times_and_what_failed(fit: tuple[Analysis, Path]) -> None:
    analysis = fit[0]
    assert "catch" not in page.text_table(analysis)
    assert "reaction times: median 1.05 s" in page.text_table(analysis)
    failed = dataclasses.replace(analysis.choice_model[2], p_value=0.001, finding="The taste changes.")
    changed = dataclasses.replace(
        analysis,
        session=dataclasses.replace(analysis.session, catch=CatchTrials(12, 11)),
        choice_model=[failed],
        reaction_times=None,
    )
    summary = page.text_table(changed)
    assert "catch trials passed: 11 of 12" in summary and "drift: The taste changes." in summary
    assert "reaction" not in summary
    assert "11 of 12 catch trials were passed." in methods.paragraph(changed)
    assert "The taste changes." in methods.paragraph(changed)


def test_metrics_have_every_check(fit: tuple[Analysis, Path]) -> None:
    metrics = json.loads((fit[1] / "metrics.json").read_text())
    assert set(metrics["choice_model"]) == {
        "transitivity", "deviance", "drift", "consistency drift", "side bias drift", "choice repetition",
        "repeated pairs",
    }  # fmt: skip
    assert metrics["choice_model"]["deviance"] == {
        "estimate": None,
        "p_value": None,
        "finding": fit[0].choice_model[1].finding,
        "advice": None,
    }
    assert metrics["reaction_times"]["trials"] == 66
    assert 0 <= metrics["map_agreement"] <= 1
