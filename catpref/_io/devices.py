"""Where networks run: the processor, or a graphics card if there is one."""

import torch

from catpref.errors import BadInput

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str) -> str:
    """Turn ``auto`` into the fastest device there is, and refuse one that is not there.

    Raises
    ------
    BadInput
        If the machine has no such device.
    """
    if name not in DEVICES:
        raise BadInput(f"device={name}: choose from {', '.join(DEVICES)}")
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, there in available.items() if there)
    if not available[name]:
        raise BadInput(f"device={name}: this machine has none that PyTorch can use; leave device= out")
    return name
