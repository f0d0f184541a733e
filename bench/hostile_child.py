"""A child of ``pyasmg.evaluation.command`` that misbehaves.

    python hostile_child.py BEHAVIOUR [TOKEN]     each candidate with x[0] < 0; the others get right answers
    python hostile_child.py fuzz SEED [TOKEN]     each candidate in a random way

The token makes the process, and what it starts, easy to find. The right answer is f = (sum x_i, sum i x_i), i from 1.
"""

from __future__ import annotations

import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

Request = dict[str, Any]
Step = Callable[[Request], None]
DRIP = 0.01  # seconds between the bytes of a slow answer
LONG = 600.0  # seconds: for ever


def right(x: list[float]) -> list[float]:
    return [math.fsum(x), math.fsum((i + 1) * value for i, value in enumerate(x))]


def answer(request: Request) -> bytes:
    return json.dumps({"id": request["id"], "f": right(request["x"])}).encode()


def write(data: bytes, descriptor: int = 1) -> None:
    view = memoryview(data)
    while len(view):
        view = view[os.write(descriptor, view[:65536]) :]


# ---- steps: what is done with a request ----


def then(*steps: Step) -> Step:
    """Do one thing after the other."""

    def run(request: Request) -> None:
        for step in steps:
            step(request)

    return run


def reply(before: bytes = b"", after: bytes = b"\n", times: int = 1) -> Step:
    """Give the right answer between these bytes."""
    return lambda request: write((before + answer(request) + after) * times)


def fields(**extra: Any) -> Step:
    """Answer with these fields besides the id."""
    return lambda request: write(json.dumps({"id": request["id"], **extra}).encode() + b"\n")


def raw(data: bytes) -> Step:
    """Answer with these bytes, ID replaced."""
    return lambda request: write(data.replace(b"ID", str(request["id"]).encode()))


def noise(after: bytes) -> Step:
    return lambda request: write(os.urandom(300).replace(b"\n", b"") + after)


def other_id(shift: int) -> Step:
    return lambda request: write(answer({**request, "id": request["id"] + shift}) + b"\n")


def flood(descriptor: int, what: bytes, n_bytes: int) -> Step:
    return lambda request: write(what * (n_bytes // len(what)), descriptor)


def for_ever(descriptor: int, what: bytes, pause: float = 0.0) -> Step:
    def run(request: Request) -> None:
        while True:
            write(what, descriptor)
            time.sleep(pause)

    return run


def leave(status: int, words: bytes = b"") -> Step:
    def run(request: Request) -> None:
        write(words, 2)
        os._exit(status)

    return run


def die(number: int) -> Step:
    return lambda request: os.kill(os.getpid(), number)


def close(descriptor: int) -> Step:
    return lambda request: os.close(descriptor)


def hang(request: Request) -> None:
    time.sleep(LONG)


def have_grandchild(request: Request) -> None:
    """Start a process that holds the pipes."""
    subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({LONG})", *sys.argv[1:]])


def drip(request: Request) -> None:
    for byte in answer(request) + b"\n":
        write(bytes([byte]))
        time.sleep(DRIP)


# What still is, or comes with, the right answer.
RIGHT: dict[str, Step] = {
    "right": reply(),
    "crlf": reply(b"\r\n \n", b"\r\n"),
    "costly": lambda request: write(answer(request)[:-1] + b', "cost": 0.25, "error": null, "more": []}\n'),
    "no_newline": then(reply(after=b""), leave(0)),
    "one_shot": then(reply(), leave(0)),
    "drip": drip,
    "stderr_flood": then(flood(2, b"chatter\n", 10**6), reply()),
    "blank_flood": then(flood(1, b"\n", 10**6), reply()),
    "twice": reply(times=2),
    "noise_after": reply(after=b"\ndone\n"),
    "rest_after": reply(after=b"\n{"),
}

# Well-formed answers of another kind.
OTHER: dict[str, Step] = {
    "bare": fields(f=1.5),
    "nan": fields(f=[math.nan, 1.0]),
    "infinite": fields(f=[math.inf, -math.inf]),
    "beyond": raw(b'{"id": ID, "f": [1' + b"0" * 400 + b", -1" + b"0" * 400 + b"]}\n"),
    "many": fields(f=[0.5] * 1000),
    "error": fields(error="the mesh is tangled"),
    "final_error": fields(error="outside the domain", retry=False, cost=2),
    "long_error": fields(error="Traceback:\n" + "frame\n" * 1000 + "\x1b[31m\ud800\0"),
}

# Everything else.
WRONG: dict[str, Step] = {
    "noise": raw(b"hello\n"),
    "random": noise(b"\n"),
    "random_unfinished": then(noise(b""), hang),
    "not_utf8": raw(b'{"id": ID, "f": [1, 2], "\xff": 0}\n'),
    "utf16": lambda request: write(answer(request).decode().encode("utf-16") + b"\n"),
    "nested": raw(b"[" * 200_000 + b"\n"),
    "digits": raw(b'{"id": ID, "f": [' + b"7" * 5000 + b"]}\n"),
    "huge": flood(1, b"x", 2**24 + 2**20),
    "array": raw(b"[1, 2]\n"),
    "null": raw(b"null\n"),
    "no_id": raw(b'{"f": [1, 2]}\n'),
    "text_id": raw(b'{"id": "ID", "f": [1, 2]}\n'),
    "true_id": raw(b'{"id": true, "f": [1, 2]}\n'),
    "wrong_id": other_id(1),
    "stale_id": other_id(-1),
    "no_f": fields(g=[1, 2]),
    "both": fields(f=[1, 2], error="or not"),
    "text_f": fields(f=["1", "2"]),
    "word_f": fields(f="12"),
    "nested_f": fields(f=[[1, 2]]),
    "null_f": fields(f=[1, None]),
    "true_f": fields(f=[True, 1]),
    "empty_f": fields(f=[]),
    "object_f": fields(f={"a": 1}),
    "negative_cost": fields(f=[1, 2], cost=-1),
    "nan_cost": fields(f=[1, 2], cost=math.nan),
    "text_cost": fields(f=[1, 2], cost="free"),
    "number_error": fields(error=7),
    "text_retry": fields(error="why", retry="no"),
    "exit": leave(3, b"starting\nout of cheese\n\n"),
    "exit_zero": leave(0),
    "exit_137": leave(137),
    "killed": then(die(signal.SIGKILL), hang),
    "terminated": then(die(signal.SIGTERM), hang),
    "stopped": then(die(signal.SIGSTOP), hang),
    "hang": hang,
    "hang_together": then(have_grandchild, hang),
    "leave_grandchild": then(have_grandchild, leave(4, b"gone\n")),
    "close_stdout": then(close(1), hang),
    "close_stdin": then(close(0), hang),
    "cut": then(lambda request: write(answer(request)[:12]), leave(5)),
    "drip_for_ever": for_ever(1, b"7", DRIP),
    "stderr_for_ever": for_ever(2, b"no news\n" * 100),
    "blank_for_ever": for_ever(1, b"\n" * 1000),
    "closing_words": then(flood(2, b"\x1b[31m\xff" * 10, 10**5), leave(6, b"\x1b[0mlast\n")),
}

SLOW = {"drip", "random_unfinished", "drip_for_ever", "stopped", "hang", "hang_together", "close_stdin"}
SLOW |= {"stderr_for_ever", "blank_for_ever"}
BEHAVIOURS = {**RIGHT, **OTHER, **WRONG}


# ---- what is done with a request that was not, or not wholly, read ----


def early_answer(**extra: Any) -> Step:
    def run(request: Request) -> None:
        match = re.search(rb'"id": (\d+)', os.read(0, 100))
        if match:
            fields(**extra)({"id": int(match[1])})
        hang(request)

    return run


EARLY: dict[str, Step] = {
    "talk_first": then(flood(1, b"\n", 10**6), flood(2, b"chatter\n", 10**6)),
    "deaf": hang,
    "deaf_leaving": leave(7, b"no ears\n"),
    "refuse_early": early_answer(error="too long"),
    "answer_early": early_answer(f=[0, 0]),
    "close_stdin_early": then(close(0), hang),
}


def read_request(buffer: bytearray) -> bytes:
    """Return the next line, b"" at the end."""
    while b"\n" not in buffer:
        chunk = os.read(0, 2**16)
        if not chunk:
            return b""
        buffer += chunk
    first, rest = bytes(buffer).split(b"\n", 1)
    buffer[:] = rest
    return first


def main() -> None:
    behaviour = sys.argv[1]
    fuzz = behaviour == "fuzz"
    # Restarted children do not repeat their predecessors.
    chance = random.Random(f"{sys.argv[2]} {os.getpid()} {time.time_ns()}") if fuzz else random.Random(0)
    if fuzz and chance.random() < 0.05:
        leave(chance.choice([0, 1]), "did not start\n")
    buffer = bytearray()
    while True:
        early = EARLY.get(behaviour)
        if fuzz and chance.random() < 0.02:
            early = EARLY[chance.choice(sorted(EARLY.keys() - {"answer_early"}))]
        if early:
            early({})
        text = read_request(buffer)
        if not text:
            return
        request = json.loads(text)
        if fuzz:
            group = chance.choices([RIGHT, OTHER, WRONG], [0.6, 0.1, 0.3])[0]
            names = sorted(group)
            group[chance.choices(names, [0.3 if name in SLOW else 1.0 for name in names])[0]](request)
        else:
            misbehave = request["x"][0] < 0 and behaviour in BEHAVIOURS
            BEHAVIOURS[behaviour if misbehave else "right"](request)


if __name__ == "__main__":
    main()
