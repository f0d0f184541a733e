"""Where outcomes wait to be fetched, for sources that work in other threads."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ._base import Outcome


class Mailbox:
    """Outcomes come in from any thread and go out to one."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._outcomes: list[Outcome] = []
        self._n_expected = 0
        self.is_shut = False

    def expect(self, n_outcomes: int) -> None:
        """Announce outcomes."""
        with self._condition:
            self._n_expected += n_outcomes

    def deliver(self, outcomes: Sequence[Outcome]) -> None:
        """Put in outcomes that were announced."""
        with self._condition:
            if self.is_shut:
                return
            self._n_expected -= len(outcomes)
            self._outcomes.extend(outcomes)
            self._condition.notify_all()

    def shut(self) -> None:
        """Forget what is there, and what is still to come."""
        with self._condition:
            self.is_shut = True
            self._n_expected = 0
            self._outcomes.clear()

    def take(self, timeout: float | None) -> list[Outcome]:
        """Take out what is there; wait for it, but not for ever if nothing is announced. Ctrl-C ends the wait."""
        with self._condition:
            if timeout is not None or self._n_expected:
                self._condition.wait_for(lambda: self._outcomes, timeout)
            outcomes, self._outcomes = self._outcomes, []
            return outcomes
