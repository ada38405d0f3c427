import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from catpref.evaluation.analysis import Options
from catpref.evaluation.people import Observers
from catpref.report import methods, page, people, people_sentences

IMAGES = [f"{number}.png" for number in range(40)]


def observers(count: int = 5, shared: float = 1.0, codes: str = "p{:03d}", seed: int = 0) -> Observers:
    """Make up participants whose utilities have a shared part, of SD `shared`, and one of their own, of SD 1."""
    random = np.random.default_rng(seed)
    utilities = shared * random.normal(size=40) + random.normal(size=(count, 40))
    agreements = np.corrcoef(utilities)
    table = pd.DataFrame({
        "participant": [codes.format(number) for number in range(count)],
        "trials": 200,
        "reliability": 0.8,
        "side_bias": 0.1,
        "lapse_rate": 0.02,
        "held_out": 50,
        "accuracy_alone": random.uniform(0.5, 0.8, count),
        "accuracy_shared": 0.6,
        "accuracy_together": random.uniform(0.5, 0.8, count),
        "agreement": (agreements.sum(1) - 1) / (count - 1),
        "remark": pd.Series([None] * count, dtype=object),
    })  # fmt: skip
    return Observers(table, 0.4, (0.3, 0.5), agreements, utilities, pd.DataFrame())


def opposite() -> Observers:
    """Make up two of opposite taste."""
    made = observers(2)
    utilities = np.stack([made.utilities[0], -made.utilities[0]])
    agreements = np.array([[1, -0.9], [-0.9, 1]])
    return replace(
        made,
        utilities=utilities,
        agreements=agreements,
        shared_fraction=0.03,
        shared_fraction_ci95=(0.0, 0.1),
    )


def analysis_of(
    several: Observers, better: bool = True, shared: tuple[float, float] = (0.6, 0.7), seen: int = 40
) -> Any:
    """Make up what the page reads of an analysis; each participant has seen some of the images."""
    rows = [(code, one, other) for code in several.table["participant"] for one, other in
            zip(IMAGES[:seen], IMAGES[1:seen] + IMAGES[:1], strict=True)]  # fmt: skip
    trials = pd.DataFrame(rows, columns=pd.Index(["participant", "left_image", "right_image"]))
    return SimpleNamespace(
        observers=several,
        options=Options(),
        better_than_chance=better,
        pictures=SimpleNamespace(merged=SimpleNamespace(images=IMAGES, trials=trials)),
        baselines=[
            SimpleNamespace(
                model="shared", scores=SimpleNamespace(accuracy=np.mean(shared), accuracy_ci95=shared)
            )
        ],
        differences={"shared": (-0.04, (-0.06, -0.02)), "alone": (-0.01, (-0.04, 0.02))},
    )


def section(analysis: Any) -> str:
    """Render the sections on several participants, without pictures, and return their text."""
    faces: Any = {image: SimpleNamespace(thumbnail=page.Image.new("RGB", (2, 2))) for image in IMAGES}
    template = page.environment().get_template("people.html")
    html = template.render(
        people=page._of_people(analysis, analysis.observers, faces),
        figures={"people_map": True} if len(analysis.observers.table) > 2 else {},
        figure=lambda name, alt: f"[{name}]",
        signed=lambda number: f"{number:+.2f}",
    )
    return " ".join(re.sub("<[^>]*>", " ", html).split())


def test_two_of_opposite_taste_are_said_to_be_and_have_no_map() -> None:
    text = section(analysis_of(opposite(), better=False, shared=(0.3, 0.55)))
    assert "p000 and p001 have opposite tastes: their utilities correlate at r = −0.90." in text
    assert "3% of the variance of taste is shared" in text and "0.97 (0.90 to 1.00)" in text
    assert "not shown to be better than chance" in text
    assert "There is no image that they agree on" in text and "+ p000 − p001" in text
    assert "[people_map]" not in text
    assert "No participant answers as if at random, against the others, or by side." in text


@pytest.mark.parametrize(("count", "rows"), [(2, 2), (30, 30), (200, 15)])
def test_the_table_is_short_however_many_there_are(count: int, rows: int) -> None:
    text = section(analysis_of(observers(count)))
    assert len(re.findall(r"\bp\d+ 200 0\.80", text)) == rows
    assert ("The 15 most notable of 200" in text) == (count > 30)
    assert "nan" not in text and "None" not in text


def test_who_has_a_remark_is_never_left_out() -> None:
    several = observers(200, shared=2)
    last = int(several.table["agreement"].argmax())
    several.table.loc[last, "remark"] = "answers at random?"
    assert last in people_sentences.notable(several.table).index
    assert f"p{last:03d}: answers at random?." in section(analysis_of(several))


def test_what_is_unknown_is_a_dash() -> None:
    several = observers()
    several.table.loc[0, ["reliability", "accuracy_alone", "accuracy_shared", "accuracy_together"]] = np.nan
    assert "p000 200 – +0.10 2% – – –" in section(analysis_of(several))


def test_gains_are_of_the_first_model_over_the_others() -> None:
    _, personal, together = people_sentences.of_gains(analysis_of(observers()))
    assert "adds to accuracy (+4.0 percentage points, 95% interval +2.0 to +6.0)" in personal
    assert "is not shown to change accuracy (+1.0 percentage points, 95% interval −2.0 to +4.0)" in together


@pytest.mark.parametrize(("better", "seen", "reliability", "shown"), [
    (True, 4, 0.5, True),
    (False, 40, 0.8, True),  # their own choices say what each likes
    (False, 4, 0.8, False),  # what was not seen is a guess of a model that was not shown to predict
    (False, 40, 0.5, False),  # coins
    (False, 40, np.nan, False),
])  # fmt: skip
def test_faces_are_shown_where_something_is_known_of_them(
    better: bool, seen: int, reliability: float, shown: bool
) -> None:
    several = observers()
    several.table["reliability"] = reliability
    assert people_sentences.shows_faces(analysis_of(several, better, seen=seen)) == shown


@pytest.mark.parametrize(("count", "codes"), [
    (2, "p{:03d}"), (30, "laboratory-3-participant-{:03d}"), (60, "p{:03d}"), (200, "p{:03d}"),
])  # fmt: skip
def test_figures_fit_a_telephone(count: int, codes: str) -> None:
    drawn = people.draw(observers(count, codes=codes))
    assert set(drawn) == ({"people_accuracy", "people_map"} if count > 2 else {"people_accuracy"})
    for name, figure in drawn.items():
        assert figure.get_figwidth() * 96 <= 600, "wider ones scroll"
        assert figure.get_figheight() < 12, name
        page.png(figure)


def test_points_have_the_codes_of_those_they_stand_for() -> None:
    several = observers(20)
    (axes, *_) = people.draw(several)["people_map"].axes
    points = np.asarray(axes.collections[0].get_offsets())
    for text, point in zip(axes.texts, points, strict=True):
        others = np.linalg.norm(points - text.get_position(), axis=1)
        assert np.linalg.norm(point - text.get_position()) < 2 * others.min() + 0.3
    assert [text.get_text() for text in axes.texts] == several.table["participant"].to_list()


def test_long_codes_are_counted_below_a_face() -> None:
    several = observers(12, codes="laboratory-3-participant-{:03d}")
    assert all(
        len(line) < 20
        for face in people.divided(several, IMAGES, np.ones(40, int))
        for line in face.said.splitlines()
    )


def test_below_a_face_stands_how_many_saw_it() -> None:
    several = observers()
    analysis = analysis_of(several, seen=20)
    session = analysis.pictures.merged
    of_image = (session.trials[["left_image", "right_image"]] == IMAGES[3]).any(axis=1)
    session.trials = session.trials[~(of_image & (session.trials["participant"] == "p000"))]
    seen_by = people_sentences.seen_by(analysis)
    assert seen_by.tolist() == [5, 5, 5, 4, *[5] * 16, *[0] * 20]
    liked, disliked = people.agreed(several, IMAGES, seen_by)
    for face in [*liked, *disliked, *people.divided(several, IMAGES, seen_by)]:
        assert face.said.splitlines()[-1] == f"seen by {seen_by[IMAGES.index(face.image)]}"


def test_methods_name_what_is_shared_and_its_interval() -> None:
    shared, accuracies = methods._participants(observers())
    assert "40.0% (95% interval 30.0 to 50.0%) was shared by the 5 participants" in shared
    assert "0.60 (95% interval 0.50 to 0.70) (Hönekopp 2006)" in shared
    assert "with the shared taste alone, 60.0%" in accuracies


@pytest.mark.parametrize(("asked", "said"), [
    (("siamese_cnn",), True), (("utility", "siamese_cnn"), False), (("utility",), False),
])  # fmt: skip
def test_a_network_that_was_asked_for_is_said_to_be_left_out(asked: tuple[str, ...], said: bool) -> None:
    analysis = analysis_of(observers())
    analysis.options = Options(models=asked)
    assert any("No siamese CNN was trained" in one for one in people_sentences.remarks(analysis)) == said
