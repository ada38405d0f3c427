"""One step of the study network's training on large maps, near the rate at which a CPU multiplies matrices.

It is what ``loss.backward()`` would do, in bfloat16 with float32 weights and sums, and arranged for the memory:

- Each image passes through the convolutions by itself, on a thread of its own: its activations stay in the cache.
- Max-pooling keeps two bits of each place (as 16-bit numbers) rather than a 64-bit index and its whole input.
- The first dense layer has 63 million weights at 512 × 512. Its copies and gradients have their place in memory
  once and for all; to ask the system for it anew in each step takes longer than to compute them.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import cross_entropy

_HALF = torch.bfloat16
_LEAST_SIZE = 128  # of a map; below, the convolutions are too small to gain from it


def pays(device: str, size: int) -> bool:
    """Return whether maps of this size are large enough, and the processor multiplies in bfloat16."""
    instructions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    able = any(getattr(torch.cpu, name, lambda: False)() for name in instructions)
    return device == "cpu" and size >= _LEAST_SIZE and able


@contextmanager
def stepping(network: nn.Sequential, optimiser: torch.optim.Optimizer, batch: int) -> Iterator["Step"]:
    """Return the step, with threads to work on.

    Parameters
    ----------
    network
        As from `catpref.models.study_cnn.build`.
    optimiser
        Of all its parameters.
    batch
        The most maps in one step.
    """
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield Step(network, optimiser, batch, pool)
    torch.set_num_threads(threads)


class Step:
    """Train on one batch of maps after the other; see `stepping`."""

    def __init__(
        self, network: nn.Sequential, optimiser: torch.optim.Optimizer, batch: int, pool: ThreadPoolExecutor
    ) -> None:
        self.network, self.optimiser, self.pool = network, optimiser, pool
        first_dense = next(at for at, layer in enumerate(network) if isinstance(layer, nn.Linear))
        self.trunk, self.dense = network[: first_dense - 1], network[first_dense]
        self.head = network[first_dense + 1 :]
        weight: Tensor = self.dense.weight  # type: ignore[assignment]
        self.weight, self.weight_gradient = (torch.empty_like(weight, dtype=_HALF) for _ in range(2))
        self.full_gradient = torch.empty_like(weight)
        self.features, self.slopes = (torch.empty(batch, weight.shape[1], dtype=_HALF) for _ in range(2))

    def __call__(self, maps: Tensor, choices: Tensor) -> tuple[float, Tensor]:
        """Take one step; returns the loss before it, and the logits.

        Parameters
        ----------
        maps
            Shape (maps, 1, size, size).
        choices
            Shape (maps,).
        """
        features, slopes = self.features[: len(maps)], self.slopes[: len(maps)]
        outputs = list(self.pool.map(self._forward, maps.split(1), features.split(1)))
        dense: Any = self.dense
        with torch.no_grad():
            hidden = (features @ self.weight.copy_(dense.weight).T).float() + dense.bias
        hidden.requires_grad_()
        logits = self.head(hidden)
        loss = cross_entropy(logits, choices)

        self.optimiser.zero_grad()
        loss.backward()
        assert hidden.grad is not None
        slope = hidden.grad.to(_HALF)
        dense.bias.grad = hidden.grad.sum(0)
        torch.mm(slope.T, features, out=self.weight_gradient)
        dense.weight.grad = self.full_gradient.copy_(self.weight_gradient)
        torch.mm(slope, self.weight, out=slopes)
        of_images = list(self.pool.map(self._backward, outputs, slopes.split(1)))
        for parameter, *gradients in zip(self.trunk.parameters(), *of_images, strict=True):
            parameter.grad = torch.stack(gradients).sum(0)
        self.optimiser.step()
        return loss.item(), logits.detach()

    def _forward(self, image: Tensor, features: Tensor) -> Tensor:
        values = image.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", _HALF):
            for layer in self.trunk:
                values = pool(values) if isinstance(layer, nn.MaxPool2d) else layer(values)
        output = values.flatten(1)
        features.copy_(output.detach())
        return output

    def _backward(self, output: Tensor, slope: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(output, list(self.trunk.parameters()), slope)


def pool(values: Tensor) -> Tensor:
    """Max-pool 2 × 2; of equal places, the upper and then the left one has the gradient.

    Parameters
    ----------
    values
        Shape (images, channels, height, width), bfloat16, fastest with the channels last in memory.
    """
    pooled: Any = _Pool.apply(values.permute(0, 2, 3, 1))
    return pooled.permute(0, 3, 1, 2)


class _Pool(Function):
    """2 × 2 max-pooling of shape (images, height, width, channels): first of rows, then of columns.

    In the backward pass the numbers are moved as their bits, which whole numbers multiplied by 0 or 1 do fastest.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        _, height, width, _ = values.shape
        ctx.size = height, width
        upper, lower = values[:, 0 : height - 1 : 2], values[:, 1::2]
        rows = torch.maximum(upper, lower)
        is_lower = torch.gt(lower, upper, out=torch.empty(rows.shape, dtype=torch.int16))
        left, right = rows[:, :, 0 : width - 1 : 2], rows[:, :, 1::2]
        pooled = torch.maximum(left, right)
        is_right = torch.gt(right, left, out=torch.empty(pooled.shape, dtype=torch.int16))
        ctx.save_for_backward(is_lower, is_right)
        return pooled

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:  # type: ignore[override]
        is_lower, is_right = ctx.saved_tensors
        height, width = ctx.size
        bits = slope.contiguous().view(torch.int16)
        of_rows = torch.empty_like(is_lower)
        of_values = torch.empty(len(bits), height, width, bits.shape[3], dtype=torch.int16)
        of_rows[:, :, width // 2 * 2 :] = 0
        of_values[:, height // 2 * 2 :] = 0
        right, lower = of_rows[:, :, 1::2], of_values[:, 1::2]
        torch.mul(bits, is_right, out=right)
        torch.sub(bits, right, out=of_rows[:, :, 0 : width - 1 : 2])
        torch.mul(of_rows, is_lower, out=lower)
        torch.sub(of_rows, lower, out=of_values[:, 0 : height - 1 : 2])
        return of_values.view(slope.dtype)
