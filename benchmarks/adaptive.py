"""How many trials adaptive sessions need (``python -m benchmarks.adaptive``).

Drawn cats and observers whose taste is known: after how many trials the accuracy on new images is what random pairs
reach after 400. Beside catpref's choice stand uncertainty sampling, and EUBO and BALD on 20 principal components, if
BoTorch is there. With ``--observers`` real people by replay: among the pairs whose answer is known. With ``--rank``
50 cats that are to be put in order. With ``--ideal`` the learner is told what an observer's taste may depend on, and
no more is asked than how much choosing pairs can save at best. Sessions are kept as soon as they are done, so that a
run that was ended goes on, and ``--sessions`` can be raised later.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from benchmarks import adaptive_ranking as ranking
from benchmarks import adaptive_sessions
from benchmarks.adaptive_sessions import (
    EVERY,
    OBSERVERS,
    Chooser,
    Person,
    World,
    by_gain,
    by_uncertainty,
    predict,
    replay,
    simulate,
    told,
    trials_needed,
)
from benchmarks.validity_sessions import draw_cats
from catpref import adaptive as engine
from catpref._io.cache import default_folder
from catpref._io.files import sha256_of
from catpref.adaptive.prior import Prior, read_prior, write_prior
from catpref.command_line import Parser, positive, run
from catpref.models.adaptive_prior import prior_of_anybody
from catpref.models.kernels import Kernels, kernels_of, leading_components
from catpref.perception.backbones import DEFAULT, load_backbone
from catpref.perception.embeddings import DEFAULT as EMBEDDING
from catpref.perception.embeddings import blocks, embed
from catpref.sessions.session import SIDES, read_sessions
from catpref.stimuli.images import image_path

RANDOM, OURS, UNCERTAIN, EUBO, BALD = "random", "ours", "uncertainty", "EUBO", "BALD"
METHODS = (RANDOM, OURS, UNCERTAIN, EUBO, BALD)
ALWAYS = "ours, no random trials"
TARGETS = {"simulated": 0.5, "replay": 0.7, "never over": 1.0, "tau": 0.02}
_RESAMPLES = 2000
_COMPONENTS = 20
_SDS = (1.5, 3.0)


@dataclass(frozen=True)
class _Size:
    """How large a run is: images that may be shown, new ones, trials at which sessions are judged, and so on.

    BoTorch's sessions end after `of_peers` trials: its Gaussian process needs minutes of a processor for 200, and a
    quarter of an hour for 400.
    """

    shown: int
    new: int
    after: tuple[int, ...]
    of_peers: int
    replayed: tuple[int, ...]
    ranked: int
    rank_after: tuple[int, ...]


FULL = _Size(2000, 400, (50, 100, 150, 200, 300, 400), 100, (25, 50, 100, 150, 200), 50, (100, 200, 300))
SMALL = _Size(50, 20, (10, 20), 20, (5, 10), 8, (10, 20))
"""For a test of the benchmark itself."""


def main(arguments: Sequence[str]) -> None:
    """Run the benchmark."""
    parser = Parser(
        "python -m benchmarks.adaptive",
        "Count the trials that adaptive sessions need, beside random pairs and other ways to choose.",
        "python -m benchmarks.adaptive --sessions 6 --json",
    )
    parser.add_argument(
        "--sessions", type=positive, default=6, metavar="N", help="of each observer (default: %(default)s)"
    )
    parser.add_argument(
        "--observers", type=Path, metavar="FOLDER",
        help="replay real people instead; holds sessions/ and new_images/",
    )  # fmt: skip
    parser.add_argument("--rank", action="store_true", help="put 50 cats in order instead")
    parser.add_argument(
        "--ideal", action="store_true", help="tell the learner what the taste depends on instead"
    )
    parser.add_argument(
        "--methods", nargs="+", default=list(METHODS), choices=METHODS, metavar="NAME",
        help=f"of choosing pairs (default: {' '.join(METHODS)})",
    )  # fmt: skip
    parser.add_argument("--small", action="store_true", help="short sessions, to see that this works")
    parser.add_argument(
        "--out", type=Path, default=Path("stimuli/adaptive"), metavar="DIR",
        help="where faces and finished sessions are kept (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--json")
    options = parser.parse_args(arguments)
    size = SMALL if options.small else FULL
    options.out.mkdir(parents=True, exist_ok=True)
    kept = _Kept(options.out / "adaptive.jsonl")
    torch.set_num_threads(1)
    if options.observers:
        rows = _replayed(options.observers, options.out, size, options.sessions, kept)
    elif options.ideal:
        rows = _ideal(options.out, size, options.sessions, kept)
    elif options.rank:
        rows = _ranked(options.out, size, options.sessions, kept)
    else:
        rows = _simulated(options.out, size, options.sessions, options.methods, kept)
    for row in rows:
        print(json.dumps(row) if options.json else row, flush=True)


class _Kept:
    """Finished sessions of today's engine, by what they were, in a file that has one a line."""

    def __init__(self, path: Path) -> None:
        self.path, self.code = path, _code()
        self.done: dict[str, Any] = {}
        for line in path.read_text("utf-8").splitlines() if path.exists() else ():
            try:
                session = json.loads(line)
            except json.JSONDecodeError:
                continue  # cut short
            if session["code"] == self.code:
                self.done[json.dumps(session["of"])] = session["found"]

    def get(self, of: list[Any], find: Callable[[], dict[Any, Any]]) -> dict[Any, Any]:
        """Return what was found of a session, or find and keep it."""
        key = json.dumps(of)
        if key not in self.done:
            found = json.loads(json.dumps(find()))
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n" + json.dumps({"of": of, "code": self.code, "found": found}))
            self.done[key] = found
        return self.done[key]


def _code() -> str:
    """Return a digest of the code that chooses pairs and simulates sessions, to know which ones other code made."""
    files = [adaptive_sessions.__file__, ranking.__file__, *sorted(Path(engine.__file__).parent.glob("*.py"))]
    return hashlib.sha256("".join(sha256_of(Path(file)) for file in files).encode()).hexdigest()[:16]


def _world(out: Path, size: _Size, with_components: bool) -> World:
    cats = draw_cats(out, size.shown + size.new)
    prior, kernels, embeddings = _seen([cats.folder / name for name in cats.names], size.shown, out, "cats")
    components = leading_components(embeddings, kernels)[:, -_COMPONENTS:] if with_components else None
    return World(cats, prior, partial(predict, kernels), components)


def _seen(files: Sequence[Path], shown: int, out: Path, name: str) -> tuple[Prior, Kernels, np.ndarray]:
    """Return the prior of those images that may be shown, which come first, the kernels and embeddings of all."""
    backbone = load_backbone(DEFAULT)
    embeddings, parts = embed(files, backbone, cache_folder=default_folder()), blocks(backbone, EMBEDDING)
    kept = out / f"prior-{name}-{shown}.safetensors"
    if not kept.exists():
        names = [file.name for file in files[:shown]]
        write_prior(kept, prior_of_anybody(names, embeddings[:shown], parts))
    of_all = np.arange(len(files) // 2 * 2).reshape(-1, 2)
    if len(files) % 2:
        of_all = np.vstack([of_all, [0, len(files) - 1]])
    return read_prior(kept), kernels_of(embeddings, of_all, parts, of_images=True), embeddings


def _simulated(
    out: Path, size: _Size, sessions: int, methods: Sequence[str], kept: _Kept
) -> list[dict[str, Any]]:
    if find_spec("botorch") is None:
        methods = [method for method in methods if method not in (EUBO, BALD)]
    world = cache(lambda: _world(out, size, EUBO in methods or BALD in methods))
    few = tuple(after for after in size.after if after <= size.of_peers)
    judged_after = {method: few if method in (EUBO, BALD) else size.after for method in methods}

    def session(kind: int, method: str, number: int) -> dict[str, Any]:
        choose, seconds = _timed(_chooser(world(), method))
        every = EVERY if method == OURS else None
        found = simulate(world(), OBSERVERS[kind], choose, number, judged_after[method], every)
        return {"accuracy": found, "seconds_a_choice": float(np.mean(seconds or [0]))}

    rows, last = [], size.after[-1]
    found = {
        (kind, method, number): kept.get(
            ["simulated", judged_after[method][-1], OBSERVERS[kind].name, method, number],
            lambda kind=kind, method=method, number=number: session(kind, method, number),
        )
        for number in range(sessions)
        for kind in range(len(OBSERVERS))
        for method in methods
    }
    kinds = {observer.name: [kind] for kind, observer in enumerate(OBSERVERS)}
    for name, of_name in [*kinds.items(), ("all", range(len(OBSERVERS)))]:
        of_method = {
            method: [found[kind, method, number] for kind in of_name for number in range(sessions)]
            for method in methods
        }
        curves = {method: [_curve(one) for one in each] for method, each in of_method.items()}
        for method in methods:
            seconds = np.median([one["seconds_a_choice"] for one in of_method[method]])
            rows.append({
                "observer": name,
                "method": method,
                "seconds_a_choice": round(float(seconds), 4),
                **_against_random(curves[method], curves[RANDOM], last, TARGETS["simulated"]),
            })  # fmt: skip
    return rows


def _ideal(out: Path, size: _Size, sessions: int, kept: _Kept) -> list[dict[str, Any]]:
    """Compare orders where the prior is true, so that nothing has to be learned but the weights."""
    cats = draw_cats(out, size.shown + size.new)
    world, linear, last = told(cats, size.shown), OBSERVERS[0], size.after[-1]
    ways = {RANDOM: (None, None), OURS: (by_gain(world.prior), EVERY), ALWAYS: (by_gain(world.prior), None)}
    found = {
        (method, number): kept.get(
            ["ideal", last, method, number],
            lambda way=way, number=number: {
                "accuracy": simulate(world, linear, way[0], number, size.after, way[1])
            },
        )
        for number in range(sessions)
        for method, way in ways.items()
    }
    curves = {method: [_curve(found[method, number]) for number in range(sessions)] for method in ways}
    return [
        {
            "observer": "linear, told its parameters", "method": method,
            **_against_random(curves[method], curves[RANDOM], last, TARGETS["simulated"]),
        }
        for method in ways
    ]  # fmt: skip


def _chooser(world: World, method: str) -> Chooser | None:
    if method in (EUBO, BALD):
        from benchmarks import adaptive_peers

        assert world.components is not None
        by = adaptive_peers.by_eubo if method == EUBO else adaptive_peers.by_bald
        return by(world.components)
    return {RANDOM: None, OURS: by_gain(world.prior), UNCERTAIN: by_uncertainty(world.prior)}[method]


def _timed(choose: Chooser | None) -> tuple[Chooser | None, list[float]]:
    """Return a chooser that notes how many seconds of a processor each choice takes, whatever else runs."""
    seconds: list[float] = []
    if choose is None:
        return None, seconds

    def timed(*given: Any) -> tuple[int, int]:
        started = time.process_time()
        pair = choose(*given)
        seconds.append(time.process_time() - started)
        return pair

    return timed, seconds


def _curve(session: Mapping[str, Any]) -> dict[int, float]:
    return {int(after): accuracy for after, accuracy in session["accuracy"].items()}


def _against_random(
    own: Sequence[dict[int, float]], randoms: Sequence[dict[int, float]], last: int, target: float
) -> dict[str, Any]:
    """Return mean accuracies, how far they are above random's, and the trials needed for random's last as a share.

    Intervals are bootstrapped.
    """

    def ratio(which: np.ndarray) -> float:
        reached = rising([randoms[one] for one in which])[last]
        return trials_needed(rising([own[one] for one in which]), reached) / last

    pairs = list(zip(own, randoms, strict=True))
    everyone, random = np.arange(len(own)), np.random.default_rng(0)
    drawn = [ratio(random.choice(everyone, len(own))) for _ in range(_RESAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975], method="nearest")
    return {
        "sessions": len(own),
        "accuracy": {after: round(float(np.mean([one[after] for one in own])), 4) for after in own[0]},
        "above_random": {
            after: _mean_and_interval([one[after] - other[after] for one, other in pairs]) for after in own[0]
        },
        "random_reaches": round(float(np.mean([one[last] for one in randoms])), 4),
        "share_of_trials": _finite(ratio(everyone)),
        "ci95": [_finite(low), _finite(high)],
        "target": target,
    }


def rising(curves: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Return the mean of learning curves, made to rise: else one lucky point would count as all that is needed."""
    after = sorted(curves[0])
    mean = [float(np.mean([one[trials] for one in curves])) for trials in after]
    risen: Any = IsotonicRegression().fit_transform(after, mean)
    return dict(zip(after, risen.tolist(), strict=True))


def _finite(value: float) -> float | None:
    """Return a rounded number, or None where the accuracy is not reached in the session."""
    return round(float(value), 3) if np.isfinite(value) else None


def _replayed(folder: Path, out: Path, size: _Size, sessions: int, kept: _Kept) -> list[dict[str, Any]]:
    """Replay people. None is asked more than 300 trials, after which all orders have asked the same: random's 200."""
    people, files, shown = _people(folder)
    seen = cache(lambda: _seen(files, shown, out, "observers"))
    last = size.replayed[-1]
    found: dict[str, list[dict[int, float]]] = {RANDOM: [], OURS: []}
    for person in people:
        for method, curves in found.items():
            of_person = [
                kept.get(
                    ["replay", last, person.name, method, number],
                    lambda person=person, method=method, number=number: {
                        "accuracy": replay(person, *seen()[:2], method == OURS, number, size.replayed)
                    },
                )
                for number in range(sessions)
            ]
            curve = [_curve(one) for one in of_person]
            curves.append({after: float(np.mean([one[after] for one in curve])) for after in curve[0]})
    return [
        {
            "observer": "real people", "method": method,
            **_against_random(curves, found[RANDOM], last, TARGETS["replay"]),
        }
        for method, curves in found.items()
    ]  # fmt: skip


def _people(folder: Path) -> tuple[list[Person], list[Path], int]:
    """Return people, and the files of all images: those of sessions first, how many of which there are comes last."""
    codes = sorted(file.stem for file in (folder / "sessions").glob("*.csv"))
    tables = {
        (code, kind): read_sessions([folder / kind / f"{code}.csv"], folder).trials
        for code in codes
        for kind in ("sessions", "new_images")
    }
    images = {
        kind: set(pd.concat([tables[code, kind] for code in codes])[list(SIDES)].to_numpy().ravel())
        for kind in ("sessions", "new_images")
    }
    names = sorted(images["sessions"]) + sorted(images["new_images"] - images["sessions"])
    places = {name: place for place, name in enumerate(names)}

    def part(code: str, kind: str) -> tuple[np.ndarray, np.ndarray]:
        table = tables[code, kind]
        return table[list(SIDES)].replace(places).to_numpy(int), table["choice"].to_numpy(float)

    people = [Person(code, *part(code, "sessions"), *part(code, "new_images")) for code in codes]
    return people, [image_path(folder, name) for name in names], len(images["sessions"])


def _ranked(out: Path, size: _Size, sessions: int, kept: _Kept) -> list[dict[str, Any]]:
    found = {
        (sd, number): kept.get(
            ["rank", size.ranked, sd, number],
            lambda sd=sd, number=number: _rank(out, size, sd, number),
        )
        for number in range(sessions)
        for sd in _SDS
    }
    rows = []
    for sd in _SDS:
        of_sd = [found[sd, number] for number in range(sessions)]
        every = of_sd[0]["all"]
        complete = {name: round(float(np.mean([one["all"][name] for one in of_sd])), 4) for name in every}
        for order in of_sd[0]["orders"]:
            taus = {
                after: {
                    name: round(float(np.mean([one["orders"][order][str(after)][name] for one in of_sd])), 4)
                    for name in every
                }
                for after in size.rank_after
            }
            lacking = [
                one["all"]["fit"] - one["orders"][order][str(size.rank_after[-1])]["fit"] for one in of_sd
            ]
            rows.append({
                "utility_sd": sd, "method": order, "sessions": sessions, "tau": taus, "tau_of_all": complete,
                "lacking": round(float(np.mean(lacking)), 4), "lacking_ci95": _interval_of_mean(lacking),
                "target": TARGETS["tau"],
            })  # fmt: skip
    return rows


def _mean_and_interval(values: Sequence[float]) -> list[float]:
    return [round(float(np.mean(values)), 4), *_interval_of_mean(values)]


def _interval_of_mean(values: Sequence[float]) -> list[float]:
    random = np.random.default_rng(0)
    drawn = random.choice(np.asarray(values), (_RESAMPLES, len(values))).mean(1)
    return [round(float(one), 4) for one in np.quantile(drawn, [0.025, 0.975])]


def _rank(out: Path, size: _Size, sd: float, number: int) -> dict[str, Any]:
    cats = draw_cats(out, size.shown + size.new)
    random = np.random.default_rng([number, 2])
    which = random.choice(len(cats.names), size.ranked, replace=False)
    backbone = load_backbone(DEFAULT)
    files = [cats.folder / cats.names[one] for one in which]
    embeddings, parts = embed(files, backbone, cache_folder=default_folder()), blocks(backbone, EMBEDDING)
    linear = cats.parameters[which] @ random.standard_normal(cats.parameters.shape[1])
    worth = np.sqrt(1 - ranking.OWN**2) * linear / linear.std() + ranking.OWN * random.standard_normal(
        len(which)
    )
    worth *= sd / worth.std()
    pairs = random.permutation(np.array(list(combinations(range(len(which)), 2))))
    pairs = random.permuted(pairs, axis=1)
    p_right = expit(worth[pairs[:, 1]] - worth[pairs[:, 0]])
    choices = (random.random(len(pairs)) < p_right).astype(float)
    ranked = ranking.Ranked(
        prior_of_anybody([file.name for file in files], embeddings, parts, for_order=True),
        kernels_of(embeddings, pairs, parts, of_images=True), worth, pairs, choices,
    )  # fmt: skip
    found: dict[str, Any] = {}
    for name, order in ranking.ORDERS.items():
        asked, answers = ranking.ask(ranked, order, size.rank_after[-1], number)
        found[name] = {
            after: ranking.taus(ranked, asked[:after], answers[:after]) for after in size.rank_after
        }
    return {"orders": found, "all": ranking.taus(ranked, pairs, choices)}


if __name__ == "__main__":
    run(main)
