"""Exact resume: state_dict, pickle, deepcopy, in this process and in a new one; damaged states are refused."""

import copy
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

import pyasmg
from pyasmg.weighting import Chebyshev, Level


def objective(X):
    X = np.asarray(X, dtype=np.float64)
    return np.column_stack(
        (((X - 1) ** 2).sum(axis=1), np.abs(X + 1).sum(axis=1), (X**2 + 10 * (1 - np.cos(X))).sum(axis=1))
    )


VARIANTS = [
    {},
    {"dtype": "float32", "popsize": 7},
    {"baseline": "center", "step_size": 0.1, "std_step_size": 0.1, "scale_objectives": False},
    {"memory": "regenerate"},
    {"bounds": (-0.5, 1.5)},
    {"weighting": "level"},
    {"weighting": Chebyshev(temperature=0.5, reference=[1.0, 2.0, 3.0])},
    {"weighting": [0.2, 0.3, 0.5], "weight_momentum": 0.3},
    {"weighting": Level(power=1.0), "tolfun": [1e-9, 1e-9, 1e-9], "target": 1e-3, "stagnation": 30},
    {"n_threads": 2, "max_iterations": 25, "tolstationarity": 1e-6},
]


def advance(opt, generations):
    for _ in range(generations):
        X = opt.ask()
        F = objective(np.array(list(X)))
        if opt.n_iterations % 4 == 1:
            F[0] = np.nan
        opt.tell(F) if opt.n_iterations % 2 else opt.tell(X, F)


def fingerprint(opt):
    return (
        opt.mean.tobytes(),
        opt.stds.tobytes(),
        opt.weights.tobytes(),
        opt.stationarity,
        opt.n_iterations,
        opt.n_evaluations,
        opt.n_failed,
        json.dumps(opt.stop()),
        np.array(list(opt.ask())).tobytes(),
    )


def through_json(state):
    """A state survives a plain text format: arrays as (dtype, shape, bytes), everything else as JSON has it."""

    def encode(value):
        if isinstance(value, np.ndarray):
            return {"__array__": [value.dtype.str, value.shape, value.tobytes().hex()]}
        raise TypeError(type(value))

    def decode(value):
        if "__array__" in value:
            dtype, shape, data = value["__array__"]
            return np.frombuffer(bytes.fromhex(data), dtype).reshape(shape)
        return value

    return json.loads(json.dumps(state, default=encode), object_hook=decode)


COPIES = {
    "state_dict": lambda opt: pyasmg.ASMG.from_state_dict(opt.state_dict()),
    "json": lambda opt: pyasmg.ASMG.from_state_dict(through_json(opt.state_dict())),
    "pickle": lambda opt: pickle.loads(pickle.dumps(opt)),
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("case", range(20))
def test_interrupted_equals_uninterrupted(case, way):
    options = VARIANTS[case % len(VARIANTS)]
    random = np.random.default_rng(case)
    at, asked = int(random.integers(0, 30)), bool(random.integers(2))
    make = lambda: pyasmg.ASMG(np.full(12, 0.9), 0.7, seed=case, **copy.deepcopy(options))  # noqa: E731
    whole = make()
    advance(whole, 30)
    part = make()
    advance(part, at)
    if asked:
        part.ask()
    resumed = COPIES[way](part)
    if asked and at < 30:  # tell without another ask: the state knows that it was asked
        X = part.ask()
        F = objective(np.array(list(X)))
        if resumed.n_iterations % 4 == 1:
            F[0] = np.nan
        resumed.tell(F) if resumed.n_iterations % 2 else resumed.tell(X if isinstance(X, np.ndarray) else None, F)
        at += 1
    advance(resumed, 30 - at)
    assert fingerprint(resumed) == fingerprint(whole), f"case {case} at {at}"


CHILD = """
import pickle, sys
from tests.test_asmg_state import advance, fingerprint
import pyasmg
data = pickle.load(sys.stdin.buffer)
opt = data if isinstance(data, pyasmg.ASMG) else pyasmg.ASMG.from_state_dict(data)
advance(opt, 30 - opt.n_iterations)
sys.stdout.buffer.write(pickle.dumps(fingerprint(opt)))
"""


@pytest.mark.parametrize("as_state", [True, False])
@pytest.mark.parametrize("case", [0, 1, 4, 5])
def test_resume_in_a_new_process(case, as_state, request):
    whole = pyasmg.ASMG(np.full(12, 0.9), 0.7, seed=case, **copy.deepcopy(VARIANTS[case]))
    advance(whole, 30)
    part = pyasmg.ASMG(np.full(12, 0.9), 0.7, seed=case, **copy.deepcopy(VARIANTS[case]))
    advance(part, 3 + 5 * case)
    data = pickle.dumps(part.state_dict() if as_state else part)
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=data,
        capture_output=True,
        cwd=request.config.rootpath,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert pickle.loads(done.stdout) == fingerprint(whole)


def test_taking_a_state_changes_nothing_and_shares_nothing():
    opt = pyasmg.ASMG(np.zeros(5), 1.0, seed=1)
    advance(opt, 3)
    before = fingerprint(opt)
    state = opt.state_dict()
    for value in state.values():
        if isinstance(value, np.ndarray):
            value[...] = 7
    assert fingerprint(opt) == before


def rule(generation):
    return np.arange(1, generation.previous.size + 1)


def test_callable_weighting_is_asked_for():
    opt = pyasmg.ASMG(np.zeros(5), 1.0, seed=1, weighting=rule)
    advance(opt, 3)
    state = opt.state_dict()
    with pytest.raises(pyasmg.StateError, match="callable; pass it"):
        pyasmg.ASMG.from_state_dict(state)
    resumed = pyasmg.ASMG.from_state_dict(state, weighting=rule)
    np.testing.assert_allclose(resumed.weights, [1 / 6, 2 / 6, 3 / 6])
    advance(opt, 3)
    advance(resumed, 3)
    assert fingerprint(opt) == fingerprint(resumed) == fingerprint(pickle.loads(pickle.dumps(opt)))
    with pytest.raises(pyasmg.StateError, match="only for a callable"):
        pyasmg.ASMG.from_state_dict(pyasmg.ASMG(np.zeros(5), 1.0).state_dict(), weighting=rule)


def damage(state, key, value):
    damaged = dict(state)
    damaged[key] = value
    return damaged


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: None, "must be a dictionary"),
        (lambda s: [], "must be a dictionary"),
        (lambda s: {}, "format"),
        (lambda s: damage(s, "version", 99), "version 99"),
        (lambda s: damage(s, "format", "other"), "format"),
        (lambda s: damage(s, "n_iterations", 4), "checksum"),
        (lambda s: damage(s, "mean", s["mean"] + 1e-16 + 1), "checksum"),
        (lambda s: damage(s, "mean", s["mean"][:-1]), "checksum"),
        (lambda s: damage(s, "mean", object()), "damaged"),
        (lambda s: {k: v for k, v in s.items() if k != "std"}, "checksum"),
        (lambda s: {k: v for k, v in s.items() if k != "checksum"}, "checksum"),
    ],
)
def test_damaged_states_are_refused(change, message):
    opt = pyasmg.ASMG(np.zeros(5), 1.0, seed=1)
    advance(opt, 2)
    with pytest.raises(pyasmg.StateError, match=message):
        pyasmg.ASMG.from_state_dict(change(opt.state_dict()))


def test_every_flipped_byte_of_the_arrays_is_seen():
    opt = pyasmg.ASMG(np.zeros(3), 1.0, seed=1)
    advance(opt, 2)
    state = opt.state_dict()
    for key in ("mean", "std", "weights", "gram", "scale"):
        for byte in range(state[key].nbytes):
            damaged = copy.deepcopy(state)
            damaged[key].reshape(-1).view(np.uint8)[byte] ^= 1
            with pytest.raises(pyasmg.StateError, match="checksum"):
                pyasmg.ASMG.from_state_dict(damaged)
