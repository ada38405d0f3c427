"""Taste, as it was learned from sessions of one person or several: what can be asked of it."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from catpref._io.cache import opened
from catpref._io.outputs import output_folder
from catpref._io.progress import progress
from catpref.errors import BadInput, shown
from catpref.evaluation.analysis import Analysis, judge, ranked, ranking_model
from catpref.models import store
from catpref.models.interface import Images
from catpref.models.population import POPULATION, Population
from catpref.models.registry import MODELS
from catpref.models.store import FittedModels
from catpref.report import page
from catpref.report.metrics import metrics_of
from catpref.sessions.columns import AsPython, asked
from catpref.sessions.participants import check_participant
from catpref.sessions.session import SIDES, Session, read_pairs, read_sessions
from catpref.stimuli.images import image_path, images_in

AnyPath = str | Path

_LOG = logging.getLogger(__name__)
_KIND = "model"
_SCORES, _RANKING, _OBSERVERS = "scores.csv", "ranking.csv", "observers.csv"


class Taste:
    """What was learned from one person's choices; made by `learn` or `load`.

    Attributes
    ----------
    analysis
        All that was found, with the session; None in a taste that was loaded.
    """

    def __init__(
        self,
        fitted: FittedModels,
        cache: Path | None,
        analysis: Analysis | None = None,
        seconds: float = 0.0,
        folder: Path | None = None,
    ) -> None:
        self.analysis = analysis
        self._fitted = fitted
        self._cache = cache
        self._seconds = seconds
        self._folder = folder

    @property
    def scores(self) -> pd.DataFrame:
        """How well each model predicts held-out choices, a row a model, baselines last.

        Examples
        --------
        >>> bool(taste.scores["accuracy"].between(0, 1).all())
        True
        """
        return self._saved(_SCORES) if self.analysis is None else page.score_table(self.analysis)

    @property
    def ranking(self) -> pd.DataFrame:
        """The session's images, most preferred first, with their utilities (logits) and what choices alone say.

        `wins` and `trials` are counts; `bradley_terry` is the utility from wins alone, zero on average, and
        `bradley_terry_se` its standard error.

        Examples
        --------
        >>> list(taste.ranking.columns)
        ['image', 'utility', 'utility_sd', 'wins', 'trials', 'bradley_terry', 'bradley_terry_se']
        """
        return self._saved(_RANKING) if self.analysis is None else self.analysis.ranking

    @property
    def observers(self) -> pd.DataFrame | None:
        """The participants, a row each, as in ``observers.csv``; None where there is one.

        Examples
        --------
        >>> taste.observers is None
        True
        """
        if self.analysis is None:
            return self._saved(_OBSERVERS) if self._population() is not None else None
        return None if self.analysis.observers is None else self.analysis.observers.table

    def update(
        self,
        session: Session | AnyPath | pd.DataFrame,
        participant: str | None = None,
        stimuli: AnyPath | None = None,
    ) -> "Taste":
        """Learn how one participant more departs from the shared taste, or learn it anew for one who is known.

        Parameters
        ----------
        session, stimuli
            That person's trials: what `read_session` returned, or what it takes.
        participant
            Their code; None takes the one that the session has.

        Returns
        -------
        Taste
            With that participant; what is shared stays as it is.

        Raises
        ------
        BadInput
            If this is one person's taste, or the session is of several participants, or of none that is named.

        Examples
        --------
        >>> taste.update("session.csv")
        Traceback (most recent call last):
        catpref.errors.BadInput: this is one person's taste; learn from sessions of several participants to update it
        """
        population = self._population()
        if population is None:
            raise BadInput(
                "this is one person's taste; learn from sessions of several participants to update it"
            )
        if not isinstance(session, Session):
            source = session if isinstance(session, pd.DataFrame) else Path(session)
            session = read_sessions([source], _path(stimuli))
        codes = set(session.trials["participant"]) if "participant" in session.trials else set()
        if participant is None and (len(codes) != 1 or not isinstance(next(iter(codes)), str)):
            raise BadInput(
                "the session is not of one participant with a code; name the participant with participant="
            )
        code = check_participant(next(iter(codes)) if participant is None else participant)
        images = self._fitted.images(
            [image_path(session.stimuli, one) for one in session.images], self._cache
        )
        choices = session.trials["choice"].to_numpy()
        updated = population.with_participant(code, images.embeddings, session.pairs, choices)
        fitted = replace(self._fitted, predictors={POPULATION.name: updated})
        return Taste(fitted, self._cache, self.analysis, self._seconds, self._folder)

    def predict(
        self,
        pairs: AnyPath | pd.DataFrame,
        stimuli: AnyPath | None = None,
        participant: str | None = None,
        *,
        columns: AsPython | None = None,
        strict: bool = False,
        crop: bool = True,
    ) -> pd.DataFrame:
        """Predict the choice between pairs of images, known or new.

        Parameters
        ----------
        pairs
            A table, or a CSV, with the columns left_image and right_image.
        stimuli
            The stimulus folder; by default the session's for a table, and found as in `read_session` for a file.
        participant
            Whose choices, where several participants were learned from; None takes the column participant of the
            pairs. Who is not known is predicted from the shared taste.
        columns
            What the columns of the pairs are, as in `read_session`.
        strict
            Whether to refuse pairs with a row that shows one image only, or one image on both sides. By default such
            rows are left out, which a line of the log says.
        crop
            Whether photographs are cropped around the face, if the session's stimuli were; see `rank`.

        Returns
        -------
        DataFrame
            `pairs` with a column more, p_right.

        Examples
        --------
        >>> pairs = pd.DataFrame({"left_image": ["cat_0001.png"], "right_image": ["cat_0002.png"]})
        >>> bool(taste.predict(pairs)["p_right"].between(0, 1).all())
        True
        """
        if stimuli is None and isinstance(pairs, pd.DataFrame) and self.analysis is not None:
            stimuli = self.analysis.session.stimuli
        source = pairs if isinstance(pairs, pd.DataFrame) else Path(pairs)
        table, folder = read_pairs(source, _path(stimuli), asked(columns, None), strict)
        names, indices = np.unique(table[list(SIDES)].to_numpy(), return_inverse=True)
        name, predictor = next(iter(self._fitted.predictors.items()))
        predict = MODELS[name].p_right
        assert predict is not None
        p_right = np.empty(len(table))
        files = [image_path(folder, name) for name in names]
        with self._fitted.seen(files, self._cache, crop) as (images, _), np.errstate(all="ignore"):
            for rows, of_whom in self._by_participant(predictor, table, participant):
                p_right[rows] = predict(of_whom, images, indices.reshape(-1, 2)[rows])
            _check_finite(p_right)
            self._warn_of_chance()
            if (tell := MODELS[name].far) is not None:
                _warn_of_far(tell(predictor, images))
        return table.assign(p_right=p_right)

    def rank(
        self, images: AnyPath | Sequence[AnyPath], participant: str | None = None, crop: bool = True
    ) -> pd.DataFrame:
        """Rank images by predicted utility, most preferred first.

        Parameters
        ----------
        images
            Image files, folders of images, or both.
        participant
            By whose taste, where several participants were learned from; by default the shared one.
        crop
            Whether photographs are cropped around the face, if the session's stimuli were. What is a stimulus
            already is not cropped again.

        Returns
        -------
        DataFrame
            Columns image, utility and utility_sd (logits), and, where the model tells, far: 1 where an image is
            unlike all that the model learned from, so that the prediction may mean nothing. Where photographs are
            cropped, face: 0 where no face was found. These come last.

        Raises
        ------
        BadInput
            If no model that was fitted has utilities, or an image cannot be read.

        Examples
        --------
        >>> len(taste.rank("cats"))
        12
        """
        places = [images] if isinstance(images, str | Path) else images
        paths = {str(path): path for place in places for path in images_in(Path(place))}
        name = ranking_model(self._fitted.predictors)
        if name is None:
            raise BadInput("study_cnn compares pairs and cannot rank; fit with model=utility, or give pairs=")
        predictors = dict(self._fitted.predictors)
        if participant is not None:
            ((_, predictors[name]),) = self._by_participant(
                predictors[name], pd.DataFrame(index=[0]), participant
            )
        files = list(paths.values())
        marks: dict[str, Any] = {"image": list(paths)}
        cropping = self._fitted.cropping(crop)
        with opened(self._cache), np.errstate(all="ignore"):
            batches = self._fitted.batches(files, self._cache, cropping)
            known = self._fitted.predictors[name]
            mean, sd, far = judge(_watched(batches, len(files)), MODELS[name], predictors[name], known)
        if cropping is not None:
            cropping.warn()
        _check_finite(mean)
        tells = MODELS[name].far is not None  # a network does not, nor how sure it is
        if tells:
            _check_finite(sd)
            marks["far"] = far.astype(int)
        self._warn_of_chance()
        _warn_of_far(far)
        ranking = ranked(list(paths), mean, sd)
        if cropping is None:
            return ranking.merge(pd.DataFrame(marks))
        ranking = ranking.merge(pd.DataFrame(marks | {"face": cropping.faces}))
        return ranking.sort_values("face", ascending=False, kind="stable", ignore_index=True)

    def _population(self) -> Population | None:
        return self._fitted.predictors.get(POPULATION.name)

    def _by_participant(
        self, predictor: Any, table: pd.DataFrame, participant: str | None
    ) -> list[tuple[np.ndarray, Any]]:
        """Return the rows of a table, and what predicts them, participant by participant."""
        population = self._population()
        if population is None:
            if participant is not None:
                raise BadInput(
                    f"participant={participant}: the model is one person's; leave participant= out"
                )
            return [(np.arange(len(table)), predictor)]
        if participant is not None:
            table = table.assign(participant=participant)
        codes = table["participant"].to_numpy(object) if "participant" in table else np.full(len(table), None)
        whose = pd.Series(codes, dtype=object).where(lambda each: each.isin(population.participants), None)
        unknown = int(whose.isna().sum())
        if unknown and participant is not None:
            known = shown(", ".join(population.participants))
            _LOG.warning(
                "participant=%s: not one of the model's participants (%s); all predictions are of the shared taste",
                participant, known,
            )  # fmt: skip
        elif unknown:
            _LOG.warning(
                "%d of %d predictions are of the shared taste, for want of a participant that the model knows",
                unknown, len(whose),
            )  # fmt: skip
        rows = whose.groupby(whose, dropna=False, sort=False).indices
        return [(at, population.of(code if isinstance(code, str) else None)) for code, at in rows.items()]

    def _warn_of_chance(self) -> None:
        """Warn where the model was not shown to be better than chance; be silent where that is unknown."""
        if self._fitted.better_than_chance is False:
            _LOG.warning(
                "the model was not shown to predict choices better than chance; what it says may mean nothing"
            )

    def report(self, folder: AnyPath) -> Path:
        """Write what ``catpref fit --out`` writes: the report, its figures, tables, and the model.

        Returns
        -------
        Path
            The page, which opens offline.

        Raises
        ------
        BadInput
            If `folder` holds anything that catpref did not write, or the taste was loaded.

        Examples
        --------
        >>> taste.report("out").name
        'report.html'
        """
        with output_folder(Path(folder), "fit", reads=[self._known().session.stimuli]) as building:
            self.write(building)
        return Path(folder) / page.REPORT

    def write(self, folder: Path) -> None:
        """Write a fit's files into an empty folder."""
        analysis = self._known()
        page.write(analysis, folder)
        store.save(self._fitted, folder / "model")
        # A file's name may be its participant's, and a path's the experimenter's.
        files = analysis.session.trials["source"].unique()
        numbers = {file: f"file-{number}" for number, file in enumerate(files, start=1)}
        predictions = analysis.predictions.replace({"source": numbers})
        predictions.to_csv(folder / "predictions.csv", index=False, lineterminator="\n")
        self._write_tables(folder)
        metrics = metrics_of(analysis, self._seconds)
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")

    def save(self, folder: AnyPath) -> None:
        """Write the models, the scores and the ranking, for `load`.

        Raises
        ------
        BadInput
            If `folder` holds anything that catpref did not write.

        Examples
        --------
        >>> taste.save("taste")
        >>> list(catpref.load("taste").ranking["image"]) == list(taste.ranking["image"])
        True
        """
        with output_folder(Path(folder), _KIND) as building:
            store.save(self._fitted, building)
            self.scores.to_csv(building / _SCORES, index=False, lineterminator="\n")
            self._write_tables(building)

    def _write_tables(self, folder: Path) -> None:
        """Write the ranking, and what there is of several participants."""
        ranking, observers = self.ranking, self.observers
        if self.analysis is not None and self.analysis.observers is not None:
            columns = ["participant", *ranking.columns]
            ranking = pd.concat([ranking.assign(participant=""), self.analysis.observers.rankings])[columns]
            for name in ("wins", "trials"):  # of the shared rows alone
                ranking[name] = pd.Series(ranking[name]).convert_dtypes()
        ranking.to_csv(folder / _RANKING, index=False, lineterminator="\n")
        if observers is not None:
            observers.to_csv(folder / _OBSERVERS, index=False, lineterminator="\n")

    def __str__(self) -> str:
        """Return the scores as text, as the command prints them."""
        return page.text_table(self.analysis) if self.analysis else self.scores.to_string(index=False)

    def _repr_html_(self) -> str:
        """Show the headline, the scores and a strip of faces, in a notebook."""
        return page.notebook_view(self.analysis) if self.analysis else self.scores.to_html(index=False)

    def _known(self) -> Analysis:
        if self.analysis is None:
            raise BadInput("a loaded taste has no session; learn from it again")
        return self.analysis

    def _saved(self, name: str) -> pd.DataFrame:
        path = self._folder / name if self._folder is not None else None
        if path is None or not path.is_file():
            raise BadInput(f"{self._folder}: holds no {name}; it has what was kept by save()")
        return pd.read_csv(path)


def _path(path: AnyPath | None) -> Path | None:
    return None if path is None else Path(path)


def _watched(batches: Iterator[Images], count: int) -> Iterator[Images]:
    """Yield batches of so many images behind a progress bar."""
    with progress([], "ranking", total=count) as bar:
        for images in batches:
            yield images
            bar.update(len(images.paths))


def _warn_of_far(far: np.ndarray) -> None:
    """Warn of images that are unlike all that a model learned from."""
    if far.any():
        _LOG.warning(
            "%d of %d images are far from all that the model learned from; what it says of them may mean nothing",
            far.sum(), len(far),
        )  # fmt: skip


def _check_finite(predicted: np.ndarray) -> None:
    """Refuse what numbers that are each possible, but not together, lead to."""
    if not np.isfinite(predicted).all():
        raise BadInput("the model predicts what is not a number: it is damaged; fit the session again")
