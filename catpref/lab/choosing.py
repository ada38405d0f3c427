"""The next pair of an adaptive session, chosen in the thread that loads images, while a cross is shown."""

from collections.abc import Sequence
from threading import Condition
from time import perf_counter

from threadpoolctl import ThreadpoolController

from catpref.adaptive.chooser import Answer, choose
from catpref.design.trial_list import Trial
from catpref.lab.adaptive import UNTIL, Adaptive


class Enough(Exception):
    """An adaptive session ends before its last trial; `why` is what session.json says."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Closed(Exception):
    """The session ended while the next pair waited for an answer."""


class Chooser:
    """Chooses pairs from the answers so far: the drawing thread adds to them, another one waits for them.

    Parameters
    ----------
    adaptive
        The session.
    given
        The answers that it has already, those of earlier parts among them.

    Attributes
    ----------
    seconds : list of float
        How long each choice took.
    gained : float or None
        The share of the accuracy that can be gained, where the session ends by it, at the last choice.
    """

    def __init__(self, adaptive: Adaptive, given: Sequence[Answer]) -> None:
        self._adaptive = adaptive
        self._answers = list(given)
        self._changed = Condition()
        self._closed = False
        self._pools = ThreadpoolController()
        self.seconds: list[float] = []
        self.gained: float | None = None

    def add(self, answer: Answer) -> None:
        """Take the answer to the next trial."""
        with self._changed:
            self._answers.append(answer)
            self._changed.notify_all()

    def close(self) -> None:
        """Let no one wait any longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def filled(self, trial: Trial) -> Trial:
        """Return a trial with its images, once everything before it is answered.

        Raises
        ------
        Enough
            If the answers say that the session is over.
        Closed
            If `close` was called.
        """
        if not trial.is_open:
            return trial
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._answers) >= trial.trial)
            if self._closed:
                raise Closed
            answers = self._answers[: trial.trial]
        started = perf_counter()
        # Several threads would wait for each other, and keep the one that draws from its core.
        with self._pools.limit(limits=1, user_api="blas"):
            posterior = self._adaptive.learn(answers)
            self.gained = self._adaptive.gained(posterior)
            if self._adaptive.is_enough(self.gained):
                raise Enough(UNTIL)
            chosen = choose(
                self._adaptive.prior, posterior, self._adaptive.schedule, answers, self._adaptive.seed
            )
        self.seconds.append(perf_counter() - started)
        return chosen
