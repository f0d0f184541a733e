"""pymoo's problems through pyasmg: the same values, its bounds, and a distance that is right."""

import numpy as np
import pytest

import pyasmg
from pyasmg.problems import from_pymoo

problems = pytest.importorskip("pymoo.problems")
SEED = 5


@pytest.mark.parametrize("name", ["zdt1", "zdt4", "dtlz2", "wfg4"])
def test_values_are_pymoos(name):
    original = problems.get_problem(name, **({"n_var": 12, "n_obj": 2} if name == "wfg4" else {"n_var": 12}))
    problem, mapped = from_pymoo(original), from_pymoo(original, unit_box=True)
    low, high = original.bounds()
    U = np.random.default_rng(SEED).random((6, 12))
    X = low + (high - low) * U
    expected = original.evaluate(X, return_values_of=["F"])
    before = X.copy()
    np.testing.assert_array_equal(problem(X), expected)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(problem(X[2]), expected[2])
    np.testing.assert_allclose(mapped(U), expected, rtol=1e-12)
    np.testing.assert_array_equal(problem.bounds, (low, high))
    np.testing.assert_array_equal(mapped.bounds, (np.zeros(12), np.ones(12)))
    assert problem.d == 12
    assert problem.n_objectives == expected.shape[1]


def test_the_distance_is_zero_on_the_front_and_right_off_it():
    problem = from_pymoo("zdt1")
    on = np.zeros(30)
    for first in (0.0, 0.1, 0.5, 1.0):
        on[0] = first
        assert problem.distance(on) < 1e-3, first  # up to the front's sampling
    off = np.full(30, 0.0)
    off[1:] = 1 / 9  # g = 2: F = (0, 2), one unit above the front's end (0, 1)
    assert problem.distance(off) == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(problem.distance(np.stack([on, off])), [0.0, 1.0], atol=1e-3)
    assert problem.distance_of_values([0.5, 0.0]) == 0.0  # ahead of the front is not behind it


def test_fronts_are_not_dominated():
    for name, m in (("zdt3", 2), ("zdt6", 2), ("dtlz1", 3), ("dtlz2", 3), ("wfg2", 2)):
        front = from_pymoo(
            problems.get_problem(name, **({"n_var": 12, "n_obj": 2} if m == 2 and name[0] == "w" else {}))
        )
        points = front.front
        assert points.shape[1] == m, name
        assert len(points) >= 60, name
        assert front.front is points, name
        assert (front.distance_of_values(points) < 1e-9).all(), name
        dominated = (points[:, None] > points[None] + 1e-9).all(axis=2).any(axis=1)
        assert not dominated.any(), name
        if name == "wfg2":  # pymoo draws it
            again = from_pymoo(problems.get_problem("wfg2", n_var=12, n_obj=2)).front
            np.testing.assert_array_equal(again, points)


def test_minimize_takes_it():
    problem = from_pymoo(problems.get_problem("zdt1", n_var=10), unit_box=True)
    res = pyasmg.minimize(
        problem, np.full(10, 0.5), 0.3, bounds=problem.bounds, vectorized=True, max_evaluations=4000, seed=SEED
    )
    assert (res.x >= 0).all()
    assert (res.x <= 1).all()
    assert problem.distance(res.x) < 0.05


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"must have no constraints; got 2 "):
        from_pymoo("bnh")
    with pytest.raises(TypeError, match=r"must be a pymoo problem or the name of one; got 3\."):
        from_pymoo(3)
    with pytest.raises(ValueError, match=r"shape \(d,\) or \(N, d\)"):
        from_pymoo("zdt1")(np.zeros(4))

    from pymoo.core.problem import Problem

    with pytest.raises(ValueError, match="must have real variables; got vtype <class 'int'>"):
        from_pymoo(Problem(n_var=3, n_obj=2, xl=0, xu=1, vtype=int))
    with pytest.raises(ValueError, match="`unit_box` needs finite bounds"):
        from_pymoo(Problem(n_var=3, n_obj=2), unit_box=True)
    with pytest.raises(ValueError, match="knows no Pareto front"):
        _ = from_pymoo(Problem(n_var=3, n_obj=2, xl=0, xu=1)).front


def test_the_function_is_not_hidden_by_a_module():
    assert callable(pyasmg.problems.from_pymoo)
