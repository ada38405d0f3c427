"""A session as the learners of the benchmarks read it."""

import numpy as np

from catpref._io.cache import default_folder
from catpref.perception.backbones import Backbone
from catpref.perception.embeddings import embed
from catpref.sessions.session import Session
from catpref.stimuli.images import image_path


def embedded(session: Session, backbone: Backbone) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the embeddings of the session's images, its pairs as indices of them, and its choices."""
    images = [image_path(session.stimuli, name) for name in session.images]
    embeddings = embed(images, backbone, cache_folder=default_folder())
    return embeddings, session.pairs, session.trials["choice"].to_numpy()
