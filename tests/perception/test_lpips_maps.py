import resource
import signal
from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks_support import TRUNKS, random_trunk, reference, save_trunk
from PIL import Image

from catpref._io import cache
from catpref.errors import BadInput
from catpref.perception import features, lpips_maps
from catpref.perception.backbones import Backbone, load_backbone
from catpref.perception.embeddings import image_tensor
from catpref.perception.lpips_maps import distance_maps, layer_maps

SIZE = 71  # odd, and halved unevenly by every pooling


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    paths = []
    for number in range(5):
        small = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        paths.append(folder / f"{number}.png")
        image.save(paths[-1])
    return paths


PAIRS = np.array([(0, 1), (2, 3), (1, 0), (0, 1), (3, 4), (4, 0), (2, 3)])


@pytest.fixture(scope="module", params=sorted(TRUNKS))
def both(
    request: pytest.FixtureRequest, images: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Backbone, np.ndarray]:
    """A backbone, and what lpips says of `PAIRS` under the same weights: each layer's map, summed last."""
    network = random_trunk(request.param)
    path = save_trunk(network, tmp_path_factory.mktemp("weights") / "trunk.pth")
    with pytest.MonkeyPatch.context() as monkeypatch:
        plain = reference(request.param, network, monkeypatch)
    tensors = torch.stack([image_tensor(image, SIZE) for image in images])
    with torch.inference_mode():
        total, layers = plain(tensors[PAIRS[:, 0]], tensors[PAIRS[:, 1]], retPerLayer=True)
    return load_backbone(request.param, path), torch.stack([*layers, total])[:, :, 0].numpy()


def assert_same(maps: np.ndarray, wanted: np.ndarray) -> None:
    assert maps.dtype == np.float32 and maps.shape == wanted.shape
    # Where a deep layer of a small image is almost flat, the rounding of its height exceeds 1e-5 of its range.
    allowed = np.ptp(wanted) if wanted.shape[-1] >= 100 else max(np.ptp(wanted), wanted.max())
    assert np.abs(maps - wanted).max() <= 1e-5 * allowed


def test_the_mean_map_is_the_sum_of_lpips_over_its_layers(
    both: tuple[Backbone, np.ndarray], images: list[Path]
) -> None:
    backbone, wanted = both
    maps = distance_maps(images, PAIRS, backbone, SIZE)
    assert_same(maps, wanted[-1] / (len(wanted) - 1))
    assert len(wanted) - 1 == len(backbone.channel_weights)


def test_every_layer_map_is_that_of_lpips(both: tuple[Backbone, np.ndarray], images: list[Path]) -> None:
    backbone, wanted = both
    for layer, each in enumerate(wanted[:-1]):
        assert_same(distance_maps(images, PAIRS, backbone, SIZE, layer), each)
    assert_same(layer_maps(images[2], images[3], backbone, SIZE), wanted[:-1, 1])


@pytest.fixture(scope="module", params=sorted(TRUNKS))
def plain_and_ours(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[lpips.LPIPS, Backbone]:
    network = random_trunk(request.param, seed=1)
    path = save_trunk(network, tmp_path_factory.mktemp("weights") / "trunk.pth")
    with pytest.MonkeyPatch.context() as monkeypatch:
        return reference(request.param, network, monkeypatch), load_backbone(request.param, path)


def assert_as_lpips(
    networks: tuple[lpips.LPIPS, Backbone], images: list[Path], pairs: np.ndarray, size: int
) -> None:
    plain, backbone = networks
    tensors = torch.stack([image_tensor(image, size) for image in images])
    with torch.inference_mode():
        total, layers = plain(tensors[pairs[:, 0]], tensors[pairs[:, 1]], retPerLayer=True)
    assert_same(distance_maps(images, pairs, backbone, size), total[:, 0].numpy() / len(layers))
    left, right = pairs[0]
    wanted = torch.cat([layer[0] for layer in layers]).numpy()
    for ours, each in zip(layer_maps(images[left], images[right], backbone, size), wanted, strict=True):
        assert_same(ours, each)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(63, 90),
    pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30),
    batch=st.sampled_from([1, 2, 16]),
)
def test_maps_are_those_of_lpips_whatever_the_size_pairs_and_batch(
    plain_and_ours: tuple[lpips.LPIPS, Backbone],
    images: list[Path],
    size: int,
    pairs: list[tuple[int, int]],
    batch: int,
) -> None:
    different = [(left, right) for left, right in pairs if left != right] or [(0, 1)]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(lpips_maps, "_MOST", batch)
        assert_as_lpips(plain_and_ours, images, np.array(different), size)


@pytest.mark.parametrize("plain_and_ours", ["alex", "squeeze"], indirect=True)  # vgg alone would take 8 s
def test_maps_are_those_of_lpips_at_the_studys_size(
    plain_and_ours: tuple[lpips.LPIPS, Backbone], images: list[Path]
) -> None:
    assert_as_lpips(plain_and_ours, images, np.array([(0, 1)]), 512)


@pytest.fixture(scope="module")
def squeeze() -> Backbone:
    return load_backbone()


def test_lpips_agrees_under_the_embedded_weights(squeeze: Backbone, images: list[Path]) -> None:
    plain = squeeze.network
    assert isinstance(plain, lpips.LPIPS)
    tensors = torch.stack([image_tensor(image, SIZE) for image in images])
    plain.spatial = True
    with torch.inference_mode():
        wanted = plain(tensors[PAIRS[:, 0]], tensors[PAIRS[:, 1]])[:, 0].numpy() / 7
    plain.spatial = False
    assert_same(distance_maps(images, PAIRS, squeeze, SIZE), wanted)


def test_each_map_is_its_pairs_own_whatever_the_others(squeeze: Backbone, images: list[Path]) -> None:
    maps = distance_maps(images, PAIRS, squeeze, SIZE)
    order = np.random.default_rng(1).permutation(len(PAIRS))
    np.testing.assert_allclose(distance_maps(images, PAIRS[order], squeeze, SIZE), maps[order], atol=1e-7)
    for pair, each in zip(PAIRS, maps, strict=True):
        np.testing.assert_allclose(distance_maps(images, pair[None], squeeze, SIZE)[0], each, atol=1e-7)
    np.testing.assert_allclose(distance_maps(images, PAIRS[:, ::-1], squeeze, SIZE), maps, atol=1e-7)
    assert np.abs(maps[0] - maps[1]).max() > 0.01


def test_an_image_is_no_distance_from_itself(squeeze: Backbone, images: list[Path]) -> None:
    assert np.abs(distance_maps(images, np.array([(1, 1)]), squeeze, SIZE)).max() < 1e-6


def test_no_pairs_give_no_maps(squeeze: Backbone, images: list[Path]) -> None:
    assert distance_maps(images, np.empty((0, 2), int), squeeze, SIZE).shape == (0, SIZE, SIZE)


def test_a_map_lights_up_where_the_images_differ(
    squeeze: Backbone, images: list[Path], tmp_path: Path
) -> None:
    with Image.open(images[0]) as image:
        changed = image.copy()
    changed.paste((255, 0, 0), (45, 45, 65, 65))
    changed.save(tmp_path / "changed.png")
    (map_,) = distance_maps([images[0], tmp_path / "changed.png"], np.array([(0, 1)]), squeeze, SIZE, layer=0)
    assert map_[48:62, 48:62].mean() > 20 * map_[:30, :30].mean()


def test_images_are_resized_to_the_maps_size(squeeze: Backbone, images: list[Path]) -> None:
    assert distance_maps(images, PAIRS[:2], squeeze, 40).shape == (2, 40, 40)
    assert layer_maps(images[0], images[1], squeeze, 40).shape == (7, 40, 40)


def test_a_damaged_image_is_bad_input(squeeze: Backbone, images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(images[0].read_bytes()[:100])
    with pytest.raises(BadInput, match=r"bad\.png"):
        distance_maps([images[0], tmp_path / "bad.png"], np.array([(0, 1)]), squeeze, SIZE)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images went through the network, pass by pass."""
    counted: list[int] = []
    features = Backbone.raw_features

    def count(self: Backbone, tensors: torch.Tensor, depth: int | None = None) -> list[torch.Tensor]:
        counted.append(len(tensors))
        return features(self, tensors, depth)

    monkeypatch.setattr(Backbone, "raw_features", count)
    return counted


def test_features_are_computed_once(
    squeeze: Backbone, images: list[Path], passes: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "catpref")
    first = distance_maps(images, PAIRS, squeeze, SIZE, cache_folder=tmp_path)
    assert sum(passes) == len(images)
    assert "5 images, 0 cached, 5 computed" in caplog.messages[-1]
    np.testing.assert_array_equal(distance_maps(images, PAIRS, squeeze, SIZE, cache_folder=tmp_path), first)
    layer = distance_maps(images, PAIRS[:1], squeeze, SIZE, layer=2, cache_folder=tmp_path)
    np.testing.assert_array_equal(layer, distance_maps(images, PAIRS[:1], squeeze, SIZE, layer=2))
    assert sum(passes) == len(images) + 2  # the two without a cache
    assert "5 images, 5 cached, 0 computed" in caplog.messages[-3]


def test_features_are_told_apart_by_picture_size_and_weights(
    squeeze: Backbone, images: list[Path], passes: list[int], tmp_path: Path
) -> None:
    other = load_backbone("squeeze", save_trunk(random_trunk("squeeze"), tmp_path / "trunk.pth"))
    pair = np.array([(0, 1)])
    kept = tmp_path / "kept"
    for shown, network, size in [
        (images[:2], squeeze, SIZE),
        (images[2:4], squeeze, SIZE),
        (images[:2], squeeze, 64),
        (images[:2], other, SIZE),
    ]:
        before = sum(passes)
        maps = distance_maps(shown, pair, network, size, cache_folder=kept)
        assert sum(passes) == before + 2
        np.testing.assert_array_equal(maps, distance_maps(shown, pair, network, size))


def test_damaged_features_are_made_again(
    squeeze: Backbone, images: list[Path], passes: list[int], tmp_path: Path
) -> None:
    maps = distance_maps(images, PAIRS, squeeze, SIZE, cache_folder=tmp_path)
    (chunk,) = (path for path in tmp_path.glob("*.arrays"))
    table = cache._read_table(chunk)
    assert len(table) == len(images) * len(squeeze.channel_weights)
    content = bytearray(chunk.read_bytes())
    content[int(table["start"][3]) + 1000] ^= 1
    chunk.write_bytes(content)
    for _ in range(2):
        again = distance_maps(images, PAIRS, squeeze, SIZE, cache_folder=tmp_path)
        np.testing.assert_allclose(again, maps, atol=1e-7)
    assert sum(passes) == len(images) + 1


def test_features_that_would_fill_the_cache_are_not_kept(
    squeeze: Backbone, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distance_maps(images[:2], PAIRS[:1], squeeze, SIZE, cache_folder=tmp_path / "one")
    one_pair = sum(path.stat().st_size for path in (tmp_path / "one").rglob("*") if path.is_file())
    monkeypatch.setattr(features, "_MOST_KEPT", one_pair * 2)
    distance_maps(images, PAIRS, squeeze, SIZE, cache_folder=tmp_path / "five")
    assert not (tmp_path / "five").exists()


def test_a_full_disk_is_one_clear_line(
    squeeze: Backbone, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lpips_maps, "_MOST", 1)  # so that features wait in files
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(BadInput, match=r"cannot hold the features .*; free space"):
            distance_maps(images, PAIRS, squeeze, SIZE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
