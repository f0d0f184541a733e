"""Objective values from a command: the protocol, what breaks it, and values that survive both."""

import math
import os
import re
import resource
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bench import hostile_child
from pyasmg.evaluation._base import FINAL, Job, Points
from pyasmg.evaluation._driver import Driver, evaluate_rows
from pyasmg.evaluation._retry import Retry
from pyasmg.evaluation.command import Command

from .commands import ask, hostile, right, rows

SHELL_OBJECTIVE = r"""#!/bin/sh
# f = (sum of x_i^2, sum of (x_i - 1)^2)
while read -r request; do
    echo "$request" | awk '{
        match($0, /"id": [0-9]+/); id = substr($0, RSTART + 6, RLENGTH - 6)
        match($0, /"x": \[[^]]*/); n = split(substr($0, RSTART + 6, RLENGTH - 6), x, ", ")
        for (i = 1; i <= n; i++) { a += x[i] ^ 2; b += (x[i] - 1) ^ 2 }
        printf "{\"id\": %d, \"f\": [%.17g, %.17g]}\n", id, a, b
    }'
done
"""
ECHO = "import sys, json\nfor line in sys.stdin:\n    request = json.loads(line)\n    "


@pytest.fixture
def script(tmp_path):
    def write(text, name="objective.py"):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    return write


def python(body):
    """A child that does this with each ``request``."""
    return [sys.executable, "-c", ECHO + body]


# ---- right answers ----


@pytest.mark.parametrize("workers", [1, 3])
def test_values(workers):
    X = np.random.default_rng(1).standard_normal((40, 5)) * 10.0 ** np.arange(-200, 300, 100)
    X[:, 0] = np.abs(X[:, 0])
    with Command(hostile("right"), workers=workers) as source:
        F = source(X)
        assert source.failures == []
        assert (source.counters.requests, source.counters.evaluations) == (40, 40)
        assert (source.counters.retries, source.counters.unknown) == (0, 0)
        assert F.tolist() == [right(x) for x in X]  # to the last bit: floats travel in full
        assert source(X[:2]).tolist() == F[:2].tolist()


def test_shell_objective(script):
    X = np.random.default_rng(2).standard_normal((6, 4))
    with Command(script(SHELL_OBJECTIVE, "objective.sh"), workers=2) as source:
        F = source(X)
        assert source.failures == []
    np.testing.assert_allclose(F, np.stack([(X**2).sum(1), ((X - 1) ** 2).sum(1)], 1), rtol=1e-14)


def test_what_is_asked(script):
    """Ids are unique, x is exact, generation and candidate are there; the command line is split without a shell."""
    child = script(ECHO + 'print(json.dumps({"id": request["id"], "error": line + "$HOME" + sys.argv[1]}))')
    X = np.array([[0.1, -1e-300, 1e22], [5e-324, 1 / 3, 2.0]])
    points = Points(7, X.__getitem__, 3, X.dtype)
    with Command(f"{sys.executable} {child} '$HOME *'") as source:
        assert source.name == f"{sys.executable} {child} '$HOME *'"
        words = []
        for candidate in (0, 1, FINAL):
            source.start(points, [Job(candidate)])
            (outcome,) = source.poll(None)
            words.append(outcome.error)
            assert outcome.job == Job(candidate)
            assert outcome.values is None
    assert words == [
        f'{{"id": {number}, "x": {x}, "generation": 7, "candidate": {candidate}}} $HOME$HOME *'
        for number, candidate, x in [
            (1, 0, "[0.1, -1e-300, 1e+22]"),
            (2, 1, "[5e-324, 0.3333333333333333, 2.0]"),
            (3, -1, "[5e-324, 0.3333333333333333, 2.0]"),
        ]
    ]


def test_float32_and_integers():
    X = rows(1, 2)
    with Command(hostile("right")) as source:
        assert source(X.astype(np.float32)).tolist() == [right(x) for x in X.astype(np.float32).astype(float)]
        assert source([[1, 2], [3, 4]]).tolist() == [[3, 5], [7, 11]]


def test_candidate_that_json_cannot_express():
    with Command(hostile("right")) as source:
        outcomes = ask(source, np.array([[1.0, math.nan], [1.0, 2.0]]))
        assert outcomes[0].error == "the candidate is not finite, which JSON cannot express"
        assert not outcomes[0].billed
        assert not outcomes[0].retry
        assert outcomes[1].values.tolist() == [3.0, 5.0]
        assert source.counters.requests == 1


def test_environment_folder_and_name(tmp_path):
    body = 'import os; print(json.dumps({"id": request["id"], "error": os.environ["SECRET"] + os.getcwd()}))'
    with Command(python(body), environment={"SECRET": "s3cr3t"}, folder=tmp_path, name="sim v2") as source:
        assert source.name == "sim v2"
        assert ask(source, rows(1))[0].error == f"s3cr3t{os.path.realpath(tmp_path)}"
        assert "s3cr3t" not in source.name


def test_output_of_python_is_not_held_back(script):
    """`print` without `flush` is enough."""
    with Command([sys.executable, script(ECHO + 'print(json.dumps({"id": request["id"], "f": 1}))')]) as source:
        assert source(rows(1, 1)).tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize("behaviour", ["crlf", "drip", "stderr_flood", "blank_flood"])
def test_unusual_but_right(behaviour):
    X = rows(1, -1, -1, 1)
    with Command(hostile(behaviour), timeout=60) as source:
        assert source(X).tolist() == [right(x) for x in X]
        assert source.failures == []


@pytest.mark.parametrize("behaviour", ["no_newline", "one_shot", "twice", "noise_after", "rest_after"])
def test_right_then_restarted(behaviour, caplog):
    """An answer counts although its child cannot go on."""
    with Command(hostile(behaviour)) as source:
        for x in rows(-1, -2, 1):
            outcome = ask(source, x[None])[0]
            if outcome.values is None:  # what came after the last answer got in the way of this one
                assert behaviour != "no_newline"
                assert "expected" in outcome.error or "before it answered" in outcome.error
                outcome = ask(source, x[None])[0]
            assert outcome.values.tolist() == right(x)


def test_noise_after_an_answer_restarts_the_child(caplog):
    with Command(hostile("noise_after")) as source:
        x = rows(-1)
        points = Points.of_array(x)
        source.start(points, [Job(0)])
        assert source.poll(None)[0].values is not None
        source.poll(0.3)
        assert "expected nothing before the next request; got 'done'" in caplog.text
        source.start(points, [Job(0)])
        assert source.poll(None)[0].values is not None


@pytest.mark.parametrize(
    ("behaviour", "values"),
    [
        ("bare", [1.5]),
        ("nan", [math.nan, 1.0]),
        ("infinite", [math.inf, -math.inf]),
        ("beyond", [math.inf, -math.inf]),
        ("many", [0.5] * 1000),
    ],
)
def test_other_numbers_pass(behaviour, values):
    """Whether they are finite and how many there must be is for who asks to judge."""
    with Command(hostile(behaviour)) as source:
        outcome = ask(source, rows(-1))[0]
        np.testing.assert_array_equal(outcome.values, values)
        assert outcome.values.dtype == np.float64
        assert outcome.error == ""


def test_cost_and_seconds():
    with Command(hostile("costly")) as source:
        outcomes = ask(source, rows(-1, 1))
        assert [outcomes[0].cost, outcomes[1].cost] == [0.25, None]
        assert all(0 < outcome.seconds < 60 for outcome in outcomes.values())
        assert all(outcome.billed for outcome in outcomes.values())


# ---- errors that the child reports ----


def test_reported_errors():
    with Command(hostile("error")) as source:
        outcome = ask(source, rows(-1))[0]
        assert (outcome.error, outcome.retry, outcome.billed, outcome.cost) == ("the mesh is tangled", True, True, None)
        assert (source.counters.evaluations, source.counters.unknown) == (1, 0)
    with Command(hostile("final_error")) as source:
        outcome = ask(source, rows(-1))[0]
        assert (outcome.error, outcome.retry, outcome.cost) == ("outside the domain", False, 2.0)
    with Command(hostile("long_error")) as source:
        outcome = ask(source, rows(-1))[0]
        assert outcome.error.startswith("Traceback: frame frame")
        assert len(outcome.error) < 210
        assert outcome.error.isprintable()
        assert outcome.traceback.startswith("Traceback:\nframe\n")
        assert len(outcome.traceback) <= 4000
        outcome.traceback.encode()


def test_the_child_stays_after_an_error():
    body = 'import os; print(json.dumps({"id": request["id"], "error": str(os.getpid())}))'
    with Command(python(body)) as source:
        outcomes = ask(source, rows(1, 1, 1))
        assert len({outcome.error for outcome in outcomes.values()}) == 1


# ---- hostile children: one candidate is lost, with a clear word; the next is not ----

ANSWER = r'^expected a line \{"id": \d+, "f": \[\.\.\.\]\}; got '
DIED = r"before it answered"
HOSTILE = {
    "noise": ANSWER + "'hello'; the command was restarted$",
    "random": ANSWER,
    "not_utf8": ANSWER + r".*\\xff",
    "utf16": ANSWER,
    "nested": ANSWER + r"'\[\[",
    "digits": ANSWER,
    "huge": "^expected an answer of at most 16 MiB; got a longer line",
    "array": ANSWER + r"'\[1, 2\]'",
    "null": ANSWER + "'null'",
    "no_id": '^expected the answer to "id": 2; got ',
    "text_id": '^expected the answer to "id": 2; got ',
    "true_id": '^expected the answer to "id": 2; got ',
    "wrong_id": '^expected the answer to "id": 2; got .*"id": 3',
    "stale_id": '^expected the answer to "id": 2; got .*"id": 1',
    "no_f": '^expected "f" or else "error" in the answer; got ',
    "both": '^expected "f" or else "error" in the answer; got ',
    "text_f": '^expected "f" to be a list of numbers; got ',
    "word_f": '^expected "f" to be a list of numbers; got ',
    "nested_f": '^expected "f" to be a list of numbers; got ',
    "null_f": '^expected "f" to be a list of numbers; got ',
    "true_f": '^expected "f" to be a list of numbers; got ',
    "empty_f": '^expected "f" to be a list of numbers; got ',
    "object_f": '^expected "f" to be a list of numbers; got ',
    "negative_cost": '^expected "cost" to be a number >= 0; got ',
    "nan_cost": '^expected "cost" to be a number >= 0; got ',
    "text_cost": '^expected "cost" to be a number >= 0; got ',
    "number_error": '^expected "error" to be a string',
    "text_retry": '"retry" to be true or false',
    "exit": f"^the command exited with status 3 {DIED}; its last words: out of cheese$",
    "exit_zero": rf"^the command exited with status 0 {DIED} \(it must go on until its input ends\)$",
    "exit_137": rf"^the command exited with status 137 \(128 \+ SIGKILL\) {DIED}$",
    "killed": f"^the command was killed by SIGKILL {DIED}$",
    "terminated": f"^the command was killed by SIGTERM {DIED}$",
    "leave_grandchild": f"^the command exited with status 4 {DIED}; its last words: gone$",
    "close_stdout": f"^the command closed its standard output {DIED}$",
    "cut": rf"""^the command exited with status 5 {DIED}, with a line unfinished: '{{"id": 2, "f'$""",
    "closing_words": r"; its last words: .*\\x1b\[0mlast$",
}
LATE = {
    "random_unfinished": " with a line unfinished: '",
    "drip_for_ever": " with a line unfinished: '777",
    "stopped": "$",
    "hang": "$",
    "hang_together": "$",
    "close_stdin": "$",
    "stderr_for_ever": "$",
    "blank_for_ever": "$",
}


def test_every_behaviour_is_tested():
    assert set(HOSTILE) | set(LATE) == set(hostile_child.WRONG)


@pytest.mark.parametrize("behaviour", HOSTILE)
def test_hostile(behaviour):
    X = rows(1, -1, 1)
    with Command(hostile(behaviour)) as source:
        check(source, ask(source, X), X, HOSTILE[behaviour])


def test_late():
    def run(behaviour):
        X = rows(1, -1, 1)
        with Command(hostile(behaviour), timeout=4) as source:
            check(source, ask(source, X), X, "^no answer within 4 s; the command was killed" + LATE[behaviour])

    with ThreadPoolExecutor(len(LATE)) as pool:
        list(pool.map(run, LATE))


def check(source, outcomes, X, words):
    assert outcomes[0].values.tolist() == right(X[0])
    assert outcomes[2].values.tolist() == right(X[2])
    bad = outcomes[1]
    assert re.search(words, bad.error), bad.error
    assert bad.values is None
    assert len(bad.error) < 500
    assert len(bad.traceback) <= 20000
    assert bad.error.isprintable()
    assert bad.retry
    assert bad.billed
    assert bad.seconds > 0
    counters = source.counters
    assert (counters.requests, counters.evaluations, counters.unknown) == (3, 2, 1)


def test_the_end_of_standard_error_is_kept():
    body = "[print(f'line {i}', file=sys.stderr) for i in range(100)]; sys.exit(1)"
    with Command(python(body)) as source:
        outcome = ask(source, rows(1))[0]
    assert outcome.error.endswith("its last words: line 99")
    assert outcome.traceback == "\n".join(f"line {i}" for i in range(80, 100))


def test_silence_is_explained():
    """The usual reason of a command that never answers."""
    with Command(hostile("hang"), timeout=0.5) as source:
        error = ask(source, rows(-1))[0].error
    assert error.startswith("no answer within 0.5 s; the command was killed")
    assert error.endswith("(it had not answered anything yet: does it flush its output?)")


# ---- requests larger than a pipe ----

LARGE = rows(1.0, 2.0, d=200_000)


@pytest.mark.parametrize("behaviour", ["right", "talk_first"])
def test_large_requests(behaviour):
    """A child that writes while we write does not block both."""
    with Command(hostile(behaviour), workers=2, timeout=60) as source:
        assert source(LARGE).tolist() == [right(x) for x in LARGE]


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("deaf", "^the request was not read within 1 s; the command was killed$"),
        (
            "deaf_leaving",
            f"^the command exited with status 7 {DIED}; its last words: no ears$",
        ),
        ("close_stdin_early", f"^the command closed its standard input {DIED}$"),
        ("answer_early", "^expected the whole request to be read before the answer; got "),
        ("refuse_early", "^too long$"),
    ],
)
def test_large_requests_that_are_not_read(behaviour, words):
    with Command(hostile(behaviour), timeout=1) as source:
        outcome = ask(source, LARGE[:1])[0]
        assert re.search(words, outcome.error), outcome.error
        assert outcome.billed == (behaviour == "refuse_early")
        counters = source.counters
        told = int(behaviour == "refuse_early")
        assert (counters.requests, counters.evaluations, counters.unknown) == (told, told, 0)


# ---- retries ----


def test_failures_of_rows():
    X = rows(1, -1, 2)
    with Command(hostile("exit")) as source:
        F = source(X)
        assert np.isnan(F).any(axis=1).tolist() == [False, True, False]
        assert [failure.candidate for failure in source.failures] == [1]
        assert "status 3" in source.failures[0].reason


def test_retries(tmp_path):
    """The child dies at its first request, and its successor answers."""
    mark = str(tmp_path / "mark")
    body = f"""import os
    if not os.path.exists({mark!r}):
        open({mark!r}, "w")
        os._exit(9)
    print(json.dumps({{"id": request["id"], "f": 1}}))
"""
    with Command(python(body)) as source:
        F = evaluate_rows(source, rows(1, 2), Driver(source, retry=Retry(attempts=2, backoff=0.01)))
        assert F.tolist() == [[1.0], [1.0]]
        counters = source.counters
        assert (counters.requests, counters.evaluations, counters.retries, counters.unknown) == (3, 2, 1, 1)


# ---- parameters ----


@pytest.mark.parametrize(
    ("error", "words", "arguments", "options"),
    [
        (ValueError, "No closing quotation", "python 'sim.py", {}),
        (ValueError, "not empty", "", {}),
        (ValueError, "not empty", [], {}),
        (ValueError, "not empty", [""], {}),
        (ValueError, "null characters", ["a\0b"], {}),
        (TypeError, "a command line or a sequence of strings; got 3", 3, {}),
        (TypeError, "a sequence of strings", ["python", 3], {}),
        (TypeError, "a sequence of strings", [b"python"], {}),
        (ValueError, "`workers` must be an integer >= 1; got 0", "x", {"workers": 0}),
        (TypeError, "`workers`", "x", {"workers": 1.5}),
        (ValueError, "`timeout` must be a finite number > 0; got 0", "x", {"timeout": 0}),
        (ValueError, "`timeout`", "x", {"timeout": math.inf}),
        (TypeError, "`environment` must map names to strings", "x", {"environment": {"A": 1}}),
        (TypeError, "`environment` must map names to strings", "x", {"environment": {"A=B": "1"}}),
    ],
)
def test_parameters(error, words, arguments, options):
    with pytest.raises(error, match=words) as caught:
        Command(arguments, **options)
    assert len(str(caught.value)) < 300


def test_one_job_for_each_free_worker():
    points = Points.of_array(rows(-1, -1))
    with Command(hostile("hang")) as source:
        with pytest.raises(ValueError, match="must hold one job; got 2"):
            source.start(points, [Job(0), Job(1)])
        source.start(points, [Job(0)])
        with pytest.raises(ValueError, match="all 1 are busy"):
            source.start(points, [Job(1)])


def test_a_machine_without_descriptors_is_not_the_commands_fault():
    """The first start fails, and a later one does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Command(hostile("right")) as source:
        resource.setrlimit(resource.RLIMIT_NOFILE, (4, hard))
        try:
            outcome = ask(source, rows(1))[0]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert outcome.error.startswith("the command could not be started: Too many open files")
        assert outcome.retry
        assert not outcome.fatal
        assert not outcome.billed
        assert ask(source, rows(1))[0].values is not None


@pytest.mark.parametrize("case", ["missing", "not executable", "no interpreter", "no folder"])
def test_a_command_that_cannot_be_started_is_told_at_once(case, script, tmp_path):
    options = {}
    command = script("print(1)")
    if case == "missing":
        command = str(tmp_path / "missing")
    elif case == "not executable":
        os.chmod(command, 0o644)
    elif case == "no folder":
        command, options = sys.executable, {"folder": tmp_path / "missing"}
    words = {"not executable": "Permission denied", "no interpreter": "does the script begin with #!"}
    with Command([command], **options) as source:
        with pytest.raises(ValueError, match=words.get(case, "No such file.*missing")):
            source(rows(1))
        assert source.counters.requests == 0


def test_a_command_that_vanishes_fails_its_candidates(script):
    path = script(f"#!{sys.executable}\n" + ECHO + 'print(json.dumps({"id": request["id"], "f": 1})); break')
    with Command(path) as source:
        assert ask(source, rows(1))[0].values.tolist() == [1.0]
        os.unlink(path)
        source.poll(0.5)
        outcome = ask(source, rows(1))[0]
        assert outcome.error.startswith("the command could not be started: No such file")
        assert outcome.fatal  # so that a run stops, to be resumed, and does not take it for bad candidates
        assert not outcome.billed
        assert source.counters.unknown == 0
