import numpy as np
import pytest
from support import all_pairs

from catpref.evaluation.resampling import resampled


def test_images_are_resampled_with_their_trials() -> None:
    pairs = all_pairs(6)
    for weights in resampled(pairs, 20):
        gone = [image for image in range(6) if not weights[(pairs == image).any(1)].any()]
        assert all(not weights[(pairs == image).any(1)].any() for image in gone)
        assert weights.any()
    assert np.mean([weights.mean() for weights in resampled(all_pairs(30), 400)]) == pytest.approx(1, abs=0.1)
