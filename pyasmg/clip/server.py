"""A prompt task behind HTTP: KServe v2 / Open Inference Protocol, forward queries only."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

from .._validate import integer, number
from .._version import __version__
from ..evaluation._http_auth import read_secret
from ..evaluation._http_tensors import HEADER_LENGTH
from . import _server_openapi as openapi
from ._server_model import PromptModel, Task
from ._server_wire import RefusedError, read_question, write_answer
from .projection import Projection

try:
    import uvicorn
    from fastapi import FastAPI, Request, Response
    from fastapi import Path as PathParameter
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect
except ImportError as error:
    raise ImportError(f'pyasmg.clip.server needs {error.name}: pip install "pyasmg[clip]".') from None

__all__ = ["check_place", "create_app", "serve"]

_JSON_BYTES = 26  # of one number in JSON, with what separates it
_HEAD_BYTES = 2**16  # of a request besides its numbers

_Model = Annotated[str, PathParameter(alias="model", description="The model's name.")]


class _Door:
    """Who may come in, and with how much.

    Parameters
    ----------
    key : str or None
        The API key, if there is one.
    max_body : int
        Bytes of a body.
    max_waiting : int
        Requests at a time, the one that is evaluated included.
    patience : float
        Seconds for a body to arrive.
    """

    def __init__(self, key: str | None, max_body: int, max_waiting: int, patience: float) -> None:
        self._key = None if key is None else f"Bearer {key}".encode()
        self._max_body, self._max_waiting, self._patience = max_body, max_waiting, patience
        self._n_inside = 0

    def check_key(self, request: Request) -> None:
        """Refuse whoever does not send the key; how long that takes does not depend on what was sent."""
        if self._key is None:
            return
        sent = request.headers.get("authorization", "").encode("latin-1", "replace")
        if not hmac.compare_digest(sent, self._key):
            reason = "the header Authorization must be `Bearer` and the API key"
            raise RefusedError(401, reason, {"WWW-Authenticate": "Bearer"})

    @contextlib.contextmanager
    def enter(self) -> Any:
        """Count a request in and out."""
        if self._n_inside >= self._max_waiting:
            raise RefusedError(503, f"{self._n_inside} requests are waiting already", {"Retry-After": "1"})
        self._n_inside += 1
        try:
            yield
        finally:
            self._n_inside -= 1

    async def body(self, request: Request) -> bytearray:
        """Return the body; one that is too large is refused before it has been read."""
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise RefusedError(415, "the body must not be compressed")
        length = request.headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise RefusedError(400, "the header Content-Length must be a number")
        if len(length) > 18 or int(length) > self._max_body:
            raise self._too_large()
        try:
            return await asyncio.wait_for(self._read(request), self._patience)
        except (asyncio.TimeoutError, TimeoutError):  # two classes before Python 3.11
            raise RefusedError(408, f"the body must arrive within {self._patience:g} s", _CLOSE) from None
        except ClientDisconnect:
            raise RefusedError(400, "the connection was closed before the body had arrived", _CLOSE) from None

    async def _read(self, request: Request) -> bytearray:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > self._max_body:
                raise self._too_large()
        return body

    def _too_large(self) -> RefusedError:
        return RefusedError(413, f"the body must have at most {self._max_body} bytes", _CLOSE)


_CLOSE = {"Connection": "close"}


def create_app(
    task: Task,
    *,
    name: str = "clip",
    projection: Projection | None = None,
    api_key: str | None = None,
    log: str | Path | None = None,
    max_body: int | None = None,
    max_waiting: int = 64,
    patience: float = 60.0,
) -> FastAPI:
    """Return the ASGI application that serves a task.

    **Questions.** ``POST /v2/models/{name}/infer`` with the inputs ``prompt`` FP32 [N, n_ctx, width] and ``batch_id``
    INT64 [N, 1], binary or JSON, is answered by ``loss`` FP32 [N, m] (nats) and ``status`` UINT8 [N]: 0 good, 1 the
    prompt is not finite, 2 its evaluation failed; ``loss`` is NaN (null in JSON) in rows that are not good. One request
    has one ``batch_id``: the same mini-batch for all rows, chosen by this number alone; -1 is the whole training
    split. With the request parameter ``split`` ("train", "validation", "test") instead of a ``batch_id``, the whole
    split is evaluated and ``accuracy`` FP32 [N, m] comes too.

    With the parameter ``origin: "start"`` the prompts are offsets from the server's start p0, which therefore need not
    be known outside. ``v`` FP32 [N, d] stands for the offsets A v, where the server has a projection.

    **What is not there.** Nothing but losses and accuracies leaves the server: no gradient, weight, image or label.

    **The same bits.** A row's answer does not depend on the other rows of its request, nor on what was asked before:
    asking it again alone, also after a restart of the server on the same machine, gives the same bits.

    **Errors** are ``{"error": "what was expected; what came"}`` with status 400, 401 (a wrong key), 404, 408, 413 (body
    or rows), 415 or 503 with Retry-After (too many requests).

    Parameters
    ----------
    task : PromptTask
        What is served, or anything with its attributes and methods. It is called by one thread at a time.
    name : str
        Of the model: letters, digits, dots, dashes.
    projection : Projection, optional
        Lets requests hold ``v``.
    api_key : str, optional
        Needed for everything but the health endpoints: ``Authorization: Bearer KEY``.
    log : path, optional
        A line of JSON is appended for each request that is evaluated, before it is answered.
    max_body : int, optional
        Bytes of a request's body; default: what ``task.max_batch`` prompts take in JSON.
    max_waiting : int
        Requests at a time; further ones are told to come again.
    patience : float
        Seconds for a body to arrive.

    Returns
    -------
    fastapi.FastAPI
        The application; its OpenAPI document is at ``/openapi.json``.
    """
    if not name or not all(c.isascii() and (c.isalnum() or c in ".-_") for c in name):
        raise ValueError(f"`name` must consist of letters, digits, dots and dashes; got {name!r}.")
    rows = max(task.n_ctx * task.width, projection.d if projection is not None else 0) + 2
    usual = _HEAD_BYTES + task.max_batch * rows * _JSON_BYTES
    max_body = usual if max_body is None else integer("max_body", max_body, 1)
    max_waiting = integer("max_waiting", max_waiting, 1)
    door = _Door(api_key, max_body, max_waiting, number("patience", patience, low=0.0, strict=True))
    model = PromptModel(task, name, projection, log)
    worker = ThreadPoolExecutor(1, thread_name_prefix="pyasmg-clip")

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        worker.shutdown()
        model.close()

    app = FastAPI(title="pyasmg clip", version=__version__, description="Losses of CLIP prompts.", lifespan=lifespan)

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, error.status, error.headers)

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)

    def known(request: Request, asked: str) -> None:
        door.check_key(request)
        if asked != name:
            raise RefusedError(404, f"the model must be {name!r}; got {asked[:80]!r}")

    @app.get("/v2/health/live", responses=openapi.LIVE, tags=["health"])
    async def live() -> dict[str, bool]:
        """Say that the server runs."""
        return {"live": True}

    @app.get("/v2/health/ready", responses=openapi.LIVE, tags=["health"])
    async def ready() -> dict[str, bool]:
        """Say that the server answers questions."""
        return {"ready": True}

    @app.get("/v2", responses=openapi.LIVE, tags=["health"])
    async def server() -> dict[str, Any]:
        """Describe the server."""
        return {"name": "pyasmg", "version": __version__, "extensions": ["binary_tensor_data"]}

    @app.get("/v2/models/{model}/ready", responses=openapi.METADATA, tags=["model"])
    async def model_ready(request: Request, asked: _Model) -> dict[str, Any]:
        """Say that the model answers questions."""
        known(request, asked)
        return {"name": name, "inputs": [], "outputs": [], "ready": True}

    @app.get("/v2/models/{model}", responses=openapi.METADATA, tags=["model"])
    async def metadata(request: Request, asked: _Model) -> dict[str, Any]:
        """Describe the model: inputs, outputs, and what a tuner has to know."""
        known(request, asked)
        return model.metadata()

    @app.get("/v2/models/{model}/stats", responses=openapi.STATS, tags=["model"])
    async def stats(request: Request, asked: _Model) -> dict[str, Any]:
        """Count what was answered since the start."""
        known(request, asked)
        return {"name": name, **model.counters}

    @app.post(
        "/v2/models/{model}/infer",
        responses=openapi.INFER,
        openapi_extra=openapi.INFER_EXTRA,
        tags=["model"],
        response_class=Response,
    )
    async def infer(request: Request, asked: _Model) -> Response:
        """Answer with the losses of prompts."""
        known(request, asked)
        with door.enter():
            body = await door.body(request)

            def work() -> tuple[bytes, dict[str, str]]:
                question, wanted = read_question(body, request.headers.get(HEADER_LENGTH), model)
                return write_answer(model.answer(question), wanted, model, question.request_id)

            content, headers = await asyncio.get_running_loop().run_in_executor(worker, work)
            return Response(content, headers=headers)

    return app


def serve(
    task: Task,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    auth_env: str | None = None,
    stop_with_stdin: bool = False,
    ready: Callable[[str], None] | None = None,
    wrap: Callable[[Any], Any] | None = None,
    **options: Any,
) -> None:
    """Serve a task until the process is told to stop.

    Parameters
    ----------
    task : PromptTask
        What is served.
    host, port : str, int
        Where to listen; port 0 takes a free one.
    auth_env : str, optional
        Environment variable that holds the API key.
    stop_with_stdin : bool
        End when the standard input is closed: a server that was started by another program does not outlive it.
    ready : callable, optional
        ``ready(url)`` once connections are taken.
    wrap : callable, optional
        ``wrap(app)`` returns the ASGI application that runs instead: for middleware.
    **options
        For :func:`create_app`.

    Raises
    ------
    OSError
        The address cannot be used.
    ValueError
        The environment variable ``auth_env`` is not set.
    """
    key = check_place(port, auth_env)
    app = create_app(task, api_key=key, **options)
    quiet: dict[str, Any] = {"log_level": "warning", "access_log": False, "server_header": False}
    server = uvicorn.Server(uvicorn.Config(app if wrap is None else wrap(app), **quiet))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
        shown = f"[{host}]" if ":" in host else host
        if ready is not None:
            ready(f"http://{shown}:{listener.getsockname()[1]}")
        if stop_with_stdin:
            threading.Thread(target=_stop_with_stdin, args=(server,), daemon=True).start()
        server.run(sockets=[listener])


def check_place(port: int, auth_env: str | None) -> str | None:
    """Check the port and return the API key; raise ValueError where they make no sense."""
    integer("port", port, 0, 65535)
    return None if auth_env is None else read_secret(auth_env)


def _stop_with_stdin(server: uvicorn.Server) -> None:
    descriptor = sys.stdin.fileno()
    with contextlib.suppress(OSError):
        while os.read(descriptor, 4096):
            pass
    server.should_exit = True
