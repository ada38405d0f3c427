"""The files that networks' weights come from: found, checked by their sha256, and read without running them."""

import importlib.util
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from catpref.commands import BadInput
from catpref.files import sha256_of


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
    if not path.is_file():
        raise BadInput(f"--weights {path}: there is no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd files, which then cannot be read or turn out well
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # the decoder raises anything on a damaged file
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
    except safetensors.SafetensorError as problem:
        raise BadInput(f"{path}: not a safetensors file, or damaged; save the weights again") from problem


def linear_layers(net: str) -> Path:
    """Name the file of LPIPS v0.1's linear layers, without importing lpips, which takes a second."""
    package = importlib.util.find_spec("lpips")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "weights" / "v0.1" / f"{net}.pth"


def linear_weights(net: str, device: str) -> list[Tensor]:
    """Read the weights of LPIPS v0.1's linear layers, one tensor of shape (channels,) a layer."""
    state = torch.load(linear_layers(net), map_location=device, weights_only=True)
    return [state[f"lin{layer}.model.1.weight"].flatten() for layer in range(len(state))]
