"""Objective values from an HTTP endpoint: plain JSON, or KServe v2 / Open Inference Protocol."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .._validate import describe, integer, number
from .._version import __version__
from . import _http_text as text
from ._base import Job, Outcome, Points, Source
from ._http_auth import Auth, read_secret
from ._http_caller import Caller
from ._http_json import PlainJSON
from ._http_kserve import KServe, is_kserve, model_url
from ._http_mailbox import Mailbox
from ._http_protocol import Protocol
from ._http_session import Session, abandon, import_httpx


class HTTP(Source):
    """Asks a server.

    **Plain JSON.** A ``POST`` of ::

        {"x": [[0.1, 0.2], [0.3, 0.4]], "generation": 7, "candidates": [12, 13]}

    is answered, with status 200, by the objective values, one row per row of ``x``, in this order ::

        {"f": [[1.5, 2.0], [1.25, 0.5]]}

    and, if the server likes, by

    - ``"status": [0, 1]``: a number per row; a row whose number is not 0 has failed, whatever ``f`` says;
    - ``"errors": [null, "diverged"]``: a text or null per row; a row with a text has failed for this reason;
    - ``"cost": [0.01, 0.01]``, per row, or one number for the whole request, shared equally by its rows.

    The row of ``f`` of a failed candidate can be anything, null for example. ``candidates`` are rows of ``ask()``, and
    -1 is the final mean: (generation, candidate) names a candidate for ever, so that a server can recognise a
    question that it has answered before. An answer may repeat both; if they are others, it is not believed.

    **KServe v2 / Open Inference Protocol** with the binary tensor extension. The model has one input FP32 or FP64
    ``[N, d]``, one output FP32 or FP64 ``[N, m]`` (if there are more, the one called ``f``) and, if it likes, an output
    UINT8 ``[N]`` or ``[N, 1]``, the status: 0 is good, anything else a failed row. How many rows a request may hold is
    read from the model's metadata (``max_batch_size`` in its parameters, or the first number of the input's shape) or
    from Triton's model configuration.

    **Failures.** 503 and 429 count as refused and cost nothing; all requests wait as long as ``Retry-After`` says. 413
    halves the batches. Other answers of 5xx, lost connections and missed deadlines may have been evaluated: they are
    counted as ``unknown``, charged, and asked again. A refused login, a wrong address and a redirect end the run,
    other 4xx are final for their candidates. A row that is not finite or has a bad status fails alone.

    Parameters
    ----------
    url : str
        Where to ask; for KServe the root of the server or ``.../v2/models/NAME``. User and password in it are sent,
        but never shown. Redirects are not followed.
    protocol : {"auto", "json", "kserve"}
        "auto": KServe if the path holds ``/v2/`` or ``model`` is given.
    model : str, optional
        Its name, for KServe, where ``url`` does not end in it.
    batch_size : int, optional
        Candidates per request at most. Default: what the server takes, spread evenly over ``concurrency``.
    concurrency : int
        Requests at a time.
    rate_limit : float, optional
        Requests per second; they are sent at even distances.
    timeout : float
        Seconds for one request, from connecting to the last byte of the answer.
    auth_env : str, optional
        Name of an environment variable whose value is sent with every request. It is read each time and never kept:
        it is in no name, pickle, store, log or error.
    auth_header, auth_scheme : str
        How it is sent: ``auth_header: auth_scheme VALUE``; an empty scheme sends the bare value.
    headers : mapping, optional
        More headers. They are kept (and pickled): secrets belong into ``auth_env``.
    dtype : {"float64", "float32"}, optional
        Of KServe's input. Default: what the model's metadata says.
    name : str, optional
        What a resumed run is compared with. Default: the URL, without login and without the values of its query.

    Attributes
    ----------
    refused : int
        Candidates in requests that the server refused before it evaluated anything; with ``counters``: all candidates
        in complete requests = evaluations + unknown + refused.

    Raises
    ------
    ImportError
        If httpx is missing.
    ValueError, TypeError
        If an option is wrong or the variable ``auth_env`` is not set.
    """

    default_attempts = 5

    def __init__(
        self,
        url: str,
        *,
        protocol: str = "auto",
        model: str | None = None,
        batch_size: int | None = None,
        concurrency: int = 4,
        rate_limit: float | None = None,
        timeout: float = 60.0,
        auth_env: str | None = None,
        auth_header: str = "Authorization",
        auth_scheme: str = "Bearer",
        headers: Mapping[str, str] | None = None,
        dtype: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        import_httpx()
        if auth_env is not None:
            read_secret(auth_env)  # an early error where it is missing
        self._set_up(
            {
                "url": url,
                "protocol": protocol,
                "model": model,
                "batch_size": batch_size,
                "concurrency": concurrency,
                "rate_limit": rate_limit,
                "timeout": timeout,
                "auth_env": auth_env,
                "auth_header": auth_header,
                "auth_scheme": auth_scheme,
                "headers": headers,
                "dtype": dtype,
                "name": name,
            }
        )

    def _set_up(self, options: dict[str, Any]) -> None:
        """Check the options and take them over; everything that lives in one process only starts empty."""
        self._options = options
        self._url, self._login = text.split_url(_string("url", options["url"]))
        protocol, model, dtype = options["protocol"], options["model"], options["dtype"]
        if protocol not in ("auto", "json", "kserve"):
            raise ValueError(f'`protocol` must be "auto", "json" or "kserve"; got {describe(protocol)}.')
        if protocol == "auto":
            protocol = "kserve" if model is not None or is_kserve(self._url) else "json"
        if dtype not in (None, "float32", "float64"):
            raise ValueError(f'`dtype` must be "float64" or "float32"; got {describe(dtype)}.')
        if protocol == "json":
            for option in ("model", "dtype"):
                if options[option] is not None:
                    raise ValueError(f"`{option}` belongs to the KServe protocol; got {describe(options[option])}.")
        else:
            self._url = model_url(self._url, None if model is None else _string("model", model))
        self._kind = protocol
        batch_size, rate = options["batch_size"], options["rate_limit"]
        if batch_size is not None:
            batch_size = integer("batch_size", batch_size, 1)
        self.concurrency = integer("concurrency", options["concurrency"], 1)
        self._rate = None if rate is None else number("rate_limit", rate, low=0.0, strict=True)
        timeout = number("timeout", options["timeout"], low=0.0, strict=True)
        self._headers = text.check_headers(dict(options["headers"] or {}))
        header, scheme = _string("auth_header", options["auth_header"]), _string("auth_scheme", options["auth_scheme"])
        text.check_headers({header: scheme})
        if options["auth_env"] is not None and self._login is not None:
            raise ValueError("`auth_env` and a user in `url` exclude each other; got both.")
        auth = Auth(
            options["auth_env"], header=header, scheme=scheme, url=self._url, login=self._login, headers=self._headers
        )
        self._caller = Caller(
            self._make_protocol(),
            url=self._url,
            auth=auth,
            timeout=timeout,
            batch_size=batch_size,
            counters=self.counters,
        )
        suffix = f" ({dtype})" if dtype is not None else ""
        self._name = _string("name", options["name"]) if options["name"] else text.public_url(self._url) + suffix
        self._session: Session | None = None
        self._pid = os.getpid()
        self._mailbox = Mailbox()

    def _make_protocol(self) -> Protocol:
        """Return what writes requests and reads answers; subclasses ask their servers something else."""
        return PlainJSON(self._url) if self._kind == "json" else KServe(self._url, self._options["dtype"])

    def __repr__(self) -> str:
        return f"HTTP({self._name!r}, protocol={self._kind!r}, concurrency={self.concurrency})"

    def __getstate__(self) -> dict[str, Any]:
        state = {"options": self._options, "counters": replace(self.counters), "failures": list(self.failures)}
        return {**state, "refused": self.refused}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.counters, self.failures = state["counters"], state["failures"]
        self._set_up(state["options"])
        self._caller.refused = state["refused"]

    @property
    def refused(self) -> int:
        """Candidates in requests that the server refused."""
        return self._caller.refused

    @property
    def name(self) -> str:
        """The URL, without secrets."""
        return self._name

    @property
    def n_slots(self) -> int:
        """Requests at a time."""
        return self.concurrency

    def batch_size(self, n_jobs: int) -> int:
        """Return how many of ``n_jobs`` candidates one request should hold: all requests about the same."""
        n_jobs = max(n_jobs, 1)
        n_calls = -(-n_jobs // self._caller.limit(n_jobs))
        n_calls = -(-n_calls // self.concurrency) * self.concurrency  # whole rounds
        return -(-n_jobs // min(n_calls, n_jobs))

    def start(self, points: Points, jobs: Sequence[Job]) -> None:
        """Send the candidates, in one request or, if they are too many for the server, in several one by one."""
        jobs = list(jobs)
        if not jobs:
            return
        rows = self._caller.protocol.pack(points.rows(jobs))
        session = self._get_session()
        self._mailbox.expect(len(jobs))
        session.submit(self._caller.run(session, self._mailbox, points.generation, jobs, rows))

    def poll(self, timeout: float | None) -> list[Outcome]:
        """Return outcomes; wait for the first."""
        self._check_process()
        return self._mailbox.take(timeout)

    def cancel(self) -> None:
        """Abort all requests. Who cancels counts what was running as unknown."""
        self._check_process()
        self._mailbox.shut()
        self._mailbox = Mailbox()
        if self._session is not None:
            self._session.cancel_all()

    def close(self) -> None:
        """Abort all requests, close the connections, end the thread."""
        self._check_process()
        self._mailbox.shut()
        self._mailbox = Mailbox()
        if self._session is not None:
            self._session.close()
            self._session = None

    def _check_process(self) -> None:
        """After a fork: forget threads, sockets and locks of the parent."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._mailbox = Mailbox()
            if self._session is not None:
                abandon(self._session)
                self._session = None

    def _get_session(self) -> Session:
        self._check_process()
        if self._session is None or not self._session.usable:
            headers = {"User-Agent": f"pyasmg/{__version__}", **self._headers}
            self._session = Session(concurrency=self.concurrency, rate=self._rate, headers=headers, login=self._login)
            weakref.finalize(self, self._session.close)
        return self._session


def _string(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"`{name}` must be a string; got {type(value).__name__}.")
    return value
