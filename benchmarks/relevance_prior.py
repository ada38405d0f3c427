"""How much layers, regions and late stages typically matter: the prior of relevances, learned from many people.

People of one set of sessions are alike: every set counts as much as any other, however many people it has. Mean and
standard deviation of each kind of log factor are found by expectation maximisation: each session's most probable
factors and their uncertainty under the prior, then the prior under which these are most likely. The prior of image
effects stays wide: sessions that show an image once can hardly tell its effect. The last line that it prints is what
``catpref/models/relevance_prior.json`` holds.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.embedded import embedded
from catpref._io.parallel import threads
from catpref.command_line import Parser, run
from catpref.models.kernels import kernels_of
from catpref.models.learned import grams_of
from catpref.models.newton import laplace_covariance
from catpref.models.relevance import Prior, log_factors, prior_of
from catpref.perception.backbones import DEFAULT, load_backbone
from catpref.perception.embeddings import DEFAULT as EMBEDDING
from catpref.perception.embeddings import blocks
from catpref.sessions.session import read_sessions

_MOST_TRIALS = 300  # of a session, with an inner product each
_STEP = 0.05  # of log factors, for their posterior's curvature
_WIDE = {"layer": (0.0, 2.0), "late stage": (0.0, 2.0), "region": (0.0, 2.0)}  # to begin with
_WIDE |= {"scale": (0.0, 2.0)}
_EFFECT = {"image effect": (0.0, 1.5)}
_LEAST_SD = 0.3  # a prior no session can move would be worse than one that is too wide


@dataclass(frozen=True)
class _Session:
    """One person's choices, and which set they are of."""

    of_set: int
    grams: np.ndarray
    incidence: np.ndarray
    choices: np.ndarray


def main(arguments: Sequence[str]) -> None:
    """Run the benchmark."""
    parser = Parser(
        "python -m benchmarks.relevance_prior",
        "Learn the prior of relevances from sets of sessions.",
        "python -m benchmarks.relevance_prior 'people/sessions/*.csv' 'averages/*_sampled.csv' --rounds 12",
    )
    parser.add_argument("sets", nargs="+", metavar="GLOB", help="the sessions of one set")
    parser.add_argument("--stimuli", nargs="+", help="the folder of each set's images")
    parser.add_argument("--rounds", type=int, default=12, metavar="N", help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    backbone = load_backbone(DEFAULT)
    parts = blocks(backbone, EMBEDDING)
    sessions = []
    for number, pattern in enumerate(options.sets):
        for path in sorted(glob(pattern)):  # noqa: PTH207
            session = read_sessions([Path(path)], options.stimuli[number] if options.stimuli else None)
            embeddings, pairs, choices = embedded(session, backbone)
            some = np.random.default_rng(0).permutation(len(pairs))[:_MOST_TRIALS]
            grams, incidence = grams_of(kernels_of(embeddings, pairs, parts), some)
            sessions.append(_Session(number, grams.astype(np.float32), incidence, choices[some]))
    of_set = np.array([session.of_set for session in sessions])
    weights = 1 / np.bincount(of_set)[of_set] / len(set(of_set))
    learned = _WIDE | _EFFECT
    for _ in range(options.rounds):
        prior = prior_of(parts, learned)
        with threads() as pool, threadpool_limits(1, "blas"):
            found = list(pool.map(lambda session, prior=prior: _posterior(session, prior), sessions))
        learned = _most_likely(np.array(found)[:, :, :-1], weights, (*parts.kinds, "scale")) | _EFFECT
        print(json.dumps(learned), flush=True)


def _posterior(session: _Session, prior: Prior) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of a session's log factors."""
    logs, gradient = log_factors(session.grams, prior, session.incidence, session.choices)
    return logs, np.diag(laplace_covariance(gradient, logs, _STEP, prior.sd))


def _most_likely(
    found: np.ndarray, weights: np.ndarray, kinds: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """Return the prior under which the sessions' log factors, shape (sessions, 2, factors), are most likely."""
    learned = {}
    for kind in dict.fromkeys(kinds):
        logs, variances = found[:, :, [one == kind for one in kinds]].swapaxes(0, 1)
        mean = 0.0 if kind == "region" else float(weights @ logs.mean(1))
        sd = float(np.sqrt(weights @ (np.square(logs - mean) + variances).mean(1)))
        learned[kind] = (round(mean, 3), round(max(sd, _LEAST_SD), 3))
    return learned


if __name__ == "__main__":
    run(main)
