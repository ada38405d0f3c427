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


class Empty(torch.nn.Linear):
    """A dense layer without weights: LPIPS uses none, and to fill VGG's takes seconds."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, device="meta")


def random_trunk(net: str, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(torch.nn, "Linear", Empty)
        return TRUNKS[net](weights=None)


def save_trunk(network: torch.nn.Module, path: Path) -> Path:
    """Save a checkpoint of torchvision's layout, without the large dense layers, which LPIPS does not use."""
    torch.save({
        name: torch.zeros(value.shape) if value.is_meta else value
        for name, value in network.state_dict().items()
        if not name.startswith("classifier.6") and not (value.is_meta and value.numel() > 10**6)
    }, path)  # fmt: skip
    return path


def reference(net: str, network: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> lpips.LPIPS:
    """Let lpips itself cut up the network, as if torchvision had downloaded it."""
    name = {"squeeze": "squeezenet1_1", "alex": "alexnet", "vgg": "vgg16"}[net]
    monkeypatch.setattr(lpips.pretrained_networks.tv, name, lambda **_: network)
    return lpips.LPIPS(net=net, spatial=True, verbose=False).eval()
