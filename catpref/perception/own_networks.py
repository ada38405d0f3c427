"""Networks of one's own: a weights file, and beside it a JSON file that says how to use it.

The JSON file is what ``--backbone`` is given::

    {
      "weights": "cat_faces.safetensors",
      "sha256": "3f5a… all 64 digits, as sha256sum prints them",
      "architecture": "resnet18",
      "layers": ["relu", "layer1", "layer2", "layer3", "layer4"],
      "input_size": 224,
      "mean": [0.485, 0.456, 0.406],
      "std": [0.229, 0.224, 0.225]
    }

``weights``
    The file, relative to the JSON file's folder.
``sha256``
    Of the weights file. The JSON file's own sha256 thereby stands for the whole network: it is the
    ``weights_sha256`` that features are cached and models are kept by.
``architecture``
    With it, the weights are a safetensors file that holds the state dict of this classification network of
    ``torchvision.models``; parts beyond the layers, such as a classifier for other classes, may differ or be
    left out. Without it, the weights are a TorchScript file: a module that takes images of shape
    (n, 3, input_size, input_size) and returns a list or tuple of its layers' activations. A TorchScript file is
    a program, so use only those that you trust.
``layers``
    Names, first to last. With an architecture they are torchvision's names of modules or nodes (as in
    ``torchvision.models.feature_extraction``), and the network stops where no further layer is asked for.
    Without, they name the activations that the module returns, one each, and the module always runs to its end.
    Each layer's activation must have the shape (n, channels, height, width), as at the ends of the stages of
    convolutional networks; transformers of torchvision put the channels last and cannot be used in this way.
``input_size``
    The side in pixels of the square images that the network takes. Images of any other size are resized to it.
``mean``, ``std``
    Three numbers each: the network is given (image - mean) / std, with the image RGB in [0, 1]. A network that
    takes [-1, 1] has mean and std 0.5; one that takes [0, 255] has mean 0 and std 0.00392156862745098 (1/255).

No human judgements weigh the channels of such a network: its distance maps are LPIPS's unlinearised ones.
"""

import functools
import shutil
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Predicate
from pydantic import Field, StringConstraints
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.overrides import TorchFunctionMode
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from catpref._io.files import sha256_of
from catpref._io.reading import read_bytes
from catpref._io.schemas import Schema
from catpref.errors import BadInput, is_out_of_memory, shown
from catpref.perception.weights import check_file, parse_json, read_safetensors

COPY = "network.json"
"""A network inside a model's folder: its JSON file …"""

_COPIED_WEIGHTS = "network.safetensors"  # … and its weights, whatever name the JSON file has for them
_MOST_JSON = 1 << 20  # bytes
_MOST_UNUSED = 256 << 20  # bytes of a received weights file that are of parts beyond the layers
_TRACING = threading.Lock()  # torchvision's tracer keeps its notes in one place for all threads

# Takes normalised images and how many layers to compute, and gives at least so many activations.
Trunk = Callable[[Tensor, int], Sequence[Tensor]]

_Name = Annotated[str, Field(min_length=1), Predicate(str.isprintable)]


class Description(Schema):
    """What the JSON file says; see the module's text."""

    path: Path = Path()  # of the JSON file, in which it is not
    weights: _Name = Field(description="the name of a file")
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-fA-F]{64}$", to_lower=True)] = Field(
        description="64 hexadecimal digits"
    )
    architecture: Annotated[str, Predicate(lambda name: name in models.list_models(module=models))] | None = (
        Field(None, description="a classification network of torchvision.models, such as 'resnet18'")
    )
    layers: Annotated[list[_Name], Predicate(lambda names: len({*names}) == len(names) > 0)] = Field(
        description="a list of different names"
    )
    input_size: int = Field(ge=16, le=4096, description="a whole number from 16 to 4096")
    mean: list[Annotated[float, Field(gt=-1e6, lt=1e6)]] = Field(
        min_length=3, max_length=3, description="three numbers, for red, green and blue"
    )
    std: list[Annotated[float, Field(gt=0, lt=1e6)]] = Field(
        min_length=3, max_length=3, description="three numbers above 0, for red, green and blue"
    )

    @property
    def file(self) -> Path:
        """The file of weights."""
        return self.path.parent / self.weights


class OwnNetwork(nn.Module):
    """A network that somebody brought, ready to use.

    Parameters
    ----------
    about
        What its JSON file says.
    device
        Where the network runs.
    try_it
        Whether to run the network once. One that came with a model is not tried: if its size or its weights
        make no sense, neither do the model's predictions.

    Raises
    ------
    BadInput
        If the weights are missing, damaged or of another network, or the network does not run or does not give
        its layers as described.
    """

    def __init__(self, about: Description, device: str, try_it: bool = True) -> None:
        super().__init__()
        self.size = about.input_size
        mean, std = (
            torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (about.mean, about.std)
        )
        self._shift = (2 * mean - 1).to(device)  # the image comes in [-1, 1]
        self._scale = (2 * std).to(device)
        if about.architecture:
            self._trunk, self._channels = _torchvision_trunk(about, device)
            if try_it:
                self._try(about)
        else:
            _check_weights(about)
            self._trunk = _script_trunk(about, device)
            self._channels = self._try(about)

    @property
    def channel_weights(self) -> list[Tensor]:
        """All 1: nobody has fitted this network's channels to human judgements of distance."""
        return [torch.ones(channels, device=self._shift.device) for channels in self._channels]

    def layers(self, images: Tensor, depth: int | None = None) -> list[Tensor]:
        """Compute the first `depth` layers' activations of images with RGB in [-1, 1]."""
        depth = len(self._channels) if depth is None else depth
        if images.shape[-2:] != (self.size, self.size):
            images = interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        return list(self._trunk((images - self._shift) / self._scale, depth)[:depth])

    def _try(self, about: Description) -> list[int]:
        """Run the network once, on two images, and return each layer's number of channels."""
        images = torch.linspace(-1, 1, 2 * 3 * self.size**2, device=self._shift.device)
        images = images.view(2, 3, self.size, self.size)
        given = _run(self._trunk, (images - self._shift) / self._scale, about)
        for name, activation in zip(about.layers, given, strict=True):
            if not activation.isfinite().all():
                raise BadInput(
                    f"{about.file}: layer {name!a} gives values that are not finite; "
                    f"check the weights, and mean and std in {about.path}"
                )
        return [activation.shape[1] for activation in given]


def copy_into(folder: Path, path: Path, sha256: str) -> None:
    """Copy a network of torchvision's architecture, its JSON file and its weights, into a model's folder.

    Raises
    ------
    BadInput
        If the files are no longer those that were used.
    """
    content = read_bytes(path, _MOST_JSON)
    shutil.copyfile(read_description(path).file, folder / _COPIED_WEIGHTS)
    (folder / COPY).write_bytes(content)
    if sha256_of(folder / COPY) != sha256 or sha256_of(folder / _COPIED_WEIGHTS) != read_copy(folder).sha256:
        raise BadInput(f"{path}: it or its weights changed while they were used; start again")


def read_copy(folder: Path) -> Description:
    """Read the description of the network inside a model's folder; no path that it names is followed.

    Raises
    ------
    BadInput
        If it is missing, wrong, or of a TorchScript file, which is a program and does not come with a model.
    """
    for name in (COPY, _COPIED_WEIGHTS):
        if (folder / name).is_symlink() or not (folder / name).is_file():
            raise BadInput(f"{folder / name}: missing, or not an ordinary file; fit the session again")
    about = read_description(folder / COPY).model_copy(update={"weights": _COPIED_WEIGHTS})
    if about.architecture is None:
        raise BadInput(f"{about.path}: names no architecture; such a network is never taken from a model")
    return about


def read_description(path: Path) -> Description:
    """Read and check the JSON file that describes a network.

    Raises
    ------
    BadInput
        If it is not JSON, lacks a key, has one too many, or a value is not what the key asks for.
    """
    try:
        said = parse_json(read_bytes(path, _MOST_JSON))
    except BadInput:
        raise
    except (OSError, ValueError) as problem:
        raise BadInput(f"{path}: not a JSON file that describes a network ({problem})") from problem
    keys = ", ".join(name for name in Description.model_fields if name != "path")
    about = Description.of(said, path, f"the keys are {keys}")
    return about.model_copy(update={"path": path})


def _check_weights(about: Description, **limit: int) -> None:
    missing = (
        f"{about.file}: the weights (sha256 {about.sha256}) are not there; "
        f"put the file there, or correct 'weights' in {about.path}"
    )
    check_file(about.file, missing, **limit)
    actual = sha256_of(about.file)
    if actual != about.sha256:
        raise BadInput(
            f"{about.file}: damaged or of another network, its sha256 is {actual} and not {about.sha256}; "
            f"replace the file, or correct 'sha256' in {about.path}"
        )


class _Unfilled(TorchFunctionMode):
    """A mode in which empty tensors take no memory and no time: a network's weights before they are read."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}) | ({"device": "meta"} if func is torch.empty else {}))


def _torchvision_trunk(about: Description, device: str) -> tuple[Trunk, list[int]]:
    """Build the network; returns each layer's number of channels, too."""
    assert about.architecture is not None
    with warnings.catch_warnings(), _Unfilled():
        warnings.simplefilter("ignore")  # of how the weights begin, which are replaced
        network = models.get_model(about.architecture, weights=None).eval().requires_grad_(False).to("meta")
    for module in network.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # type: ignore[assignment]  # or it would change the layer that it follows
    size = sum(tensor.nbytes for tensor in network.state_dict().values())
    _check_weights(about, most=2 * size + _MOST_UNUSED)
    nodes = get_graph_node_names(network, suppress_diff_warning=True)[1]
    for layer in about.layers:
        if not any(node == layer or node.startswith(f"{layer}.") for node in nodes):
            parts = dict.fromkeys(node.split(".")[0] for node in nodes)
            raise BadInput(
                f"{about.path}: layers: {about.architecture} has no {layer!a}; its parts are {', '.join(parts)}"
            )

    @functools.cache
    def first(depth: int) -> nn.Module:
        return create_feature_extractor(network, about.layers[:depth], suppress_diff_warning=True)

    def run(images: Tensor, depth: int) -> list[Tensor]:
        with _TRACING:
            extractor = first(depth)
        found = extractor(images)
        return [found[layer] for layer in about.layers[:depth]]

    state = _read_state(first(len(about.layers)), about, device)
    shapes = torch.empty(2, 3, about.input_size, about.input_size, device="meta")
    channels = [activation.shape[1] for activation in _run(run, shapes, about)]
    network.load_state_dict(state, strict=False, assign=True)
    first.cache_clear()  # what it holds has no weights
    return run, channels


def _read_state(needed: nn.Module, about: Description, device: str) -> dict[str, Tensor]:
    """Read the weights, as far as the layers need them."""
    state = read_safetensors(about.file)
    found = {}
    for name, value in needed.state_dict().items():
        if name not in state or state[name].shape != value.shape:
            said = f"has shape {tuple(state[name].shape)}" if name in state else "is missing"
            raise BadInput(
                f"{about.file}: not the weights of torchvision's {about.architecture}: "
                f"{name} of shape {tuple(value.shape)} {said}"
            )
        found[name] = state[name].to(device, value.dtype)
        if not found[name].isfinite().all():
            raise BadInput(f"{about.file}: {name} is not finite; save the weights again")
    return found


def _script_trunk(about: Description, device: str) -> Trunk:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch would rather have torch.export's files
            module = torch.jit.load(about.file, map_location=device).eval()
    except Exception as problem:  # the decoder raises anything on other files
        if is_out_of_memory(problem):
            raise
        raise BadInput(
            f"{about.file}: not a TorchScript file; write it with torch.jit.save, "
            f"or name the architecture in {about.path} if it is a safetensors file"
        ) from problem
    return lambda images, depth: module(images)


def _run(trunk: Trunk, images: Tensor, about: Description) -> Sequence[Tensor]:
    """Run the network on two images, and check that it gives its layers as described."""
    try:
        with torch.inference_mode():
            given = trunk(images, len(about.layers))
    except Exception as problem:  # somebody else's program
        if is_out_of_memory(problem):
            raise
        raise BadInput(
            f"{about.file}: does not run on two images of {about.input_size} × {about.input_size} pixels "
            f"({_last_line(problem)}); correct the network, or 'input_size' in {about.path}"
        ) from problem
    _check_layers(given, about)
    return given


def _check_layers(given: Any, about: Description) -> None:
    if not isinstance(given, list | tuple) or len(given) != len(about.layers):
        count = f"{len(given)} values" if isinstance(given, list | tuple) else f"one {type(given).__name__}"
        raise BadInput(
            f"{about.file}: returns {count} where {about.path} names {len(about.layers)} layers; "
            "it must return a list of as many activations"
        )
    for name, activation in zip(about.layers, given, strict=True):
        if not isinstance(activation, Tensor) or not _is_map(activation):
            shape = tuple(activation.shape) if isinstance(activation, Tensor) else type(activation).__name__
            raise BadInput(
                f"{about.file}: layer {name!a} gives {shape} for two images, and not real numbers of "
                f"shape (2, channels, height, width); name another in {about.path}"
            )


def _is_map(activation: Tensor) -> bool:
    return (
        activation.ndim == 4
        and activation.shape[0] == 2
        and activation.numel() > 0
        and activation.is_floating_point()
    )


def _last_line(problem: Exception) -> str:
    lines = str(problem).strip().splitlines()
    return shown(ascii(lines[-1]), 60) if lines else type(problem).__name__
