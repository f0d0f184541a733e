"""Bad input: the error names the argument, what was expected and what came; the state stays as it was."""

import numpy as np
import pytest

import pyasmg
from pyasmg.weighting import Fixed, Level, make_weighting

CONSTRUCTOR = [
    # x0, sigma0, options, error, words
    (np.zeros((2, 2)), 1.0, {}, ValueError, r"`x0`.*vector.*\(2, 2\)"),
    (3.0, 1.0, {}, ValueError, "`x0`.*vector"),
    ([], 1.0, {}, ValueError, "`x0`.*at least one"),
    ([0.0, np.nan], 1.0, {}, ValueError, "`x0`.*finite.*index 1"),
    ([0.0, -np.inf], 1.0, {}, ValueError, "`x0`.*finite"),
    (["a", "b"], 1.0, {}, TypeError, "`x0`.*real numbers"),
    ([1j], 1.0, {}, TypeError, "`x0`.*real numbers.*complex"),
    ([[1.0], [2.0, 3.0]], 1.0, {}, ValueError, "`x0`"),
    ([0.0], 0.0, {}, ValueError, "`sigma0`.*> 0.*0"),
    ([0.0], -1.0, {}, ValueError, "`sigma0`.*> 0.*-1"),
    ([0.0], np.nan, {}, ValueError, "`sigma0`.*finite"),
    ([0.0, 0.0], [1.0, 1.0, 1.0], {}, ValueError, r"`sigma0`.*\(2,\).*\(3,\)"),
    ([0.0, 0.0], [1.0, 0.0], {}, ValueError, "`sigma0`.*> 0"),
    ([1e200], 1.0, {}, ValueError, "`x0`.*float64"),
    ([1e35], 1.0, {"dtype": "float32"}, ValueError, "`x0`.*float32"),
    ([0.0], 1.0, {"popsize": 1}, ValueError, "`popsize`.*2.*1"),
    ([0.0], 1.0, {"popsize": 10.0}, TypeError, "`popsize`.*integer.*10.0"),
    ([0.0], 1.0, {"popsize": True}, TypeError, "`popsize`.*integer"),
    ([0.0], 1.0, {"n_objectives": 0}, ValueError, "`n_objectives`.*1.*0"),
    ([0.0], 1.0, {"seed": -1}, ValueError, "`seed`.*-1"),
    ([0.0], 1.0, {"seed": 1.5}, TypeError, "`seed`.*integer.*1.5"),
    ([0.0], 1.0, {"seed": 2**64}, ValueError, "`seed`"),
    ([0.0], 1.0, {"step_size": 0}, ValueError, "`step_size`.*> 0"),
    ([0.0], 1.0, {"step_size": -0.1}, ValueError, "`step_size`.*> 0.*-0.1"),
    ([0.0], 1.0, {"step_size": "large"}, ValueError, "`step_size`.*'auto'.*'large'"),
    ([0.0], 1.0, {"std_step_size": np.nan}, ValueError, "`std_step_size`"),
    ([0.0], 1.0, {"weighting": [1.0, -1.0]}, ValueError, "`weighting`.*non-negative"),
    ([0.0], 1.0, {"weighting": [0.0, 0.0]}, ValueError, "`weighting`.*sum"),
    ([0.0], 1.0, {"weighting": "best"}, ValueError, "`weighting`.*'pareto'.*'best'"),
    ([0.0], 1.0, {"weighting": 3}, TypeError, "`weighting`.*int"),
    ([0.0], 1.0, {"weighting": [1.0, 1.0], "n_objectives": 3}, ValueError, r"`weighting`.*\(3,\).*\(2,\)"),
    ([0.0], 1.0, {"weight_momentum": 0.0}, ValueError, "`weight_momentum`"),
    ([0.0], 1.0, {"weight_momentum": 1.5}, ValueError, "`weight_momentum`"),
    ([0.0], 1.0, {"weight_momentum": "linear"}, ValueError, "`weight_momentum`.*'harmonic'"),
    ([0.0], 1.0, {"baseline": "median"}, ValueError, "`baseline`.*'mean'.*'median'"),
    ([0.0], 1.0, {"std_form": "log"}, ValueError, "`std_form`"),
    ([0.0], 1.0, {"memory": "disk"}, ValueError, "`memory`"),
    ([0.0], 1.0, {"dtype": "float16"}, ValueError, "`dtype`.*float32.*float16"),
    ([0.0], 1.0, {"dtype": "no such"}, ValueError, "`dtype`"),
    ([0.0], 1.0, {"scale_objectives": 1}, TypeError, "`scale_objectives`"),
    ([0.0], 1.0, {"n_threads": 0}, ValueError, "`n_threads`"),
    ([0.0, 0.0], 1.0, {"bounds": (1.0, 1.0)}, ValueError, "`bounds`.*low < high"),
    ([0.0, 0.0], 1.0, {"bounds": (2.0, 1.0)}, ValueError, "`bounds`.*low < high"),
    ([0.0, 0.0], 1.0, {"bounds": (1.0, 2.0)}, ValueError, "`x0`.*inside"),
    ([0.0, 0.0], 1.0, {"bounds": (-1.0, [1.0, 2.0, 3.0])}, ValueError, r"`bounds.high`.*\(2,\).*\(3,\)"),
    ([0.0, 0.0], 1.0, {"bounds": (np.nan, 1.0)}, ValueError, "`bounds.low`.*NaN"),
    (
        [0.0, 0.0, 0.0],
        1.0,
        {"bounds": [(-1, 1), (-1, 1), (-1, 1)]},
        ValueError,
        r"`bounds`.*pair \(low, high\)",
    ),
    ([0.0], 1.0, {"bounds": 3}, ValueError, "`bounds`.*pair"),
    ([1.0], 1.0, {"bounds": (1.0, 1.0 + 1e-9), "dtype": "float32"}, ValueError, "float32"),
    ([0.0], 1.0, {"max_evaluations": 0}, ValueError, "`max_evaluations`"),
    ([0.0], 1.0, {"tolx": -1.0}, ValueError, "`tolx`"),
    ([0.0], 1.0, {"tolfun": -1.0}, ValueError, "`tolfun`"),
    ([0.0], 1.0, {"target": [np.nan]}, ValueError, "`target`"),
    ([0.0], 1.0, {"target": [1.0, 2.0], "n_objectives": 3}, ValueError, r"`target`.*\(3,\).*\(2,\)"),
    ([0.0], 1.0, {"tolstationarity": "x"}, TypeError, "`tolstationarity`"),
    ([0.0], 1.0, {"stagnation": -1}, ValueError, "`stagnation`"),
]


@pytest.mark.parametrize(("x0", "sigma0", "options", "error", "words"), CONSTRUCTOR)
def test_constructor(x0, sigma0, options, error, words):
    with pytest.raises(error, match=words) as caught:
        pyasmg.ASMG(x0, sigma0, **options)
    assert len(str(caught.value)) < 300


def snapshot(opt):
    state = opt.state_dict()
    return state["checksum"]


def asked():
    opt = pyasmg.ASMG(np.zeros(3), 1.0, popsize=4, seed=1)
    X = opt.ask()
    opt.tell(X, X[:, :2])
    return opt, opt.ask()


GOOD = np.arange(8.0).reshape(4, 2)
TELL = [
    (None, np.zeros((3, 2)), ValueError, r"`F`.*\(4, 2\).*\(3, 2\)"),
    (None, np.zeros((4, 3)), ValueError, r"`F`.*\(4, 2\).*\(4, 3\)"),
    (None, np.zeros(4), ValueError, r"`F`.*\(4, 2\).*\(4,\)"),
    (None, np.zeros((4, 2, 1)), ValueError, "`F`"),
    (None, np.zeros((4, 0)), ValueError, "`F`"),
    (None, [[1, 2], [3]], ValueError, "`F`"),
    (None, GOOD.astype(object), TypeError, "`F`.*object"),
    (None, GOOD * 1j, TypeError, "`F`.*complex"),
    (None, GOOD > 2, TypeError, "`F`.*bool"),
    (None, "text", TypeError, "`F`"),
    (None, np.full((4, 2), np.nan), ValueError, "`F`.*at least one row.*4 failed"),
    (np.zeros((4, 2)), GOOD, ValueError, r"`X`.*\(4, 3\).*\(4, 2\)"),
    (np.zeros((5, 3)), GOOD, ValueError, r"`X`.*\(4, 3\).*\(5, 3\)"),
    (np.full((4, 3), np.nan), GOOD, ValueError, "`X`.*finite.*row 0"),
    (np.zeros((4, 3), dtype=complex), GOOD, TypeError, "`X`.*complex"),
]


@pytest.mark.parametrize(("X", "F", "error", "words"), TELL)
def test_tell(X, F, error, words):
    opt, candidates = asked()
    before = snapshot(opt)
    with pytest.raises(error, match=words):
        opt.tell(candidates if X is None else X, F)
    assert snapshot(opt) == before
    opt.tell(candidates, GOOD)
    assert opt.n_iterations == 2


def test_tell_before_ask_and_twice():
    opt = pyasmg.ASMG(np.zeros(3), 1.0, popsize=4, seed=1)
    before = snapshot(opt)
    with pytest.raises(ValueError, match=r"`tell` must follow `ask`"):
        opt.tell(np.zeros((4, 3)), GOOD)
    assert snapshot(opt) == before
    X = opt.ask()
    opt.tell(X, GOOD)
    before = snapshot(opt)
    with pytest.raises(ValueError, match=r"`tell` must follow `ask`"):
        opt.tell(X, GOOD)
    assert snapshot(opt) == before


def test_wrong_m_is_seen_before_anything_is_stored():
    opt = pyasmg.ASMG(np.zeros(3), 1.0, popsize=4, seed=1, weighting=[1, 1, 1])
    X = opt.ask()
    before = snapshot(opt)
    with pytest.raises(ValueError, match=r"`weighting`.*\(2,\).*\(3,\)"):
        opt.tell(X, GOOD)
    assert snapshot(opt) == before
    opt.tell(X, np.ones((4, 3)))
    assert opt.n_objectives == 3


def test_a_rule_that_fails_leaves_the_state():
    calls = []

    def rule(generation):
        calls.append(generation)
        return [np.nan, 1.0] if len(calls) == 1 else [1.0, 1.0]

    opt = pyasmg.ASMG(np.zeros(3), 1.0, popsize=4, seed=1, weighting=rule, n_objectives=2)
    X = opt.ask()
    before = snapshot(opt)
    with pytest.raises(ValueError, match=r"weighting\(generation\)"):
        opt.tell(X, GOOD)
    assert snapshot(opt) == before
    opt.tell(X, GOOD)
    np.testing.assert_allclose(opt.weights, 0.5)
    np.testing.assert_allclose(calls[1].mean, GOOD.mean(axis=0))


def test_level_refuses_negative_values_in_words():
    opt = pyasmg.ASMG(np.zeros(3), 1.0, popsize=4, seed=1, weighting="level")
    X = opt.ask()
    with pytest.raises(ValueError, match="objective 1 has the running mean -"):
        opt.tell(X, GOOD * [1, -1])


def test_weighting_options():
    with pytest.raises(ValueError, match="`reference` must be positive"):
        Level(reference=[1.0, 0.0])
    with pytest.raises(ValueError, match="`smoothing`"):
        Level(smoothing=0.0)
    with pytest.raises(ValueError, match="name 'level' or 'chebyshev'"):
        make_weighting({"name": "no"})
    with pytest.raises(TypeError, match="'level'"):
        make_weighting({"name": "level", "no": 1})
    np.testing.assert_allclose(Fixed([1e308, 1e308]).weights, 0.5)
    assert make_weighting(Level(power=2.0).spec()).power == 2.0


def test_index_of_ask_one():
    opt = pyasmg.ASMG(np.zeros(3), 1.0, popsize=4)
    for index, error in ((4, ValueError), (-1, ValueError), (1.0, TypeError)):
        with pytest.raises(error, match="`index`"):
            opt.ask_one(index)


@pytest.mark.parametrize("largest", [1e200, 1.7e308])
def test_raw_values_that_overflow_are_named_and_scaled_ones_do_not(largest):
    F = np.array([[largest, 1.0], [-largest, 2.0], [0.0, 3.0], [0.0, 4.0]])
    opt = pyasmg.ASMG(np.zeros(3), 1.0, popsize=4, seed=1, scale_objectives=False)
    X = opt.ask()
    before = snapshot(opt)
    with pytest.raises(ValueError, match=r"`F`.*scale_objectives=False"):
        opt.tell(X, F)
    assert opt.n_iterations == 0
    assert np.array_equal(opt.mean, np.zeros(3))
    opt.tell(X, GOOD)
    assert before != snapshot(opt)
    opt = pyasmg.ASMG(np.zeros(3), 1.0, popsize=4, seed=1)
    opt.tell(opt.ask(), F)
    assert np.isfinite(opt.mean).all()
