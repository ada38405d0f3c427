"""Peers of `benchmarks.adaptive`, as BoTorch has them: EUBO and BALD, with a Gaussian process on a few components."""

from collections.abc import Callable

import numpy as np
import torch
from botorch.acquisition.preference import (  # pyright: ignore[reportMissingImports]
    AnalyticExpectedUtilityOfBestOption,
    PairwiseBayesianActiveLearningByDisagreement,
)
from botorch.fit import fit_gpytorch_mll  # pyright: ignore[reportMissingImports]
from botorch.models.pairwise_gp import (  # pyright: ignore[reportMissingImports]
    PairwiseGP,
    PairwiseLaplaceMarginalLogLikelihood,
)

from benchmarks.adaptive_sessions import Chooser

_PAIRS = 200  # among which the next one is sought
_REFIT = 25  # trials, after which the kernel's parameters are fitted again


def by_eubo(components: np.ndarray) -> Chooser:
    """Return the choice by the expected utility of the best option (Lin et al. 2022)."""
    return _by(components, AnalyticExpectedUtilityOfBestOption)


def by_bald(components: np.ndarray) -> Chooser:
    """Return the choice by disagreement of the posterior's samples about the answer (Houlsby et al. 2011)."""
    return _by(components, PairwiseBayesianActiveLearningByDisagreement)


def _by(components: np.ndarray, acquisition: Callable[[PairwiseGP], torch.nn.Module]) -> Chooser:
    lowest, highest = components.min(0), components.max(0)
    points = torch.from_numpy((components - lowest) / (highest - lowest)).double()
    fitted: dict[str, torch.Tensor] = {}

    def choose(
        pairs: np.ndarray, choices: np.ndarray, candidates: np.ndarray, seed: int, trial: int
    ) -> tuple[int, int]:
        random = np.random.default_rng([seed, trial])
        some = np.array([random.choice(candidates, 2, replace=False) for _ in range(_PAIRS)])
        if not len(pairs):
            return int(some[0, 0]), int(some[0, 1])
        shown, places = np.unique(pairs, return_inverse=True)
        rows = np.arange(len(pairs))
        right = (choices > 0.5).astype(int)
        sides = places.reshape(-1, 2)
        won = torch.from_numpy(np.column_stack([sides[rows, right], sides[rows, 1 - right]]))
        model = PairwiseGP(points[shown], won)
        if len(pairs) % _REFIT == 1 or not fitted:
            fit_gpytorch_mll(PairwiseLaplaceMarginalLogLikelihood(model.likelihood, model))
            fitted.clear()
            fitted.update({name: value.detach() for name, value in model.named_parameters()})
        else:
            model.load_state_dict({**model.state_dict(), **fitted})
        with torch.no_grad():
            gains = acquisition(model)(points[torch.from_numpy(some)])
        left, other = some[int(gains.argmax())]
        return int(left), int(other)

    return choose
