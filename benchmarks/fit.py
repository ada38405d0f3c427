"""How long ``python -m catpref.fit`` takes and how much memory (``python -m benchmarks.fit``).

Every figure is that of a whole command in a process of its own, from its start to its end, on faces drawn here and
choices of a simulated observer. With a cold cache the images go through the network; with a warm one they did so
before. The growth is the power of the number of trials that fits the seconds best, less those of an empty start.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from catpref.command_line import Parser, run
from catpref.design.trial_list import RANDOM, Trial, write_trial_list
from catpref.stimuli.images import find_images
from catpref.stimuli.sets import render

IMAGES = 5000
GROWTH = (250, 1000, 4000, 20_000)  # trials between all the images


def main(arguments: Sequence[str]) -> None:
    """Run the benchmark."""
    parser = Parser(
        "python -m benchmarks.fit",
        "Time whole fits, with a cold and a warm cache, and their growth with the number of trials.",
        "python -m benchmarks.fit --json",
    )
    parser.add_argument("--json")
    options = parser.parse_args(arguments)

    def report(entry: dict[str, Any]) -> None:
        print(json.dumps(entry) if options.json else entry, flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        render(folder / "drawn", IMAGES, seed=1)
        for what, design, option, number in (
            ("fully-sampled, 1225 trials of 50 images", "full", "--images", 50),
            ("random-sampled, 1000 trials of 2000 images", "random", "--trials", 1000),
        ):
            _python(
                folder, "catpref.trials", design, option, number, "--stimuli", "drawn", "--out", "trials.csv"
            )
            session = _answer(folder, design)
            for model, cache in (
                ("utility", "cold"),
                ("utility", "warm"),
                ("default", "cold"),
                ("default", "warm"),
            ):
                place = f"{model}_{design}"  # each model's cache is cold the first time
                chosen = [] if model == "default" else ["--model", model]
                report({"what": what, "model": model, "cache": cache} | _fit(folder, session, place, *chosen))
        seconds = []
        for trials in (GROWTH[-1], *GROWTH):  # the first one warms the cache
            session = _answer(folder, _random_pairs(folder, trials))
            entry = _fit(folder, session, "growth", "--model", "utility")
            seconds.append(entry["seconds"])
            report({"what": f"{trials} trials of {IMAGES} images", "model": "utility"} | entry)
        start = _python(folder, "catpref.fit", "--help")["seconds"]
        power = np.polyfit(np.log(GROWTH), np.log(np.array(seconds[1:]) - start), 1)[0]
        report({"what": "growth", "trials": GROWTH, "power": round(float(power), 2)})


def _random_pairs(folder: Path, trials: int) -> str:
    """Write a trial list in which every pair is drawn anew, and give its name."""
    names = find_images(folder / "drawn")
    random = np.random.default_rng(trials)
    left = random.integers(0, len(names), trials)
    right = (left + random.integers(1, len(names), trials)) % len(names)
    drawn = [Trial(number, 0, RANDOM, names[left[number]], names[right[number]]) for number in range(trials)]
    write_trial_list(folder / "trials.csv", drawn)
    return f"{trials}"


def _answer(folder: Path, name: str) -> str:
    session = f"{name}/session.csv"
    _python(folder, "catpref.simulate", "trials.csv", "--stimuli", "drawn", "--out", session)
    return session


def _fit(folder: Path, session: str, cache: str, *options: str) -> dict[str, float]:
    return _python(folder, "catpref.fit", session, "--stimuli", "drawn", "--cache-dir", cache, *options)


def _python(folder: Path, module: str, *arguments: object) -> dict[str, float]:
    """Run a module's command; give its seconds and its peak memory."""
    started = time.perf_counter()
    command = [sys.executable, "-m", module, *map(str, arguments)]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{module} ended with exit code {os.waitstatus_to_exitcode(status)}")
    seconds = time.perf_counter() - started
    return {"seconds": round(seconds, 1), "peak_rss_gib": round(usage.ru_maxrss / 2**20, 2)}


if __name__ == "__main__":
    run(main)
