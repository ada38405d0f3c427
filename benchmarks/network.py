"""Whether a network learns more of many people's tastes than the linear shared-and-personal model does.

Both read the same coordinates: leading principal components of the late stages of the images. The linear model is the
posterior mode of a shared taste and each person's departure from it, with the fixed variances of sketch C in
`benchmarks.observers`. The network begins there. Beside the linear path it has a trunk, one hidden layer
that all people share, with a linear head that they share and one for each person, all penalised; it trains for as
many steps as help to predict choices between training images that were left out. Swapping the sides turns P(right)
into 1 − P(right), the side bias set aside. Both are scored on choices between new images, after 1000 to 16,000
trials, of real people and of simulated ones on the same pairs: with a shared taste that is linear in the
coordinates, and with one that is an inverted U, which no linear model can learn.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.linalg import eigh
from scipy.special import expit, log_expit
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, gelu

from benchmarks.observers import SKETCH, crossed, late_alone, load
from catpref.command_line import Parser, run
from catpref.design.splits import split
from catpref.models import relevance
from catpref.models.calibration import fit_gain
from catpref.models.kernels import Kernels, right_minus_left

_COORDINATES = 256
_HIDDEN = 64  # units
_TRUNK = (0.3, 0.1)  # prior variances of what the trunk adds to the shared utilities, and to a person's own
_SPREAD = 1.5  # of the hidden units' inputs: how far from a line they begin
_LINEAR_STEPS, _STEPS, _EVERY = 60, 60, 2
_INNER_FOLDS = 3  # of which one is left out, to tell when to stop
_TRIALS = (1000, 2000, 4000, 8000, 16000)
_LEADING = 20  # coordinates that simulated tastes are made of
_SD = 1.2  # of simulated utilities, in logits
_OWN = 0.5  # of simulated people's departures, beside the shared taste


@dataclass(frozen=True)
class _Trials:
    """Choices of people: who chose, the images, and the side, of each trial."""

    who: np.ndarray
    pairs: np.ndarray
    choices: np.ndarray

    def __getitem__(self, some: np.ndarray) -> "_Trials":
        return _Trials(self.who[some], self.pairs[some], self.choices[some])


def main(arguments: Sequence[str]) -> None:
    """Run the benchmark."""
    parser = Parser(
        "python -m benchmarks.network",
        "Compare a network with the linear shared-and-personal model on choices between new images.",
        "python -m benchmarks.network observers --json",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="holds sessions/ and new_images/")
    parser.add_argument("--people", type=int, metavar="N", help="the first N alone (default: all)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--json")
    options = parser.parse_args(arguments)
    study = load(options.folder, options.people)
    who = study.data.who
    assert who is not None
    with threadpool_limits(1, "blas"):
        kernels = late_alone(study)
        real = _Trials(who, kernels.pairs, study.data.choices)
        coordinates = _coordinates(kernels)
        for name, trials in _populations(real, coordinates).items():
            for count in _TRIALS:
                row = {"people": name, "trials": min(count, len(study.train))}
                row |= _compare(trials, study.train, study.test, coordinates, count, options.seeds)
                print(json.dumps(row) if options.json else row, flush=True)
                if count >= len(study.train):
                    break


def _coordinates(kernels: Kernels) -> np.ndarray:
    """Return the images' leading principal components as the linear model sees them, shape (images, coordinates)."""
    typical = relevance.typical_variances(kernels.blocks)
    gram = kernels.gram(typical / typical.sum())
    values, vectors = eigh(gram, subset_by_index=(max(0, len(gram) - _COORDINATES), len(gram) - 1))
    return vectors * np.sqrt(np.maximum(values, 0))


def _populations(real: _Trials, coordinates: np.ndarray) -> dict[str, _Trials]:
    """Return the real people's choices, and what simulated people choose of the same pairs."""
    random = np.random.default_rng(0)
    people = int(real.who.max()) + 1
    leading = coordinates[:, -_LEADING:] / coordinates[:, -_LEADING:].std(0)
    along = leading @ random.normal(size=(leading.shape[1], people + 1)) / np.sqrt(leading.shape[1])
    shared, own = along[:, 0], _OWN * along[:, 1:].T
    found = {"real": real}
    for name, common in (("linear", shared), ("inverted U", -np.square(shared) / np.sqrt(2))):
        utilities = _SD * (common + own)
        p_right = expit(_differences(utilities, real))
        found[name] = _Trials(real.who, real.pairs, (random.random(len(p_right)) < p_right).astype(float))
    return found


def _compare(
    trials: _Trials, train: np.ndarray, test: np.ndarray, coordinates: np.ndarray, count: int, seeds: int
) -> dict[str, Any]:
    """Return both models' log loss and accuracy on new images, and by how much the network's differ."""
    started = time.process_time()
    held_out = trials[test]
    losses, hits = np.zeros((2, 2, len(test)))
    steps = []
    for seed in range(seeds):
        some = np.sort(np.random.default_rng(seed).permutation(train)[:count])
        *logits, stopped = _logits(trials[some], held_out, coordinates, seed)
        steps.append(stopped)
        for model, each in enumerate(logits):
            right = held_out.choices == 1
            losses[model] -= log_expit(np.where(right, each, -each)) / seeds
            hits[model] += ((each > 0) == right) / seeds
    row: dict[str, Any] = {"seeds": seeds, "steps": steps}
    for name, values in (("log_loss", losses), ("accuracy", hits)):
        low, high = _interval(values[1] - values[0], held_out)
        row |= {f"{name}_linear": round(float(values[0].mean()), 4)}
        row |= {f"{name}_network": round(float(values[1].mean()), 4)}
        row |= {f"{name}_difference": round(float((values[1] - values[0]).mean()), 4)}
        row |= {f"{name}_difference_ci95": [round(low, 4), round(high, 4)]}
    return row | {"cpu_seconds": round(time.process_time() - started, 1)}


def _logits(
    trials: _Trials, held_out: _Trials, coordinates: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the linear model's and the network's logits of held-out trials, and how many steps it trained.

    The number of steps, and each model's gain, are those that best predict choices between left-out training images.
    """
    people = int(max(trials.who.max(), held_out.who.max())) + 1

    def tastes(
        learned: _Trials, tested: _Trials, most: int | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        path = islice(_train(coordinates, people, learned, seed), most)
        return [(_differences(utilities, tested), biases[tested.who]) for utilities, biases in path]

    inner, left_out = split(trials.pairs, "images", _INNER_FOLDS, seed)[0]
    found = [
        fit_gain(lambda gain, of=of, bias=bias: gain * of + bias, trials.choices[left_out])
        for of, bias in tastes(trials[inner], trials[left_out])
    ]
    best = int(np.argmin([loss for _, loss in found]))
    learned = tastes(trials, held_out, best + 1)
    (linear, bias), (network, network_bias) = learned[0], learned[best]
    return found[0][0] * linear + bias, found[best][0] * network + network_bias, best * _EVERY


def _train(
    coordinates: np.ndarray, people: int, trials: _Trials, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Find the linear model, then go on from there with the network, for some steps at a time.

    Every parameter is in units of its prior's standard deviation, hidden weights of their change.

    Yields
    ------
    utilities, side_biases
        Of each person, shapes (people, images) and (people,): first the linear model's.
    """
    random = torch.Generator().manual_seed(seed)
    seen = torch.from_numpy(coordinates).float()
    size = seen.shape[1]
    who, (left, right) = torch.from_numpy(trials.who), torch.from_numpy(trials.pairs.T)
    chosen = torch.from_numpy(trials.choices).float()
    scales = np.sqrt([SKETCH.shared, SKETCH.personal, SKETCH.side_bias, *_TRUNK]).tolist()
    shapes = ((size,), (people, size), (people,), (_HIDDEN,), (people, _HIDDEN), (size, _HIDDEN))
    parameters = [torch.zeros(shape, requires_grad=True) for shape in shapes]
    begin = _SPREAD * torch.randn(size, _HIDDEN, generator=random)
    offsets = torch.randn(_HIDDEN, generator=random)
    spread = gelu(seen @ begin + offsets)
    middle, scale = spread.mean(0), spread.std(0) * _HIDDEN**0.5

    def utilities() -> Tensor:
        shared, own, _, head, heads, change = parameters
        weights = scales[0] * shared + scales[1] * own
        hidden = (gelu(seen @ (begin + change) + offsets) - middle) / scale
        return weights @ seen.T + (scales[3] * head + scales[4] * heads) @ hidden.T

    def loss() -> Tensor:
        optimiser.zero_grad()
        of = utilities()
        logits = of[who, right] - of[who, left] + scales[2] * parameters[2][who]
        value = binary_cross_entropy_with_logits(logits, chosen, reduction="sum")
        value = value + sum(each.square().sum() for each in parameters) / 2
        value.backward()
        return value

    def learned() -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            return utilities().double().numpy(), scales[2] * parameters[2].double().numpy()

    optimiser = torch.optim.LBFGS(parameters[:3], max_iter=_LINEAR_STEPS, line_search_fn="strong_wolfe")
    optimiser.step(loss)
    yield learned()
    optimiser = torch.optim.LBFGS(parameters, max_iter=_EVERY, line_search_fn="strong_wolfe")
    for _ in range(_STEPS // _EVERY):
        optimiser.step(loss)
        yield learned()


def _differences(utilities: np.ndarray, trials: _Trials) -> np.ndarray:
    """Return right minus left of each trial, to the person whose trial it is."""
    return right_minus_left(utilities.T, trials.pairs)[np.arange(len(trials.who)), trials.who]


def _interval(differences: np.ndarray, trials: _Trials) -> tuple[float, float]:
    """Return the 95% interval of the mean over trials, people and images both resampled."""
    means = [float(weights @ differences / weights.sum()) for weights in crossed(trials.who, trials.pairs)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    run(main)
