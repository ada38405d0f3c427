import time
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from sessions_support import draw_pictures

from catpref.design.designs import make_trials
from catpref.design.trial_list import RANDOM, Trial
from catpref.lab.loading import load_pair, loaded_ahead
from catpref.lab.practice import count_practice, practice_pairs
from catpref.stimuli.images import find_images
from catpref.stimuli.scrambling import scramble
from catpref.stimuli.sets import MANIFEST_COLUMNS


@pytest.fixture(scope="module")
def stimuli(tmp_path_factory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("stimuli"))


def test_images_come_in_order_and_only_a_few_are_held(stimuli):
    trials = make_trials(RANDOM, find_images(stimuli), seed=3)
    loaded = []

    def load(trial: Trial) -> tuple[Image.Image, Image.Image]:
        loaded.append(trial)
        return load_pair(trial, stimuli)

    with loaded_ahead(partial(load, trial) for trial in trials) as pairs:
        deadline = time.monotonic() + 30
        while len(loaded) < 2 and time.monotonic() < deadline:  # before anyone asks for them
            time.sleep(0.01)
        time.sleep(0.1)  # in which a third could come
        assert loaded == trials[:2]
        for number, (trial, pair) in enumerate(zip(trials, pairs, strict=True)):
            left, right = pair.result()
            assert left.tobytes() == Image.open(stimuli / trial.left_image).tobytes()
            assert right.tobytes() == Image.open(stimuli / trial.right_image).tobytes()
            assert len(loaded) <= number + 3
            time.sleep(0.01)


def test_whoever_stops_early_does_not_wait_for_the_rest(stimuli):
    begun = []

    def load() -> tuple[Image.Image, Image.Image]:
        begun.append(1)
        time.sleep(0.01)
        return Image.new("RGB", (1, 1)), Image.new("RGB", (1, 1))

    with loaded_ahead([load] * 100) as pairs:
        next(pairs).result()
    assert len(begun) <= 3


def test_of_a_catch_trial_one_side_is_scrambled(stimuli):
    names = find_images(stimuli)[:2]
    plain = [Image.open(stimuli / name).convert("RGB") for name in names]
    for catch in ("", "left", "right"):
        shown = load_pair(Trial(0, 0, RANDOM, *names, catch=catch), stimuli)
        for image, whole, side in zip(shown, plain, ("left", "right"), strict=True):
            expected = scramble(whole) if catch == side else whole
            assert image.tobytes() == expected.tobytes()


COLUMNS, OTHERS = ",".join(MANIFEST_COLUMNS[:-1]), "," * (len(MANIFEST_COLUMNS) - 2)


@pytest.mark.parametrize(
    ("manifest", "asked", "pairs"),
    [
        (f"{COLUMNS},shows\na.png{OTHERS},cat face\n", None, 4),
        (f"{COLUMNS}\na.png{OTHERS}\n", None, 4),  # of catpref 0.2
        (f"{COLUMNS},shows\na.png{OTHERS},cat face\nb.png{OTHERS},\n", None, 0),
        ("file,artist\na.png,Klee\n", None, 0),
        (None, None, 0),
        (None, 2, 2),
    ],
)
def test_there_is_practice_on_cats_where_the_set_shows_cats(tmp_path, capsys, manifest, asked, pairs):
    if manifest is not None:
        (tmp_path / "manifest.csv").write_text(manifest)
    assert count_practice(asked, tmp_path, "Which house?") == pairs
    said = capsys.readouterr().err
    assert ("no practice" in said and "'Which house?' (--texts" in said) == (pairs == 0)


def test_practice_shows_different_cats_each_time_the_same():
    first, again = list(practice_pairs(2)), list(practice_pairs(2))
    faces = [image.tobytes() for pair in first for image in pair]
    assert len(set(faces)) == 4
    assert faces == [image.tobytes() for pair in again for image in pair]
    assert {image.size for pair in first for image in pair} == {(512, 512)}
