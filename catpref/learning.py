"""Read sessions, learn from them, load what was learned: the functions that `import catpref` offers."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pandas as pd

from catpref._io.cache import default_folder
from catpref._io.cluster import connected
from catpref._io.devices import choose_device
from catpref._io.engines import Engine
from catpref.errors import BadInput
from catpref.evaluation.analysis import Analysis, Options, analyse
from catpref.evaluation.several import analyse_several, has_several
from catpref.models import registry, store
from catpref.models.store import FittedModels
from catpref.perception import backbones
from catpref.perception.backbones import Backbone
from catpref.sessions.columns import AsPython, asked
from catpref.sessions.session import Session, read_sessions
from catpref.stimuli.new_photographs import is_cropped_around_faces
from catpref.taste import AnyPath, Taste

AUTO = "auto"


def read_session(
    sessions: AnyPath | pd.DataFrame | Sequence[AnyPath | pd.DataFrame],
    stimuli: AnyPath | None = None,
    *,
    columns: AsPython | None = None,
    choices: AsPython | None = None,
    strict: bool = False,
) -> Session:
    """Read what one person chose, from one or several files or tables.

    Parameters
    ----------
    sessions
        A session.csv in any dialect that catpref reads, a table with the same columns, or a list of them.
    stimuli
        The stimulus folder, from which the images' paths start. By default the one that the JSON beside a file
        names, else the file's own folder; a table needs it.
    columns
        What the columns of files from elsewhere are, where they are not recognised: a dictionary or text such as
        ``"left=imgL,right=imgR,choice=resp"``, also with rt and participant, or a TOML file with ``[columns]``
        and ``[choices]``.
    choices
        What stands for each side in them, such as ``"left=1,right=2,none=0"``.
    strict
        Whether one row that cannot be used is enough to refuse a file. By default such rows are left out, which a
        line of the log says, and more than half of the rows of a file must be usable.

    Returns
    -------
    Session
        The answered trials, checked.

    Raises
    ------
    BadInput
        If a file is missing or is no session, its columns are not told, an image is missing, or no trial
        was answered.

    Examples
    --------
    >>> session = catpref.read_session("session.csv")
    >>> len(session.trials), len(session.images)
    (66, 12)
    """
    listed = [sessions] if isinstance(sessions, str | Path | pd.DataFrame) else list(sessions)
    sources = [one if isinstance(one, pd.DataFrame) else Path(one) for one in listed]
    return read_sessions(sources, _path(stimuli), asked(columns, choices), strict)


def learn(
    session: Session | AnyPath | pd.DataFrame | Sequence[AnyPath | pd.DataFrame],
    *,
    stimuli: AnyPath | None = None,
    model: str | Sequence[str] = registry.DEFAULT,
    backbone: AnyPath = backbones.DEFAULT,
    weights: AnyPath | None = None,
    embedding: str | None = None,
    map_size: int | None = None,
    split: str = "images",
    folds: int = 5,
    seed: int = 0,
    device: str = "auto",
    cache: AnyPath | None = AUTO,
    pool: bool = False,
    cluster: str | None = None,
) -> Taste:
    """Learn taste from a session, and how well it predicts choices between images never seen.

    Where the trials are of several participants, it learns a taste that they share and how each departs from it.

    Parameters
    ----------
    session, stimuli
        What `read_session` returned, or what it takes.
    model
        Which models to fit: ``"utility"``, ``"siamese_cnn"``, ``"study_cnn"``.
    backbone, weights
        The network that reads the images: its name, or the file of one of your own; the weights of an official one.
    embedding
        ``"grid8+late"``, ``"grid8"``, ``"grid4"`` or ``"global"``; for ``study_cnn``, ``"mean-map"``,
        ``"layer-1-map"`` and so on.
    map_size
        Side of ``study_cnn``'s distance maps, in pixels; None takes what a quarter of a minute allows.
    split, folds
        Of the cross-validation: ``"images"`` holds out images never trained on, ``"trials"`` trials of known images.
    seed, device
        Of every random draw; where networks run: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    cache
        The folder where embeddings and features are kept: ``"auto"`` is the user's cache, None keeps nothing.

    pool
        Whether trials of several participants are taken for one person's.
    cluster
        Who computes: None is this process, ``"local"`` or ``"local:4"`` workers on this computer, ``"tcp://HOST:PORT"``
        those of a dask scheduler. Results are the same, to the last bit.

    Raises
    ------
    BadInput
        If one side was never chosen, the data are too few, an image cannot be read, or arguments do not fit.

    Examples
    --------
    >>> taste = catpref.learn("session.csv", model="utility", folds=3)
    >>> list(taste.scores["model"])[:2]
    ['utility', 'ridge']
    """
    started = time.perf_counter()
    models = _known_models(model)
    if split not in ("images", "trials"):
        raise BadInput(f"split={split}: choose images or trials")
    if not isinstance(session, Session):
        session = read_session(session, stimuli)
    device = choose_device(device)
    network = backbones.load_backbone(str(backbone), _path(weights), device)
    options = Options(models, embedding, map_size, split, folds, seed, device, _cache_folder(cache), pool)
    with nullcontext() if cluster is None else connected(cluster) as engine:
        found = _analysed(session, network, options, engine)
    fitted = FittedModels(
        network, found.embedding, found.map_size, found.map_layer, found.predictors, found.better_than_chance,
        is_cropped_around_faces(session.stimuli),
    )  # fmt: skip
    return Taste(fitted, options.cache, found, time.perf_counter() - started)


def load(
    folder: AnyPath,
    *,
    backbone: AnyPath | None = None,
    weights: AnyPath | None = None,
    device: str = "auto",
    cache: AnyPath | None = AUTO,
) -> Taste:
    """Load a taste that `Taste.save`, or ``catpref fit`` (its folder ``model/``), wrote.

    Parameters
    ----------
    folder
        Where it is.
    backbone
        The checkpoint or network that the models were fitted with, where the folder does not hold it.
    weights, device, cache
        As for `learn`.

    Raises
    ------
    BadInput
        If the folder is no such model, a file is damaged, or the backbone is not the one of the fit.

    Examples
    --------
    >>> catpref.load("taste").rank("cats")["image"].is_unique
    True
    """
    fitted = store.load(Path(folder), choose_device(device), _path(weights), _path(backbone))
    return Taste(fitted, _cache_folder(cache), folder=Path(folder))


def _analysed(session: Session, network: Backbone, options: Options, engine: Engine | None) -> Analysis:
    if not has_several(session) or options.pool:
        return analyse(session, network, options, engine)
    if list(options.models) != list(registry.DEFAULT):
        raise BadInput(
            f"model={' '.join(options.models)}: is of one person, and the trials are of {session.participants}; "
            "leave model= out, or pool the participants with pool=True"
        )
    return analyse_several(session, network, options, engine)


def _path(path: AnyPath | None) -> Path | None:
    return None if path is None else Path(path)


def _cache_folder(cache: AnyPath | None) -> Path | None:
    return default_folder() if cache == AUTO else _path(cache)


def _known_models(model: str | Sequence[str]) -> list[str]:
    models = [model] if isinstance(model, str) else list(model)
    for name in models:
        if name not in registry.choosable():
            raise BadInput(f"model={name}: not a model; choose from {', '.join(registry.choosable())}")
    return models
