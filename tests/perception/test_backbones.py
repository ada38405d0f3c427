import hashlib
import io
import os
import pickle
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import lpips
import pytest
import torch
from networks_support import TRUNKS, random_trunk, reference, save_trunk
from skimage import data
from support import Malice, spring
from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

from catpref.errors import BadInput
from catpref.perception.backbones import DEFAULT, OFFICIAL_FILES, PACKAGED, load_backbone
from catpref.perception.lpips_networks import read_caffe_weights, torchvision_state


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Any attempt at a download fails the test."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a backbone went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def embedded_classifier() -> torch.nn.Module:
    """SqueezeNet with its ImageNet classifier, to check the conversion against a known image."""
    whole = squeezenet1_1(weights=None)
    whole.load_state_dict(torchvision_state(read_caffe_weights(PACKAGED[DEFAULT].path())))
    return whole.eval()


def p_espresso(channels: tuple[int, int, int]) -> float:
    weights = SqueezeNet1_1_Weights.IMAGENET1K_V1
    image = torch.from_numpy(data.coffee()[..., list(channels)].copy()).permute(2, 0, 1)
    with torch.inference_mode():
        answer = embedded_classifier()(weights.transforms()(image)[None]).softmax(1)[0]
    return float(answer[weights.meta["categories"].index("espresso")])


def test_coffee_is_espresso_to_the_embedded_network() -> None:
    assert p_espresso((0, 1, 2)) > 0.9


def test_coffee_is_no_espresso_with_the_channels_swapped() -> None:
    assert p_espresso((2, 1, 0)) < 0.5


def test_the_default_backbone_is_the_network_that_knows_espresso() -> None:
    backbone = load_backbone()
    assert backbone.name == DEFAULT == "squeeze-caffe"
    assert backbone.weights_sha256 == hashlib.sha256(PACKAGED[DEFAULT].path().read_bytes()).hexdigest()
    kept = embedded_classifier().features.state_dict()
    ours = backbone.network.net.state_dict()
    assert len(ours) == len(kept)
    for name, value in ours.items():
        torch.testing.assert_close(value, kept[name.split(".", 1)[1]], rtol=0, atol=0)
    assert not backbone.network.training
    assert not any(parameter.requires_grad for parameter in backbone.network.parameters())


def test_the_linear_layers_are_those_of_lpips() -> None:
    weights = load_backbone().channel_weights
    assert [len(weight) for weight in weights] == [64, 128, 256, 384, 384, 512, 512]
    assert all((weight >= 0).all() for weight in weights)
    stored = torch.load(Path(lpips.__file__).parent / "weights/v0.1/squeeze.pth", "cpu", weights_only=True)
    for layer, weight in enumerate(weights):
        torch.testing.assert_close(weight, stored[f"lin{layer}.model.1.weight"].flatten())


@pytest.mark.parametrize("net", sorted(TRUNKS))
def test_a_checkpoint_gives_the_features_of_lpips(
    net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = random_trunk(net)
    path = save_trunk(network, tmp_path / "trunk.pth")
    image = torch.rand(2, 3, 71, 65, generator=torch.manual_seed(1)) * 2 - 1
    plain = reference(net, network, monkeypatch)
    with torch.inference_mode():
        wanted = [lpips.normalize_tensor(layer) for layer in plain.net(plain.scaling_layer(image))]
    named, recognised = load_backbone(net, path), load_backbone(str(path))
    assert named.weights_sha256 == recognised.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    for backbone in (named, recognised):
        features = backbone.features(image)
        assert len(features) == len(wanted) == len(backbone.channel_weights)
        for ours, theirs in zip(features, wanted, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(named.features(image, 2), wanted[:2], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("net", sorted(OFFICIAL_FILES))
def test_weights_that_are_not_there_are_asked_for(net: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refused:
        load_backbone(net)
    file = OFFICIAL_FILES[net]
    for said in (
        file,
        file.split("-")[-1].split(".")[0],
        str(tmp_path / "torch/hub/checkpoints" / file),
        "weights=",
    ):
        assert said in str(refused.value)


def test_official_weights_are_read_from_their_place_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "torch" / "hub" / "checkpoints"
    place.mkdir(parents=True)
    path = save_trunk(random_trunk("squeeze"), tmp_path / "squeeze.pth")
    digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    wrong = path.rename(place / OFFICIAL_FILES["squeeze"])
    with pytest.raises(BadInput, match="damaged, its sha256 does not begin with b8a52dc0"):
        load_backbone("squeeze")
    monkeypatch.setitem(OFFICIAL_FILES, "squeeze", f"squeezenet1_1-{digits}.pth")
    wrong.rename(place / OFFICIAL_FILES["squeeze"])
    assert load_backbone("squeeze").weights_sha256.startswith(digits)


def test_names_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    path = save_trunk(random_trunk("squeeze"), tmp_path / "trunk.pth")
    for name, weights, said in (
        ("nonsense", None, "neither a file nor one of squeeze-caffe, squeeze, alex, vgg"),
        (DEFAULT, path, "brings its own weights"),
        (str(path), path, "goes with squeeze, alex or vgg"),
        ("alex", path, "not the weights of torchvision's alex"),
        ("vgg", path, "not the weights of torchvision's vgg"),
        ("squeeze", tmp_path, "there is no such file"),
        ("squeeze", tmp_path / "nowhere.pth", "there is no such file"),
    ):
        with pytest.raises(BadInput, match=said):
            load_backbone(name, weights)


def checkpoint(content: object, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def odd_checkpoints() -> dict[str, bytes]:
    small = {"features.0.weight": torch.zeros(64, 3, 3, 3), "features.3.squeeze.weight": torch.zeros(2)}
    good = checkpoint(small)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02.")
    odd = {
        "nothing": b"",
        "text": b"left_image,right_image,choice\n",
        "zeros": bytes(1000),
        "an empty archive": archive.getvalue(),
        "malice": checkpoint({"features.0.weight": Malice()}),
        "malice, legacy": checkpoint({"features.0.weight": Malice()}, legacy=True),
        "malice, plain": pickle.dumps(Malice()),
        "a network": checkpoint(torch.nn.Linear(2, 2)),
        "a list": checkpoint([torch.zeros(2)]),
        "a tensor": checkpoint(torch.zeros(2)),
        "numbers": checkpoint({"features.0.weight": 3}),
        "numbered": checkpoint({0: torch.zeros(2)}),
        "nested": checkpoint({"state_dict": small}),
        "empty": checkpoint({}),
        "other kernel": checkpoint({"features.0.weight": torch.zeros(7, 3, 5, 5)}),
        "only the first kernel": good,
        "resnet": checkpoint({"conv1.weight": torch.zeros(64, 3, 7, 7)}),
    }
    odd |= {f"cut at {length}": good[:length] for length in range(1, len(good), len(good) // 8)}
    for place in range(0, len(good), len(good) // 25):
        odd[f"flipped at {place}"] = good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :]
    return odd


def test_odd_checkpoints_are_bad_input_and_nothing_is_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.chdir(tmp_path)
    spring(pickle.dumps(Malice()))
    assert Path("executed").exists(), "the malice works"
    Path("executed").unlink()
    path = tmp_path / "odd.pth"
    for what, content in odd_checkpoints().items():
        path.write_bytes(content)
        with pytest.raises(BadInput) as refused:
            load_backbone(str(path))
        assert str(path) in str(refused.value), what
        assert not Path("executed").exists(), what
    assert [str(warning.message) for warning in recwarn] == []


def test_the_embedded_pickle_may_hold_arrays_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps(Malice()))
    with pytest.raises(pickle.UnpicklingError):
        read_caffe_weights(path)


def test_nobody_waits_for_a_network_that_is_not_used() -> None:
    """Importing torchvision takes a second, which a fit with a warm cache does not need."""
    code = (
        "import sys, catpref.fit; from catpref.perception.backbones import load_backbone; load_backbone();"
        "sys.exit('torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_torchvision_of_another_torch_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "torchvision.py").write_text('raise RuntimeError("operator torchvision::nms does not exist")')
    code = (
        "from catpref import BadInput\n"
        "try:\n    import catpref.perception.lpips_networks\nexcept BadInput as problem:\n    print(problem)"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert (
        run.stdout.startswith("torchvision: was built for another version of torch")
        and run.stdout.count("\n") == 1
    )
