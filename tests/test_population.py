"""Candidates from counters, clipped to a box."""

import numpy as np
import pytest

from pyasmg import _core

DTYPES = [np.float32, np.float64]


def population(mean, std, low=None, high=None, count=20, seed=1, generation=3, first=0, n_threads=1, mirrored=False):
    out = np.empty((count, mean.size), mean.dtype)
    _core.sample_population(mean, std, low, high, seed, generation, mirrored, first, out, n_threads)
    return out


def case(d, dtype, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=d).astype(dtype), np.exp(random.normal(size=d)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [1, 63, 64, 65, 700])
def test_is_mean_plus_std_times_normals(d, dtype, simd_level):
    mean, std = case(d, dtype)
    z = np.empty((20, d), dtype)
    _core.sample_normals(1, 3, 0, z, 1)
    assert population(mean, std).tobytes() == (mean + std * z).astype(dtype).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_split_and_thread_count_gives_the_same_bits(dtype):
    mean, std = case(50_003, dtype)
    whole = population(mean, std, count=9)
    for n_threads in (2, 3, 5):
        assert population(mean, std, count=9, n_threads=n_threads).tobytes() == whole.tobytes()
    assert population(mean, std, count=2, first=7).tobytes() == whole[7:].tobytes()


def test_a_population_beyond_the_cache_has_the_same_bits():
    d = 1_000_003  # 72 MB, which is written past the caches; an odd d, so that rows start off every alignment
    mean, std = case(d, np.float32)
    whole = population(mean, std, count=18, mirrored=True, n_threads=2)
    for row in (0, 1, 7, 17):
        assert population(mean, std, count=1, first=row, mirrored=True)[0].tobytes() == whole[row].tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("first", [0, 1, 4])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_mirrored_rows_are_reflections(dtype, first, count):
    mean, std = case(1500, dtype)
    z = np.empty((8, 1500), dtype)
    _core.sample_normals(1, 3, 0, z, 1)
    pairs = np.repeat(z, 2, axis=0)
    pairs[1::2] *= -1
    expected = (mean + std * pairs[first : first + count]).astype(dtype)
    for n_threads in (1, 3):
        X = population(mean, std, count=count, first=first, mirrored=True, n_threads=n_threads)
        assert X.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_clipping(dtype, simd_level):
    d = 1000
    random = np.random.default_rng(5)
    low = random.normal(size=d).astype(dtype)
    high = low + np.exp(random.normal(size=d)).astype(dtype)
    low[::5], high[::7] = -np.inf, np.inf
    mean = np.clip(random.normal(size=d).astype(dtype), low, high)
    std = np.exp(2 * random.normal(size=d)).astype(dtype)
    clipped = population(mean, std, low, high)
    assert clipped.tobytes() == np.clip(population(mean, std), low, high).tobytes()
    assert (clipped == low).any()
    assert (clipped == high).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_hostile_distributions_stay_feasible(dtype):
    huge = dtype(1e30 if dtype == np.float32 else 1e150)
    low, high = np.array([0, -1, -np.inf], dtype), np.array([1, np.inf, 2], dtype)
    mean = np.array([0.5, -1, 2], dtype)
    for std in (huge, dtype(1e-30)):
        X = population(mean, np.full(3, std, dtype), low, high, count=1000)
        assert ((low <= X) & (high >= X)).all()
