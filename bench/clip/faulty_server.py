"""A prompt server that fails on purpose: for ``bench.clip.kill``.

``python -m bench.clip.faulty_server TASK PORT LOG SHARE SEED [KEY]`` serves TASK (``module:function``) at a fixed port,
so that it can be killed and started again. SHARE of the requests go wrong, in one of four ways:

- ``refused``: 503 before anything is evaluated;
- ``failed``: evaluated, then 500;
- ``cut``: evaluated, then half of an answer and the end of the connection;
- ``rows``: some rows of the request fail, and say so.

KEY names the environment variable with the API key, if one is needed.

LOG gets the server's own lines, one for each request that is evaluated, and in LOG.faults a line for each fault.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import one_thread

one_thread()

from pyasmg.clip.server import serve  # noqa: E402

KINDS = ("refused", "failed", "cut", "rows")


class Faults:
    """Which request goes wrong, how; and a record of it."""

    def __init__(self, share: float, seed: int, log: Path) -> None:
        self._rng, self._share = random.Random(seed), share
        self._file = log.open("a", encoding="utf-8")
        self.rows = 0  # of the next call of the task that fail

    def draw(self) -> str:
        """Return the fault of the next request, or ""."""
        kind = self._rng.choice(KINDS) if self._rng.random() < self._share else ""
        self.rows = self._rng.randrange(1, 4) if kind == "rows" else 0
        return kind

    def note(self, kind: str, n_rows: int) -> None:
        """Write it down."""
        self._file.write(json.dumps({"kind": kind, "rows": n_rows}) + "\n")
        self._file.flush()


class FaultyTask:
    """A task whose first rows fail where it is so drawn."""

    def __init__(self, task: Any, faults: Faults) -> None:
        self._task, self._faults = task, faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def losses(self, prompts: Any, batch_id: int = -1) -> Any:
        """Evaluate a mini-batch."""
        return self._spoil(np.array(self._task.losses(prompts, batch_id)))

    def evaluate(self, prompts: Any, split: str = "test") -> Any:
        """Evaluate a split."""
        losses, accuracies = self._task.evaluate(prompts, split)
        return self._spoil(np.array(losses)), accuracies

    def _spoil(self, losses: Any) -> Any:
        losses[: self._faults.rows] = np.nan
        return losses


class FaultyApp:
    """ASGI: the server with its faults in between."""

    def __init__(self, app: Any, faults: Faults) -> None:
        self._app, self._faults = app, faults

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass it on, or not."""
        if scope["type"] != "http" or not scope["path"].endswith("/infer"):
            await self._app(scope, receive, send)
            return
        kind, faults = self._faults.draw(), self._faults
        if kind == "refused":
            while (await receive()).get("more_body"):
                pass
            faults.note(kind, 0)
            await _answer(send, 503, b"{}")
            return
        if kind in ("", "rows"):
            await self._app(scope, receive, send)
            if kind:
                faults.note(kind, 0)
            return
        answer: list[Any] = []

        async def keep(message: Any) -> None:
            answer.append(message)

        await self._app(scope, receive, keep)
        faults.note(kind, 0)
        if kind == "failed":
            await _answer(send, 500, b"{}")
        else:
            body = b"".join(message.get("body", b"") for message in answer[1:])
            await send(answer[0])
            await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
            raise ConnectionAbortedError  # the server closes the connection


async def _answer(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def load_task(target: str) -> Any:
    """Return the task that ``module:function`` makes."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)()


def main() -> None:
    """Serve until killed."""
    target, port, log, share, seed, *key = sys.argv[1:]
    faults = Faults(float(share), int(seed), Path(log + ".faults"))
    serve(
        FaultyTask(load_task(target), faults),  # type: ignore[arg-type]
        port=int(port),
        log=log,
        auth_env=key[0] if key else None,
        ready=lambda url: print(url, flush=True),
        wrap=lambda app: FaultyApp(app, faults),
    )


if __name__ == "__main__":
    main()
