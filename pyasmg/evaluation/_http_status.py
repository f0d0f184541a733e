"""What an HTTP status means for the candidates of a request."""

from __future__ import annotations

import http
from typing import Literal

from ._http_exchange import Reply
from ._http_protocol import quoted
from ._http_rate_limit import retry_after
from ._http_text import public_url

#: ``unsent``: the server never had the whole request; ``refused``: it said no before evaluating anything; ``unknown``:
#: it may have evaluated, and billed.
Fate = Literal["unsent", "refused", "unknown"]


class CallError(Exception):
    """A whole request failed: no candidate in it has an answer.

    Attributes
    ----------
    fate : {"unsent", "refused", "unknown"}
        What the server did.
    retry, alone : bool
        Whether asking again may help, and whether each candidate should then have a request of its own.
    retry_after : float
        Seconds that the server asked for.
    fatal : bool
        Whether every other request would fare the same: a refused login, a wrong address.
    """

    def __init__(
        self,
        error: str,
        fate: Fate,
        *,
        retry: bool = True,
        alone: bool = False,
        retry_after: float = 0.0,
        fatal: bool = False,
    ) -> None:
        super().__init__(error)
        self.fate = fate
        self.retry = retry
        self.alone = alone
        self.retry_after = retry_after
        self.fatal = fatal


class TooLargeError(CallError):
    """The request holds too many candidates: 413."""


def check_status(reply: Reply, *, auth_env: str | None, leaks: bool) -> None:
    """Return if the status is 2xx; raise :class:`CallError` otherwise.

    Parameters
    ----------
    reply : Reply
        The answer.
    auth_env : str or None
        The environment variable that a refused login is due to.
    leaks : bool
        Whether the answer repeats a secret; nothing of it is quoted then.
    """
    status = reply.status
    if 200 <= status < 300:
        return
    error = f"HTTP {status} {_phrase(status)}".strip()
    if leaks:
        error += " (its text is not shown: it repeats the secret that was sent)"
    elif reply.body:
        error += f": {quoted(reply.body)}"
    wait = retry_after(reply.headers)
    if status in (408, 425, 429, 503) or (status == 403 and wait):  # some limit their rate by 403
        if wait:
            error += f" (retry after {wait:g} s)"
        raise CallError(error, "refused", retry_after=wait)
    if status >= 500:
        raise CallError(error, "unknown", alone=True, retry_after=wait)
    if status == 413:
        raise TooLargeError(error, "refused", retry=False)
    if status in (401, 403):
        source = f"`auth_env` names {auth_env}" if auth_env else "no `auth_env` is given"
        error = f"the server refuses the login ({source}): {error}"
    elif 300 <= status < 400:
        location = reply.headers.get("location", "")
        where = public_url(location) if location and not leaks else "somewhere else"
        error = f"HTTP {status}: the server redirects to {where}; redirects are not followed: change `url`"
    fatal = status in (401, 403, 404, 405, 407, 410) or 300 <= status < 400
    raise CallError(error, "refused", retry=False, fatal=fatal)


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""
