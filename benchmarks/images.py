"""What many images cost: imported, embedded, learned from, ranked (``python -m benchmarks.images``).

The images are a few hundred drawn cats, each changed anew for every image: cut out, mirrored, in other colours and
light, so that none is a near-duplicate of another. Every figure is that of a whole command in a process of its own:
its seconds, its seconds of all cores, and its peak memory. One person's choices between 2000 images are learned from.

A network takes 50 ms an image and more, whatever the number of images. That is measured on a few hundred (`network`);
in all else a stand-in takes the networks' place that costs next to nothing and gives embeddings of the same size. So
everything around it is measured at full size: decoding, the store, reading, ranking. The growth is the power of the
number of images that fits the seconds of all cores best, less those of an empty start.
"""

import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

import numpy as np
import torch
from PIL import Image, ImageEnhance
from scipy.special import expit
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from catpref._io.parallel import parallel, threads
from catpref.command_line import Parser, run
from catpref.perception.backbones import Backbone, load_backbone
from catpref.perception.embeddings import embed
from catpref.perception.late_stages import LateNetwork
from catpref.stimuli.duplicates import Look, look_at, same_pictures
from catpref.stimuli.images import find_images
from catpref.stimuli.sets import render, write_table

_ROOT = Path(__file__).parents[1]
_SIDE = 160  # pixels of the changed images: larger ones only take longer to draw and to decode
_CELLS = 8  # of the stand-in, along each side
_LAUNCH = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
"""  # a small process between: the memory of the process that starts another one counts as that one's


@dataclass(frozen=True)
class _Sizes:
    """How many of what.

    Attributes
    ----------
    counts
        Images of the folders that are imported and ranked, most first.
    cats
        Drawn cats that they are made of.
    shown, trials
        Images of the session, and its trials.
    seen
        Images that go through the networks themselves.
    """

    counts: tuple[int, ...]
    cats: int
    shown: int
    trials: int
    seen: int


_FULL = _Sizes((20_000, 10_000, 5000, 2500), cats=300, shown=2000, trials=1000, seen=500)
_SMALL = _Sizes((40, 20), cats=10, shown=16, trials=60, seen=2)


def main(arguments: Sequence[str]) -> None:
    """Run the benchmark."""
    parser = Parser(
        "python -m benchmarks.images",
        "Import, embed, learn from and rank up to 20,000 images: time, memory, and their growth.",
        "python -m benchmarks.images --json",
    )
    parser.add_argument("--small", action="store_true", help="a few images, to see that this works")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR",
        help="where images and embeddings are while it runs, 13 GB (default: the system's for temporary files)",
    )  # fmt: skip
    parser.add_argument("--json")
    options = parser.parse_args(arguments)
    sizes = _SMALL if options.small else _FULL

    def report(entry: dict[str, Any]) -> None:
        print(json.dumps(entry) if options.json else entry, flush=True)

    with tempfile.TemporaryDirectory(prefix="catpref-", dir=options.folder) as name:
        folder = Path(name)
        render(folder / "drawn", sizes.cats, seed=1)
        _change(folder, max(sizes.counts))
        found: dict[str, list[float]] = {}

        def measured(what: str, count: int, entry: dict[str, Any]) -> None:
            found.setdefault(what, []).append(entry["cpu_seconds"])
            report({"what": what, "images": count} | entry)

        for count in sizes.counts:
            _measure(folder, count, sizes, partial(measured, count=count))
        looks = list(parallel(threads(), look_at, sorted((folder / "changed").iterdir()), "looking"))
        for count in sizes.counts:
            measured("duplicates", count, _duplicates(looks[:count]))
        idle = _command(folder, "catpref.predict", "--help", stand_in=True)["cpu_seconds"]
        for what, seconds in found.items():
            if len(seconds) > 1:
                beyond = np.maximum(np.array(seconds) - (0 if what == "duplicates" else idle), 0.01)
                power = np.polyfit(np.log(sizes.counts), np.log(beyond), 1)[0]
                report(
                    {"what": "growth", "of": what, "images": sizes.counts, "power": round(float(power), 2)}
                )
        report({"what": "network", "images": sizes.seen} | _network(folder, sizes.seen))


def _measure(folder: Path, count: int, sizes: _Sizes, measured: Callable[..., None]) -> None:
    """Measure each step with so many images; what it left on the disk is removed."""
    photographs, cats, cache = (folder / f"{what}-{count}" for what in ("photographs", "cats", "cache"))
    photographs.mkdir()
    for file in sorted((folder / "changed").iterdir())[:count]:
        (photographs / file.name).hardlink_to(file)
    entry = _command(folder, "catpref.stimuli", "import", photographs, cats, "--no-crop")
    names = find_images(cats)
    measured("import", entry=entry | {"imported": len(names)})
    network = ("--cache-dir", cache, "--device", "cpu")
    if count == max(sizes.counts):
        _answer(folder, cats, names[: sizes.shown], sizes.trials)
        fit = ("session.csv", "--stimuli", cats, "--model", "utility", *network)
        measured("fit", entry=_command(folder, "catpref.fit", *fit, stand_in=True))
        shutil.rmtree(cache)
    rank = ("session_fit/model", cats, *network, "--out", "ranking.csv")
    measured("embed and rank", entry=_command(folder, "catpref.predict", *rank, stand_in=True))
    files = [file.stat().st_size for file in cache.iterdir()]
    entry = {"kept_gib": _gib(sum(files)), "kept_files": len(files)}
    measured("rank", entry=_command(folder, "catpref.predict", *rank, stand_in=True) | entry)
    for made in (photographs, cats, cache):
        shutil.rmtree(made)


def _network(folder: Path, count: int) -> dict[str, Any]:
    """Return what the networks themselves take for an image."""
    images, backbone = sorted((folder / "changed").iterdir())[: count + 1], load_backbone()
    embed(images[:1], backbone)  # which builds them
    started, cpu = time.perf_counter(), time.process_time()
    embed(images[1:], backbone, cache_folder=folder / "networks")
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    shutil.rmtree(folder / "networks")
    each = {"ms_an_image": round(1000 * seconds / count, 1), "cpu_ms_an_image": round(1000 * cpu / count, 1)}
    return {"what": "network", "images": count} | each


def _duplicates(looks: Sequence[Look]) -> dict[str, Any]:
    """Return what the search for near-duplicates takes once the pictures were looked at."""
    started, cpu = time.perf_counter(), time.process_time()
    pairs = same_pictures(looks)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {"seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "pairs": len(pairs)}


def _change(folder: Path, count: int) -> None:
    """Write so many images, each another cut of a cat, in other colours."""
    cats = sorted((folder / "drawn").glob("*.png"))
    (folder / "changed").mkdir()
    jobs = [(number, cats[number % len(cats)]) for number in range(count)]
    deque(parallel(threads(), partial(_write_changed, folder / "changed"), jobs, "changing cats"), maxlen=0)


def _write_changed(folder: Path, job: tuple[int, Path]) -> None:
    number, cat = job
    rng = np.random.default_rng(number)
    with Image.open(cat) as image:
        side = int(image.width * rng.uniform(0.5, 0.9))
        left, top = rng.integers(0, image.width - side + 1, 2).tolist()
        box = (left, top, left + side, top + side)
        cut = image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX, box=box)
    if rng.random() < 0.5:
        cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    channels = np.array(cut.convert("HSV"))
    channels[..., 0] += np.uint8(rng.integers(256))
    recoloured = Image.merge("HSV", [Image.fromarray(channel) for channel in np.moveaxis(channels, 2, 0)])
    lit = ImageEnhance.Brightness(recoloured.convert("RGB")).enhance(rng.uniform(0.6, 1.4))
    lit.save(folder / f"{number:06d}.jpg", quality=85)


def _answer(folder: Path, cats: Path, names: Sequence[str], trials: int) -> None:
    """Write the session of somebody who likes some colours in some places."""
    rng = np.random.default_rng(0)
    colours = np.array([look_at(cats / name).colours for name in names], np.float64)
    worth = (colours - colours.mean(0)) @ rng.standard_normal(colours.shape[1])
    worth *= 2 / worth.std()
    pairs = np.stack([rng.permutation(len(names))[:2] for _ in range(trials)])
    pairs[: len(names) // 2] = rng.permutation(len(names))[: len(names) // 2 * 2].reshape(-1, 2)
    choices = rng.random(trials) < expit(worth[pairs[:, 1]] - worth[pairs[:, 0]])
    rows = [
        (names[left], names[right], int(choice))
        for (left, right), choice in zip(pairs, choices, strict=False)
    ]
    write_table(folder / "session.csv", ("left_image", "right_image", "choice"), rows)


def _command(folder: Path, module: str, *arguments: object, stand_in: bool = False) -> dict[str, Any]:
    """Run a module's command, with the stand-in if asked; give its seconds and its peak memory."""
    code = f"from benchmarks import images; images.with_stand_in({module!r})"
    how = ["-c", code] if stand_in else ["-m", module]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _LAUNCH, sys.executable, *how, *map(str, arguments)],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(_ROOT)}, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    status, cpu, peak = json.loads(done.stdout)
    if status:
        raise RuntimeError(f"{module} ended with exit code {os.waitstatus_to_exitcode(status)}")
    seconds = time.perf_counter() - started
    return {"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1), "peak_rss_gib": _gib(peak * 1024)}


def _gib(size: int) -> float:
    return round(size / 2**30, 2)


def with_stand_in(module: str) -> NoReturn:
    """Run a command in which a stand-in takes the networks' place."""
    with stand_in():
        run(importlib.import_module(module).main)


@contextmanager
def stand_in() -> Iterator[None]:
    """Let embeddings be made of the image's mean colours in 8 × 8 cells, mixed at random: cheap, and as large."""
    with (
        mock.patch.object(Backbone, "features", _features),
        mock.patch.object(LateNetwork, "averages", _averages),
    ):
        yield


def _features(backbone: Backbone, images: Tensor, depth: int | None = None) -> list[Tensor]:
    del depth
    cells = adaptive_avg_pool2d(images, _CELLS)
    return [_mixed(cells, len(weights)) for weights in backbone.channel_weights]


def _averages(network: LateNetwork, images: Tensor, device: torch.device) -> Tensor:
    del device
    return _mixed(adaptive_avg_pool2d(images, 4).flatten(1)[:, :, None, None], sum(network.widths)).flatten(1)


def _mixed(colours: Tensor, channels: int) -> Tensor:
    """Mix channels at random, and cut off what is negative, as layers of networks do."""
    mixing = torch.randn(channels, colours.shape[1], generator=torch.Generator().manual_seed(channels))
    return torch.einsum("ck,nkhw->nchw", mixing, colours).relu() / colours.shape[1] ** 0.5


if __name__ == "__main__":
    run(main)
