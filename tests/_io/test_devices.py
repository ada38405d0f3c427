import pytest
import torch

from catpref._io.devices import DEVICES, choose_device
from catpref.errors import BadInput


def test_auto_is_the_fastest_there_is() -> None:
    chosen = choose_device("auto")
    assert chosen in DEVICES and torch.zeros(1, device=chosen).device.type == chosen
    assert (chosen == "cpu") == (not torch.cuda.is_available() and not torch.backends.mps.is_available())
    assert choose_device("cpu") == "cpu"


def test_a_device_that_is_not_there_is_refused() -> None:
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    for name, is_there in there.items():
        if is_there:
            assert choose_device(name) == name
        else:
            with pytest.raises(BadInput, match=f"device={name}"):
                choose_device(name)
