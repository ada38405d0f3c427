import csv
import itertools
import math
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support import simulations

from catpref.design.designs import (
    count_images,
    full_or_incomplete,
    insert_repeats,
    list_trials,
    make_trials,
    random_pairs,
    repeat_lag,
)
from catpref.design.splits import connected_groups
from catpref.design.trial_list import (
    COLUMNS,
    FULL,
    INCOMPLETE,
    RANDOM,
    Trial,
    read_trial_list,
    write_trial_list,
)
from catpref.errors import BadInput
from catpref.trials import main

SEEDS = st.integers(0, 2**32 - 1)


def names(count: int) -> list[str]:
    return [f"cats/{number:04d}.png" for number in range(count)]


def first_showings(trials: list[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.repeat_of is None and not trial.catch]


def check_list(trials: list[Trial], block: int) -> None:
    """What holds for every list of either design."""
    assert [trial.trial for trial in trials] == list(range(len(trials)))
    assert [trial.block for trial in trials] == [number // block for number in range(len(trials))]
    for one, other in itertools.pairwise(trials):
        assert not {one.left_image, one.right_image} & {other.left_image, other.right_image}
    repeated = [trial.repeat_of for trial in trials if trial.repeat_of is not None]
    assert len(repeated) == len(set(repeated))
    lag = repeat_lag(len(first_showings(trials)), block)
    for trial in trials:
        if trial.repeat_of is not None:
            first = trials[trial.repeat_of]
            assert first.repeat_of is None and not first.catch
            assert (trial.left_image, trial.right_image) == (first.right_image, first.left_image)
            assert trial.trial - first.trial >= lag


def check_full(trials: list[Trial], images: int) -> None:
    shown = first_showings(trials)
    pairs = {frozenset((trial.left_image, trial.right_image)) for trial in shown}
    assert len(shown) == len(pairs) == math.comb(images, 2)
    left = Counter(trial.left_image for trial in shown)
    right = Counter(trial.right_image for trial in shown)
    for image in names(images):
        assert left[image] + right[image] == images - 1
        assert abs(left[image] - right[image]) == (images - 1) % 2


@settings(max_examples=simulations(37, 150), deadline=None)
@given(images=st.integers(5, 30), seed=SEEDS)
def test_full_lists_keep_every_promise(images, seed):
    trials = make_trials(FULL, names(images), block=20, seed=seed)
    check_list(trials, 20)
    check_full(trials, images)


@settings(max_examples=simulations(30, 150), deadline=None)
@given(images=st.integers(8, 25), seed=SEEDS, share=st.floats(0, 0.4), block=st.integers(1, 60))
def test_full_lists_with_repeats(images, seed, share, block):
    repeats = int(share * math.comb(images, 2))
    trials = make_trials(FULL, names(images), repeats, block, seed)
    assert len(trials) == math.comb(images, 2) + repeats
    check_list(trials, block)
    check_full(trials, images)


@settings(max_examples=simulations(37, 150), deadline=None)
@given(images=st.integers(10, 40), seed=SEEDS, share=st.floats(0, 1))
def test_balanced_subsets_keep_every_promise(images, seed, share):
    every = math.comb(images, 2)
    count = images + int(share * (every - 1 - images))
    trials = make_trials(INCOMPLETE, names(images), block=20, seed=seed, trials=count)
    assert trials == make_trials(INCOMPLETE, names(images), block=20, seed=seed, trials=count)
    assert {trial.design for trial in trials} == {"balanced-incomplete"}
    check_list(trials, 20)
    pairs = {frozenset((trial.left_image, trial.right_image)) for trial in trials}
    assert len(trials) == len(pairs) == count
    left = Counter(trial.left_image for trial in trials)
    right = Counter(trial.right_image for trial in trials)
    shown = [left[image] + right[image] for image in names(images)]
    assert min(shown) >= 2 and max(shown) - min(shown) <= 1
    assert all(abs(left[image] - right[image]) <= 1 for image in names(images))
    number = {name: index for index, name in enumerate(names(images))}
    ends = np.array([(number[trial.left_image], number[trial.right_image]) for trial in trials])
    assert connected_groups(ends).max() == 0


def test_balanced_subsets_have_every_pair_as_often():
    """4 standard errors allow for chance."""
    runs, images, count = 400, 12, 30
    shown = Counter(
        frozenset((trial.left_image, trial.right_image))
        for seed in range(runs)
        for trial in make_trials(INCOMPLETE, names(images), seed=seed, trials=count)
    )
    share = count / math.comb(images, 2)
    assert len(shown) == math.comb(images, 2)
    for times in shown.values():
        assert abs(times / runs - share) < 4 * math.sqrt(share * (1 - share) / runs)


@settings(max_examples=simulations(30, 150), deadline=None)
@given(count=st.integers(1, 300), seed=SEEDS, share=st.floats(0, 0.4), block=st.integers(1, 150))
def test_random_lists_show_no_image_twice(count, seed, share, block):
    repeats = int(share * count)
    trials = make_trials(RANDOM, names(2 * count), repeats, block, seed)
    assert len(trials) == count + repeats
    check_list(trials, block)
    shown = [image for trial in first_showings(trials) for image in (trial.left_image, trial.right_image)]
    assert sorted(shown) == names(2 * count)


@settings(max_examples=simulations(30, 150), deadline=None)
@given(design=st.sampled_from([RANDOM, FULL]), images=st.integers(3, 20), seed=SEEDS, share=st.floats(0, 1))
def test_catch_trials_are_spread_and_take_turns_with_the_sides(design, images, seed, share):
    images *= 2
    pairs = images // 2 if design == RANDOM else math.comb(images, 2)
    repeats, catch = pairs // 10, int(share * pairs)
    plain = make_trials(design, names(images), repeats, 20, seed)
    trials = make_trials(design, names(images), repeats, 20, seed, catch)
    check_list(trials, 20)
    shown = [trial for trial in trials if not trial.catch]
    assert [(trial.left_image, trial.right_image) for trial in shown] == [
        (trial.left_image, trial.right_image) for trial in plain
    ]
    caught = [trial for trial in trials if trial.catch]
    assert len(caught) == catch
    assert all(trial.repeat_of is None and trial.left_image != trial.right_image for trial in caught)
    sides = Counter(trial.catch for trial in caught)
    assert set(sides) <= {"left", "right"} and abs(sides["left"] - sides["right"]) <= 1
    for number, trial in enumerate(caught):
        before = trial.trial - number  # trials of the design
        assert number * len(shown) // catch < before <= (number + 1) * len(shown) // catch
    used = Counter(image for trial in caught for image in (trial.left_image, trial.right_image))
    if images > 6:  # of six, the trials before and after leave two, and so no choice
        assert not used or max(used.values()) <= math.ceil(2 * catch / images) + 2


def test_catch_trials_need_images_and_trials():
    with pytest.raises(BadInput, match="--catch 1: catch trials need at least 6 images"):
        make_trials(FULL, names(5), catch=1)
    with pytest.raises(BadInput, match="--catch 4: there are only 3 other trials"):
        make_trials(RANDOM, names(6), catch=4)


def test_lists_from_before_there_were_catch_trials(stimuli, tmp_path):
    path = tmp_path / "trials.csv"
    path.write_text(
        "trial,block,design,left_image,right_image,repeat_of\n0,0,random-sampled,cat 0.png,cat 1.png,\n"
    )
    assert read_trial_list(path, stimuli) == [Trial(0, 0, RANDOM, "cat 0.png", "cat 1.png")]


def test_a_catch_trial_is_never_repeated(stimuli, tmp_path):
    path = tmp_path / "trials.csv"
    first = Trial(0, 0, RANDOM, "cat 0.png", "cat 1.png", catch="left")
    write_trial_list(path, [first, Trial(1, 0, RANDOM, "cat 1.png", "cat 0.png", repeat_of=0)])
    with pytest.raises(BadInput, match="line 3: repeat_of is 0"):
        read_trial_list(path, stimuli)


def test_the_seed_decides_the_list():
    assert make_trials(FULL, names(12), 5, seed=3) == make_trials(FULL, names(12), 5, seed=3)
    assert make_trials(FULL, names(12), 5, seed=3) != make_trials(FULL, names(12), 5, seed=4)


def test_full_order_and_sides_have_no_structure():
    """Every trial and side is as likely anywhere as anywhere else; 4 standard errors allow for chance."""
    runs, images = 400, 9
    lists = [make_trials(FULL, names(images), seed=seed) for seed in range(runs)]
    positions = {pair: [] for pair in itertools.combinations(names(images), 2)}
    on_left = Counter()
    for trials in lists:
        for trial in trials:
            pair = tuple(sorted((trial.left_image, trial.right_image)))
            positions[pair].append(trial.trial)
            on_left[pair] += trial.left_image == pair[0]
    middle = (len(positions) - 1) / 2
    spread = math.sqrt((len(positions) ** 2 - 1) / 12 / runs)
    for pair, found in positions.items():
        assert abs(np.mean(found) - middle) < 4 * spread
        assert abs(on_left[pair] / runs - 0.5) < 4 * 0.5 / math.sqrt(runs)


def test_repeats_are_drawn_from_all_trials_and_spread():
    trials = [make_trials(RANDOM, names(400), 20, 40, seed) for seed in range(100)]
    firsts = [trial.repeat_of for made in trials for trial in made if trial.repeat_of is not None]
    assert np.histogram(firsts, bins=6, range=(0, 200))[0].min() > 0.8 * len(firsts) / 6
    lags = [trial.trial - trial.repeat_of for made in trials for trial in made if trial.repeat_of is not None]
    assert min(lags) >= 20
    assert np.std(lags) > 30


@pytest.mark.parametrize(("design", "images", "repeats"), [(FULL, 50, 60), (RANDOM, 4000, 100)])
def test_the_study_lists_are_made_at_once(design, images, repeats):
    start = time.process_time()
    trials = make_trials(design, names(images), repeats, seed=1)
    assert time.process_time() - start < 8  # takes 0.04
    check_list(trials, 100)


def test_more_repeats_than_fit_are_refused():
    rng = np.random.default_rng(0)
    pairs = random_pairs(40, rng)
    assert sum(is_repeat for _, is_repeat in insert_repeats(pairs, 11, 10, rng)) == 11
    with pytest.raises(BadInput, match=r"--repeats 20: only 1\d of 20 trials"):
        insert_repeats(pairs, 20, 10, rng)


@pytest.mark.parametrize("images", [1, 2, 3, 4])
def test_too_few_images_for_all_pairs(images):
    with pytest.raises(BadInput, match="too few"):
        make_trials(FULL, names(images))


def test_numbers_of_images_and_trials():
    assert count_images(RANDOM, None, None) == 2000
    assert count_images(RANDOM, None, 2000) == 4000
    assert count_images(RANDOM, 30, 15) == 30
    assert count_images(FULL, None, None) == 50
    assert count_images(FULL, None, 1225) == 50
    assert count_images(FULL, 20, 190) == 20
    for design, images, trials, complaint in [
        (RANDOM, 31, None, "even number"),
        (RANDOM, 30, 16, "30 images make 15 trials"),
        (FULL, 20, 200, "20 images make 190 trials"),
        (FULL, None, 1224, "49 images make 1176 trials"),
        (FULL, None, 1, "too few"),
        (FULL, 4, None, "too few"),
    ]:
        with pytest.raises(BadInput, match=complaint):
            count_images(design, images, trials)


def test_which_numbers_are_a_balanced_subset():
    assert (
        full_or_incomplete(None, None) == full_or_incomplete(None, 190) == full_or_incomplete(20, 190) == FULL
    )
    assert full_or_incomplete(None, 200) == full_or_incomplete(20, 189) == INCOMPLETE
    assert count_images(INCOMPLETE, None, 200) == 50
    assert count_images(INCOMPLETE, 20, 20) == count_images(INCOMPLETE, 20, 189) == 20
    for images, trials, complaint in [
        (20, 200, "of 20 images a balanced subset of the pairs has 20 to 189"),
        (20, 19, "of 20 images a balanced subset of the pairs has 20 to 189"),
        (None, 2000, "of 50 images a balanced subset of the pairs has 50 to 1224"),
        (9, 20, "needs at least 10 images; show all 36 pairs of 9 images"),
    ]:
        with pytest.raises(BadInput, match=f"--trials {trials}: .*{complaint}"):
            count_images(INCOMPLETE, images, trials)


@pytest.fixture(scope="module")
def stimuli(tmp_path_factory) -> Path:
    """Twelve different images, one of them with a difficult name."""
    folder = tmp_path_factory.mktemp("stimuli")
    rng = np.random.default_rng(0)
    (folder / "süße, Katzen").mkdir()
    for number in range(12):
        where = "süße, Katzen/" if number == 3 else ""
        patches = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(patches).resize((96, 96)).save(folder / f"{where}cat {number}.png")
    return folder


def test_the_command_writes_a_list_that_reads_back(stimuli, tmp_path):
    out = tmp_path / "new" / "trials.csv"
    main(
        [
            "full",
            "--stimuli",
            str(stimuli),
            "--images",
            "12",
            "--repeats",
            "6",
            "--catch",
            "3",
            "--block",
            "10",
            "--out",
            str(out),
        ]
    )
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 66 + 6 + 3
    assert {row["design"] for row in rows} == {"fully-sampled"}
    assert "süße, Katzen/cat 3.png" in {row["left_image"] for row in rows}
    trials = read_trial_list(out, stimuli)
    assert trials == list_trials(stimuli, FULL, images=12, repeats=6, block=10, catch=3)
    check_list(trials, 10)


def test_the_command_writes_a_balanced_subset(stimuli, tmp_path):
    out = tmp_path / "trials.csv"
    main(["full", "--stimuli", str(stimuli), "--images", "12", "--trials", "20", "--out", str(out)])
    assert read_trial_list(out, stimuli) == list_trials(stimuli, INCOMPLETE, images=12, trials=20)


def test_images_are_drawn_with_the_seed(stimuli):
    drawn = {
        frozenset(
            image
            for trial in list_trials(stimuli, FULL, images=6, seed=seed)
            for image in (trial.left_image,)
        )
        for seed in range(5)
    }
    assert len(drawn) > 1


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "catpref.trials", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_bad_input_gives_one_line_and_no_file(stimuli, tmp_path):
    copies = tmp_path / "copies"
    shutil.copytree(stimuli, copies)
    shutil.copy(stimuli / "cat 0.png", copies / "again.png")
    out = tmp_path / "trials.csv"
    for folder, arguments, complaint in [
        (stimuli, [], "holds 12 of the 2000 images"),
        (stimuli, ["--trials", "7"], "ask for --trials 6"),
        (stimuli, ["--trials", "6", "--repeats", "7"], "--repeats 7: only"),
        (stimuli, ["--trials", "0"], "not a whole number"),
        (copies, ["--trials", "3"], "again.png and cat 0.png are near-duplicates"),
        (tmp_path / "nowhere", [], "nowhere"),
    ]:
        answer = run_command("random", "--stimuli", str(folder), "--out", str(out), *arguments)
        assert answer.returncode == 2, answer
        assert answer.stderr.count("\n") == 1
        assert complaint in answer.stderr
        assert answer.stdout == ""
    assert list(tmp_path.iterdir()) == [copies]


GOOD = {
    "trial": "1",
    "block": "0",
    "design": RANDOM,
    "left_image": "cat 2.png",
    "right_image": "cat 4.png",
    "repeat_of": "",
    "catch": "",
}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"trial": "2"}, "line 3: trial is 2, but must be 1"),
        ({"trial": "x"}, "trial is 'x', not a whole number"),
        ({"block": "2"}, "block is 2"),
        ({"block": "-1"}, "block is '-1'"),
        ({"design": "half"}, "design is 'half'"),
        ({"design": FULL}, "a list has one design"),
        ({"left_image": "cat 4.png"}, "both sides"),
        ({"left_image": "./cat 4.png"}, "both sides"),
        ({"left_image": "cat 99.png"}, "cat 99.png"),
        ({"left_image": "../cat 2.png"}, "outside"),
        ({"left_image": ""}, "empty"),
        ({"repeat_of": "0"}, "repeat_of is 0"),
        ({"repeat_of": "1"}, "repeat_of is 1"),
        ({"catch": "both"}, "catch is 'both'"),
        (
            {"left_image": "cat 0.png", "right_image": "cat 1.png", "repeat_of": "0", "catch": "left"},
            "has both",
        ),
    ],
)
def test_reading_names_the_line_that_is_wrong(stimuli, tmp_path, change, complaint):
    path = tmp_path / "trials.csv"
    first = Trial(0, 0, RANDOM, "cat 0.png", "cat 1.png")
    write_trial_list(path, [first])
    good = path.read_text() + ",".join(GOOD.values()) + "\n"
    path.write_text(good)
    assert read_trial_list(path, stimuli) == [first, Trial(1, 0, RANDOM, "cat 2.png", "cat 4.png")]

    path.write_text(good.replace(",".join(GOOD.values()), ",".join((GOOD | change).values())))
    with pytest.raises(BadInput, match="line 3") as problem:
        read_trial_list(path, stimuli)
    assert complaint in str(problem.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "has no column trial"),
        (b"trial,block,design,left_image,right_image\n", "has no column repeat_of"),
        (",".join(COLUMNS).encode(), "holds no trials"),
        ((",".join(COLUMNS) + "\n0,0\n").encode(), "line 2: has too few columns"),
        (",".join(COLUMNS).encode() + b"\n\xff\xfe", "UTF-8"),
        (",".join(COLUMNS).encode() + b'\n"0', "not a CSV"),
    ],
)
def test_reading_files_that_are_no_lists(stimuli, tmp_path, content, complaint):
    path = tmp_path / "trials.csv"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=complaint):
        read_trial_list(path, stimuli)
    with pytest.raises(BadInput, match="cannot be read"):
        read_trial_list(tmp_path / "missing.csv", stimuli)


def test_names_that_are_not_utf8_leave_no_file(tmp_path):
    with pytest.raises(BadInput, match="UTF-8"):
        write_trial_list(tmp_path / "trials.csv", [Trial(0, 0, RANDOM, "b\udcff.png", "c.png")])
    assert not list(tmp_path.iterdir())
