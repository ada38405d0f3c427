"""The study network's training at 512 × 512 against a plain float32 loop and the machine's floor.

``python -m benchmarks.study_cnn --json``. Both are timed on some steps of 32 maps and scaled up to an epoch of 980.
The floor is the arithmetic of the convolutions, forwards and twice backwards, at the rate of a large matrix product
of the same type in the same run. The accuracies of both are compared on the same test maps, after whole trainings on
smaller maps whose signal a network finds but that is often faint: rounding would cost accuracy there.
"""

import json
import time
from collections.abc import Callable, Sequence
from unittest.mock import patch

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from catpref.command_line import Parser, run
from catpref.models import study_cnn, study_training

SIZE = 512
MAPS = 980  # 80% of a fully-sampled session
BATCH = 32
PLAIN_STEPS, STEPS = 3, 12
ACCURACY_SIZE, TRAINING, TEST, SEEDS = 128, 300, 1000, 3


def main(arguments: Sequence[str]) -> None:
    """Run the benchmark."""
    parser = Parser(
        "python -m benchmarks.study_cnn",
        "Time an epoch of the study's network at 512 × 512 against a plain loop and the machine's floor.",
        "python -m benchmarks.study_cnn --json",
    )
    parser.add_argument("--json")
    options = parser.parse_args(arguments)
    maps, choices = torch.rand(BATCH, 1, SIZE, SIZE), torch.randint(0, 2, (BATCH,))
    half = study_training.pays("cpu", SIZE)

    def plain() -> Callable[[], object]:
        network = study_cnn.build(SIZE)
        optimiser = torch.optim.Adam(network.parameters())

        def step() -> None:
            loss = cross_entropy(network(maps), choices)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

        return step

    plain_s = _epoch(plain(), PLAIN_STEPS)
    dtype = torch.bfloat16 if half else torch.float32
    rates = [_product_rate(dtype)]
    network = study_cnn.build(SIZE).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters(), fused=True)
    if half:
        with study_training.stepping(network, optimiser, BATCH) as step:
            ours_s = _epoch(lambda: step(maps, choices), STEPS)
    else:
        ours_s = _epoch(lambda: study_cnn.step(network, optimiser, maps, choices), STEPS)
    rates.append(_product_rate(dtype))  # before and after, since other work on the machine comes and goes
    floor_s = 3 * study_cnn.operations(SIZE) * MAPS / max(rates)

    entry = {
        "what": f"an epoch of {MAPS} maps, {SIZE} x {SIZE}",
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "product_gflops": round(max(rates) / 1e9),
        "plain_s": round(plain_s, 1),
        "plain_sample": f"{PLAIN_STEPS} steps of {BATCH}",
        "catpref_s": round(ours_s, 1),
        "catpref_sample": f"{STEPS} steps of {BATCH}",
        "speedup": round(plain_s / ours_s, 2),
        "floor_s": round(floor_s, 1),
        "over_floor": round(ours_s / floor_s, 2),
    } | _compared()
    if options.json:
        print(json.dumps(entry))
    else:
        print("\n".join(f"{key:20} {value}" for key, value in entry.items()))


def _epoch(step: Callable[[], object], steps: int) -> float:
    """Seconds for as many maps as an epoch has, after two steps that pay for what every run needs once."""
    for _ in range(2):
        step()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - started) / steps / BATCH * MAPS


def _product_rate(dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product."""
    side = 2048
    left, right = (torch.rand(side, side).to(dtype) for _ in range(2))
    times = []
    for _ in range(12):
        started = time.perf_counter()
        torch.mm(left, right)
        times.append(time.perf_counter() - started)
    return 2 * side**3 / min(times)


def _compared() -> dict[str, object]:
    """Train both ways from the same weights on the same maps, and compare them trial by trial."""
    ours, plain = (np.empty((SEEDS, TEST)) for _ in range(2))
    for seed in range(SEEDS):
        ours[seed] = _hits(seed)
        with patch.object(study_training, "pays", lambda *_: False):
            plain[seed] = _hits(seed)
    difference = (ours - plain).ravel()
    margin = 1.96 * difference.std() / np.sqrt(len(difference))
    interval = [round(float(difference.mean() + end), 4) for end in (-margin, margin)]
    return {
        "accuracy": round(float(ours.mean()), 3),
        "plain_accuracy": round(float(plain.mean()), 3),
        "accuracy_sample": f"{SEEDS} trainings, {TEST} test maps each, {ACCURACY_SIZE} x {ACCURACY_SIZE}",
        "accuracy_difference": round(float(difference.mean()), 4),
        "accuracy_difference_ci95": interval,
        "same_within_interval": interval[0] <= 0 <= interval[1],
    }


def _hits(seed: int) -> np.ndarray:
    maps, choices = _faint(TRAINING, 2 * seed)
    new, wanted = _faint(TEST, 2 * seed + 1)
    return (study_cnn.fit(maps, choices, seed=seed).p_right(new) > 0.5) == wanted


def _faint(trials: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Make maps that are brighter on the side of the choice, by much or by little."""
    random = np.random.default_rng(seed)
    contrast = random.normal(0, 0.05, trials).astype(np.float32)
    maps = random.random((trials, ACCURACY_SIZE, ACCURACY_SIZE), dtype=np.float32) * 0.3
    half = ACCURACY_SIZE // 2
    maps[:, :, half:] += contrast[:, None, None]
    return maps, (contrast > 0).astype(int)


if __name__ == "__main__":
    run(main)
