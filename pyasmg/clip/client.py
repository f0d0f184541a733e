"""A prompt server as if it were here: an object like :class:`pyasmg.clip.PromptTask`, whose answers come over HTTP."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .._validate import integer, number, real_array
from ..evaluation import Driver, Points, Retry
from ..evaluation._http_auth import read_secret
from ..evaluation._http_kserve import model_url
from ..evaluation._http_protocol import GarbledError, quoted
from ..evaluation._http_session import import_httpx
from ..evaluation._http_text import one_line, public_url, split_url
from ._client_protocol import Description, read_description
from ._questions import held_out, row_of
from ._server_model import MAX_BATCH_ID, SPLITS
from ._sources import RemoteSource, matrix_of
from .projection import Projection

if TYPE_CHECKING:
    from typing_extensions import Self

FloatArray = npt.NDArray[np.float64]

_PAUSE = 0.3  # seconds between two attempts to reach a server that is starting


class RemoteError(RuntimeError):
    """The server could not be asked, or its answer was none."""


class RemoteTask:
    """The task behind a prompt server.

    Prompts are offsets from the server's start p0, which stays there: ``start`` is 0 here. Otherwise the attributes and
    methods are those of :class:`pyasmg.clip.PromptTask`. Requests are repeated where that can help.

    Parameters
    ----------
    url : str
        Of the server, or of its model.
    model : str
        The model's name.
    auth_env : str, optional
        Environment variable with the API key. It is read each time and never kept.
    timeout : float
        Seconds for one request.
    attempts : int
        How often a failed question is asked in total.
    backoff : float
        Seconds before the second attempt, doubled each time.
    patience : float
        Seconds to wait for a server that cannot be reached yet.
    **options
        More for :class:`pyasmg.evaluation.HTTP`: ``concurrency`` (here 1), ``batch_size``, ``rate_limit``, ...

    Raises
    ------
    RemoteError
        The server cannot be reached, refuses, or is no prompt server.
    ImportError
        httpx is missing.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str = "clip",
        auth_env: str | None = None,
        timeout: float = 60.0,
        attempts: int = RemoteSource.default_attempts,
        backoff: float = 0.5,
        patience: float = 0.0,
        **options: Any,
    ) -> None:
        self.retry = Retry(attempts=integer("attempts", attempts, 1), backoff=backoff)
        self._address, self._model = url, model
        self._options = {"auth_env": auth_env, "timeout": timeout, "concurrency": 1, **options}
        number("timeout", timeout, low=0.0, strict=True)
        address, login = split_url(url)
        self.url = model_url(address, model)
        body = _get(self.url, login, auth_env, timeout, number("patience", patience, low=0.0))
        try:
            self.description: Description = read_description(body)
        except GarbledError as error:
            raise RemoteError(f"{public_url(self.url)}: {error}") from None
        self._source: RemoteSource | None = None

    task_names = property(lambda self: self.description.task_names, doc="Names of the m tasks.")
    n_ctx = property(lambda self: self.description.n_ctx, doc="Tokens of the prompt.")
    width = property(lambda self: self.description.width, doc="Size of a token's embedding.")
    token_embedding_std = property(lambda self: self.description.token_embedding_std, doc="Of the model.")
    max_batch = property(lambda self: self.description.max_batch, doc="Largest number of prompts in one request.")
    batch_size = property(lambda self: self.description.batch_size, doc="Images per task of a mini-batch.")
    n_train = property(lambda self: self.description.n_train, doc="Training images per task.")

    @property
    def start(self) -> npt.NDArray[np.float32]:
        """Zeros: prompts are offsets here."""
        return np.zeros((self.n_ctx, self.width), np.float32)

    def source(self, projection: Projection | None = None, *, send_v: bool = False) -> RemoteSource:
        """Return a source of objective values for a run; ``v`` is projected here or, with ``send_v``, there."""
        return RemoteSource(self._address, self._model, self.description, projection, send_v=send_v, **self._options)

    def losses(self, prompts: npt.ArrayLike, batch_id: int = -1) -> FloatArray:
        """Return the mean training cross-entropy, (N, m), of each prompt on a mini-batch; NaN rows where it failed."""
        batch_id = integer("batch_id", batch_id, -1, MAX_BATCH_ID)
        rows = self._rows(prompts)
        return self._ask(Points(batch_id, rows.__getitem__, rows.shape[1], rows.dtype, array=rows), range(len(rows)), 1)

    def evaluate(self, prompts: npt.ArrayLike, split: str = "test") -> tuple[FloatArray, FloatArray]:
        """Return cross-entropies and accuracies, both (N, m), on a whole split; NaN rows where it failed."""
        if split not in SPLITS:
            raise ValueError(f"`split` must be one of {SPLITS}; got {split!r}.")
        rows = self._rows(prompts)
        points = Points(0, lambda candidate: rows[row_of(candidate)], rows.shape[1], rows.dtype)
        losses, accuracies = np.split(self._ask(points, [held_out(split, i) for i in range(len(rows))], 2), 2, axis=1)
        return losses, accuracies

    def close(self) -> None:
        """Close the connection."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _rows(self, prompts: npt.ArrayLike) -> npt.NDArray[np.float32]:
        expected = f"of shape (N, {self.n_ctx}, {self.width})"
        array = real_array("prompts", prompts, expected)
        if array.ndim != 3 or array.shape[1:] != (self.n_ctx, self.width):
            raise ValueError(f"`prompts` must be {expected}; got {array.shape}.")
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(array, np.float32).reshape(len(array), -1)

    def _ask(self, points: Points, candidates: Any, n_parts: int) -> FloatArray:
        if self._source is None:
            self._source = self.source()
        m = n_parts * len(self.task_names)
        work = Driver(self._source, retry=self.retry, n_objectives=m).evaluate(points, {}, candidates)
        if work.cut:
            reasons = [record.error for record in work.records.values() if record.error]
            raise RemoteError(f"{public_url(self.url)}: {reasons[-1] if reasons else work.cut}")
        return matrix_of(work.records, list(candidates), m)


def _get(url: str, login: tuple[str, str] | None, auth_env: str | None, timeout: float, patience: float) -> bytes:
    """Return the body of a GET, or raise RemoteError; wait for a server that is not there yet, or not again."""
    httpx = import_httpx()
    headers = {} if auth_env is None else {"Authorization": f"Bearer {read_secret(auth_env)}"}
    shown, end = public_url(url), time.monotonic() + patience
    while True:
        try:
            reply = httpx.get(url, headers=headers, auth=login, timeout=timeout, follow_redirects=False)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            passing = isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol)
            problem = f"cannot reach {shown}: {type(error).__name__}: {one_line(str(error), 200)}"
        else:
            if reply.status_code == 200:
                content: bytes = reply.content
                return content
            passing = reply.status_code in (429, 502, 503, 504)
            problem = f"{shown} answers with HTTP {reply.status_code}: {quoted(reply.content)}"
        if not passing or time.monotonic() >= end:
            raise RemoteError(problem)
        time.sleep(_PAUSE)
