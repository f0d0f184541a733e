"""Every stopping criterion by name, and that noise does not trigger any."""

import numpy as np
import pytest

import pyasmg


def sphere(X):
    return np.column_stack(((X**2).sum(axis=1), ((X - 1) ** 2).sum(axis=1)))


def run(F=sphere, d=5, sigma0=1.0, most=20_000, **options):
    opt = pyasmg.ASMG(np.full(d, 3.0), sigma0, seed=1, **options)
    while not opt.stop() and opt.n_iterations < most:
        X = opt.ask()
        opt.tell(X, F(X))
    return opt


def single(X):
    return (X**2).sum(axis=1)


def test_max_evaluations_is_never_overrun():
    opt = run(popsize=7, max_evaluations=100)
    assert opt.n_evaluations == 98
    assert opt.stop() == {"max_evaluations": 100}
    assert pyasmg.ASMG(np.zeros(5), 1.0, popsize=7, max_evaluations=6).stop() == {"max_evaluations": 6}


def test_max_iterations():
    opt = run(max_iterations=9)
    assert opt.n_iterations == 9
    assert opt.stop() == {"max_iterations": 9}
    assert pyasmg.ASMG(np.zeros(5), 1.0, max_iterations=0).stop() == {"max_iterations": 0}


def test_tolx():
    opt = run(single, tolx=1e-3)
    assert "tolx" in opt.stop()
    assert opt.stds.max() <= 1e-3
    opt = run(single)
    assert set(opt.stop()) <= {"tolx", "noeffect"}
    assert np.abs(opt.mean).max() < 1e-9


def test_noeffect_in_float32():
    opt = run(lambda X: ((X - 1e4) ** 2).sum(axis=1), sigma0=5000.0, dtype="float32")
    assert set(opt.stop()) & {"noeffect", "tolfun", "stagnation"}, opt.stop()
    assert opt.n_iterations < 20_000


def test_tolfun_and_flat():
    opt = run(lambda X: np.ones((len(X), 2)), popsize=10)
    assert opt.stop() == {"tolfun": 0.0}
    assert opt.n_iterations == 10 + 3 * 5
    opt = run(single, tolfun=1e-6)
    assert "tolfun" in opt.stop()
    assert single(opt.mean[None])[0] < 1e-6


def test_target():
    opt = run(single, target=1e-3)
    assert opt.stop() == {"target": [1e-3]}
    assert single(opt.mean[None])[0] < 1e-3
    opt = run(sphere, target=[4.0, 2.0])
    assert "target" in opt.stop()


def test_tolstationarity():
    opt = run(sphere, tolstationarity=0.02, popsize=200)
    assert "tolstationarity" in opt.stop()
    assert opt.stationarity <= 0.02


def test_stagnation():
    random = np.random.default_rng(0)
    opt = run(lambda X: random.normal(size=(len(X), 2)), stagnation=60, most=5000)
    assert "stagnation" in opt.stop()
    assert opt.n_iterations >= 60
    random = np.random.default_rng(0)
    opt = run(lambda X: random.normal(size=(len(X), 2)), stagnation=0, most=1000)
    assert not opt.stop()


def test_nonfinite_keeps_the_last_good_state():
    # the linear objective leads away for ever, in steps of 1e29
    opt = run(lambda X: -X.astype(np.float64).sum(axis=1), dtype="float32", popsize=50, sigma0=1e29)
    assert "nonfinite" in opt.stop()
    assert np.isfinite(opt.mean).all()
    assert not opt.result.success


def test_a_few_noisy_evaluations_stop_nothing():
    random = np.random.default_rng(1)

    def noisy(X):
        F = sphere(X) + 0.1 * random.normal(size=(len(X), 2))
        F[random.integers(len(X))] *= 100
        F[random.integers(len(X))] = np.nan
        return F

    opt = run(noisy, most=300, popsize=12)
    assert opt.stop() == {}
    assert opt.n_failed >= 290


def test_result_tells_the_reason():
    opt = run(max_iterations=3)
    assert opt.result.message == "max_iterations: 3"
    assert opt.result.success
    fresh = pyasmg.ASMG(np.zeros(3), 1.0).result
    assert (fresh.message, fresh.success, fresh.fun) == ("running", False, None)
    assert np.isnan(fresh.stationarity)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_units_do_not_change_when_it_stops(factor):
    assert run(single).n_iterations == run(lambda X: factor * single(X)).n_iterations
