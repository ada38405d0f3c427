"""LPIPS's networks on trunks of our own choice, without a download.

A module of its own, since to import lpips and torchvision takes a second: where all features are in the cache,
nothing of it is needed.
"""

import io
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from catpref.errors import BadInput
from catpref.perception.weights import linear_layers

try:
    import lpips
    from torchvision import models
except RuntimeError as problem:  # such as "operator torchvision::nms does not exist"
    raise BadInput(
        f"torchvision: was built for another version of torch than {torch.__version__}, which is installed; "
        "pip install --upgrade torch torchvision"
    ) from problem

# ImageNet's channel means and standard deviations in [0, 1], which torchvision's networks expect …
_TORCH_MEAN = np.array([0.485, 0.456, 0.406])
_TORCH_STD = np.array([0.229, 0.224, 0.225])
# … and the channel means in [0, 255] that Caffe's networks expect, as red, green, blue.
_CAFFE_MEAN = np.array([123.68, 116.779, 103.939])

# What tells the architectures apart in a checkpoint of torchvision's layout: the first convolution's kernel.
_FIRST_KERNEL: Mapping[tuple[int, ...], Mapping[bool, str]] = {
    (64, 3, 3, 3): {True: "squeeze", False: "vgg"},
    (64, 3, 11, 11): {False: "alex"},
}


class LpipsNetwork(lpips.LPIPS):
    """LPIPS v0.1 with its own linear layers, and a trunk that has no weights yet (so: no download)."""

    def __init__(self, net: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # lpips still uses torchvision's old argument names
            super().__init__(net=net, pnet_rand=True, model_path=str(linear_layers(net)), verbose=False)

    @property
    def channel_weights(self) -> list[Tensor]:
        """The weights of LPIPS's linear layers, all non-negative."""
        return [layer.model[-1].weight.detach().flatten() for layer in self.lins]  # type: ignore[union-attr]

    def layers(self, images: Tensor, depth: int | None = None) -> list[Tensor]:
        """Compute the first `depth` layers' activations of images with RGB in [-1, 1]."""
        activation = self.scaling_layer(images)
        layers = []
        for part in list(self.net.children())[:depth]:
            activation = part(activation)
            layers.append(activation)
        return layers


def lpips_network(net: str, state: Mapping[str, Tensor], path: Path) -> LpipsNetwork:
    """Build LPIPS's network on a trunk that was saved in torchvision's layout.

    Raises
    ------
    BadInput
        If the weights are those of another trunk.
    """
    network = LpipsNetwork(net)
    with torch.device("meta"):  # no memory and no random numbers for what is replaced or not used
        trunk = {
            "squeeze": models.squeezenet1_1,
            "alex": models.alexnet,
            "vgg": models.vgg16,
        }[net](weights=None).features
    _fill(trunk, state, path, net)
    # LPIPS cuts the trunk into slices but keeps its numbering, so that slices find their weights by number.
    numbered = trunk.state_dict()
    for part in network.net.children():
        part.load_state_dict({key: numbered[key] for key in part.state_dict()})
    return network


def _fill(trunk: nn.Module, state: Mapping[str, Tensor], path: Path, net: str) -> None:
    features = {key.removeprefix("features."): value for key, value in state.items() if "features." in key}
    try:
        trunk.load_state_dict(features, assign=True)
    except RuntimeError as problem:
        raise BadInput(f"{path}: not the weights of torchvision's {net} network") from problem


def recognise(state: Mapping[str, Tensor], path: Path) -> str:
    """Return which of LPIPS's trunks a checkpoint is of.

    Raises
    ------
    BadInput
        If it is none of them.
    """
    first = tuple(state["features.0.weight"].shape) if "features.0.weight" in state else ()
    has_fire = "features.3.squeeze.weight" in state
    try:
        return _FIRST_KERNEL[first][has_fire]
    except KeyError:
        raise BadInput(
            f"{path}: not a checkpoint of torchvision's squeezenet1_1, alexnet or vgg16; "
            "for a network of your own name its JSON file"
        ) from None


class _ArraysOnly(pickle.Unpickler):
    """Read a pickle that holds NumPy arrays and nothing that could run."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            "_reconstruct": np.empty(0).__reduce__()[0],
            "ndarray": np.ndarray,
            "dtype": np.dtype,
        }
        if module.split(".")[0] == "numpy" and name in allowed:
            return allowed[name]
        raise pickle.UnpicklingError(f"{module}.{name} is not an array")


def read_caffe_weights(path: Path) -> dict[str, list[np.ndarray]]:
    """Read Caffe's SqueezeNet v1.1: the kernels and biases of each layer by its name."""
    # Written by Python 2, whose byte strings latin-1 keeps as they are.
    return _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="latin1").load()


def torchvision_state(caffe: Mapping[str, list[np.ndarray]]) -> dict[str, Tensor]:
    """Move Caffe's SqueezeNet v1.1 into torchvision's ``squeezenet1_1``, whole network.

    Caffe's network takes blue, green, red in [0, 255] less the mean; torchvision's takes red, green, blue in
    [0, 1], less a mean and divided by a standard deviation. The first convolution has no padding, so the
    change of input is absorbed exactly by its kernels and bias.
    """
    fires = {2: 3, 3: 4, 4: 6, 5: 7, 6: 9, 7: 10, 8: 11, 9: 12}  # Caffe's fire2 is torchvision's features.3 …
    names = {"conv10": "classifier.1"}
    for fire, position in fires.items():
        for part in ("squeeze1x1", "expand1x1", "expand3x3"):
            torch_part = "squeeze" if part == "squeeze1x1" else part
            names[f"fire{fire}/{part}"] = f"features.{position}.{torch_part}"
    state = {}
    for caffe_name, torch_name in names.items():
        kernel, bias = caffe[caffe_name]  # height, width, in, out
        state[f"{torch_name}.weight"] = kernel.transpose(3, 2, 0, 1)
        state[f"{torch_name}.bias"] = bias
    kernel, bias = (array.astype(np.float64) for array in caffe["conv1"])
    kernel = kernel.transpose(3, 2, 0, 1)[:, ::-1]  # now red, green, blue
    state["features.0.weight"] = kernel * (255 * _TORCH_STD)[:, None, None]
    state["features.0.bias"] = bias + np.einsum("oihw,i->o", kernel, 255 * _TORCH_MEAN - _CAFFE_MEAN)
    return {name: torch.from_numpy(np.ascontiguousarray(array, np.float32)) for name, array in state.items()}
