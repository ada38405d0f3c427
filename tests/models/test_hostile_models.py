"""Model folders from a stranger: each is refused in one line or read right, soon, and nothing in it is run."""

import hashlib
import json
import os
import pickle
import shutil
import socket
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from PIL import Image
from support import Finished, Malice, call, refusal, spring, use_own_cache
from torchvision import models

from catpref.errors import BadInput
from catpref.models import siamese_cnn, store, study_cnn, utility
from catpref.perception.backbones import load_backbone
from catpref.perception.embeddings import Layout
from catpref.predict import main

Forge = Callable[[Path], object]
SOON = 30.0  # seconds of the processor: most take 1, and what reads or computes all that it is told to, many more
GRID = 4
EXAMPLES = int(os.environ.get("CATPREF_FUZZ", "0"))


# ---- honest folders ----------------------------------------------------------------------------------------


def write_model(folder: Path, backbone: Any, embedding: str, grid: int) -> None:
    """Write what a fit would, of models that have learned from noise."""
    rng = np.random.default_rng(0)
    channels = sum(map(len, backbone.channel_weights))
    made_up = Layout(channels, grid, 0)
    looks = rng.random((12, made_up.dimensions)).astype(np.float16)
    pairs = np.array([rng.choice(12, 2, replace=False) for _ in range(24)])
    learned = utility.fit(looks, pairs, np.arange(24) % 2)
    torch.manual_seed(0)
    networks = [siamese_cnn._Network(8, made_up, mirror=True) for _ in range(2)]
    mixing = rng.random((channels, 8)).astype(np.float32)
    siamese = siamese_cnn.SiameseCNN(learned.centre, learned.scale, mixing, networks, 1.2, made_up, 0, [])
    study = study_cnn.StudyCNN(study_cnn.build(32).eval(), [])
    predictors = {"utility": learned, "siamese_cnn": siamese, "study_cnn": study}
    store.save(store.FittedModels(backbone, embedding, 32, None, predictors), folder)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model`, on the default backbone; `own`, on a network that it holds; two images."""
    folder = tmp_path_factory.mktemp("honest")
    write_model(folder / "model", load_backbone(), "grid4", GRID)
    weights = folder / "stem.safetensors"
    torch.manual_seed(0)
    state = models.resnet18(weights=None).state_dict()
    stem = {name: value for name, value in state.items() if name.startswith(("conv1", "bn1"))}
    safetensors.torch.save_file(stem, weights)
    about = {
        "weights": weights.name,
        "sha256": digest(weights.read_bytes()),
        "architecture": "resnet18",
        "layers": ["conv1", "relu"],
        "input_size": 64,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.2, 0.2, 0.2],
    }
    (folder / "network.json").write_text(json.dumps(about))
    write_model(folder / "own", load_backbone(str(folder / "network.json")), "grid4", GRID)
    (folder / "cats").mkdir()
    ramp = Image.linear_gradient("L").convert("RGB")
    ramp.save(folder / "cats" / "a.png")
    ramp.rotate(90).save(folder / "cats" / "b.png")
    return folder


@pytest.fixture
def place(honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may change, in the current folder; to run a program ends the test."""
    use_own_cache(monkeypatch)
    shutil.copytree(honest, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(torch.jit, "load", run_no_program)
    return tmp_path / "here"


def run_no_program(*_: object, **__: object) -> None:
    raise SystemExit("a program was run")


@pytest.fixture(scope="module")
def intact(honest: Path) -> dict[str, Finished]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_own_cache(monkeypatch)
        monkeypatch.chdir(honest)
        return {name: call(main, name, "cats") for name in ("model", "own")}


# ---- forging -----------------------------------------------------------------------------------------------


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def described(**changes: Any) -> Forge:
    """Change keys of model.json."""

    def forge(folder: Path) -> None:
        path = folder / "model.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return forge


def without(key: str) -> Forge:
    def forge(folder: Path) -> None:
        about = json.loads((folder / "model.json").read_text())
        del about[key]
        (folder / "model.json").write_text(json.dumps(about))

    return forge


def said(content: bytes) -> Forge:
    return lambda folder: (folder / "model.json").write_bytes(content)


def edited(old: bytes, new: bytes) -> Forge:
    def forge(folder: Path) -> None:
        content = (folder / "model.json").read_bytes()
        assert old in content
        (folder / "model.json").write_bytes(content.replace(old, new, 1))

    return forge


def raw(model: str, change: Callable[[bytes], bytes]) -> Forge:
    """Change a file's bytes; its sha256 is put right, as a forger would."""

    def forge(folder: Path) -> None:
        path = folder / f"{model}.safetensors"
        path.write_bytes(change(path.read_bytes()))
        about = json.loads((folder / "model.json").read_text())
        about["files_sha256"][model] = digest(path.read_bytes())
        described(**about)(folder)

    return forge


def tensors(model: str, change: Callable[[dict[str, np.ndarray]], object]) -> Forge:
    def rewrite(content: bytes) -> bytes:
        arrays = {name: array.copy() for name, array in safetensors.numpy.load(content).items()}
        change(arrays)
        return safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})

    return raw(model, rewrite)


def put(model: str, name: str, value: Any, place: int = 0) -> Forge:
    """Change one number of a tensor."""

    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[name].reshape(-1)[place] = value

    return tensors(model, change)


def turned(model: str, name: str, into: Callable[[np.ndarray], np.ndarray]) -> Forge:
    return tensors(model, lambda arrays: arrays.update({name: into(arrays[name])}))


def header(model: str, change: Callable[[dict[str, Any]], object]) -> Forge:
    """Change the header of a safetensors file and leave its numbers."""

    def rewrite(content: bytes) -> bytes:
        size = int.from_bytes(content[:8], "little")
        about = json.loads(content[8 : 8 + size])
        change(about)
        text = json.dumps(about).encode()
        return len(text).to_bytes(8, "little") + text + content[8 + size :]

    return raw(model, rewrite)


def twice(content: bytes) -> bytes:
    size = int.from_bytes(content[:8], "little")
    text = content[8 : 8 + size].rstrip()
    entry = json.dumps({"gain": json.loads(text)["gain"]}).encode()[1:]
    text = text[:-1] + b"," + entry
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def network(**changes: Any) -> Forge:
    """Change the JSON file of the network inside the folder, whose sha256 is put right."""

    def forge(folder: Path) -> None:
        path = folder / "network.json"
        about = json.loads(path.read_text()) | changes
        about = {key: value for key, value in about.items() if value is not None}
        path.write_text(json.dumps(about))
        described(weights_sha256=digest(path.read_bytes()))(folder)

    return forge


def network_weights(change: Callable[[bytes], bytes]) -> Forge:
    def forge(folder: Path) -> None:
        path = folder / "network.safetensors"
        path.write_bytes(change(path.read_bytes()))
        network(sha256=digest(path.read_bytes()))(folder)

    return forge


def network_tensor(name: str, change: Callable[[torch.Tensor], torch.Tensor | None]) -> Forge:
    def rewrite(content: bytes) -> bytes:
        state = safetensors.torch.load(content)
        changed = change(state.pop(name))
        return safetensors.torch.save(state if changed is None else state | {name: changed})

    return network_weights(rewrite)


def instead(name: str, make: Callable[[Path], object]) -> Forge:
    """Put something else in a file's place."""

    def forge(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return forge


def moved_out(name: str, absolute: bool = True) -> Forge:
    """Leave a link to the good file, which is outside."""

    def forge(folder: Path) -> None:
        (folder / name).rename(folder.parent / f"outside-{name}")
        target = folder.parent / f"outside-{name}" if absolute else Path("..") / f"outside-{name}"
        (folder / name).symlink_to(target)

    return forge


def listen(path: Path) -> None:
    old = Path.cwd()
    os.chdir(path.parent)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(old)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(200 << 30)


class Program(torch.nn.Module):
    """Overwrites a file as soon as it is called: TorchScript can."""

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [images + torch.from_file("precious.bin", True, 16).fill_(0.0).sum()]


def program(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Program()), path)


def evil_network(named: str) -> Forge:
    """A network that is a program, in the folder, and model.json names it."""

    def forge(folder: Path) -> None:
        program(folder / "network.safetensors")
        about = {
            "weights": "network.safetensors",
            "sha256": digest((folder / "network.safetensors").read_bytes()),
            "layers": ["only"],
            "input_size": 64,
            "mean": [0, 0, 0],
            "std": [1, 1, 1],
        }
        (folder / "network.json").write_text(json.dumps(about))
        described(
            backbone=named.replace("HERE", str(folder)),
            weights_sha256=digest((folder / "network.json").read_bytes()),
        )(folder)

    return forge


def as_pickle(content: bytes) -> bytes:
    return pickle.dumps(Malice())


UTILITY = ("centre", "scale", "weights", "weight_directions", "bias_directions", "shrinkage")
NUMBERS = ("prior_variance", "side_bias", "side_bias_sd", "gain", "farthest")
NAN, INF = float("nan"), float("inf")

FORGED: dict[str, Forge] = {
    # model.json
    **{f"no {key}": without(key) for key in ("schema_version", "backbone", "weights_sha256", "embedding")},
    **{f"no {key}": without(key) for key in ("map_size", "map_layer", "files_sha256")},
    **{f"{key} is null": described(**{key: None}) for key in ("schema_version", "backbone", "weights_sha256")},
    **{f"{key} is null": described(**{key: None}) for key in ("embedding", "map_size", "files_sha256")},
    **{
        f"{key} is {value!r}": described(**{key: value})
        for key in ("schema_version", "backbone", "weights_sha256", "embedding", "map_size", "files_sha256")
        for value in (True, [], {}, 1.5, "")
    },
    **{f"map_layer is {value!r}": described(map_layer=value) for value in (True, -1, 7, 10**30, "0", 1.0, [])},
    **{f"map_size is {value!r}": described(map_size=value) for value in (31, 64, 2048, 2049, 32.0, -32)},
    "schema of tomorrow": described(schema_version=3),
    "schema as a float": described(schema_version=2.0),
    "grid8 for grid4": described(embedding="grid8"),
    "global for grid4": described(embedding="global"),
    "another backbone": described(backbone="efficientnet-lite0"),
    "official weights that are not there": described(backbone="vgg"),
    "weights_sha256 of another": described(weights_sha256="0" * 64),
    "files unknown": described(files_sha256={"../outside": "0" * 64}),
    "files of another": described(files_sha256={"utility": "0" * 64}),
    "a list for files": described(files_sha256=["utility", "siamese_cnn", "study_cnn"]),
    "a number for a sha256": described(files_sha256={"utility": 5, "siamese_cnn": 5, "study_cnn": 5}),
    "backbone a line end": described(backbone="a\nb\x1b[31m"),
    "backbone a surrogate": described(backbone="\ud800"),
    "backbone long": described(backbone="x" * 60000),
    "backbone NUL": described(backbone="\0"),
    "backbone a folder": described(backbone="."),
    "backbone a device": described(backbone="/dev/zero"),
    "backbone network.json, which is not there": described(backbone="network.json"),
    "nothing said": said(b""),
    "null": said(b"null"),
    "a number": said(b"2"),
    "a list": said(b"[]"),
    "an empty object": said(b"{}"),
    "half": said(b'{"schema_version": 2, "backbone":'),
    "brackets": said(b"[" * 60000),
    "many brackets": said(b"[" * 1_000_000),
    "braces": said(b'{"a":' * 10000),
    "a long number": said(b'{"schema_version": ' + b"9" * 50000 + b"}"),
    "no UTF-8": said(b"\xff\xfe\xfa"),
    "UTF-16": said('{"schema_version": 2}'.encode("utf-16")),
    "NUL bytes": said(bytes(1000)),
    "a huge description": said(b" " * (1 << 24)),
    "a key twice": edited(b'"embedding"', b'"embedding": "grid8", "embedding"'),
    "NaN": edited(b'"map_layer": null', b'"map_layer": NaN'),
    "Infinity": edited(b'"map_size": 32', b'"map_size": Infinity'),
    "a comment": edited(b"{", b"{ // a model"),
    # files that are none
    **{
        f"{name} {what}": instead(name, make)
        for name in ("model.json", "utility.safetensors", "siamese_cnn.safetensors", "study_cnn.safetensors")
        for what, make in {
            "is a FIFO": os.mkfifo,
            "is a folder": Path.mkdir,
            "is a socket": listen,
            "is a link to zeros": lambda path: path.symlink_to("/dev/zero"),
            "is a link to random bytes": lambda path: path.symlink_to("/dev/urandom"),
            "is a link to itself": lambda path: path.symlink_to(path),
            "is a link to nothing": lambda path: path.symlink_to("nowhere"),
            "is gone": lambda path: None,
            "is 200 GiB of nothing": sparse,
        }.items()
    },
    **{f"{name} is a link outside": moved_out(name) for name in ("model.json", "utility.safetensors")},
    "a relative link outside": moved_out("siamese_cnn.safetensors", absolute=False),
    # safetensors
    **{
        f"{model} {what}": raw(model, change)
        for model in ("utility", "siamese_cnn", "study_cnn")
        for what, change in {
            "truncated": lambda content: content[: len(content) // 2],
            "one byte short": lambda content: content[:-1],
            "one byte long": lambda content: content + b"\0",
            "empty": lambda content: b"",
            "seven bytes": lambda content: content[:7],
            "only a header's size": lambda content: content[:8],
            "a header without end": lambda content: b"\xff" * 8 + content[8:],
            "a header of 100 MB": lambda content: (100 << 20).to_bytes(8, "little") + content[8:],
            "a header of nothing": lambda content: bytes(8) + content[8:],
            "a header of brackets": lambda content: (50000).to_bytes(8, "little") + b"[" * 50000,
            "no tensors": lambda content: safetensors.numpy.save({}),
            "a pickle": as_pickle,
            "text": lambda content: b"left_image,right_image,choice\n",
        }.items()
    },
    "a tensor twice": raw("utility", twice),
    "BF16": header("utility", lambda about: about["weight_directions"].update(dtype="BF16")),
    "F8": header("utility", lambda about: about["centre"].update(dtype="F8_E4M3", shape=[4 * 35840])),
    "unknown type": header("utility", lambda about: about["centre"].update(dtype="X9")),
    "integers": header("utility", lambda about: about["centre"].update(dtype="I32")),
    "complex": header("utility", lambda about: about["centre"].update(dtype="C64", shape=[17920])),
    "overlapping": header("utility", lambda about: about["centre"].update(about["scale"])),
    "offsets backwards": header("utility", lambda about: about["gain"]["data_offsets"].reverse()),
    "offsets outside": header("utility", lambda about: about["gain"].update(data_offsets=[1 << 40, 1 << 41])),
    "offsets negative": header("utility", lambda about: about["gain"].update(data_offsets=[-4, 0])),
    "a shape that overflows": header("utility", lambda about: about["gain"].update(shape=[1 << 62, 1 << 62])),
    "a shape with zeros": header("utility", lambda about: about["centre"].update(shape=[0, 1 << 62])),
    "a negative shape": header("utility", lambda about: about["centre"].update(shape=[-1])),
    "a shape of text": header("utility", lambda about: about["centre"].update(shape="big")),
    "a tensor without type": header("utility", lambda about: about["centre"].pop("dtype")),
    "metadata of another kind": header("utility", lambda about: about.update(__metadata__=[1])),
    # the utility
    **{f"no {name}": tensors("utility", lambda arrays, name=name: arrays.pop(name)) for name in UTILITY},
    **{f"no {name}": tensors("utility", lambda arrays, name=name: arrays.pop(name)) for name in NUMBERS},
    **{f"{name} NaN": put("utility", name, NAN) for name in (*UTILITY, *NUMBERS)},
    **{f"{name} infinite": put("utility", name, INF, -1) for name in (*UTILITY, *NUMBERS)},
    **{f"{name} short": turned("utility", name, lambda array: array[..., :-1]) for name in UTILITY},
    **{f"{name} of no numbers": turned("utility", name, lambda array: array[:0]) for name in NUMBERS},
    **{f"{name} float64": turned("utility", name, lambda array: array.astype(np.float64)) for name in UTILITY},
    **{f"{name} turned": turned("utility", name, lambda array: array[None]) for name in (*UTILITY, *NUMBERS)},
    **{f"{name} zero": put("utility", name, 0) for name in ("scale", "prior_variance", "gain")},
    **{
        f"{name} negative": put("utility", name, -1)
        for name in ("scale", "prior_variance", "gain", "farthest", "side_bias_sd", "shrinkage")
    },
    "scale tiny": put("utility", "scale", 1e-45),
    "shrinkage above 1": put("utility", "shrinkage", 1.5),
    "a further tensor": tensors("utility", lambda arrays: arrays.update(more=np.zeros(3))),
    "a further tensor with a line end": tensors("utility", lambda arrays: arrays.update({"a\nb": np.zeros(3)})),
    "utility of a siamese": tensors("utility", lambda arrays: arrays.update(mixing=np.zeros((3, 3)))),
    "weights that overflow": turned("utility", "weights", lambda array: np.full_like(array, 3e38)),
    "centres that overflow": turned("utility", "centre", lambda array: np.full_like(array, 3e38)),
    # the siamese network
    **{
        f"siamese without {name}": tensors("siamese_cnn", lambda arrays, name=name: arrays.pop(name))
        for name in ("centre", "scale", "mixing", "gain", "mirror", "0.side_bias", "1.shortcut.weight")
    },
    **{
        f"siamese {name} NaN": put("siamese_cnn", name, NAN)
        for name in ("centre", "mixing", "gain", "0.trunk.0.weight", "1.side_bias")
    },
    "siamese mixing of two hundred": turned("siamese_cnn", "mixing", lambda array: np.tile(array, (1, 25))),
    "siamese mixing flat": turned("siamese_cnn", "mixing", np.ravel),
    "siamese mixing empty": turned("siamese_cnn", "mixing", lambda array: array[:, :0]),
    "siamese mixing turned": turned("siamese_cnn", "mixing", lambda array: array.T),
    "siamese gain zero": put("siamese_cnn", "gain", 0),
    "siamese scale zero": put("siamese_cnn", "scale", 0),
    "a third network": tensors(
        "siamese_cnn", lambda arrays: arrays.update({"2.side_bias": np.zeros(1, np.float32)})
    ),
    "an odd network": tensors("siamese_cnn", lambda arrays: arrays.update({"٣.x": np.zeros(1)})),
    # the study's network
    "cnn without a layer": tensors("study_cnn", lambda arrays: arrays.pop("0.weight")),
    "cnn with a layer more": tensors("study_cnn", lambda arrays: arrays.update({"99.weight": np.zeros(3)})),
    "cnn NaN": put("study_cnn", "0.weight", NAN),
    "cnn infinite": put("study_cnn", "2.bias", -INF),
    "cnn of halves": turned("study_cnn", "0.weight", lambda array: array.astype(np.float16)),
    "cnn wider": turned("study_cnn", "0.weight", lambda array: np.concatenate([array, array])),
    # programs
    "a program, by its path": evil_network("HERE/network.json"),
    "a program, by a relative path": evil_network("model/network.json"),
    "a program inside": evil_network("network.json"),
    "a program above": evil_network("HERE/../network.json"),
}  # fmt: skip

OWN_FORGED: dict[str, Forge] = {
    "a program inside": evil_network("network.json"),
    "no architecture": network(architecture=None),
    "a program for weights": instead("network.safetensors", program),
    "a program for weights, its sha256 right": network_weights(lambda _: scripted()),
    "a pickle for weights": network_weights(as_pickle),
    "an architecture that does not exist": network(architecture="os.system"),
    "an architecture that is huge": network(architecture="regnet_y_128gf"),
    "an architecture for video": network(architecture="r3d_18"),
    "a layer that is code": network(layers=["conv1", "relu'): __import__('os').system('touch executed') #"]),
    "layers gone": network(layers=["conv1", "layer4"]),
    "layers in disorder": network(layers=["relu"]),
    "a layer of no map": network(layers=["conv1", "flatten"]),
    "size huge": network(input_size=10**9),
    "size small": network(input_size=1),
    "mean of texts": network(mean=["a", "b", "c"]),
    "std zero": network(std=[0, 1, 1]),
    "std tiny": network(std=[1e-45, 1e-45, 1e-45]),
    "a further key": network(run="touch executed"),
    "sha256 of another": network(sha256="0" * 64),
    "no JSON": lambda folder: (folder / "network.json").unlink(),
    "JSON changed": lambda folder: (folder / "network.json").write_text("{}"),
    "no weights": lambda folder: (folder / "network.safetensors").unlink(),
    "weights 200 GiB": instead("network.safetensors", sparse),
    "weights cut": network_weights(lambda content: content[:-8]),
    "weights empty": network_weights(lambda content: b""),
    "weights of no header": network_weights(lambda content: b"\xff" * 100),
    "weights NaN": network_tensor("conv1.weight", lambda tensor: tensor * NAN),
    "weights infinite": network_tensor("bn1.weight", lambda tensor: tensor / 0),
    "a negative variance": network_tensor("bn1.running_var", lambda tensor: -tensor),
    "a weight missing": network_tensor("conv1.weight", lambda tensor: None),
    "a weight wider": network_tensor("conv1.weight", lambda tensor: tensor.repeat(2, 1, 1, 1)),
    **{
        f"{name} {what}": instead(name, make)
        for name in ("network.json", "network.safetensors")
        for what, make in {
            "is a FIFO": os.mkfifo,
            "is a folder": Path.mkdir,
            "is a link to zeros": lambda path: path.symlink_to("/dev/zero"),
            "is a link to itself": lambda path: path.symlink_to(path),
        }.items()
    },
    **{f"{name} is a link outside": moved_out(name) for name in ("network.json", "network.safetensors")},
}  # fmt: skip

# What changes nothing: the result is that of the folder as it was.
HARMLESS: dict[str, Forge] = {
    "a further key": described(remark="from a friend"),
    "a byte-order mark": lambda folder: (folder / "model.json").write_bytes(
        b"\xef\xbb\xbf" + (folder / "model.json").read_bytes()
    ),
    "a further file": lambda folder: (folder / "thesis.txt").write_text("done"),
    "a further FIFO": lambda folder: os.mkfifo(folder / "pipe.safetensors"),
    "a further program": lambda folder: program(folder / "evil.pt"),
    "metadata": header("utility", lambda about: about.update(__metadata__={"by": "a friend"})),
}
OWN_HARMLESS: dict[str, Forge] = {
    "weights at an absolute path": network(weights="/dev/zero"),
    "weights above": network(weights="../../outside.safetensors"),
    "doubles": network_tensor("conv1.weight", lambda tensor: tensor.double()),
}


def scripted() -> bytes:
    program(Path("program.pt"))
    return Path("program.pt").read_bytes()


def tried(place: Path, name: str, forge: Forge) -> tuple[Finished, float]:
    forge(place / name)
    (place / "precious.bin").write_bytes(b"\1" * 64)
    begun = time.process_time()
    done = call(main, name, "cats")
    seconds = time.process_time() - begun
    assert not (place / "executed").exists(), "a program was run"
    assert (place / "precious.bin").read_bytes() == b"\1" * 64, "a program was run"
    assert not (place / name / "executed").exists(), "a program was run"
    return done, seconds


@pytest.mark.parametrize(
    ("name", "what"), [*(("model", what) for what in FORGED), *(("own", what) for what in OWN_FORGED)]
)
def test_a_forged_model_is_refused_in_one_line_and_soon(place: Path, name: str, what: str) -> None:
    done, seconds = tried(place, name, {"model": FORGED, "own": OWN_FORGED}[name][what])
    assert (done.code, done.out) == (2, ""), done
    assert done.err.startswith("catpref: ") and done.err.count("\n") == 1 and done.err.endswith("\n")
    assert done.err[:-1].isprintable() and len(done.err) < 2000
    assert seconds < SOON


@pytest.mark.parametrize(
    ("name", "what"), [*(("model", what) for what in HARMLESS), *(("own", what) for what in OWN_HARMLESS)]
)
def test_what_does_no_harm_changes_nothing(
    place: Path, intact: dict[str, Finished], name: str, what: str
) -> None:
    done, seconds = tried(place, name, {"model": HARMLESS, "own": OWN_HARMLESS}[name][what])
    assert done == intact[name] and done.code == 0
    assert seconds < SOON


def test_there_are_enough_of_them() -> None:
    assert len(FORGED) + len(OWN_FORGED) > 250


def test_the_program_that_must_not_run_would_do_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("precious.bin").write_bytes(b"\1" * 64)
    program(Path("evil.pt"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.load("evil.pt")(torch.zeros(1))
    assert Path("precious.bin").read_bytes() == bytes(64)
    spring(as_pickle(b""))
    assert Path("executed").exists()


# ---- images ------------------------------------------------------------------------------------------------


def test_what_leads_out_of_a_folder_or_is_no_file_is_left_out(
    place: Path, intact: dict[str, Finished]
) -> None:
    outside = place / "secret.png"
    (place / "cats" / "a.png").rename(outside)
    shutil.copy(outside, place / "cats" / "a.png")
    (place / "cats" / "out.png").symlink_to(outside)
    (place / "cats" / "device.png").symlink_to("/dev/zero")
    (place / "cats" / "gone.png").symlink_to("nowhere")
    os.mkfifo(place / "cats" / "pipe.png")
    listen(place / "cats" / "socket.png")
    done = call(main, "model", "cats")
    assert (done.code, done.out) == (0, intact["model"].out)
    line, *more = done.err.splitlines()
    assert "cats: left out 5" in line and "device.png, gone.png, out.png, …" in line
    assert more == intact["model"].err.splitlines()
    shutil.rmtree(place / "cats")
    (place / "cats").mkdir()
    os.mkfifo(place / "cats" / "pipe.png")
    assert "pipe.png" in refusal(main, "model", "cats")


def test_a_link_inside_the_folder_is_an_image(place: Path) -> None:
    (place / "cats" / "c.png").symlink_to("a.png")
    done = call(main, "model", "cats")
    assert done.code == 0 and "cats/c.png" in done.out and "left out" not in done.err


@pytest.mark.parametrize(("make", "what"), [
    (os.mkfifo, "not an ordinary file"),
    (listen, "not an ordinary file"),
    (lambda path: path.symlink_to("/dev/zero"), "not an ordinary file"),
    (lambda path: path.symlink_to(path), "no such image"),
])  # fmt: skip
def test_an_image_that_is_no_file_is_refused(place: Path, make: Forge, what: str) -> None:
    make(place / "odd.png")
    assert what in refusal(main, "model", "odd.png")
    (place / "pairs.csv").write_text("left_image,right_image\ncats/a.png,odd.png\n")
    assert "row 2" in refusal(main, "model", "--pairs", "pairs.csv", "--stimuli", ".")


@pytest.mark.parametrize("option", ["--backbone", "--weights"])
@pytest.mark.parametrize(
    "make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero"), sparse], ids=range(4)
)
def test_a_network_that_is_no_file_is_refused(place: Path, option: str, make: Forge) -> None:
    described(backbone="/elsewhere/network.json" if option == "--backbone" else "squeeze")(place / "model")
    make(place / "weights.pth")
    begun = time.process_time()
    assert "weights.pth" in refusal(main, "model", "cats", option, "weights.pth")
    assert time.process_time() - begun < SOON


def test_memory_that_is_short_is_said_as_such(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def allocate(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    for module, name in ((torch, "load"), (safetensors.torch, "load_file")):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, allocate)
            (place / "trunk.pth").write_bytes(b"x")
            described(backbone="squeeze")(place / "model")
            arguments = ("model", "cats", "--weights", "trunk.pth") if name == "load" else ("own", "cats")
            assert "not enough memory" in refusal(main, *arguments)


# ---- any bytes whatever ------------------------------------------------------------------------------------

ANYTHING = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=20),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)
KEYS = ("schema_version", "backbone", "weights_sha256", "embedding", "map_size", "map_layer", "files_sha256")
FILES = ("model.json", "utility.safetensors", "siamese_cnn.safetensors", "study_cnn.safetensors")


@some.composite
def damages(draw: some.DrawFn) -> tuple[str, Any]:
    """A file and what happens to its bytes; or a key of model.json and its value."""
    if draw(some.integers(0, 3)) == 0:
        return draw(some.sampled_from(KEYS)), draw(ANYTHING)
    name = draw(some.sampled_from(FILES))
    # Most bytes are numbers; the header, and what it says of them, is in the first thousand.
    place = some.integers(0, 1500) | some.integers(0, 1 << 22)
    change = some.tuples(place, some.integers(0, 3), some.binary(max_size=4))
    return name, draw(some.lists(change, min_size=1, max_size=4))


def damaged(content: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for where, less, more in changes:
        where %= len(content) + 1
        content = content[:where] + more + content[where + less :]
    return content


def run_fuzzer(folder: Path, examples: int) -> None:
    """Read damaged folders; nothing but BadInput may come of it, and what is read can be computed with."""
    write_model(folder, backbone := load_backbone(), "global", 1)
    good = {path.name: path.read_bytes() for path in folder.iterdir()}
    looks = np.random.default_rng(1).random((3, 2240)).astype(np.float16)
    maps, pairs = np.ones((2, 32, 32), np.float32), np.array([[0, 1], [1, 2]])

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=examples < 1000,
        suppress_health_check=list(HealthCheck),
    )
    @given(damages())
    def fuzz(damage: tuple[str, Any]) -> None:
        what, change = damage
        for name, content in good.items():
            (folder / name).write_bytes(content)
        if what in KEYS:
            described(**{what: change})(folder)
        elif what == "model.json":
            (folder / what).write_bytes(damaged(good[what], change))
        else:
            raw(what.partition(".")[0], lambda content: damaged(content, change))(folder)
        try:
            fitted = store.load(folder)
        except BadInput as refused:
            assert str(refused)
            return
        with np.errstate(all="ignore"):
            for name, model in fitted.predictors.items():
                reads = (maps,) if name == "study_cnn" else (looks, pairs)
                assert model.p_right(*reads).shape == (2,)

    with pytest.MonkeyPatch.context() as monkeypatch:
        known = {"squeeze-caffe": backbone}
        original = store.load_backbone
        monkeypatch.setattr(
            store, "load_backbone", lambda name, *more: known.get(name) or original(name, *more)
        )
        monkeypatch.setattr(torch.jit, "load", run_no_program)
        fuzz()


def test_damaged_folders_are_refused_or_read(tmp_path: Path) -> None:
    run_fuzzer(tmp_path / "model", 40)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.skipif(not EXAMPLES, reason="CATPREF_FUZZ says how many folders to fuzz")
def test_very_many_damaged_folders_are_refused_or_read(tmp_path: Path) -> None:
    run_fuzzer(tmp_path / "model", EXAMPLES)
