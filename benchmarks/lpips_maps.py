"""Distance maps against the plain ``lpips`` loop and the machine's floor (``python -m benchmarks.lpips_maps``).

Weights are random (``pnet_rand=True``), which changes neither the arithmetic nor the exactness. Each case runs in a
process of its own, so that its peak memory is its own. The plain loop is what users write: for each trial, load two
images and call ``lpips`` with ``spatial=True``. It is timed on a sample of the trials and scaled up.
"""

import json
import multiprocessing
import resource
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

import lpips
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from catpref._io.workers import workers
from catpref.command_line import Parser, run
from catpref.perception.backbones import Backbone, load_backbone
from catpref.perception.embeddings import image_tensor
from catpref.perception.lpips_maps import distance_maps

SIZE = 512
FULL = 50  # images, all pairs
NETS = ("squeeze", "alex", "vgg")
SAMPLE = {"squeeze": 12, "alex": 16, "vgg": 3}  # trials of the plain loop that are timed
RANDOM = 2000  # images, each once …
TIMED = {"squeeze": RANDOM, "alex": RANDOM, "vgg": 16}  # … of which so many are timed, and scaled up
FILES = 200  # files; a longer list names them again, which spares the disk but not the decoding


def main(arguments: Sequence[str]) -> None:
    """Run the benchmark."""
    parser = Parser(
        "python -m benchmarks.lpips_maps",
        "Time catpref's distance maps against lpips, trial by trial, in the same run.",
        "python -m benchmarks.lpips_maps --json --net squeeze",
    )
    parser.add_argument("--net", nargs="+", choices=NETS, default=list(NETS), help="networks (default: all)")
    parser.add_argument("--json")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        images = _images(Path(folder), FILES) * (RANDOM // FILES)
        for net in options.net:
            weights = _random_trunk(net, Path(folder))
            for what in ("mean, fully-sampled", "first layer, fully-sampled", "mean, random-sampled"):
                entry = _in_own_process(_measure, net, what, weights, images)
                if options.json:
                    print(json.dumps(entry), flush=True)
                else:
                    print("  ".join(f"{key} {value}" for key, value in entry.items()), flush=True)


def _measure(net: str, what: str, weights: Path, images: Sequence[Path]) -> dict[str, Any]:
    layer = 0 if what.startswith("first") else None
    full = "fully" in what
    used = images[: FULL if full else TIMED[net]]
    pairs = np.array(list(combinations(range(FULL), 2))) if full else np.arange(len(used)).reshape(-1, 2)
    backbone = load_backbone(net, weights)
    distance_maps(used, pairs[:1], backbone, SIZE, layer)  # pays for what every process needs once

    started = time.perf_counter()
    maps = distance_maps(used, pairs, backbone, SIZE, layer)
    ours = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    floor = _floor(backbone, used, len(pairs), layer)

    network: Any = backbone.network
    network.to(memory_format=torch.contiguous_format)  # as lpips itself makes it
    network.spatial = True
    depth = None if layer is None else layer + 1
    lpips_trunk = _seconds(lambda image: backbone.raw_features(image, depth), used[:6]) * len(used)
    sample = np.random.default_rng(0).choice(len(pairs), SAMPLE[net], replace=False)
    difference, started = 0.0, time.perf_counter()
    plain_maps = []
    with torch.inference_mode():
        for trial in sample:
            left, right = (image_tensor(used[image], SIZE)[None] for image in pairs[trial])
            total, layers = network(left, right, retPerLayer=True)
            plain_maps.append((total / len(layers) if layer is None else layers[layer])[0, 0].numpy())
    plain = (time.perf_counter() - started) / len(sample) * len(pairs)
    for trial, wanted in zip(sample, plain_maps, strict=True):
        difference = max(difference, float(np.abs(maps[trial] - wanted).max() / np.ptp(wanted)))
    scale = 1 if full else RANDOM / len(used)
    return {
        "net": net,
        "what": what if scale == 1 else f"{what}, scaled up from {len(used)} to {RANDOM} images",
        "plain_s": round(plain * scale, 2),
        "plain_sample": len(sample),
        "catpref_s": round(ours * scale, 2),
        "speedup": round(plain / ours, 1),
        "floor_s": round(floor * scale, 2),
        "over_floor": round(ours / floor, 2),
        "lpips_trunk_s": round(lpips_trunk * scale, 2),
        "max_abs_diff": float(f"{difference:.1e}"),
        "peak_rss_gib": round(peak, 2),
    }


def _floor(backbone: Backbone, images: Sequence[Path], pairs: int, layer: int | None) -> float:
    """Seconds for the trunk on every image, one read of all its features, and one write of the maps."""
    depth = None if layer is None else layer + 1
    layers = backbone.raw_features(image_tensor(images[0], SIZE)[None], depth)
    wanted = layers if layer is None else [layers[layer]]
    numbers = sum(features.numel() for features in wanted) * len(images) + pairs * SIZE * SIZE
    together = _seconds(lambda image: backbone.raw_features(image, depth), images[:6])
    with workers() as pool:
        apart = _seconds(lambda image: backbone.raw_features(image, depth), images[:6], pool)
    return min(together, apart) * len(images) + 4 * numbers / _bandwidth()


def _seconds(
    function: Callable[[Tensor], object], images: Sequence[Path], pool: ThreadPoolExecutor | None = None
) -> float:
    """Seconds an image: the least of three rounds, in a pool or one after the other."""
    tensors = [image_tensor(path, SIZE)[None] for path in images]
    times = []
    for _ in range(3):
        started = time.perf_counter()
        list((map if pool is None else pool.map)(function, tensors))
        times.append(time.perf_counter() - started)
    return min(times) / len(tensors)


def _bandwidth() -> float:
    """Bytes a second that one pass over a large array reads or writes."""
    source, target = torch.rand(1 << 25), torch.empty(1 << 25)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        target.copy_(source)
        times.append(time.perf_counter() - started)
    return 2 * source.nbytes / min(times)


def _in_own_process(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _random_trunk(net: str, folder: Path) -> Path:
    """Save randomly initialised weights as a checkpoint of torchvision's layout."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    slices = {name: part for part in network.net.children() for name, part in part.named_children()}
    state = {
        f"features.{number}.{name}": value
        for number, part in slices.items()
        for name, value in part.state_dict().items()
    }
    path = folder / f"{net}.pth"
    torch.save(state, path)
    return path


def _images(folder: Path, count: int) -> list[Path]:
    random = np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(count)]
    for path in paths:
        small = Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8))
        small.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(path, compress_level=1)
    return paths


if __name__ == "__main__":
    run(main)
