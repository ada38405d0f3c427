"""``python -m catpref.predict DIR/model IMAGES…``: rank new images, or predict the choice between pairs of them."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from catpref._io.devices import DEVICES, choose_device
from catpref._io.outputs import output_file
from catpref.command_line import Parser, add_cache_options, run
from catpref.errors import BadInput
from catpref.evaluation.analysis import rank
from catpref.models.store import FittedModels, load
from catpref.perception import lpips_maps
from catpref.perception.embeddings import embed
from catpref.sessions.session import SIDES, read_pairs
from catpref.stimuli.folder import StimulusFolder
from catpref.stimuli.images import find_images, image_path


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
    parser.add_argument(
        "--backbone",
        type=Path,
        metavar="FILE",
        help="the checkpoint or network that the model was fitted with, where the model does not hold it",
    )
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="read an official backbone's weights from here"
    )
    parser.add_argument(
        "--device", choices=DEVICES, default="auto", help="where networks run (default: auto)"
    )
    add_cache_options(parser)
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
    return load(options.model, choose_device(options.device), options.weights, options.backbone)


def _rank(fitted: FittedModels, paths: Mapping[str, Path], kept: Path | None) -> pd.DataFrame:
    if fitted.utility is None and fitted.siamese is None:
        raise BadInput("study_cnn compares pairs and cannot rank; fit with --model utility, or give --pairs")
    embeddings = embed(list(paths.values()), fitted.backbone, fitted.embedding, kept)
    with np.errstate(all="ignore"):
        ranking = rank(list(paths), fitted.utility or fitted.siamese, embeddings)
    _check_finite(ranking["utility"].to_numpy())
    if fitted.utility is None:
        return ranking
    _check_finite(ranking["utility_sd"].to_numpy())
    far = fitted.utility.far(embeddings)
    _warn_of(far)
    distant = [name for name, is_far in zip(paths, far, strict=True) if is_far]
    return ranking.assign(far=ranking["image"].isin(distant).astype(int))


def _check_finite(predicted: np.ndarray) -> None:
    """Refuse what numbers that are each possible, but not together, lead to."""
    if not np.isfinite(predicted).all():
        raise BadInput("the model predicts what is not a number: it is damaged; fit the session again")


def _warn_of(far: np.ndarray) -> None:
    if far.any():
        print(
            f"catpref: {far.sum()} of {len(far)} images are far from all that the model learned from; "
            "what it says of them may mean nothing",
            file=sys.stderr,
        )


def _images_in(place: Path) -> list[Path]:
    if not place.is_dir():
        if not place.is_file():
            what = "is not an ordinary file" if place.exists() else "there is no such image or folder"
            raise BadInput(f"{place}: {what}")
        return [place]
    folder, inside, left_out = StimulusFolder(place), [], []
    for name in find_images(place):
        try:
            folder.file(name)
            inside.append(place / name)
        except BadInput:
            left_out.append(name)
    if not inside:
        raise BadInput(f"{place}: none of its images is a file inside it (such as {left_out[0]})")
    if left_out:
        more = ", …" if len(left_out) > 3 else ""
        print(
            f"catpref: {place}: left out {len(left_out)} not files inside the folder: "
            f"{', '.join(left_out[:3])}{more}",
            file=sys.stderr,
        )
    return inside


def _predict_pairs(
    fitted: FittedModels, table: pd.DataFrame, folder: Path, kept: Path | None
) -> pd.DataFrame:
    images, indices = np.unique(table[list(SIDES)].to_numpy(), return_inverse=True)
    pairs = indices.reshape(-1, 2)
    paths = [image_path(folder, image) for image in images]
    with np.errstate(all="ignore"):
        p_right = _p_right(fitted, paths, pairs, kept)
    _check_finite(p_right)
    return table.assign(p_right=p_right)


def _p_right(fitted: FittedModels, paths: Sequence[Path], pairs: np.ndarray, kept: Path | None) -> np.ndarray:
    if fitted.utility is not None:
        embeddings = embed(paths, fitted.backbone, fitted.embedding, kept)
        p_right = fitted.utility.p_right(embeddings, pairs)
        if np.isfinite(p_right).all():
            _warn_of(fitted.utility.far(embeddings))
        return p_right
    if fitted.siamese is not None:
        embeddings = embed(paths, fitted.backbone, fitted.embedding, kept)
        return fitted.siamese.p_right(embeddings, pairs)
    assert fitted.cnn is not None and fitted.map_size is not None
    maps = lpips_maps.distance_maps(paths, pairs, fitted.backbone, fitted.map_size, fitted.map_layer, kept)
    return fitted.cnn.p_right(maps)


if __name__ == "__main__":
    run(main)
