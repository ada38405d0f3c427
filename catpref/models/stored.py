"""What the tensors of a stored model must be before anything is computed with them."""

from collections.abc import Mapping

import numpy as np
from torch import nn

from catpref.errors import shown

Shapes = Mapping[str, tuple[int, ...]]


def check(tensors: Mapping[str, np.ndarray], shapes: Shapes, types: Mapping[str, type] | None = None) -> None:
    """Check names, types and shapes, and that all numbers are finite.

    Parameters
    ----------
    tensors
        What was read.
    shapes
        What each tensor's shape must be; there may be no others.
    types
        Where the type must be another one than float32.

    Raises
    ------
    ValueError
        Which tensor is wrong, and how.
    """
    for name in shapes:
        if name not in tensors:
            raise ValueError(f"{name} is missing")
    for name, tensor in tensors.items():
        if name not in shapes:
            raise ValueError(f"{shown(ascii(name), 60)} is none of its parts")
        wanted = np.dtype((types or {}).get(name, np.float32))
        if tensor.dtype != wanted or np.atleast_1d(tensor).shape != shapes[name]:
            raise ValueError(
                f"{name} is {tensor.dtype} of shape {shown(str(tensor.shape), 60)}, not {wanted} of {shapes[name]}"
            )
        if not np.isfinite(tensor).all():
            raise ValueError(f"{name} is not finite")


def check_positive(tensors: Mapping[str, np.ndarray], *names: str) -> None:
    """Check that what is divided by, or is a variance or a gain, is above 0, and its inverse finite.

    Raises
    ------
    ValueError
        Which tensor is wrong.
    """
    for name in names:
        with np.errstate(divide="ignore", over="ignore"):
            if not (tensors[name] > 0).all() or not np.isfinite(1 / tensors[name]).all():
                raise ValueError(f"{name} must be above 0")


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a network's state; a single number is stored with the shape (1,)."""
    return {name: tuple(tensor.shape) or (1,) for name, tensor in network.state_dict().items()}
