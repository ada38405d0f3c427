from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from efficientnet_lite_pytorch.utils import get_model_params
from engines_support import Scrambled
from networks_support import random_trunk, save_trunk
from PIL import Image
from support import faces

from catpref._io.cache import _read_table
from catpref.errors import BadInput
from catpref.perception import embeddings
from catpref.perception.backbones import Backbone, load_backbone
from catpref.perception.efficientnet import EfficientNetLite
from catpref.perception.embeddings import GRIDS, blocks, embed, image_tensor, layout
from catpref.perception.late_stages import NETWORKS, WIDTHS
from catpref.perception.weights import read_checkpoint

CHANNELS = 64 + 128 + 256 + 384 + 384 + 512 + 512


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone()


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Three faces whose files a test may change."""
    folder = tmp_path / "images"
    folder.mkdir()
    for path in sorted(faces().glob("*.png"))[:3]:
        (folder / path.name).write_bytes(path.read_bytes())
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def computed(backbone: Backbone) -> np.ndarray:
    return embed(sorted(faces().glob("*.png"))[:3], backbone)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images went through the network, pass by pass."""
    counted: list[int] = []
    features = Backbone.features

    def count(self: Backbone, tensors: torch.Tensor, depth: int | None = None) -> list[torch.Tensor]:
        counted.append(len(tensors))
        return features(self, tensors, depth)

    monkeypatch.setattr(Backbone, "features", count)
    return counted


def entries(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


def test_an_embedding_is_the_mean_of_the_features_over_the_cells(
    backbone: Backbone, images: list[Path], computed: np.ndarray
) -> None:
    assert computed.shape == (3, CHANNELS * 64 + sum(WIDTHS)) and computed.dtype == np.float16
    first = backbone.features(image_tensor(images[1], 512)[None])[0][0].numpy()
    assert first.shape[0] == 64
    # A cell of a feature map whose side is no multiple of 8 ends where the next one begins, or shares a pixel.
    side = first.shape[1]
    edges = [(side * cell // 8, -(-side * (cell + 1) // 8)) for cell in range(8)]
    wanted = np.array([[first[:, t:b, l:r].mean((1, 2)) for l, r in edges] for t, b in edges])  # noqa: E741
    ours = computed[1, : 64 * 64].reshape(64, 8, 8).transpose(1, 2, 0)
    np.testing.assert_allclose(ours, wanted, atol=1e-3)


@pytest.mark.parametrize("name", GRIDS)
def test_every_grid_has_its_dimensions(backbone: Backbone, images: list[Path], name: str) -> None:
    averages = sum(WIDTHS) if name.endswith("late") else 0
    assert embed(images[:1], backbone, name).shape == (1, CHANNELS * GRIDS[name] ** 2 + averages)
    assert layout(backbone, name).dimensions == CHANNELS * GRIDS[name] ** 2 + averages


def test_late_stages_are_averaged_over_the_image(images: list[Path], computed: np.ndarray) -> None:
    start = CHANNELS * 64
    for network in NETWORKS:
        own = EfficientNetLite(read_checkpoint(network.weights.path()), network.width, network.depth).eval()
        with torch.inference_mode():
            stages = own.late_layers(image_tensor(images[1], network.size)[None])
        wanted = torch.cat([stage.mean((2, 3)) for stage in stages], dim=1)[0].numpy()
        ours = computed[1, start : start + len(wanted)]
        np.testing.assert_allclose(ours, wanted, rtol=2e-3, atol=1e-3)
        start += len(wanted)
    assert start == computed.shape[1]


def test_late_stages_are_those_of_the_reference() -> None:
    """The head's activations, from which the reference's own class scores follow."""
    for name, network in zip(("efficientnet-lite0", "efficientnet-lite2"), NETWORKS, strict=True):
        state = read_checkpoint(network.weights.path())
        reference = EfficientNet(*get_model_params(name, None)).eval()
        reference.load_state_dict(state)
        batch = torch.rand(2, 3, network.size, network.size, generator=torch.manual_seed(0)) * 2 - 1
        own = EfficientNetLite(state, network.width, network.depth).eval()
        with torch.inference_mode():
            wanted = reference.extract_features((batch * 127.5 + 0.5) / 128)
            ours = own.late_layers(batch)[-1]
        assert (ours - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_an_embedding_does_not_depend_on_the_others(
    backbone: Backbone, images: list[Path], computed: np.ndarray
) -> None:
    alone = embed([images[2]], backbone)[0]
    np.testing.assert_allclose(alone.astype(float), computed[2].astype(float), atol=1e-3)
    turned = embed(images[::-1], backbone)
    np.testing.assert_allclose(turned.astype(float), computed[::-1].astype(float), atol=1e-3)
    assert np.abs(computed[0].astype(float) - computed[1]).max() > 0.1


def test_a_second_time_nothing_is_computed(
    backbone: Backbone, images: list[Path], computed: np.ndarray, tmp_path: Path, passes: list[int]
) -> None:
    cache = tmp_path / "cache"
    np.testing.assert_array_equal(embed(images, backbone, cache_folder=cache), computed)
    assert sum(passes) == 3 and len(entries(cache)) == 1
    passes.clear()
    np.testing.assert_array_equal(embed(images, backbone, cache_folder=cache), computed)
    copy = tmp_path / "elsewhere.png"
    copy.write_bytes(images[1].read_bytes())
    np.testing.assert_array_equal(embed([copy, images[0]], backbone, cache_folder=cache), computed[[1, 0]])
    assert passes == []


def test_without_a_cache_nothing_is_kept(backbone: Backbone, images: list[Path], passes: list[int]) -> None:
    embed(images[:1], backbone, "global")
    embed(images[:1], backbone, "global")
    assert passes == [1, 1]


def test_a_damaged_entry_is_made_again(
    backbone: Backbone, images: list[Path], computed: np.ndarray, tmp_path: Path, passes: list[int]
) -> None:
    cache = tmp_path / "cache"
    embed(images, backbone, cache_folder=cache)
    (chunk,) = entries(cache)
    content = bytearray(chunk.read_bytes())
    for start in _read_table(chunk)["start"]:
        content[int(start) + 100] ^= 1
    chunk.write_bytes(content)
    passes.clear()
    made = embed(images, backbone, cache_folder=cache)
    np.testing.assert_allclose(made.astype(float), computed.astype(float), atol=1e-3)
    assert sum(passes) == 3
    embed(images, backbone, cache_folder=cache)
    assert sum(passes) == 3


def test_another_picture_under_the_same_name_is_embedded_anew(
    backbone: Backbone, images: list[Path], computed: np.ndarray, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    embed(images, backbone, cache_folder=cache)
    images[0].write_bytes(images[1].read_bytes())
    np.testing.assert_array_equal(embed(images, backbone, cache_folder=cache), computed[[1, 1, 2]])


def test_what_is_kept_is_told_apart_by_weights_and_embedding(
    backbone: Backbone, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: list[int]
) -> None:
    cache = tmp_path / "cache"
    other = load_backbone(str(save_trunk(random_trunk("squeeze"), tmp_path / "trunk.pth")))
    for each in (backbone, other):
        for name in ("global", "grid4"):
            kept = embed(images[:1], each, name, cache)
            np.testing.assert_array_equal(kept, embed(images[:1], each, name))
    assert passes == [1] * 8
    monkeypatch.setattr(embeddings, "_CODE_VERSION", "next")
    embed(images[:1], backbone, "global", cache)
    assert passes == [1] * 9


@pytest.mark.parametrize("name", GRIDS)
def test_blocks_are_layers_and_regions_with_their_mirror_images(backbone: Backbone, name: str) -> None:
    parts, grid = blocks(backbone, name), GRIDS[name]
    regions = {8: 8, 4: 8, 1: 1}[grid]
    if name.endswith("late"):
        late = parts.of_dimension[CHANNELS * grid**2 :]
        assert np.bincount(late)[7 * regions :].tolist() == list(WIDTHS)
        assert (parts.factors[late, 7 + regions :].sum(1) == 1).all() and not parts.factors[
            late, : 7 + regions
        ].any()
        assert parts.of_late.sum() == len(WIDTHS)
        on_grid = slice(7 * regions), slice(7 + regions)
        parts = replace(
            parts, of_dimension=parts.of_dimension[: CHANNELS * grid**2], factors=parts.factors[on_grid]
        )
    assert parts.of_dimension.shape == (CHANNELS * grid**2,)
    assert parts.factors.shape == (7 * regions, 7 + regions)
    assert (parts.factors.sum(1) == 2).all() and len(np.unique(parts.factors, axis=0)) == 7 * regions
    assert set(parts.of_dimension) == set(range(7 * regions))
    first = parts.of_dimension[: 64 * grid**2].reshape(64, grid, grid)
    assert (first == first[0]).all() and (first == first[:, :, ::-1]).all()
    layers = parts.factors[parts.of_dimension, :7].argmax(1)
    assert (np.diff(layers) >= 0).all()
    assert np.bincount(layers).tolist() == [n * grid**2 for n in (64, 128, 256, 384, 384, 512, 512)]


def test_a_damaged_image_is_bad_input(backbone: Backbone, images: list[Path], tmp_path: Path) -> None:
    images[1].write_bytes(images[1].read_bytes()[:2000])
    with pytest.raises(BadInput, match=images[1].name):
        embed(images, backbone, "global", tmp_path / "cache")


def test_an_image_is_loaded_as_the_networks_take_it(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2), (255, 0, 51)).save(tmp_path / "a.png")
    tensor = image_tensor(tmp_path / "a.png", 8)
    assert tensor.shape == (3, 8, 8) and tensor.dtype == torch.float32
    torch.testing.assert_close(tensor[:, 4, 4], torch.tensor([1.0, -1.0, 51 / 127.5 - 1]))


@pytest.mark.parametrize("sees", ["images and the cache", "images", "nothing"])
def test_workers_embed_as_this_process_does(
    backbone: Backbone,
    images: list[Path],
    computed: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sees: str,
) -> None:
    """To the last bit, whether they see the files and the cache under the same names or, elsewhere, do not."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    cache = Path("cache") if sees == "images" else tmp_path / "cache"
    paths = [path.relative_to(tmp_path) for path in images] if sees == "nothing" else images
    if sees == "nothing":
        cache = Path("cache")
    engine = Scrambled(folder=tmp_path / ("." if sees == "images and the cache" else "elsewhere"))
    assert np.array_equal(embed(paths, backbone, cache_folder=cache, engine=engine), computed)
    assert len(engine.done) == (4 if sees == "nothing" else 2)
    assert len(entries(tmp_path / "elsewhere")) == 0
    again = Scrambled()
    assert np.array_equal(embed(images, backbone, cache_folder=cache, engine=again), computed)
    assert again.done == [], "what they computed is kept"
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name.startswith(".")]


def test_a_worker_with_other_weights_is_one_line(
    images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trunk = save_trunk(random_trunk("squeeze"), tmp_path / "own.pth")
    backbone = load_backbone(str(trunk))
    trunk.write_bytes(b"other")
    with pytest.raises(BadInput, match=r"own.pth: is not the file with sha256 \w{8}… that backbone="):
        embed(images, backbone, "global", engine=Scrambled())


def test_workers_send_what_the_cache_does_not_take(
    backbone: Backbone,
    images: list[Path],
    computed: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where it is full, or where a network's folder shows late what is new."""
    monkeypatch.setattr("catpref._io.cache.Store.write", lambda *_: None)
    engine = Scrambled()
    found = embed(images[:2], backbone, cache_folder=tmp_path / "cache", engine=engine)
    assert np.array_equal(found, computed[:2]) and len(engine.done) == 1
