"""When a failed evaluation is asked for again."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from .._validate import integer, number


@dataclass(frozen=True)
class Retry:
    """How often and when a failed evaluation is asked for again.

    The wait before attempt k + 1 is drawn from [1/2, 1] * min(longest, backoff * 2**(k - 1)) seconds, and is never
    shorter than what the one who refused asked for (``Retry-After``).

    Parameters
    ----------
    attempts : int, optional
        In total, the first one included; 1 means never again. Default: what suits the source (1 for functions and
        commands, 5 for HTTP).
    backoff, longest : float
        Seconds.
    """

    attempts: int | None = None
    backoff: float = 0.5
    longest: float = 60.0
    _random: random.Random = field(default_factory=random.Random, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.attempts is not None:
            integer("attempts", self.attempts, 1)
        number("backoff", self.backoff, low=0.0)
        number("longest", self.longest, low=0.0)

    def delay(self, attempt: int, retry_after: float) -> float:
        """Return the seconds to wait after ``attempt`` failed."""
        wait = min(self.longest, self.backoff * 2.0 ** min(attempt - 1, 60))
        return max(retry_after, wait * self._random.uniform(0.5, 1.0))
