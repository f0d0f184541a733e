"""When the next request may be sent: a rate limit, and pauses that a server asked for."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

#: Seconds that a server can make us wait at most; one that asks for years would stop a run for ever.
LONGEST_PAUSE = 3600.0


class Gate:
    """Lets requests pass one by one, in the order in which they came.

    A token bucket that holds one token: any two requests are at least 1 / rate apart, so that no window of a second
    holds more than rate + 1 of them, however the server counts.

    Parameters
    ----------
    rate : float or None
        Requests per second.
    """

    def __init__(self, rate: float | None) -> None:
        self._interval = 0.0 if rate is None else 1.0 / rate
        self._next = self._paused = -math.inf  # on the clock of time.monotonic()
        self._lock = asyncio.Lock()

    def pause(self, seconds: float) -> None:
        """Let nothing pass for so long; a pause that lasts longer stays as it is."""
        self._paused = max(self._paused, time.monotonic() + min(seconds, LONGEST_PAUSE))

    async def enter(self) -> None:
        """Wait for one's turn."""
        async with self._lock:
            # A pause may have been asked for during the wait.
            while (wait := max(self._next, self._paused) - time.monotonic()) > 0.0:
                await asyncio.sleep(wait)
            self._next = time.monotonic() + self._interval


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that ``Retry-After`` asks for: a number or a date; 0 if it says nothing that is understood.

    A date is compared with the server's own ``Date``, so that its clock need not agree with ours.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        then, now = _date(text), _date(headers.get("date", ""))
        if then is None:
            return 0.0
        seconds = (then - (now or datetime.now(timezone.utc))).total_seconds()
    return min(max(seconds, 0.0), LONGEST_PAUSE) if math.isfinite(seconds) else 0.0


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)
