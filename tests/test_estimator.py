"""The one-pass estimator against its twin, on random and on hostile input."""

import numpy as np
import pytest

from pyasmg import _core
from tests.twins import estimator as twin

DTYPES = [np.float32, np.float64]
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12}


class Case:
    def __init__(self, N, d, m, dtype, seed=0, failed=()):
        random = np.random.default_rng(seed)
        self.mean = random.normal(size=d).astype(dtype)
        self.std = np.exp(random.normal(size=d)).astype(dtype)
        self.z = np.empty((N, d), dtype)
        _core.sample_normals(42, 6, 0, self.z, 1)
        self.X = np.empty((N, d), dtype)
        _core.sample_population(self.mean, self.std, None, None, 42, 6, False, 0, self.X, 1)
        self.w = random.normal(size=(N, m)) / N
        self.valid = np.ones(N, np.uint8)
        self.valid[list(failed)] = 0
        self.w[list(failed)] = 0
        self.m, self.dtype = m, dtype

    def run(self, X="X", low=None, high=None, n_threads=1, mirrored=False):
        X = self.X if isinstance(X, str) else X
        P = np.full((self.m, self.mean.size), np.nan, self.dtype)
        H = np.full_like(P, np.nan)
        gram, rows = _core.estimate(
            self.mean, self.std, low, high, 42, 6, mirrored, X, self.valid, self.w, P, H, n_threads
        )
        return P, H, gram, rows

    def check(self, got, z=None):
        expected = twin.estimate(self.z if z is None else z, self.w, self.valid.astype(bool))
        for name, a, b in zip("PHGr", got, expected, strict=True):
            scale = max(np.abs(b).max(), 1e-300)
            np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[self.dtype] * scale, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("N", "d", "m"), [(2, 1, 1), (5, 63, 2), (4, 64, 3), (9, 1025, 2), (20, 2500, 11), (7, 130, 70)]
)
def test_twin(N, d, m, dtype, simd_level):
    case = Case(N, d, m, dtype)
    case.check(case.run(X=None))
    # z rebuilt from x differs by the rounding of x
    z = (case.X.astype(np.float64) - case.mean) / case.std
    case.check(case.run(), z)


@pytest.mark.parametrize("dtype", DTYPES)
def test_failed_rows_are_never_read(dtype, simd_level):
    case = Case(10, 300, 2, dtype, failed=(0, 3, 9))
    clean = case.run()
    case.X[[0, 3, 9]] = np.nan
    poisoned = case.run()
    for a, b in zip(clean, poisoned, strict=True):
        assert a.tobytes() == b.tobytes()
    assert (poisoned[3][[0, 3, 9]] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [100, 3000, 150_001])
def test_same_bits_for_any_threads_and_level(dtype, d):
    case = Case(12 if d > 10_000 else 50, d, 3, dtype)
    before = _core.simd_level()
    results = []
    try:
        for level in _core.simd_levels():
            _core.set_simd_level(level)
            results += [
                case.run(n_threads=n_threads) + case.run(X=None, n_threads=n_threads) for n_threads in (1, 2, 5)
            ]
    finally:
        _core.set_simd_level(before)
    for other in results[1:]:
        assert all(a.tobytes() == b.tobytes() for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
def test_changed_rows_count_where_they_were_evaluated(dtype):
    case = Case(8, 200, 2, dtype)
    case.X[2] = case.mean  # injected: z = 0
    case.X[5, 7] = case.mean[7] + 2 * case.std[7]
    z = (case.X.astype(np.float64) - case.mean) / case.std
    case.check(case.run(), z)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bounds_unchanged_coordinates_keep_their_normals(dtype, simd_level):
    case = Case(30, 500, 2, dtype)
    low, high = case.mean - dtype(0.5) * case.std, case.mean + case.std
    _core.sample_population(case.mean, case.std, low, high, 42, 6, False, 0, case.X, 1)
    case.check(case.run(low=low, high=high))  # z, not the clipped displacement
    assert all(
        a.tobytes() == b.tobytes()
        for a, b in zip(case.run(low=low, high=high), case.run(X=None, low=low, high=high), strict=True)
    )
    z = case.z.astype(np.float64).copy()
    case.X[4, 9] = case.mean[9] + dtype(0.25) * case.std[9]
    z[4, 9] = (case.X[4, 9].astype(np.float64) - case.mean[9]) / case.std[9]
    case.check(case.run(low=low, high=high), z)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bounded", [False, True])
def test_mirrored_samples(dtype, bounded, simd_level):
    case = Case(9, 700, 2, dtype)
    half = case.z[:5].copy()
    case.z = np.repeat(half, 2, axis=0)[:9]
    case.z[1::2] *= -1
    low, high = (case.mean - case.std, case.mean + case.std) if bounded else (None, None)
    _core.sample_population(case.mean, case.std, low, high, 42, 6, True, 0, case.X, 1)
    case.check(case.run(X=None, low=low, high=high, mirrored=True))
    if bounded:
        case.check(case.run(low=low, high=high, mirrored=True))


@pytest.mark.parametrize("dtype", DTYPES)
def test_hostile_scales(dtype):
    case = Case(6, 90, 2, dtype)
    for scale in (1e-25, 1e25):
        case.std[:] = scale
        case.mean[:] = 0
        _core.sample_population(case.mean, case.std, None, None, 42, 6, False, 0, case.X, 1)
        case.check(case.run())


def test_wrong_shapes_are_refused_before_memory_is_read():
    case = Case(6, 90, 2, np.float64)
    with pytest.raises(ValueError, match="shape"):
        case.run(X=case.X[:, :80].copy())
    with pytest.raises(ValueError, match="shape"):
        case.run(X=case.X[:5].copy())
    with pytest.raises(ValueError, match="bounds"):
        case.run(low=np.zeros(3), high=np.ones(3))
