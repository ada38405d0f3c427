from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
from PIL import Image
from test_backbones import TRUNKS, random_trunk, reference, save_trunk

from catpref.backbones import Backbone, load_backbone
from catpref.commands import BadInput
from catpref.embeddings import image_tensor
from catpref.lpips_maps import distance_maps, layer_maps

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
    assert np.abs(maps - wanted).max() <= 1e-5 * np.ptp(wanted)


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
