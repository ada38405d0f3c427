import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from sessions_support import draw_pictures

from catpref.adaptive.schedule import EVERY, list_schedule, make_schedule, reserved_images
from catpref.design.designs import make_trials
from catpref.design.trial_list import (
    ADAPTIVE,
    BY_LEARNING,
    COLUMNS,
    RANDOM,
    RANKING,
    Trial,
    read_trial_list,
    write_trial_list,
)
from catpref.errors import BadInput

NAMES = [f"{number:04d}.png" for number in range(2000)]


def images(trial: Trial) -> set[str]:
    return {trial.left_image, trial.right_image}


@pytest.mark.parametrize(("names", "trials"), [(NAMES, 300), (NAMES[:40], 100), (NAMES[:12], 7)])
def test_every_fifth_trial_is_a_random_pair_of_images_that_no_adaptive_trial_may_show(names, trials):
    made = make_schedule(names, trials, seed=3, repeats=trials // 20, catch=trials // 50)
    assert len(made) == trials + trials // 20 + trials // 50
    of_design = [trial for trial in made if trial.chosen_by]
    assert [trial.chosen_by == "random" for trial in of_design] == [
        number % EVERY == EVERY - 1 for number in range(trials)
    ]
    assert all(trial.is_open for trial in of_design if trial.chosen_by == "adaptive")
    randoms = [trial for trial in of_design if trial.chosen_by == "random"]
    assert len({frozenset(images(trial)) for trial in randoms}) == len(randoms)
    shown = Counter(name for trial in randoms for name in images(trial))
    assert max(shown.values()) - min(shown.values()) <= 2
    on_the_left = Counter(trial.left_image for trial in randoms)
    assert all(abs(2 * on_the_left[name] - times) <= 1 for name, times in shown.items())
    reserved = reserved_images(made)
    assert set(shown) <= reserved <= set(names)
    assert len(names) - len(reserved) >= len(names) // 2
    for trial in made:
        assert trial.chosen_by or trial.catch or trial.repeat_of is not None
        if trial.repeat_of is not None:
            first = made[trial.repeat_of]
            assert (first.left_image, first.right_image) == (trial.right_image, trial.left_image)
            assert first.chosen_by == "random"
    for one, other in pairwise(made):
        assert one.is_open or other.is_open or not images(one) & images(other)


def test_the_seed_decides_and_each_image_of_a_large_set_is_in_one_random_trial():
    assert make_schedule(NAMES, seed=1) == make_schedule(NAMES, seed=1) != make_schedule(NAMES, seed=2)
    assert len(reserved_images(make_schedule(NAMES, seed=1))) == 2 * 300 // EVERY


def test_a_ranking_leaves_every_image_to_be_chosen():
    made = make_schedule(NAMES[:50], design=RANKING, catch=3)
    assert Counter(trial.chosen_by for trial in made) == {"adaptive": 300, "": 3}
    assert reserved_images(made) == frozenset()


@pytest.mark.parametrize(
    ("names", "options", "said"),
    [
        (11, {"trials": 5, "catch": 1}, "11 images are too few for --trials 5"),
        (12, {"trials": 60}, "too few for --trials 60"),
        (40, {"trials": 4}, "--trials 4: an adaptive session has at least 5"),
        (40, {"trials": 50, "repeats": 11}, "--repeats 11: only .* of 10 trials"),
        (8, {"design": RANKING, "trials": 29}, "8 images are too few for --trials 29"),
        (
            8,
            {"design": RANKING, "trials": 9, "repeats": 1},
            "--repeats 1: only random trials are shown again",
        ),
    ],
)
def test_numbers_that_cannot_be(names, options, said):
    with pytest.raises(BadInput, match=said):
        make_schedule(NAMES[:names], **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("stimuli"))


@pytest.mark.parametrize("design", BY_LEARNING)
def test_a_list_is_read_as_it_was_written(folder, tmp_path, design):
    names, made = list_schedule(folder, design, trials=20, catch=2, repeats=2 * (design == ADAPTIVE), seed=4)
    assert len(names) == 40 and names == sorted(names)
    write_trial_list(tmp_path / "trials.csv", made)
    assert read_trial_list(tmp_path / "trials.csv", folder, BY_LEARNING) == made
    with pytest.raises(BadInput, match=f"design is '{design}'; it must be random-sampled, fully-"):
        read_trial_list(tmp_path / "trials.csv", folder)


def test_how_many_images_and_trials(folder):
    names, made = list_schedule(folder, ADAPTIVE, images=30, seed=1, trials=10)
    assert len(names) == 30 and reserved_images(made) <= set(names)
    assert len(list_schedule(folder, RANKING, images=8)[1]) == math.comb(8, 2)
    assert len(list_schedule(folder, RANKING)[1]) == 300
    with pytest.raises(BadInput, match=r"--images 50: .* holds 40"):
        list_schedule(folder, RANKING, images=50)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"left_image": "süß 00.png", "right_image": "süß 02.png"}, "has images, but chosen_by is adaptive"),
        ({"left_image": "süß 00.png"}, "has images, but chosen_by is adaptive"),
        ({"chosen_by": "random"}, "image|no name"),
        ({"chosen_by": ""}, "chosen_by is ''; of a trial it must be adaptive or random"),
        ({"chosen_by": "me"}, "chosen_by is 'me'"),
        ({"catch": "left"}, "of a catch trial or repeat it must be empty"),
    ],
)
def test_only_adaptive_trials_have_no_images(folder, tmp_path, change, said):
    _, made = list_schedule(folder, ADAPTIVE, trials=5)
    made[2] = replace(made[2], **change)
    write_trial_list(tmp_path / "trials.csv", made)
    with pytest.raises(BadInput, match=f"line 4: .*({said})"):
        read_trial_list(tmp_path / "trials.csv", folder, BY_LEARNING)


def test_lists_of_other_designs_have_no_such_column(folder, tmp_path):
    made = make_trials(RANDOM, ["süß 00.png", "süß 02.png", "süß 04.png", "süß 06.png"])
    write_trial_list(tmp_path / "trials.csv", made)
    assert (tmp_path / "trials.csv").read_text().splitlines()[0] == ",".join(COLUMNS)
    text = (tmp_path / "trials.csv").read_text().splitlines()
    rows = [f"{row},{'chosen_by' if number == 0 else 'Anna'}" for number, row in enumerate(text)]
    (tmp_path / "trials.csv").write_text("\n".join(rows))
    assert read_trial_list(tmp_path / "trials.csv", folder) == made  # a column of somebody's own
    (tmp_path / "trials.csv").write_text("\n".join(text).replace("süß 00.png", ""))
    with pytest.raises(BadInput, match=r"line 2|line 3"):
        read_trial_list(tmp_path / "trials.csv", folder)
