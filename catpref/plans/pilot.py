"""People as a pilot found them: how noisy, how often they lapse, and how much of their tastes they share."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from catpref._io.devices import choose_device
from catpref.evaluation.several import has_several
from catpref.models import psychometric, shared_taste
from catpref.models.davidson import where_preferred
from catpref.models.interface import Data, Images
from catpref.models.learned import learn
from catpref.perception.backbones import load_backbone
from catpref.perception.embeddings import DEFAULT
from catpref.plans.observers import Habits, usual_habits
from catpref.sessions.pictures import pictures_of
from catpref.sessions.session import Session, check_both_sides_chosen
from catpref.stimuli.images import image_path

_MOST_PEOPLE = 20  # whose lapses are looked at


def habits_like(session: Session, device: str = "auto", cache: Path | None = None) -> Habits:
    """Return people like those of a session, from the estimates of a fit.

    Of several people everything is known but their lapses, which are estimated from each one's choices. One person
    does not tell what is shared, nor how side biases vary: these are as usual.

    Raises
    ------
    BadInput
        If only one side was ever chosen, or an image cannot be read.
    """
    session = pictures_of(session, cache).merged
    check_both_sides_chosen(session)
    paths = [image_path(session.stimuli, image) for image in session.images]
    images = Images(paths, load_backbone(device=choose_device(device)), DEFAULT, None, None, cache)
    several = has_several(session)
    who = np.unique(session.trials["participant"].to_numpy(str), return_inverse=True)[1] if several else None
    data = Data(images, session.pairs, session.trials["choice"].to_numpy(), who=who)
    return _of_one(data) if who is None else _of_several(data, who)


def _of_several(data: Data, who: np.ndarray) -> Habits:
    everything = np.arange(len(who))
    learned = shared_taste.learn(data.kernels, who, data.choices, everything, how_sure=False)
    each = [everything[who == one] for one in range(min(int(who.max()) + 1, _MOST_PEOPLE))]
    lapses = [found.lapse for trials in each if (found := _answers(data, trials)) is not None]
    return Habits(learned.variances, float(np.mean(lapses)))


def _of_one(data: Data) -> Habits:
    everything = np.arange(len(data.pairs))
    answers = _answers(data, everything)
    assert answers is not None  # both sides were chosen
    usual = usual_habits(data.images.blocks)
    learned = learn(data.kernels, data.choices, everything)
    variance = answers.spread**2 / 2  # of an image's utility, of which a trial has two
    carried = float(learned.variances.sum())
    taste = variance * carried / (carried + learned.effect_variance)
    given = usual.variances
    share = given.shared / (given.shared + given.personal)
    share_of_effects = given.shared_effect / (given.shared_effect + given.personal_effect)
    return Habits(
        replace(
            given,
            shared=share * taste,
            personal=(1 - share) * taste,
            shared_effect=share_of_effects * (variance - taste),
            personal_effect=(1 - share_of_effects) * (variance - taste),
            late=float(learned.variances[data.images.blocks.of_late].sum()) / carried,
        ),
        answers.lapse,
    )


def _answers(data: Data, trials: np.ndarray) -> psychometric.PsychometricFit | None:
    """Return how someone answers; None where one side was never chosen."""
    preferred, choices = where_preferred(trials, data.choices)
    if len(np.unique(choices)) < 2:
        return None
    return psychometric.fit(data.pairs[preferred], choices)
