"""Philox against published vectors; the normals against their distribution, their twin, and themselves."""

import numpy as np
import pytest
from scipy import stats

from pyasmg import _core
from tests.twins import rng as twin

DTYPES = [np.float32, np.float64]


def normals(seed, generation, first, count, d, dtype, n_threads=1):
    out = np.empty((count, d), dtype)
    _core.sample_normals(seed, generation, first, out, n_threads)
    return out


# kat_vectors of Random123, lines "philox4x32 10"
KNOWN_ANSWERS = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_known_answers(counter, key, answer):
    assert list(_core.philox4x32(counter, key)) == answer
    assert twin.philox4x32(np.array(counter, np.uint32), key).tolist() == answer


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [1, 15, 31, 32, 33, 64, 65, 1000])
def test_twin(dtype, d, simd_level):
    seed, generation, first = 0xDEADBEEFCAFE1234, 77, 5
    z = normals(seed, generation, first, 7, d, dtype)
    expected = twin.normals(seed, generation, first, 7, d, dtype)
    tolerance = 3e-6 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(z, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_on_every_level_and_thread_count(dtype):
    levels = _core.simd_levels()
    before = _core.simd_level()
    results = []
    try:
        for level in levels:
            _core.set_simd_level(level)
            results += [normals(3, 4, 0, 40, 20_011, dtype, threads) for threads in (1, 2, 3, 7)]
    finally:
        _core.set_simd_level(before)
    assert len(levels) >= 1
    for other in results[1:]:
        assert other.tobytes() == results[0].tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_access(dtype):
    whole = normals(9, 2, 0, 50, 333, dtype)
    for row in (0, 13, 49):
        assert normals(9, 2, row, 1, 333, dtype).tobytes() == whole[row].tobytes()
    for d in (1, 40, 64, 130):
        assert normals(9, 2, 0, 50, d, dtype).tobytes() == np.ascontiguousarray(whole[:, :d]).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_and_distribution(dtype):
    z = normals(2026, 1, 0, 400, 10_000, dtype).astype(np.float64).ravel()
    n = z.size
    # E z^k and the variance of z^k for a standard normal; five standard errors
    for k, expected, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (5, 0, 945), (6, 15, 10170)]:
        error = abs((z**k).mean() - expected)
        assert error < 5 * np.sqrt(variance / n), f"moment {k}: off by {error}, seed 2026"
    assert stats.kstest(z[:1_000_000], "norm").pvalue > 1e-4, "seed 2026"
    tails = [(np.abs(z) > t).sum() for t in (3, 4, 4.5)]
    for count, t in zip(tails, (3, 4, 4.5), strict=True):
        expected = 2 * n * stats.norm.sf(t)
        assert abs(count - expected) < 5 * np.sqrt(expected), f"{count} beyond {t}, expected {expected}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_correlation_between_neighbours(dtype):
    d = 4096
    base = normals(11, 5, 0, 64, d, dtype).astype(np.float64)
    others = {
        "candidate": normals(11, 5, 64, 64, d, dtype),
        "generation": normals(11, 6, 0, 64, d, dtype),
        "seed": normals(12, 5, 0, 64, d, dtype),
        "high word of the seed": normals(11 + 2**32, 5, 0, 64, d, dtype),
    }
    bound = 5 / np.sqrt(base.size)
    for name, other in others.items():
        for f in (lambda z: z, np.square):
            a, b = f(base), f(other.astype(np.float64))
            assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < bound, name
    for lag in (1, 2, 16, 32, 48, 64):
        for f in (lambda z: z, np.square):
            a = f(base)
            assert abs(np.corrcoef(a[:, lag:].ravel(), a[:, :-lag].ravel())[0, 1]) < bound * 1.1, lag
    rows = np.corrcoef(base) - np.eye(64)
    assert np.abs(rows).max() < 6 / np.sqrt(d)


def test_extreme_words_stay_finite():
    # the smallest and largest uniforms and all quadrants, through the twin's formula: no inf, no NaN in 4e6 draws
    z = normals(0, 0, 0, 64, 65_536, np.float32)
    assert np.isfinite(z).all()
    assert np.abs(z).max() < 6.7
    z = normals(0, 0, 0, 64, 65_536, np.float64)
    assert np.isfinite(z).all()
    assert np.abs(z).max() < 9.4
