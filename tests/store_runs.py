"""An objective that counts what it is asked, and runs of it: for the tests of the run store."""

import numpy as np

import pyasmg

OPTIONS = {"max_evaluations": 300, "seed": 4, "popsize": 10}
START = np.full(6, 3.0)


class Objective:
    """Counts what it is asked; fails, is interrupted or sleeps on demand."""

    def __init__(self, stop_at=None, error=KeyboardInterrupt):
        self.asked = []
        self.stop_at, self.error = stop_at, error

    def __call__(self, x):
        if self.stop_at is not None and len(self.asked) == self.stop_at:
            raise self.error
        self.asked.append(x.tobytes())
        return [float(np.sum((x - 1) ** 2)), float(np.sum((x + 1) ** 2))]


def minimize(fun, store=None, **options):
    return pyasmg.minimize(fun, START, 1.0, store=store, **{**OPTIONS, **options})


def same(a, b):
    assert a.x.tobytes() == b.x.tobytes()
    assert a.stds.tobytes() == b.stds.tobytes()
    assert a.weights.tobytes() == b.weights.tobytes()
    assert (a.fun is None) == (b.fun is None)
    assert a.fun is None or a.fun.tobytes() == b.fun.tobytes()
    counts = ("n_evaluations", "n_failed", "n_iterations", "seed", "stop", "success")
    assert [getattr(a, name) for name in counts] == [getattr(b, name) for name in counts]
    assert [(f.generation, f.candidate, f.reason) for f in a.failures] == [
        (f.generation, f.candidate, f.reason) for f in b.failures
    ]
    assert a.history.keys() == b.history.keys()
    for name in a.history:
        np.testing.assert_array_equal(a.history[name], b.history[name], err_msg=name)
