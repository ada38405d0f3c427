"""``python -m catpref.predict DIR/model IMAGES…``: rank new images, or predict the choice between pairs of them."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from catpref import cache, lpips_maps
from catpref.analysis import rank
from catpref.commands import BadInput, Parser, run
from catpref.devices import DEVICES, choose_device
from catpref.embeddings import embed
from catpref.outputs import output_file
from catpref.sessions import SIDES, read_pairs
from catpref.stimuli import find_images, image_path
from catpref.store import FittedModels, load


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    parser = Parser(
        "python -m catpref.predict",
        "Rank images by the utility that a fitted model predicts, or predict the choice between pairs of images.",
        "python -m catpref.predict sessions/p01/session_fit/model new_cats/ --out ranking.csv",
    )
    parser.add_argument(
        "model", type=Path, metavar="DIR/model", help="the folder model/ that catpref.fit wrote"
    )
    parser.add_argument(
        "images", nargs="*", type=Path, metavar="IMAGES", help="images, or folders of images, to rank"
    )
    parser.add_argument("--pairs", type=Path, metavar="pairs.csv", help="columns left_image, right_image")
    parser.add_argument(
        "--stimuli", type=Path, metavar="DIR", help="folder that the paths in --pairs start from"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write (default: to the terminal)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="read the backbone's weights from here")
    parser.add_argument(
        "--device", choices=DEVICES, default="auto", help="where networks run (default: auto)"
    )
    cache.add_options(parser)
    options = parser.parse_args(arguments)
    if bool(options.images) == (options.pairs is not None):
        parser.error("give either images to rank or --pairs")
    if options.stimuli is not None and options.pairs is None:
        parser.error("--stimuli goes with --pairs")

    if options.out is None:
        print(_table(options).to_csv(index=False), end="")
        return
    with output_file(options.out, "table of predictions") as file:
        file.write_text(_table(options).to_csv(index=False), encoding="utf-8")
    print(options.out)


def _table(options: argparse.Namespace) -> pd.DataFrame:
    if options.pairs is None:
        paths = {str(path): path for place in options.images for path in _images_in(place)}
        return _rank(_load(options), paths, options.cache_dir)
    pairs, folder = read_pairs(options.pairs, options.stimuli)
    return _predict_pairs(_load(options), pairs, folder, options.cache_dir)


def _load(options: argparse.Namespace) -> FittedModels:
    return load(options.model, choose_device(options.device), options.weights)


def _rank(fitted: FittedModels, paths: Mapping[str, Path], kept: Path | None) -> pd.DataFrame:
    if fitted.utility is None and fitted.siamese is None:
        raise BadInput("study_cnn compares pairs and cannot rank; fit with --model utility, or give --pairs")
    embeddings = embed(list(paths.values()), fitted.backbone, fitted.embedding, kept)
    if fitted.utility is None:
        return rank(list(paths), fitted.siamese, embeddings)
    far = fitted.utility.far(embeddings)
    _warn_of(far)
    ranking = rank(list(paths), fitted.utility, embeddings)
    distant = [name for name, is_far in zip(paths, far, strict=True) if is_far]
    return ranking.assign(far=ranking["image"].isin(distant).astype(int))


def _warn_of(far: np.ndarray) -> None:
    if far.any():
        print(
            f"catpref: {far.sum()} of {len(far)} images are far from all that the model learned from; "
            "what it says of them may mean nothing",
            file=sys.stderr,
        )


def _images_in(place: Path) -> list[Path]:
    if place.is_dir():
        return [place / name for name in find_images(place)]
    if not place.is_file():
        raise BadInput(f"{place}: there is no such image or folder")
    return [place]


def _predict_pairs(
    fitted: FittedModels, table: pd.DataFrame, folder: Path, kept: Path | None
) -> pd.DataFrame:
    images, indices = np.unique(table[list(SIDES)].to_numpy(), return_inverse=True)
    pairs = indices.reshape(-1, 2)
    paths = [image_path(folder, image) for image in images]
    return table.assign(p_right=_p_right(fitted, paths, pairs, kept))


def _p_right(fitted: FittedModels, paths: Sequence[Path], pairs: np.ndarray, kept: Path | None) -> np.ndarray:
    if fitted.utility is not None:
        embeddings = embed(paths, fitted.backbone, fitted.embedding, kept)
        _warn_of(fitted.utility.far(embeddings))
        return fitted.utility.p_right(embeddings, pairs)
    if fitted.siamese is not None:
        embeddings = embed(paths, fitted.backbone, fitted.embedding, kept)
        return fitted.siamese.p_right(embeddings, pairs)
    assert fitted.cnn is not None and fitted.map_size is not None
    maps = lpips_maps.distance_maps(paths, pairs, fitted.backbone, fitted.map_size, fitted.map_layer, kept)
    return fitted.cnn.p_right(maps)


if __name__ == "__main__":
    run(main)
