"""The study's network (2021): a small CNN that reads one LPIPS distance map a trial.

A distance map is the same when the sides swap, and the choice is not; with counterbalanced sides no training can
make this network predict choices between new images. It is here as the study had it.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from catpref._io.progress import progress
from catpref.errors import BadInput
from catpref.models import stored, study_training
from catpref.models.davidson import where_preferred
from catpref.models.interface import Data, Epoch, Model

SIZES = range(32, 2049)
"""Sides of maps, in pixels: of the smallest, three convolutions and poolings leave something; larger than the
largest is no stimulus."""

EPOCHS = 10
CHANNELS = ((1, 32), (32, 64), (64, 128))
_BATCH = 32
_LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class StudyCNN:
    """A trained network and the history of its training."""

    network: nn.Sequential
    history: list[Epoch]

    def p_right(self, maps: np.ndarray) -> np.ndarray:
        """Predict choices from distance maps of shape (trials, size, size); returns P(right), shape (trials,)."""
        return torch.softmax(_logits(self.network, maps), dim=1)[:, 1].double().numpy()

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the network's weights by name."""
        return {name: tensor.cpu().numpy() for name, tensor in self.network.state_dict().items()}


def restore(tensors: Mapping[str, np.ndarray], size: int | None, device: str) -> StudyCNN:
    """Restore what `StudyCNN.tensors` returned, without its history.

    Raises
    ------
    ValueError
        If a part is missing, is not finite, or has another shape or type than for maps of this size.
    """
    if size is None:
        raise ValueError("the size of its maps is not known")
    network = _unfilled(size)
    stored.check(tensors, stored.shapes_of(network))
    state = {name: torch.from_numpy(array) for name, array in tensors.items()}
    network.load_state_dict(state, assign=True)
    return StudyCNN(network.to(device).eval(), [])


def stored_bytes(size: int) -> int:
    """Return how many bytes the weights of the network for maps of this size take."""
    return sum(tensor.nbytes for tensor in _unfilled(size).state_dict().values())


def _unfilled(size: int) -> nn.Sequential:
    """Build a network that takes no memory yet: that for the largest maps takes 4 GB."""
    with torch.device("meta"):
        return build(size)


def build(size: int) -> nn.Sequential:
    """Build the untrained network for maps of size × size pixels.

    Three 3 × 3 convolutions (32, 64, 128 channels), each followed by 2 × 2 max-pooling and by no activation, then
    dense layers of 128, 64 and 32 units with ReLU and dropout 0.2, and two outputs: left and right.
    """
    layers: list[nn.Module] = []
    side = size
    for channels_in, channels_out in CHANNELS:
        layers += [nn.Conv2d(channels_in, channels_out, 3), nn.MaxPool2d(2)]
        side = (side - 2) // 2
    layers.append(nn.Flatten())
    for units_in, units_out in ((128 * side * side, 128), (128, 64), (64, 32)):
        layers += [nn.Linear(units_in, units_out), nn.ReLU(), nn.Dropout(0.2)]
    return nn.Sequential(*layers, nn.Linear(32, 2))


def operations(size: int) -> float:
    """Count the multiplications and additions of the convolutions in one forward pass of one map."""
    total, side = 0.0, size
    for channels_in, channels_out in CHANNELS:
        side -= 2
        total += 2 * 9 * channels_in * channels_out * side**2
        side //= 2
    return total


def fit(
    maps: np.ndarray,
    choices: np.ndarray,
    test: tuple[np.ndarray, np.ndarray] | None = None,
    seed: int = 0,
    device: str = "cpu",
    epochs: int = EPOCHS,
) -> StudyCNN:
    """Train the network.

    Parameters
    ----------
    maps
        Distance maps, shape (trials, size, size).
    choices
        0 = left, 1 = right, shape (trials,).
    test
        Maps and choices to follow during training, for the history alone: nothing is chosen by them.
    seed
        Seed of the initial weights, the order of the trials and the dropout.
    device
        Where to train.
    epochs
        Passes over the trials.

    Raises
    ------
    BadInput
        If the maps' side is not in `SIZES`.
    """
    size = maps.shape[1]
    if size not in SIZES:
        raise bad_size(size)
    inputs, targets = torch.from_numpy(maps)[:, None], torch.tensor(choices)
    history = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(size).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE, fused=device != "mps")
        stepping = nullcontext(partial(step, network, optimiser))
        if study_training.pays(device, size):
            stepping = study_training.stepping(network, optimiser, _BATCH)
        with stepping as take_step:
            for _ in progress(range(epochs), "training", unit="epoch"):
                network.train()
                loss_sum, right = 0.0, 0
                for batch in torch.randperm(len(targets)).split(_BATCH):
                    goal = targets[batch].to(device)
                    loss, logits = take_step(
                        inputs[batch].to(device, memory_format=torch.channels_last), goal
                    )
                    loss_sum += loss * len(batch)
                    right += int((logits.argmax(1) == goal).sum())
                history.append(_epoch(network, loss_sum / len(targets), right / len(targets), test))
    return StudyCNN(network.eval(), history)


def bad_size(size: int) -> BadInput:
    """Return what to raise about maps of a size that the network cannot take."""
    return BadInput(f"map_size={size}: the study's network takes maps of {SIZES[0]} to {SIZES[-1]} pixels")


def step(
    network: nn.Sequential, optimiser: torch.optim.Optimizer, maps: Tensor, choices: Tensor
) -> tuple[float, Tensor]:
    """Take one plain step of the training; returns the loss before it, and the logits."""
    logits = network(maps)
    loss = cross_entropy(logits, choices)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item(), logits.detach()


def _epoch(
    network: nn.Sequential, loss: float, accuracy: float, test: tuple[np.ndarray, np.ndarray] | None
) -> Epoch:
    if test is None:
        return Epoch(loss, accuracy, None, None)
    logits, targets = _logits(network, test[0]), torch.tensor(test[1])
    hits = (logits.argmax(1) == targets).double()
    return Epoch(loss, accuracy, cross_entropy(logits, targets).item(), hits.mean().item())


def _logits(network: nn.Sequential, maps: np.ndarray) -> Tensor:
    network.eval()
    device = next(network.parameters()).device
    half = study_training.pays(device.type, maps.shape[1])
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        parts = [
            network(part[:, None].to(device, memory_format=torch.channels_last)).float().cpu()
            for part in torch.from_numpy(maps).split(_BATCH)
        ]
    return torch.cat(parts)


@dataclass(frozen=True)
class _Trained:
    """The network, and the maps of the session that it was trained in."""

    model: StudyCNN
    data: Data

    @property
    def history(self) -> list[Epoch]:
        return self.model.history

    def p_right(self, trials: np.ndarray) -> np.ndarray:
        return self.model.p_right(self.data.maps[trials])


def _fit(data: Data, train: np.ndarray, test: np.ndarray | None) -> _Trained:
    train, choices = where_preferred(train, data.choices)
    followed = None if test is None else (data.maps[test], data.choices[test].astype(int))
    return _Trained(fit(data.maps[train], choices, followed, data.seed, data.device), data)


STUDY_CNN = Model(
    "study_cnn",
    "study's CNN",
    _fit,
    needs=("maps",),
    predictor=lambda fitted, data: fitted.model,
    p_right=lambda model, images, pairs: model.p_right(images.distance_maps(pairs)),
    restore=lambda tensors, _layout, map_size, device: restore(tensors, map_size, device),
    is_slow=True,
    on_all_cores=True,
)
