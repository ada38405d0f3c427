"""LPIPS's trunks with random weights, for tests of what reads them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lpips
import pytest
import torch
from torchvision import models

TRUNKS: dict[str, Callable[..., Any]] = {
    "squeeze": models.squeezenet1_1,
    "alex": models.alexnet,
    "vgg": models.vgg16,
}


def random_trunk(net: str, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return TRUNKS[net](weights=None)


def save_trunk(network: torch.nn.Module, path: Path) -> Path:
    """Save a checkpoint of torchvision's layout, without the large dense layers, which LPIPS does not use."""
    state = {
        name: value for name, value in network.state_dict().items() if not name.startswith("classifier.6")
    }
    large = {name for name, value in state.items() if name.startswith("classifier") and value.numel() > 10**6}
    torch.save({name: value for name, value in state.items() if name not in large}, path)
    return path


def reference(net: str, network: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> lpips.LPIPS:
    """Let lpips itself cut up the network, as if torchvision had downloaded it."""
    name = {"squeeze": "squeezenet1_1", "alex": "alexnet", "vgg": "vgg16"}[net]
    monkeypatch.setattr(lpips.pretrained_networks.tv, name, lambda **_: network)
    return lpips.LPIPS(net=net, spatial=True, verbose=False).eval()
