"""Adam with weight decay apart from the gradient, for small networks.

It takes the steps of ``torch.optim.AdamW``, which first imports torch's compiler: a second, in which a small network
has learned all it can.

References
----------
Loshchilov & Hutter (2019). Decoupled weight decay regularization. ICLR.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

_OF_MEAN, _OF_SQUARE = 0.9, 0.999  # how slowly the running averages change
_EPSILON = 1e-8


class AdamW:
    """Steps of some parameters along their gradients.

    Parameters
    ----------
    parameters
        What is learned.
    decays
        Weight decay of each.
    rate
        The learning rate.
    """

    def __init__(self, parameters: Sequence[Tensor], decays: Sequence[float], rate: float) -> None:
        self.parameters, self.decays, self.rate = parameters, decays, rate
        self.steps = 0
        self.means, self.squares = ([torch.zeros_like(one) for one in parameters] for _ in range(2))

    @torch.no_grad()
    def step(self, loss: Tensor) -> None:
        """Take a step towards a lower loss."""
        self.steps += 1
        rate = self.rate / (1 - _OF_MEAN**self.steps)
        unbiased = (1 - _OF_SQUARE**self.steps) ** 0.5
        slopes = torch.autograd.grad(loss, self.parameters)
        for parameter, decay, slope, mean, square in zip(
            self.parameters, self.decays, slopes, self.means, self.squares, strict=True
        ):
            mean.lerp_(slope, 1 - _OF_MEAN)
            square.mul_(_OF_SQUARE).addcmul_(slope, slope, value=1 - _OF_SQUARE)
            size = square.sqrt().div_(unbiased).add_(_EPSILON)
            parameter.mul_(1 - self.rate * decay).addcdiv_(mean, size, value=-rate)
