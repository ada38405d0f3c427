import numpy as np
import pytest

from catpref.models.adaptive_prior import prior_of_anybody
from catpref.models.relevance import learned_prior
from catpref.perception.embeddings import Blocks


def test_where_images_are_put_in_order_each_has_an_effect_of_its_own() -> None:
    embeddings = np.random.default_rng(0).standard_normal((12, 30)).astype(np.float32)
    parts = Blocks(np.zeros(30, int), np.ones((1, 1)), ("layer",))
    names = [f"{number}.png" for number in range(12)]
    without, with_own = (
        prior_of_anybody(names, embeddings, parts, order).features for order in (False, True)
    )
    centring = np.eye(12) - 1 / 12
    more = with_own @ with_own.T - without @ without.T
    assert more == pytest.approx(np.exp(learned_prior()["image effect"][0]) * centring, abs=0.02)
