import dataclasses
import re
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from plans_support import setting, small_world
from scipy.stats import norm
from support import call, refusal, small_study, use_own_cache

from catpref import BadInput, plan, read_session
from catpref._io.cache import default_folder
from catpref._io.engines import Here, alone
from catpref.design.trial_list import ADAPTIVE
from catpref.evaluation import sampling
from catpref.perception.embeddings import Blocks
from catpref.plans import figures, grid, page, summary
from catpref.plans.grid import Grid, cells_of, time_left
from catpref.plans.observers import draw_people, usual_habits
from catpref.plans.page import Plan
from catpref.plans.pilot import habits_like
from catpref.plans.studies import Cell, Setting, Study, simulate
from catpref.plans.world import WIDTH, drawn_cats, reduced

RANDOM, FULL, INCOMPLETE = "random-sampled", "fully-sampled", "balanced-incomplete"
FEW = Cell(RANDOM, 40, 80, 1, 1.0)


@pytest.fixture(autouse=True)
def few_permutations(monkeypatch):
    monkeypatch.setattr(sampling, "PERMUTATIONS", 39)


def study(of: Setting, cell: Cell = FEW, number: int = 0) -> Study:
    return alone(simulate, of, (cell, number))


def without_seconds(one: Study) -> Study:
    return one._replace(seconds=0.0)


def made_up(of: Setting, one: tuple[Cell, int]) -> Study:
    """Stand for `simulate` where what a study finds does not matter."""
    random = np.random.default_rng([one[1], one[0].trials, of.seed])
    accuracy = random.normal(0.6, 0.03)
    return a_study(
        accuracy=accuracy, new=accuracy, agreement=0.4, agreement_found=0.5, seconds=random.random()
    )


def a_study(**values: float) -> Study:
    usual: dict[str, float] = dict.fromkeys(Study._fields, np.nan)
    usual |= {"accuracy": 0.6, "low": 0.5, "high": 0.7, "above": 1, "new": 0.6, "best": 0.7, "ceiling": 0.75}
    return Study(**usual | values)


# ---- images and people ---------------------------------------------------------------------------------------


def test_the_drawn_cats_are_enough_for_a_thousand_random_pairs():
    world = drawn_cats()
    assert len(world) >= 2000 + grid.FEWEST_NEW
    assert np.allclose(world.features.std(0), 1, atol=0.05)
    assert set(world.kinds) == {"layer", "region", "late stage"}


def test_reduced_embeddings_keep_inner_products():
    """Of 500 dimensions a block, 16 numbers are left."""
    random = np.random.default_rng(1)
    seen = (random.standard_normal((80, 6)) @ random.standard_normal((6, 1000))).astype(np.float16)
    blocks = Blocks(np.repeat([0, 1], 500), np.eye(2), ("layer", "layer"))
    world = reduced("some", seen, blocks)
    assert world.features.shape == (80, 2 * WIDTH)
    standardised = (seen - seen.mean(0)) / seen.std(0)
    pairs = np.triu_indices(80, 1)
    grams = [(one @ one.T)[pairs] for one in (standardised.astype(float), world.features.astype(float))]
    assert np.corrcoef(grams)[0, 1] > 0.9


def test_people_are_as_they_were_asked_for():
    world = small_world()
    habits = usual_habits(world.blocks)
    given = habits.variances
    drawn = [draw_people(habits, world, 12, np.random.default_rng(seed)) for seed in range(40)]
    total = given.shared + given.personal + given.shared_effect + given.personal_effect
    assert np.mean([one.utilities.var(1).mean() for one in drawn]) == pytest.approx(total, rel=0.1)
    assert np.mean([one.carried.var(1).mean() for one in drawn]) == pytest.approx(
        given.shared + given.personal, rel=0.15
    )
    images = np.arange(len(world))
    agreement = np.mean([(one.agreements(images).sum() - 12) / (12 * 11) for one in drawn])
    assert agreement == pytest.approx(given.shared_fraction, abs=0.06)
    assert np.mean([one.lapses.mean() for one in drawn]) == pytest.approx(habits.lapse, rel=0.1)
    noisy = draw_people(habits.noisier(2), world, 12, np.random.default_rng(0))
    assert np.allclose(noisy.utilities, drawn[0].utilities / 2)


def test_a_pilot_tells_how_noisy_people_are(tmp_path, monkeypatch):
    """Of one person's answers to all pairs of twelve faces, and of the same pairs answered at random."""
    use_own_cache(monkeypatch)
    file = small_study(tmp_path)
    table = pd.read_csv(file)
    consistent = habits_like(read_session(file), cache=default_folder())
    table["choice"] = np.random.default_rng(0).permutation(table["choice"])
    table.to_csv(file, index=False)
    by_chance = habits_like(read_session(file), cache=default_folder())

    def total(habits: Any) -> float:
        given = habits.variances
        return given.shared + given.personal + given.shared_effect + given.personal_effect

    assert total(consistent) > 3 * total(by_chance)
    usual = usual_habits(drawn_cats().blocks).variances
    assert consistent.variances.shared / consistent.variances.personal == pytest.approx(
        usual.shared / usual.personal
    )


def test_a_pilot_of_several_people_tells_what_they_share(tmp_path, monkeypatch):
    use_own_cache(monkeypatch)
    table = pd.read_csv(small_study(tmp_path))
    tables = [table.assign(participant=f"p{one}") for one in range(4)]
    for one in tables[2:]:
        one["choice"] = 1 - one["choice"]  # whom the first two disagree with in everything
    alike = habits_like(read_session(tables[:2], tmp_path / "cats"), cache=default_folder()).variances
    opposed = habits_like(read_session(tables, tmp_path / "cats"), cache=default_folder()).variances
    assert alike.shared_fraction > 0.5 > opposed.shared_fraction


# ---- one study -----------------------------------------------------------------------------------------------


def test_a_study_depends_on_its_cell_number_and_seed_alone():
    first = without_seconds(study(setting()))
    assert str(without_seconds(study(setting()))) == str(first)  # text, for NaN
    others = study(setting(), number=1), study(setting(1))
    assert len({first.accuracy, *(one.accuracy for one in others)}) == 3


@pytest.mark.parametrize(
    "cell",
    [
        FEW,
        Cell(FULL, 66, 12, 1, 1.0),
        Cell(INCOMPLETE, 60, 30, 1, 1.0),
        Cell(RANDOM, 40, 80, 3, 1.0),
        Cell(ADAPTIVE, 40, 80, 1, 1.0),
    ],
)
def test_every_design_is_simulated(cell):
    found = study(setting(), cell)
    assert found.low <= found.accuracy <= found.high
    assert 0.4 < found.new <= found.ceiling
    assert found.best <= found.ceiling
    assert np.isnan(found.agreement) == (cell.people == 1)


def test_a_clear_taste_is_found_and_an_invisible_one_is_not():
    usual = setting()
    given = usual.habits.variances
    clear = dataclasses.replace(given, shared=6.0, personal=6.0, shared_effect=1e-9, personal_effect=1e-9)
    unseen = dataclasses.replace(given, shared=1e-9, personal=1e-9, shared_effect=3.0, personal_effect=3.0)
    cell = Cell(FULL, 105, 15, 1, 1.0)
    found = [
        [
            study(usual._replace(habits=dataclasses.replace(usual.habits, variances=of)), cell, number)
            for number in range(2)
        ]
        for of in (clear, unseen)
    ]
    assert np.mean([one.gain for one in found[0]]) > 0.6
    assert np.mean([one.new for one in found[1]]) == pytest.approx(0.5, abs=0.07)


# ---- many studies --------------------------------------------------------------------------------------------


class _Killed(Exception):
    pass


class Counting(Here):
    """Does tasks here, counts them, and ends after some."""

    def __init__(self, most: int = 1000) -> None:
        self.most = most
        self.done = 0

    def as_done(
        self, function: Callable[[Any, Any], Any], common: Any, items: Sequence[Any]
    ) -> Iterator[tuple[int, Any]]:
        for number, result in super().as_done(function, common, items):
            if self.done == self.most:
                raise _Killed
            self.done += 1
            yield number, result


def test_a_plan_that_was_ended_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "simulate", made_up)
    cells = [FEW, Cell(FULL, 66, 12, 1, 1.0)]
    whole = grid.run(cells, setting(), 3, Here(), None)
    with pytest.raises(_Killed):
        grid.run(cells, setting(), 3, Counting(4), tmp_path)
    again = Counting()
    found = grid.run(cells, setting(), 3, again, tmp_path)
    assert again.done == 2
    assert str(summary.table(found, 0.95)) == str(summary.table(whole, 0.95))
    more = Counting()
    grid.run([*cells, FEW._replace(noise=2.0)], setting(), 4, more, tmp_path)
    assert more.done == 2 + 4
    other = Counting()
    grid.run([FEW], setting(1), 1, other, tmp_path)
    assert other.done == 1, "another seed is another plan"


def test_cells_of_a_grid():
    world = small_world()
    cells, left_out = cells_of(Grid((RANDOM, FULL), (50, 100), (), (1, 5), (1.0,)), world)
    assert [cell[:4] for cell in cells] == [
        (RANDOM, 50, 100, 1), (RANDOM, 50, 100, 5), (FULL, 45, 10, 1), (FULL, 45, 10, 5),
        (FULL, 91, 14, 1), (FULL, 91, 14, 5),
    ]  # fmt: skip
    assert left_out == [
        "random-sampled, 100 trials: shows 200 images, and of a small world there are 200, of which 20 are to be new"
    ]
    cells, _ = cells_of(Grid((FULL,), (60, 500), (20, 100), (1,), (1.0,)), world)
    assert [cell[:3] for cell in cells] == [
        (INCOMPLETE, 60, 20), (FULL, 190, 20), (INCOMPLETE, 500, 100)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Grid((RANDOM,), (5,), (), (1,), (1.0,)), "trials=5: is too few"),
        (Grid((RANDOM,), (50,), (), (1,), (0.0,)), "noise=0: must be greater than 0"),
        (Grid((RANDOM,), (90,), (), (1,), (1.0, float("nan"))), "noise=nan: must be"),
        (Grid((FULL,), (50,), (3,), (1,), (1.0,)), "images=3: is too few"),
        (Grid((RANDOM,), (500,), (), (1,), (1.0,)), "no study can be simulated"),
    ],
)
def test_what_cannot_be_simulated_is_refused(asked, message):
    with pytest.raises(BadInput, match=re.escape(message)):
        cells_of(asked, small_world())


def test_a_pilot_of_few_images_has_drawn_cats_in_their_place(tmp_path, caplog):
    """The pilot says how people choose, all the same; a set that is asked for is not replaced."""
    for number in range(50):
        (tmp_path / f"{number}.png").touch()
    pilot: Any = SimpleNamespace(stimuli=tmp_path)
    with caplog.at_level("INFO"):
        world = plan._world(Namespace(stimuli=None), pilot)
    assert world.name == drawn_cats().name
    assert "holds 50 images, and a plan takes at least 60; drawn cats are taken" in caplog.text
    with pytest.raises(BadInput, match="holds 50 images, and a plan takes at least 60; name a larger set"):
        plan._world(Namespace(stimuli=tmp_path, device="cpu", cache=None), pilot)


def test_the_time_left_is_that_of_measured_cells():
    other = FEW._replace(people=10)
    assert time_left([FEW, FEW], {FEW: [2.0, 4.0]}) == pytest.approx(6)
    assert time_left([other], {FEW: [2.0]}) == pytest.approx(2 * other.cost / FEW.cost)


# ---- what is said --------------------------------------------------------------------------------------------


def test_a_new_study_is_where_the_plan_says():
    """95% of them are, in 90 of 100 plans of eight studies each, whose accuracies are Gaussian."""
    random = np.random.default_rng(0)
    of_new = norm(0.65, 0.04)
    inside = reached = 0
    for _ in range(1000):
        accuracies = random.normal(0.65, 0.04, 8)
        expected = summary.expect(FEW, [a_study(accuracy=one, new=one) for one in accuracies], 0.95)
        low, high = expected.accuracy_ci95
        inside += of_new.cdf(high) - of_new.cdf(low) >= 0.95
        reached += of_new.sf(0.5 + 0.2 * expected.gain_low) >= 0.95
    assert 870 <= inside <= 930
    assert 870 <= reached <= 930


def test_studies_simulated_anew_are_where_the_plan_says():
    cell = Cell(RANDOM, 40, 80, 2, 1.0)
    found = grid.run([cell], setting(), 6, Here(), None)
    (expected,), _ = summary.table(found, 0.95)
    low, high = expected.accuracy_ci95
    anew = [study(setting(99), cell, number).accuracy for number in range(8)]
    assert sum(low <= one <= high for one in anew) >= 7


def of_gain(cell: Cell, new: float, spread: float = 0.001) -> summary.Expected:
    return summary.expect(cell, [a_study(new=new + part * spread) for part in (-1, 0, 1)], 0.95)


def test_the_sentence_names_the_least_study_that_is_enough():
    cells = [
        of_gain(Cell(RANDOM, 250, 500, 20, 1.0), 0.69),
        of_gain(Cell(RANDOM, 400, 800, 20, 1.0), 0.695),
        of_gain(Cell(RANDOM, 100, 200, 20, 1.0), 0.6),
        of_gain(Cell(FULL, 190, 20, 20, 1.0), 0.69, spread=0.05),
    ]
    assert summary.sentence(cells, 0.8, 0.95) == (
        "For 80% of the gain with 95% confidence show each of 20 people 250 random pairs of 500 images."
    )
    most = summary.sentence(cells, 0.99, 0.95)
    assert most.startswith(
        "No study of this plan reaches 99% of the gain with 95% confidence. Most is gained if you show each of 20 "
        "people 400 random pairs of 800 images: on average 98%, with that confidence at least 9"
    )
    nothing = [of_gain(FEW, 0.52, spread=0.1)]
    assert summary.sentence(nothing, 0.8, 0.95).endswith(
        "on average 10%, with that confidence perhaps nothing."
    )
    alone = [of_gain(Cell(FULL, 190, 20, 1, 1.0), 0.69)]
    assert "show one person all 190 pairs of 20 images" in summary.sentence(alone, 0.8, 0.95)


def test_the_page_shows_what_was_asked(tmp_path):
    cells = [
        cell._replace(people=people, noise=noise)
        for cell in (
            FEW,
            FEW._replace(trials=80),
            Cell(FULL, 66, 12, 1, 1.0),
            Cell(INCOMPLETE, 60, 30, 1, 1.0),
        )
        for people in (1, 5)
        for noise in (1.0, 2.0)
    ]
    studies = {
        cell: [a_study(agreement=0.4, agreement_found=0.5, accuracy=one) for one in (0.6, 0.7)]
        for cell in cells
    }
    expected, table = summary.table(studies, 0.95)
    plan = Plan(expected, table, setting(), False, 0.8, 0.95, ["a design: for a reason"])
    page.write(plan, tmp_path)
    html = (tmp_path / page.PAGE).read_text()
    assert plan.sentences[0][0] == 1.0, "the usual noise comes first"
    assert plan.sentences[0][1] in html
    assert "Left out: a design: for a reason." in html
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "gain.png", "accuracy.png", "power.png", "agreement.png"
    }  # fmt: skip
    assert len(pd.read_csv(tmp_path / page.TABLE)) == len(cells)
    assert page.text_table(plan).count("\n") == len(cells) + 1 + 1 + 2


@pytest.mark.parametrize("people", [(1,), (1, 10, 20)])
def test_figures_have_room_for_their_legends_and_round_numbers_at_their_ticks(people):
    cells = [
        cell._replace(people=count)
        for count in people
        for trials in (50, 100, 200, 400)
        for cell in (Cell(RANDOM, trials, 2 * trials, 1, 1.0), Cell(FULL, trials - 9, 20, 1, 1.0),
                     Cell(ADAPTIVE, trials, 2 * trials, 1, 1.0))
    ]  # fmt: skip
    expected, _ = summary.table(
        {cell: [a_study(agreement=0.4, agreement_found=0.5)] * 2 for cell in cells}, 0.95
    )
    for figure in figures.draw_all(expected, 0.8).values():
        FigureCanvasAgg(figure).draw()
        (legend,), place = figure.legends, figure.bbox
        inside = legend.get_window_extent()
        assert place.x0 <= inside.x0 and inside.x1 <= place.x1 and inside.y1 <= place.y1
        assert sorted(figure.axes[0].get_xticks()) == [50, 100, 200, 400]


# ---- the command ---------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    use_own_cache(monkeypatch)
    monkeypatch.setattr(plan, "Processes", lambda _: Here())
    monkeypatch.setattr(plan, "drawn_cats", small_world)
    monkeypatch.setattr(grid, "simulate", made_up)


def test_the_command_writes_a_plan_and_the_same_one_again(quick, tmp_path):
    arguments = ("--trials", 45, "--people", 1, "--studies", 2, "--cache-dir", tmp_path / "cache")
    done = call(plan.main, *arguments, "--out", tmp_path / "one")
    assert done.code == 0, done.err
    assert "80% of the gain with 95% confidence" in done.out
    again = call(plan.main, *arguments, "--out", tmp_path / "two")
    assert again.out == done.out.replace(str(tmp_path / "one"), str(tmp_path / "two"))
    for name in (page.TABLE, page.PAGE):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--gain", 1.2), "--gain 1.2: must be between 0 and 1"),
        (("--confidence", 0), "--confidence 0: must be between 0 and 1"),
        (("--studies", 1), "--studies 1: at least 2"),
        (("--trials", 3), "--trials 3: is too few"),
        (("--cluster", "mars"), "--cluster mars: is neither"),
    ],
)
def test_the_command_refuses_what_makes_no_plan(quick, tmp_path, arguments, message):
    assert message in refusal(plan.main, *arguments, "--out", tmp_path / "plan")
    assert not (tmp_path / "plan").exists()


def test_too_few_images_for_a_plan_are_refused(quick, tmp_path):
    small_study(tmp_path)
    said = refusal(plan.main, "--stimuli", tmp_path / "cats", "--out", Path(tmp_path / "plan"))
    assert "holds 12 images, and a plan takes at least 60" in said
