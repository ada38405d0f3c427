import choix
import numpy as np
import pytest
from scipy.special import expit
from support import all_pairs

from catpref.evaluation.utilities_of_wins import design_of, fit, image_table


def test_without_a_side_bias_it_is_what_choix_finds() -> None:
    random = np.random.default_rng(0)
    pairs = all_pairs(15)
    worth = random.normal(0, 2, 15)
    choices = (random.random(len(pairs)) < expit(worth[pairs[:, 1]] - worth[pairs[:, 0]])).astype(int)
    both = np.concatenate([pairs, pairs[:, ::-1]])  # each choice on either side: no side bias
    chosen = np.concatenate([choices, 1 - choices])
    found = fit(design_of(both, 15), chosen[:, None])[:, 0]
    rows = np.arange(len(both))
    wins = np.column_stack([both[rows, chosen], both[rows, 1 - chosen]])
    np.testing.assert_allclose(found[:-1], choix.opt_pairwise(15, wins.tolist(), alpha=0.5), atol=1e-3)
    assert found[-1] == pytest.approx(0, abs=1e-6)


def test_several_sessions_are_fitted_as_one_by_one() -> None:
    random = np.random.default_rng(1)
    design = design_of(all_pairs(10), 10)
    choices = random.integers(2, size=(45, 3))
    weights = random.integers(2, size=(45, 3)).astype(float)
    together = fit(design, choices, weights)
    for one in range(3):
        alone = fit(design, choices[:, [one]], weights[:, [one]])
        np.testing.assert_allclose(together[:, [one]], alone, atol=1e-6)


def test_standard_errors_cover_the_utilities() -> None:
    pairs, covered = all_pairs(30), []
    for seed in range(20):
        random = np.random.default_rng(seed)
        worth = random.normal(size=30)
        choices = (random.random(len(pairs)) < expit(worth[pairs[:, 1]] - worth[pairs[:, 0]] + 0.5)).astype(
            int
        )
        table = image_table(pairs, choices, 30)
        error = table["bradley_terry"] - (worth - worth.mean())
        covered += list(np.abs(error / table["bradley_terry_se"]) < 1.96)
    assert 0.92 < np.mean(covered) < 0.98


def test_wins_and_trials_are_counts_and_an_image_never_shown_is_unknown() -> None:
    table = image_table(np.array([(0, 1), (1, 0), (1, 3)]), np.array([1, 0, 1]), 4)
    assert table["wins"].to_list() == [0, 2, 0, 1] and table["trials"].to_list() == [2, 3, 0, 1]
    assert np.isnan(table.loc[2, ["bradley_terry", "bradley_terry_se"]]).all()
    assert (
        table["bradley_terry"].mean() == pytest.approx(0) and (table["bradley_terry_se"].dropna() > 0).all()
    )
