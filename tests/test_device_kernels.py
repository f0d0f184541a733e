"""Every kernel of csrc/cuda/ against references in float64 and against the CPU's core, into poisoned memory."""

import numpy as np
import pytest

from pyasmg import _core
from tests.device_support import PLENTY, need_cuda
from tests.twins import estimator as twin

DTYPES = [np.float32, np.float64]
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12}
KINDS = {np.float32: _core._device.Search32, np.float64: _core._device.Search64}


@pytest.fixture(params=["emulated", pytest.param("cuda", marks=pytest.mark.gpu)])
def runtime(request):
    if request.param == "cuda":
        need_cuda()
        return _core._device.cuda_runtime(0)
    return _core._device.emulated_runtime(PLENTY, True)


class Case:
    def __init__(self, runtime, N, d, m, dtype, *, bounded=False, mirrored=False, keep_gradients=True, failed=()):
        random = np.random.default_rng(N * d + m)
        self.runtime, self.N, self.d, self.m, self.dtype, self.mirrored = runtime, N, d, m, dtype, mirrored
        self.mean = random.normal(size=d).astype(dtype)
        self.std = np.exp(0.3 * random.normal(size=d)).astype(dtype)
        self.low = (self.mean - dtype(0.5)) if bounded else None
        self.high = (self.mean + dtype(0.25)) if bounded else None
        self.w = random.normal(size=(N, m)) / N
        self.valid = np.ones(N, np.uint8)
        self.valid[list(failed)] = 0
        self.w[list(failed)] = 0
        self.coefficients = random.normal(size=m)
        self.path = random.normal(size=-(-d // 3))
        arguments = (self.mean, self.std, self.low, self.high, 42, mirrored, keep_gradients)
        self.search = KINDS[dtype](runtime, *arguments)
        self.X = np.full((N, d), np.nan, dtype)
        _core.sample_population(self.mean, self.std, self.low, self.high, 42, 6, mirrored, 0, self.X, 1)

    def upload(self, values):
        return _core._device.upload(self.runtime, values, 0, "a test's data")

    def on_cpu(self, X):
        """Return the CPU's answers: Gram matrix, squared norms, summary, mean, std, path."""
        P, H = (np.full((self.m, self.d), np.nan, self.dtype) for _ in range(2))
        sides = (self.mean, self.std, self.low, self.high)
        gram, norms = _core.estimate(*sides, 42, 6, self.mirrored, X, self.valid, self.w, P, H, 1)
        path = np.full_like(self.path, np.nan)
        step = (self.coefficients, 0.7, 0.9, 0.01, False, self.path, path, 3, 0.05, 1)
        gradients = P.copy(), H.copy()
        summary = _core.update_distribution(*sides, P, H, *step)
        return gradients, (gram, norms, summary, P[0], H[0], path)

    def on_device(self, X):
        x = None if X is None else self.upload(X)
        gram, norms = self.search.estimate(6, x, 0, None, self.valid, self.w, 0)
        path = self.upload(np.full_like(self.path, np.nan))
        step = (self.coefficients, 0.7, 0.9, 0.01, 0.0, False)
        summary = self.search.step(*step, self.upload(self.path), path, 3, 0.05, 0)
        return gram, norms, summary, self.search.mean(0), self.search.std(0), path.numpy()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [1, 63, 65, 1023, 1025, 2500])
@pytest.mark.parametrize(("bounded", "mirrored"), [(False, False), (True, True)])
def test_samples(runtime, d, dtype, bounded, mirrored):
    case = Case(runtime, 19, d, 1, dtype, bounded=bounded, mirrored=mirrored)
    out = case.upload(np.full((19, d), np.nan, dtype))
    case.search.sample(6, 0, out, 0, 0)
    np.testing.assert_array_equal(out.numpy(), case.X)
    out = case.upload(np.full((6, d), np.nan, dtype))
    case.search.sample(6, 3, out, 1, 0)  # the mean, then rows 3 ... 7
    np.testing.assert_array_equal(out.numpy(), np.vstack((case.mean, case.X[3:8])))


SHAPES = [(2, 1, 1), (5, 63, 2), (9, 1025, 2), (6, 2500, 3), (7, 130, 11), (11, 3001, 5)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("N", "d", "m"), SHAPES)
def test_reference(runtime, N, d, m, dtype):
    """The estimates in float64, from the candidates as they are."""
    case = Case(runtime, N, d, m, dtype, failed=[1] if N > 2 else [])
    case.X[0, d // 2] += 0.125
    z = (case.X.astype(np.float64) - case.mean) / case.std
    P, H, gram, norms = twin.estimate(z, case.w, case.valid.astype(bool))
    got = case.on_device(case.X)
    for a, b in ((got[0], gram), (got[1], norms)):
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[dtype] * np.abs(b).max())
    mean = case.mean - 0.7 * case.std.astype(np.float64) * (case.coefficients @ P)
    std = case.std * np.exp(np.clip(-0.9 * (case.coefficients @ H - 0.01), -np.log(2), np.log(2)))
    np.testing.assert_allclose(got[3], mean, rtol=0, atol=20 * TOLERANCE[dtype])
    np.testing.assert_allclose(got[4], std, rtol=20 * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("N", "d", "m"), SHAPES)
@pytest.mark.parametrize("keep_gradients", [True, False])
@pytest.mark.parametrize(("bounded", "mirrored"), [(False, True), (True, False), (True, True)])
@pytest.mark.parametrize("given", [True, False])
def test_bits(runtime, N, d, m, dtype, keep_gradients, bounded, mirrored, given):
    """Everything that a generation gives has the bits of the CPU's core."""
    options = {"bounded": bounded, "mirrored": mirrored, "keep_gradients": keep_gradients}
    failed = [0] if N > 2 and given != keep_gradients else []  # then pairs are no longer aligned
    case = Case(runtime, N, d, m, dtype, failed=failed, **options)
    if given:
        case.X[-1, 0] += 0.125
    X = case.X if given else None
    _, expected = case.on_cpu(X)
    got = case.on_device(X)
    assert got[2] == expected[2]
    for a, b in zip(got[:2] + got[3:], expected[:2] + expected[3:], strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_the_same_twice(runtime):
    first, second = (Case(runtime, 12, 5000, 3, np.float32).on_device(None) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_refused(runtime):
    case = Case(runtime, 4, 10, 2, np.float64)
    path = case.upload(np.zeros(10))
    with pytest.raises(ValueError, match="must follow"):
        case.search.step(case.coefficients, 1.0, 1.0, 0.0, 0.0, False, path, path, 1, 0.1, 0)
    for x in (np.zeros((3, 10)), np.zeros((4, 9)), np.zeros((4, 10), np.float32)):
        with pytest.raises(ValueError, match="x must have shape"):
            case.search.estimate(6, case.upload(x), 0, None, case.valid, case.w, 0)
    with pytest.raises(ValueError, match="out must have shape"):
        case.search.sample(6, 0, case.upload(np.zeros((2, 11))), 0, 0)
    with pytest.raises(TypeError, match="capsule"):
        _core._device.from_dlpack(runtime, object(), 0)
