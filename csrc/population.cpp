#include "population.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "parallel.hpp"
#include "rng.hpp"
#include "simd.hpp"

#if PYASMG_X86_LEVELS
#include <emmintrin.h>
#endif

namespace pyasmg {
namespace {

template <class T>
PYASMG_HD void affine_loop(const Distribution<T>& at, std::size_t begin, std::size_t n, T sign,
                           const T* PYASMG_RESTRICT z, T* PYASMG_RESTRICT out) {
    const T* PYASMG_RESTRICT mean = at.mean + begin;
    const T* PYASMG_RESTRICT std = at.std + begin;
    if (at.bounded()) {
        const T* PYASMG_RESTRICT low = at.low + begin;
        const T* PYASMG_RESTRICT high = at.high + begin;
        for (std::size_t k = 0; k < n; ++k) out[k] = clip(mean[k] + std[k] * (sign * z[k]), low[k], high[k]);
    } else {
        for (std::size_t k = 0; k < n; ++k) out[k] = mean[k] + std[k] * (sign * z[k]);
    }
}

PYASMG_SIMD_VARIANTS(affine, (const Distribution<T>& at, std::size_t begin, std::size_t n, T sign, const T* z, T* out),
                     (at, begin, n, sign, z, out))

// Populations beyond the last-level cache are written past it: an ordinary store would read every line first.
constexpr std::size_t kStreamedBytes = std::size_t{1} << 26;

// memcpy by stores that leave the caches alone.
void stream_copy(void* to, const void* from, std::size_t n_bytes) {
#if PYASMG_X86_LEVELS
    auto* out = static_cast<char*>(to);
    const auto* in = static_cast<const char*>(from);
    const std::size_t head = std::min(n_bytes, (16 - reinterpret_cast<std::uintptr_t>(out) % 16) % 16);
    std::memcpy(out, in, head);
    std::size_t i = head;
    for (; i + 16 <= n_bytes; i += 16) {
        _mm_stream_si128(reinterpret_cast<__m128i*>(out + i),
                         _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i)));
    }
    std::memcpy(out + i, in + i, n_bytes - i);
#else
    std::memcpy(to, from, n_bytes);
#endif
}

void stream_fence() {
#if PYASMG_X86_LEVELS
    _mm_sfence();
#endif
}

constexpr std::size_t kChunk = 1024;  // coordinates whose normals wait in the first-level cache

// Coordinates of tiles [tile_begin, tile_end) of the rows first .. first + count - 1, which share their normals.
template <class T>
void sample_rows(const Distribution<T>& at, std::size_t first, std::size_t count, std::size_t tile_begin,
                 std::size_t tile_end, bool streamed, T* out) {
    constexpr std::size_t size = kTileSize<T>;
    const RandomAddress address = at.address(first);
    alignas(64) T z[kChunk], x[kChunk];
    for (std::size_t tile = tile_begin; tile < tile_end; tile += kChunk / size) {
        const std::size_t n_tiles = std::min(kChunk / size, tile_end - tile), begin = tile * size;
        fill_normals(address, tile, n_tiles, z);
        const std::size_t n = std::min(n_tiles * size, at.dimension - begin);
        for (std::size_t r = 0; r < count; ++r) {
            T* row = out + r * at.dimension + begin;
            affine_dispatch<T>(at, begin, n, at.sign(first + r), z, streamed ? x : row);
            if (streamed) stream_copy(row, x, n * sizeof(T));
        }
    }
}

}  // namespace

template <class T>
void sample_population(const Distribution<T>& distribution, std::size_t first, std::size_t count, T* out,
                       int n_threads) {
    constexpr std::size_t size = kTileSize<T>;
    const std::size_t dimension = distribution.dimension;
    const std::size_t tiles = (dimension + size - 1) / size;
    const bool streamed = count * dimension * sizeof(T) >= kStreamedBytes;
    // Groups of rows that share their normals: mirrored pairs (the first and last row may lack their partner), or rows.
    const std::size_t group_rows = distribution.mirrored ? 2 : 1;
    const std::size_t first_group = first / group_rows, last_group = (first + count + group_rows - 1) / group_rows;
    // Shares of (group, tile) in row-major order, so that one wide candidate is shared out as well.
    parallel_for((last_group - first_group) * tiles, useful_threads(count * dimension, n_threads),
                 [&](std::size_t begin, std::size_t end) {
                     while (begin < end) {
                         const std::size_t group = first_group + begin / tiles, tile = begin % tiles;
                         const std::size_t stop = std::min(tiles, tile + (end - begin));
                         const std::size_t row = std::max(first, group * group_rows);
                         const std::size_t row_end = std::min(first + count, (group + 1) * group_rows);
                         sample_rows(distribution, row, row_end - row, tile, stop, streamed,
                                     out + (row - first) * dimension);
                         begin += stop - tile;
                     }
                     if (streamed) stream_fence();
                 });
}

template <class T>
void sample_normals(std::uint64_t seed, std::uint32_t generation, std::size_t first, std::size_t count,
                    std::size_t dimension, T* out, int n_threads) {
    parallel_for(count, useful_threads(count * dimension, n_threads), [&](std::size_t begin, std::size_t end) {
        constexpr std::size_t size = kTileSize<T>;
        alignas(64) T tile[size];
        for (std::size_t row = begin; row < end; ++row) {
            const RandomAddress address{seed, generation, static_cast<std::uint32_t>(first + row)};
            T* z = out + row * dimension;
            fill_normals(address, 0, dimension / size, z);
            if (const std::size_t rest = dimension % size; rest != 0) {
                fill_normals(address, dimension / size, 1, tile);
                std::copy_n(tile, rest, z + dimension - rest);
            }
        }
    });
}

template void sample_population<float>(const Distribution<float>&, std::size_t, std::size_t, float*, int);
template void sample_population<double>(const Distribution<double>&, std::size_t, std::size_t, double*, int);
template void sample_normals<float>(std::uint64_t, std::uint32_t, std::size_t, std::size_t, std::size_t, float*, int);
template void sample_normals<double>(std::uint64_t, std::uint32_t, std::size_t, std::size_t, std::size_t, double*, int);

}  // namespace pyasmg
