"""The files that networks' weights come from: found, checked by their sha256, and read without running them."""

import importlib.util
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from catpref._io.files import sha256_of
from catpref.errors import BadInput, is_out_of_memory

_MOST = 4 << 30  # bytes: the largest networks of torchvision have half as many
_MOST_HEADER = 1 << 20  # bytes of a safetensors file's header: a network's of a thousand tensors has a tenth
_TYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "U8": np.uint8}


@dataclass(frozen=True)
class Packaged:
    """A weights file inside a Python package.

    Attributes
    ----------
    package
        The name by which Python finds the package.
    file
        The file's path inside it.
    sha256
        What the file's content must hash to.
    install
        What the user types to get it.
    """

    package: str
    file: str
    sha256: str
    install: str

    def path(self) -> Path:
        """Find the file, whole.

        Raises
        ------
        BadInput
            If the package is not installed, or the file in it is missing or damaged.
        """
        found = importlib.util.find_spec(self.package)
        if found is None or found.origin is None:
            raise BadInput(
                f"the package {self.package}, which holds the weights, is not there; {self.install}"
            )
        path = Path(found.origin).parent / self.file
        if not path.is_file() or sha256_of(path) != self.sha256:
            raise BadInput(
                f"{path}: missing or damaged (its sha256 must be {self.sha256}); {self.install} --force-reinstall"
            )
        return path


def read_checkpoint(path: Path) -> Mapping[str, Tensor]:
    """Read a state dict that ``torch.save`` wrote.

    Raises
    ------
    BadInput
        If the file is not there, is damaged, or holds anything but named tensors.
    """
    check_file(path, f"weights={path}: there is no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd files, which then cannot be read or turn out well
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # the decoder raises anything on a damaged file
        if is_out_of_memory(problem):
            raise
        raise BadInput(
            f"{path}: not a PyTorch checkpoint of plain tensors; for a network of your own name its JSON file"
        ) from problem
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise BadInput(f"{path}: not a state dict (a mapping of names to tensors)")
    return state


def read_safetensors(path: Path) -> Mapping[str, Tensor]:
    """Read the tensors of a safetensors file.

    Raises
    ------
    BadInput
        If it is damaged or of another format.
    """
    try:
        return safetensors.torch.load_file(path)
    except Exception as problem:  # types that torch does not know raise others than damaged files
        if is_out_of_memory(problem):
            raise
        raise BadInput(f"{path}: not a safetensors file, or damaged; save the weights again") from problem


def parse_arrays(content: bytes) -> dict[str, np.ndarray]:
    """Return the arrays that the content of a safetensors file holds.

    Raises
    ------
    ValueError
        If the content is damaged, or not what catpref writes.
    """
    header = int.from_bytes(content[:8], "little")
    if not 0 < header <= min(_MOST_HEADER, len(content) - 8):
        raise ValueError("not a safetensors file, or cut off")
    parse_json(content[8 : 8 + header])  # a tensor that is there twice is not noticed below
    try:
        entries = safetensors.deserialize(content)
    except safetensors.SafetensorError as problem:
        raise ValueError(f"damaged: {problem}") from problem
    arrays = {}
    for name, entry in entries:
        if entry["dtype"] not in _TYPES:
            raise ValueError(f"holds numbers of type {entry['dtype']}")
        arrays[name] = np.frombuffer(entry["data"], _TYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays


def parse_json(content: bytes) -> Any:
    """Return what a JSON text says; a key that is there twice, or a NaN, is an error.

    Raises
    ------
    ValueError
        If it is not JSON in UTF-8, or nested too deeply.
    """
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=_each_once, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def check_file(path: Path, missing: str, most: int = _MOST) -> None:
    """Check that a path is an ordinary file, or a link to one, of at most so many bytes.

    Raises
    ------
    BadInput
        If it is not; `missing` is what is said where there is no ordinary file.
    """
    if not path.is_file():
        raise BadInput(missing)
    if path.stat().st_size > most:
        raise BadInput(f"{path}: has over {most >> 20} MiB, more than such a file needs")


def linear_layers(net: str) -> Path:
    """Return the file of LPIPS v0.1's linear layers, without importing lpips, which takes a second."""
    package = importlib.util.find_spec("lpips")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "weights" / "v0.1" / f"{net}.pth"


def linear_weights(net: str, device: str) -> list[Tensor]:
    """Read the weights of LPIPS v0.1's linear layers, one tensor of shape (channels,) a layer."""
    state = torch.load(linear_layers(net), map_location=device, weights_only=True)
    return [state[f"lin{layer}.model.1.weight"].flatten() for layer in range(len(state))]
