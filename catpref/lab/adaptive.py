"""What an adaptive session has beside its trial list: a prior, the answers of earlier parts, and when it ends.

All of it is in the session's folder, so that a session goes on where it stopped without torch, and with exactly the
pairs that it would have shown.
"""

import csv
import hashlib
import io
import tempfile
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catpref._io.reading import read_bytes
from catpref.adaptive.chooser import Answer, learn_from, share_gained
from catpref.adaptive.learner import Posterior
from catpref.adaptive.prior import FILE as PRIOR
from catpref.adaptive.prior import Prior, read_prior
from catpref.adaptive.schedule import reserved_images
from catpref.design.trial_list import RANKING, Trial
from catpref.errors import BadInput
from catpref.lab.starting_prior import LARGEST, starting_prior

EARLIER = "earlier.csv"
"""The answers of earlier parts, in the form of a session.csv."""

TRIALS_SHOWN, MINUTES, UNTIL = "trials", "minutes", "until"
"""Why a session ended, as session.json says it."""

ENTRY = "adaptive"
"""What of session.json is about all this."""

_OPTIONS = ("start_from", MINUTES, UNTIL)
_INSTEAD = "restore it, or choose another --session or --out"


@dataclass(frozen=True)
class Adaptive:
    """An adaptive session.

    Attributes
    ----------
    prior
        What is known of everybody's taste before the first answer.
    schedule
        All trials, also those of other parts.
    seed
        Of its choices.
    minutes, until
        After how many minutes, or at which share of the accuracy that can be gained, it ends; None: not by that.
    files
        What it keeps in its folder, by name.
    earlier, earlier_s
        The answers of earlier parts, and how many seconds these took.
    """

    prior: Prior
    schedule: Sequence[Trial]
    seed: int
    minutes: float | None
    until: float | None
    files: Mapping[str, bytes]
    earlier: Sequence[Answer] = ()
    earlier_s: float = 0.0

    @property
    def candidates(self) -> frozenset[str]:
        """The images that its adaptive trials may show."""
        return frozenset(self.prior.images) - reserved_images(self.schedule)

    @property
    def may_end_early(self) -> bool:
        """Whether fewer than all trials may be enough."""
        return self.minutes is not None or self.until is not None

    def learn(self, answers: Sequence[Answer]) -> Posterior:
        """Return what all answers teach, those of earlier parts among them."""
        return learn_from(self.prior, self.schedule, answers)

    def gained(self, posterior: Posterior) -> float | None:
        """Return the share of the accuracy that can be gained, if the session may end by it."""
        return None if self.until is None else share_gained(self.prior, posterior, self.schedule)

    def is_enough(self, gained: float | None) -> bool:
        """Return whether so much ends the session."""
        return self.until is not None and gained is not None and gained >= self.until

    def is_over(self, seconds: float) -> bool:
        """Return whether so many seconds of this part end the session."""
        return self.minutes is not None and self.earlier_s + seconds >= 60 * self.minutes

    def progress(self, answered: float, gained: float | None, seconds: float) -> float:
        """Return how far the session is, from 0 to 1: towards whichever of its ends is nearest.

        Parameters
        ----------
        answered
            The share of its trials.
        gained
            What `gained` returned last.
        seconds
            Since it began.
        """
        shares = [answered]
        if self.until and gained is not None:
            shares.append(gained / self.until)
        if self.minutes:
            shares.append((self.earlier_s + seconds) / (60 * self.minutes))
        return min(1.0, max(shares))

    def ended_by(self, answers: Sequence[Answer], seconds: float) -> str | None:
        """Return what has ended a session with these answers in so many seconds, or None.

        How much has been gained is judged where a pair is to be chosen, and only there.
        """
        everything = [*self.earlier, *answers]
        following = self.schedule[len(everything) : len(everything) + 1]
        if following and self.is_over(seconds):
            return MINUTES
        if self.until is not None and any(trial.is_open for trial in following):
            return UNTIL if self.is_enough(self.gained(self.learn(everything))) else None
        return None


def begin_adaptive(
    options: Namespace, names: Sequence[str], schedule: Sequence[Trial], seed: int
) -> tuple[Adaptive, dict[str, Any]]:
    """Return a new adaptive session, and what session.json says of it.

    Raises
    ------
    BadInput
        As `starting_prior` does.
    """
    for_order = schedule[0].design == RANKING
    content = starting_prior(options.stimuli, names, options.start_from, for_order)
    said = {
        "aim": "order of the images" if for_order else "new images",
        MINUTES: options.minutes,
        UNTIL: options.until,
        "start_from": None if options.start_from is None else str(options.start_from.resolve()),
        "seed": seed,
        "prior_sha256": _sha256(content),
        "earlier_sha256": None,
        "earlier_s": 0.0,
        "ended": None,
        "gained": None,
    }
    with tempfile.TemporaryDirectory(prefix="catpref-") as folder:
        file = Path(folder, PRIOR)
        file.write_bytes(content)
        prior = read_prior(file)  # as it is when the session goes on: rounded
    return _adaptive(prior, said, schedule, {PRIOR: content}), said


def next_adaptive(
    before: Adaptive, said: Mapping[str, Any], content: bytes, seconds: float
) -> tuple[Adaptive, dict[str, Any]]:
    """Return the part that comes after one that was finished, and what session.json says of it.

    Parameters
    ----------
    before, said
        The finished part, and what its session.json says.
    content, seconds
        Its session.csv, and how long it took.
    """
    header, rows = content.split(b"\n", 1)
    earlier = before.files.get(EARLIER, header + b"\n") + rows
    now = {"earlier_sha256": _sha256(earlier), "earlier_s": before.earlier_s + seconds, "ended": None}
    told = dict(said) | now
    files = {PRIOR: before.files[PRIOR], EARLIER: earlier}
    return _adaptive(before.prior, told, before.schedule, files), told


def reopen_adaptive(folder: Path, said: Mapping[str, Any], schedule: Sequence[Trial]) -> Adaptive:
    """Read what an adaptive session keeps in its folder.

    Raises
    ------
    BadInput
        If a file is missing or not as it was when the session began.
    """
    files = {PRIOR: _kept(folder / PRIOR, said["prior_sha256"])}
    if said["earlier_sha256"] is not None:
        files[EARLIER] = _kept(folder / EARLIER, said["earlier_sha256"])
    return _adaptive(read_prior(folder / PRIOR), said, schedule, files)


def check_options(folder: Path, options: Namespace, said: Mapping[str, Any]) -> None:
    """Raise BadInput if options contradict what a session was begun with."""
    for name in _OPTIONS:
        asked, begun = getattr(options, name), said[name]
        if isinstance(asked, Path):
            asked = str(asked.resolve())
        if asked not in (None, begun):
            option = f"--{name.replace('_', '-')}"
            raise BadInput(
                f"{option} {getattr(options, name)}: {folder} was begun with {begun or 'none'}; leave {option} out, "
                "or begin another list with --session"
            )


def answers_in(content: bytes) -> list[Answer]:
    """Return the answers of a session.csv that was checked."""
    return [
        Answer(row["left_image"], row["right_image"], float(row["choice"]) if row["choice"] else None)
        for row in csv.DictReader(io.StringIO(content.decode(), newline=""))
    ]


def _adaptive(
    prior: Prior, said: Mapping[str, Any], schedule: Sequence[Trial], files: Mapping[str, bytes]
) -> Adaptive:
    return Adaptive(
        prior=prior,
        schedule=schedule,
        seed=said["seed"],
        minutes=said[MINUTES],
        until=said[UNTIL],
        files=files,
        earlier=answers_in(files[EARLIER]) if EARLIER in files else (),
        earlier_s=said["earlier_s"],
    )


def _kept(path: Path, sha256: str) -> bytes:
    try:
        content = read_bytes(path, LARGEST)
    except FileNotFoundError as problem:
        raise BadInput(f"{path}: cannot be read ({problem.strerror}); {_INSTEAD}") from problem
    if _sha256(content) != sha256:
        raise BadInput(f"{path}: is not what the session was begun with; {_INSTEAD}")
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
