"""GradDrop's kernel: the numbers that numpy would draw, and a twin in numpy."""

import numpy as np
import pytest

from pyasmg import _core
from tests.twins.sign_dropout import sign_dropout


def words(generator):
    state = generator.bit_generator.state
    halves = [*divmod(state["state"]["state"], 2**64), *divmod(state["state"]["inc"], 2**64)]
    return [*halves, state["has_uint32"], state["uinteger"]]


@pytest.mark.parametrize("skipped", [0, 1, 2])
@pytest.mark.parametrize("d", [0, 1, 2, 7, 8, 9, 1023, 1024, 1025, 3000])
def test_draws_as_numpy_does(d, skipped):
    """With gradients of 1 and -1, the sign that is kept says on which side of 1/2 the number is. The state moves on."""
    generator = np.random.Generator(np.random.PCG64(d))
    generator.random(skipped, dtype=np.float32)
    out = np.full(d, np.nan)
    after = _core.sign_dropout(np.outer([1.0, -1.0], np.ones(d)), None, words(generator), np.array_split(out, 2))
    draw = generator.random(d, dtype=np.float32)
    assert after == words(generator)
    np.testing.assert_array_equal(out, np.where(draw < 0.5, 1.0, -1.0))


def test_each_digit_of_the_numbers():
    """A share of the positive ones that is the number itself, or one step of its grid more."""
    for step in (0, 1):
        generator = np.random.Generator(np.random.PCG64(3))
        before, draw = words(generator), generator.random(999, dtype=np.float32).astype(float)
        share = draw + step * 2.0**-24
        out = np.empty(999)
        _core.sign_dropout(np.array([share, share - 1.0]), None, before, [out])
        np.testing.assert_array_equal(out, share if step else share - 1.0)


@pytest.mark.parametrize("leaky", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("m", "d"), [(1, 5), (3, 1500), (10, 2500)])
def test_twin(m, d, dtype, leaky, simd_level):
    rng = np.random.default_rng([m, d])
    X = rng.standard_normal((m, d)).astype(dtype)
    X[:, ::7] = 0.0
    leak = rng.random(m) if leaky else np.zeros(m)
    generator = np.random.Generator(np.random.PCG64(5))
    out = np.empty(d, dtype=dtype)
    _core.sign_dropout(X, leak if leaky else None, words(generator), np.array_split(out, 2))
    expected = sign_dropout(X, leak, generator.random(d, dtype=np.float32))
    tolerance = 4.0 * m * np.finfo(dtype).eps
    np.testing.assert_allclose(out, expected, rtol=0, atol=tolerance * np.abs(X).max() * m)


def test_refuses_other_arrays():
    X, generator = np.ones((3, 4)), words(np.random.Generator(np.random.PCG64(0)))
    with pytest.raises(ValueError, match="leak"):
        _core.sign_dropout(X, np.ones(2), generator, [np.empty(4)])
    with pytest.raises(ValueError, match="outs"):
        _core.sign_dropout(X, None, generator, [np.empty(3), np.empty(2)])
    with pytest.raises(TypeError):
        _core.sign_dropout(X, None, generator[:5], [np.empty(4)])
