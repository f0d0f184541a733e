"""What a request of 20 prompts weighs, and how long writing and reading it takes on both sides."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.common import Table, one_thread

one_thread()

from pyasmg.clip._client_protocol import PromptProtocol, read_description  # noqa: E402
from pyasmg.clip._server_model import Answer, PromptModel  # noqa: E402
from pyasmg.clip._server_wire import read_question, write_answer  # noqa: E402
from pyasmg.evaluation import Job  # noqa: E402
from pyasmg.evaluation._http_exchange import Body  # noqa: E402
from pyasmg.evaluation._http_tensors import HEADER_LENGTH  # noqa: E402

LARGEST, SLOWEST = 170_000, 2.0  # bytes, milliseconds


class Silent:
    """A task of the wanted shape that is never asked."""

    task_names = ("Art", "Clipart", "Product", "Real World")
    token_embedding_std, max_batch, batch_size, n_train = 0.01, 64, 64, (1000,) * 4

    def __init__(self, n_ctx: int, width: int) -> None:
        self.n_ctx, self.width = n_ctx, width
        self.start = np.zeros((n_ctx, width), np.float32)


def measure(n_prompts: int, n_ctx: int, width: int, repeats: int) -> dict[str, float]:
    """Return bytes of request and answer, and the median milliseconds of each step."""
    model = PromptModel(Silent(n_ctx, width))  # type: ignore[arg-type]
    description = read_description(json.dumps(model.metadata()).encode())
    protocol = PromptProtocol("http://localhost/v2/models/clip", description, None, False)
    offsets = np.random.default_rng(0).normal(size=(n_prompts, n_ctx, width)).astype(np.float32)
    jobs = [Job(i) for i in range(n_prompts)]
    losses = np.random.default_rng(1).random((n_prompts, len(model.task.task_names))).astype(np.float32)
    answer = Answer(losses, None, np.zeros(n_prompts, np.uint8))

    async def join(parts: Any) -> bytes:
        return b"".join([piece async for piece in Body(parts)])

    message = protocol.encode(offsets, 7, jobs)
    body = asyncio.run(join(message.parts))
    length = message.headers[HEADER_LENGTH]
    question, wanted = read_question(body, length, model)
    content, headers = write_answer(answer, wanted, model, question.request_id)
    rows = protocol.decode(headers, content, n_prompts, message.echo)
    if not np.array_equal(question.prompts, offsets) or not np.array_equal([row.values for row in rows], losses):
        raise SystemExit("what was read is not what was written")

    return {
        "request": len(body),
        "answer": len(content),
        "encode": _median(lambda: b"".join(protocol.encode(offsets, 7, jobs).parts), repeats),
        "decode": _median(lambda: read_question(body, length, model), repeats),
        "encode answer": _median(lambda: write_answer(answer, wanted, model, ""), repeats),
        "decode answer": _median(lambda: protocol.decode(headers, content, n_prompts, message.echo), repeats),
    }


def _median(work: Callable[[], Any], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times))


def main() -> int:
    """Print the table; exit status 1 if a line fails."""
    parser = argparse.ArgumentParser(prog="python -m bench.clip.payload", description=__doc__)
    parser.add_argument("--repeats", type=int, default=300)
    options = parser.parse_args()
    columns = ["prompts", "request, bytes", "answer, bytes", "encode, ms", "decode, ms", "answer: encode, ms"]
    columns += ["answer: decode, ms", "all, ms"]
    table = Table("clip_payload", columns, "Requests to a prompt server, binary tensors")
    failed = False
    for n_prompts, n_ctx, width in ((20, 4, 64), (20, 4, 512), (64, 4, 512), (20, 16, 768)):
        f = measure(n_prompts, n_ctx, width, options.repeats)
        times = [f[key] for key in ("encode", "decode", "encode answer", "decode answer")]
        table.add(f"{n_prompts} of {n_ctx} x {width}", f["request"], f["answer"], *times, sum(times))
        if (n_prompts, n_ctx, width) == (20, 4, 512):
            failed = f["request"] > LARGEST or sum(times) > SLOWEST
    table.show()
    table.save()
    print(f"20 of 4 x 512: at most {LARGEST:,} bytes and {SLOWEST:g} ms: {'NO' if failed else 'yes'}")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
