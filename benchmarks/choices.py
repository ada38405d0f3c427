"""Choices between new images, against peers on the same embeddings (``python -m benchmarks.choices``).

Each model is fitted on one file of choices and predicts another, whose images it has never seen. The peers are
BoTorch's PairwiseGP, on principal components since a Gaussian process with one length scale cannot use a hundred
thousand dimensions, and scikit-learn's logistic regression on the raw differences. Where images of the first file
are in many trials, held-out trials between known images are predicted as well, beside Bradley–Terry. Mirror
images, which should not change a preference, are used or not. (The other augmentation, swapping the sides, has no
effect to measure: our models turn around with them exactly.) Accuracy between new images is of taste alone, with the
side bias set aside, as in a report: of what turns around with the sides.
"""

import json
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from benchmarks.embedded import embedded
from catpref.command_line import Parser, run
from catpref.design.splits import split
from catpref.evaluation.scores import calibration_error, hits_of
from catpref.models import bradley_terry, siamese_cnn, utility
from catpref.perception.backbones import DEFAULT, load_backbone
from catpref.perception.embeddings import DEFAULT as EMBEDDING
from catpref.perception.embeddings import GRIDS, Blocks, Layout, blocks, layout
from catpref.replication.chance import accuracy_interval
from catpref.sessions.session import read_sessions

_COMPONENTS = 20
_FOLDS = 5
_GRID = GRIDS[EMBEDDING]

Predictor = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Takes embeddings of shape (images, dimensions) and pairs of shape (trials, 2), and gives P(right)."""

Learner = Callable[[np.ndarray, np.ndarray, np.ndarray], Predictor]
"""Takes embeddings, pairs and choices, shape (trials,)."""


def main(arguments: Sequence[str]) -> None:
    """Run the benchmark."""
    parser = Parser(
        "python -m benchmarks.choices",
        "Fit the choices of one file and predict those of another, beside peers on the same embeddings.",
        "python -m benchmarks.choices cute_random_sampled.csv cute_new_images.csv --stimuli faces --json",
    )
    parser.add_argument("fit", type=Path, metavar="FIT.csv", help="the choices to learn from")
    parser.add_argument("test", type=Path, metavar="TEST.csv", help="the choices to predict")
    parser.add_argument("--stimuli", help="the folder of both files' images")
    parser.add_argument(
        "--ceiling", type=float, metavar="P", help="the noise ceiling of TEST, if it is known"
    )
    parser.add_argument(
        "--backbone", default=DEFAULT, metavar="NAME", help="the network (default: %(default)s)"
    )
    parser.add_argument("--json")
    options = parser.parse_args(arguments)
    backbone = load_backbone(options.backbone)
    parts = blocks(backbone, EMBEDDING)
    known, new = (
        embedded(read_sessions([path], options.stimuli), backbone) for path in (options.fit, options.test)
    )

    def report(entry: dict[str, Any]) -> None:
        print(json.dumps(entry) if options.json else entry, flush=True)

    learners: dict[str, Learner] = {
        "utility": partial(_utility, parts),
        "utility, mirror images averaged": partial(_mirrored_utility, parts),
        "siamese_cnn": partial(_siamese, parts, True),
        "siamese_cnn, no mirror images": partial(_siamese, parts, False),
        "botorch_pairwise_gp": _pairwise_gp,
        "logistic_regression": _logistic_regression,
    }
    for name, learn in learners.items():
        started = time.perf_counter()
        predictor = learn(*known)
        fitted = time.perf_counter()
        p_right = predictor(new[0], new[1])
        predicted = time.perf_counter()
        taste = _without_side_bias(p_right, predictor(new[0], new[1][:, ::-1]))
        seconds = {"fit_s": round(fitted - started, 2), "predict_s": round(predicted - fitted, 2)}
        scores = _scores(p_right, taste, new[2], new[1], options.ceiling)
        report({"model": name, "images": "new", "n_train": len(known[1])} | scores | seconds)

    if len(known[1]) > 2 * len(known[0]):
        for name, p_right, order in _known_images(*known, parts):
            scores = _scores(p_right, p_right, known[2][order], known[1][order], None)
            report(
                {"model": name, "images": "known", "n_train": len(known[1]) * (_FOLDS - 1) // _FOLDS} | scores
            )


def _without_side_bias(p_right: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """Return P(right) without what stays when the sides change, given that of the pairs turned around."""
    return expit((logit(p_right) - logit(turned)) / 2)


def _scores(
    p_right: np.ndarray, taste: np.ndarray, choices: np.ndarray, pairs: np.ndarray, ceiling: float | None
) -> dict[str, Any]:
    hits = hits_of(taste, choices)
    accuracy = float(hits.mean())
    efficiency = None if ceiling is None else round((accuracy - 0.5) / (ceiling - 0.5), 3)
    return {
        "n_test": len(choices),
        "accuracy": round(accuracy, 4),
        "accuracy_ci95": [round(end, 4) for end in accuracy_interval(hits, pairs)],
        "efficiency": efficiency,
        "log_loss": round(float(log_loss(choices, p_right, labels=[0, 1])), 4),
        "ece": round(float(calibration_error(p_right, choices)), 4),
    }


def _utility(parts: Blocks, embeddings: np.ndarray, pairs: np.ndarray, choices: np.ndarray) -> Predictor:
    return utility.fit(embeddings, pairs, choices, parts).p_right


def _mirrored_utility(
    parts: Blocks, embeddings: np.ndarray, pairs: np.ndarray, choices: np.ndarray
) -> Predictor:
    """Average each embedding with that of the mirror image, as far as the grid's cells tell it."""

    def averaged(embeddings: np.ndarray) -> np.ndarray:
        gridded = _layout().gridded
        cells = embeddings[:, :gridded].reshape(len(embeddings), -1, _GRID, _GRID).astype(np.float32)
        both = ((cells + cells[..., ::-1]) / 2).reshape(len(embeddings), -1).astype(embeddings.dtype)
        return np.hstack([both, embeddings[:, gridded:]])

    model = utility.fit(averaged(embeddings), pairs, choices, parts)
    return lambda embeddings, pairs: model.p_right(averaged(embeddings), pairs)


def _layout() -> Layout:
    return layout(load_backbone(), EMBEDDING)


def _siamese(
    parts: Blocks, mirror: bool, embeddings: np.ndarray, pairs: np.ndarray, choices: np.ndarray
) -> Predictor:
    start = utility.fit(embeddings, pairs, choices, parts)
    standards = start.centre, start.scale
    return siamese_cnn.fit(embeddings, pairs, choices, standards, _layout(), mirror=mirror).p_right


def _pairwise_gp(embeddings: np.ndarray, pairs: np.ndarray, choices: np.ndarray) -> Predictor:
    from botorch.fit import fit_gpytorch_mll  # pyright: ignore[reportMissingImports]
    from botorch.models.pairwise_gp import (  # pyright: ignore[reportMissingImports]
        PairwiseGP,
        PairwiseLaplaceMarginalLogLikelihood,
    )

    features = embeddings.astype(np.float64)
    components = PCA(min(_COMPONENTS, len(features) - 1), random_state=0).fit(features)
    spread = components.transform(features).std(0)

    def points(embeddings: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(components.transform(embeddings.astype(np.float64)) / spread)

    preferred = np.where(choices[:, None] == 1, pairs[:, ::-1], pairs)  # the image chosen comes first
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about inputs not in the unit cube, and about convergence
        model = PairwiseGP(points(embeddings), torch.from_numpy(preferred.copy()))
        fit_gpytorch_mll(PairwiseLaplaceMarginalLogLikelihood(model.likelihood, model))

    def predict(embeddings: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            posterior: Any = model.posterior(points(embeddings))
            mean = posterior.mean[:, 0].numpy()
            covariance = posterior.distribution.covariance_matrix.numpy()
        left, right = pairs.T
        variance = covariance[left, left] + covariance[right, right] - 2 * covariance[left, right]
        return norm.cdf((mean[right] - mean[left]) / np.sqrt(2 + variance))

    return predict


def _logistic_regression(embeddings: np.ndarray, pairs: np.ndarray, choices: np.ndarray) -> Predictor:
    def differences(embeddings: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        return embeddings[pairs[:, 1]].astype(np.float32) - embeddings[pairs[:, 0]]

    model = LogisticRegression(max_iter=1000).fit(differences(embeddings, pairs), choices)

    def predict(embeddings: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        rows = np.array_split(pairs, max(1, len(pairs) // 500))
        return np.concatenate([model.predict_proba(differences(embeddings, some))[:, 1] for some in rows])

    return predict


def _known_images(
    embeddings: np.ndarray, pairs: np.ndarray, choices: np.ndarray, parts: Blocks
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Predict each trial from the others' four fifths: the model, P(right), the trials in order."""
    ours, theirs, order = [], [], []
    for train, test in split(pairs, "trials", _FOLDS, seed=0):
        model = utility.fit(embeddings, pairs[train], choices[train], parts)
        ours.append(model.p_right(embeddings, pairs[test]))
        theirs.append(bradley_terry.fit_and_predict(pairs[train], choices[train], pairs[test]))
        order.append(test)
    trials = np.concatenate(order)
    return [("utility", np.concatenate(ours), trials), ("bradley_terry", np.concatenate(theirs), trials)]


if __name__ == "__main__":
    run(main)
