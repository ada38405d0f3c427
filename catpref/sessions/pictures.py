"""One picture, one image: sessions that show the same picture under several names."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import DisjointSet

from catpref.errors import BadInput, shown
from catpref.sessions.session import Session
from catpref.sessions.table import SIDES
from catpref.stimuli.duplicates import near_duplicates

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pictures:
    """A session and what it shows.

    Attributes
    ----------
    session
        The session, without the trials that showed a picture beside itself: no answer to them is about the picture.
    merged
        The same trials, with each picture under the first of its names: what models learn from.
    duplicates
        The names of each picture that has several, sorted.
    left_out
        How many trials showed a picture beside itself.
    """

    session: Session
    merged: Session
    duplicates: Sequence[Sequence[str]] = ()
    left_out: int = 0

    @property
    def numbers(self) -> np.ndarray:
        """Which of the images of `merged` each image of `session` is, shape (images,)."""
        first = {str(name): names[0] for names in self.duplicates for name in names}
        return np.searchsorted(self.merged.images, [first.get(name, name) for name in self.session.images])

    @property
    def sentence(self) -> str:
        """What a reader has to know of them; empty where every picture has one name."""
        if not self.duplicates:
            return ""
        some = "; ".join(" = ".join(names) for names in self.duplicates[:3])
        more = "; …" if len(self.duplicates) > 3 else ""
        return (
            f"The same picture (or nearly) under several names counts as one image: {shown(some, 300)}{more}. "
            f"Such pictures: {len(self.duplicates)}; trials left out since they showed one beside itself: "
            f"{self.left_out}."
        )

    def with_every_name(self, table: pd.DataFrame) -> pd.DataFrame:
        """Repeat the rows of a table of pictures, named in its column `image`, for their other names."""
        pictures = np.array(self.merged.images, dtype=object)[self.numbers]
        rows = table.merge(pd.DataFrame({"image": pictures, "name": self.session.images}), how="left")
        return rows.assign(image=rows.pop("name"))


def pictures_of(session: Session, cache: Path | None = None) -> Pictures:
    """Find the images of a session that show the same picture, as `near_duplicates` does, and warn of them.

    Raises
    ------
    BadInput
        If an image cannot be read, or no trial showed two pictures.
    """
    groups = DisjointSet(session.images)
    for names in near_duplicates(session.stimuli, session.images, cache):
        groups.merge(*names)
    duplicates = sorted(sorted(group) for group in groups.subsets() if len(group) > 1)
    if not duplicates:
        return Pictures(session, session)
    first = {str(name): names[0] for names in duplicates for name in names}
    columns = {side: session.trials[side].map(lambda name: first.get(name, name)) for side in SIDES}
    merged = session.trials.assign(**columns)
    differ = (merged[SIDES[0]] != merged[SIDES[1]]).to_numpy()
    if not differ.any():
        raise BadInput(
            f"{session.stimuli}: in every trial both images show the same picture; check the images"
        )
    seen, under_one_name = (
        replace(session, trials=trials[differ].reset_index(drop=True)) for trials in (session.trials, merged)
    )
    pictures = Pictures(seen, under_one_name, duplicates, int((~differ).sum()))
    _LOG.warning("%s", pictures.sentence)
    return pictures
