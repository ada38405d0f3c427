"""The prior that a new adaptive session begins with: computed once for a stimulus set, then kept in the cache.

Only computing it takes torch.
"""

import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import active_children, get_context
from pathlib import Path

import numpy as np

from catpref._io import cache
from catpref._io.files import sha256_of
from catpref._io.parallel import parallel, serve_parent, threads
from catpref._io.reading import read_bytes
from catpref.adaptive.prior import write_prior
from catpref.errors import BadInput, not_installed
from catpref.stimuli.images import image_path

LARGEST = 256 * 2**20
"""Bytes of a prior; one of 10,000 images has about 10 MiB."""

_CODE_VERSION = "1"  # raise it when the same images would have another prior


def starting_prior(stimuli: Path, names: Sequence[str], model: Path | None, for_order: bool) -> bytes:
    """Return the content of a prior's file.

    Parameters
    ----------
    stimuli
        The stimulus folder.
    names
        Its images.
    model
        The folder of a fitted model to start from.
    for_order
        Whether the aim is the order of these images, and not the prediction of new ones.

    Raises
    ------
    BadInput
        If it is not in the cache and torch is not installed, or the model or an image cannot be used.
    """
    files = [image_path(stimuli, name) for name in names]
    digests = list(parallel(threads(), sha256_of, files, "reading the images"))
    identity = [entry for name, digest in zip(names, digests, strict=True) for entry in (ascii(name), digest)]
    aim = "order" if for_order else "new images"
    key = cache.key_of("adaptive prior", _CODE_VERSION, aim, _identity_of(model), *identity)
    kept = cache.read(cache.default_folder(), key, np.uint8)
    if kept is not None:
        return kept.tobytes()
    content = _computed(stimuli, names, model, for_order)
    cache.write(cache.default_folder(), key, np.frombuffer(content, np.uint8))
    return content


def _computed(stimuli: Path, names: Sequence[str], model: Path | None, for_order: bool) -> bytes:
    """Compute it in a process of its own: torchvision crashes one in which PsychoPy has loaded Mesa's LLVM."""
    with ProcessPoolExecutor(1, get_context("spawn"), serve_parent) as pool:
        try:
            return pool.submit(compute, stimuli, names, model, for_order).result()
        except KeyboardInterrupt:
            for process in active_children():
                process.kill()
            raise


def compute(stimuli: Path, names: Sequence[str], model: Path | None, for_order: bool) -> bytes:
    """Compute the content of a prior's file; see `starting_prior`."""
    try:
        from catpref.models.adaptive_prior import prior_of
    except ModuleNotFoundError as problem:
        raise BadInput(
            f"{stimuli}: its images are not embedded yet, which a new adaptive session takes once: "
            f"{not_installed(problem, 'fit')}"
        ) from problem
    with tempfile.TemporaryDirectory(prefix="catpref-") as folder:
        file = Path(folder, "prior.safetensors")
        write_prior(file, prior_of(stimuli, names, model, for_order))
        return read_bytes(file, LARGEST)


def _identity_of(model: Path | None) -> str:
    """Return what tells one fitted model from others; its description has the sha256 of all its files."""
    if model is None:
        return ""
    try:
        return sha256_of(model / "model.json")
    except OSError as problem:
        raise BadInput(
            f"--start-from {model}: not a fitted model (no model.json); give the folder model/ of a fit"
        ) from problem
