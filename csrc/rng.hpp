// Counter-based standard normals with random access by (seed, generation, candidate, coordinate).
//
// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) turns a 128-bit counter and a
// 64-bit key into four 32-bit words; Box-Muller turns words into normals. The counter is
//     (block, candidate, generation, stream),    the key is the seed.
// A *tile* is 16 consecutive blocks ("lanes"). Word w of lane l belongs to coordinate  tile_size * tile + 16 * w + l,
// so that a tile is written by contiguous vector stores on every SIMD level. A block yields four float or two double
// normals: tile_size is 64 for float and 32 for double.
//
// Only +, -, *, /, sqrt and integer operations are used, each correctly rounded, with contraction to fused
// multiply-adds switched off: the bits do not depend on the SIMD level or the compiler's vector width.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "elementary.hpp"
#include "portable.hpp"

namespace pyasmg {

inline constexpr int kLanes = 16;

template <class T>
inline constexpr int kTileSize = sizeof(T) == 4 ? 4 * kLanes : 2 * kLanes;

// What a counter is drawn for; streams never overlap.
enum class Stream : std::uint32_t { population = 0 };

struct RandomAddress {
    std::uint64_t seed;
    std::uint32_t generation;
    std::uint32_t candidate;
    std::uint32_t stream = static_cast<std::uint32_t>(Stream::population);
};

namespace detail {

PYASMG_HD std::uint32_t multiply_high(std::uint32_t a, std::uint32_t b) {
    return static_cast<std::uint32_t>((static_cast<std::uint64_t>(a) * b) >> 32);
}

}  // namespace detail

// One block of Philox4x32-10, in place.
PYASMG_HD void philox4x32(std::uint32_t& c0, std::uint32_t& c1, std::uint32_t& c2, std::uint32_t& c3,
                          std::uint32_t key0, std::uint32_t key1) {
    constexpr std::uint32_t multiplier0 = 0xD2511F53u, multiplier1 = 0xCD9E8D57u;
    constexpr std::uint32_t weyl0 = 0x9E3779B9u, weyl1 = 0xBB67AE85u;
#if defined(__CUDA_ARCH__)
#pragma unroll
#elif defined(__GNUC__) && !defined(__CUDACC__)
#pragma GCC unroll 10
#endif
    for (int round = 0; round < 10; ++round) {
        const std::uint32_t high0 = detail::multiply_high(multiplier0, c0), low0 = multiplier0 * c0;
        const std::uint32_t high1 = detail::multiply_high(multiplier1, c2), low1 = multiplier1 * c2;
        c0 = high1 ^ c1 ^ key0;
        c1 = low1;
        c2 = high0 ^ c3 ^ key1;
        c3 = low0;
        key0 += weyl0;
        key1 += weyl1;
    }
}

namespace detail {

// sin(pi/2 t) and cos(pi/2 t) for |t| <= 1/2, minimax in t^2.
PYASMG_HD void sincos_quarter(float t, float& sine, float& cosine) {
    const float z = t * t;
    sine = t * (1.570796321951305165f +
                z * (-0.64596347747952546f + z * (0.079680215178436010f + z * -0.0046021413136078088f)));
    cosine = 1.0f + z * (-1.2337005406293714709f +
                         z * (0.25366920356416847f + z * (-0.020860068821393466f + z * 0.00090362651501315326f)));
}

PYASMG_HD void sincos_quarter(double t, double& sine, double& cosine) {
    const double z = t * t;
    double p = 5.6339279856583722978e-8;
    p = -3.5986433131315897619e-6 + z * p;
    p = 0.00016044115073200066557 + z * p;
    p = -0.0046817541323397869803 + z * p;
    p = 0.079692626246042941197 + z * p;
    p = -0.64596409750624431457 + z * p;
    p = 1.5707963267948966143 + z * p;
    sine = t * p;
    double c = -6.3212503662583814921e-9;
    c = 4.7106096739132473122e-7 + z * c;
    c = -0.000025202036768783299639 + z * c;
    c = 0.00091926027418289366888 + z * c;
    c = -0.020863480763311188256 + z * c;
    c = 0.25366950790104670832 + z * c;
    c = -1.2337005501361698118 + z * c;
    cosine = 1.0 + z * c;
}

// The uniform in (0, 1] that sets the radius, and the angle as t in [-1/2, 1/2] quarter turns past quadrant 0..3.
PYASMG_HD float radius_uniform(std::uint32_t word) {
    return static_cast<float>(static_cast<std::int32_t>(word >> 1)) * 0x1p-31f + 0x1p-32f;
}

PYASMG_HD double radius_uniform(std::uint32_t high, std::uint32_t low) {
    return static_cast<double>(static_cast<std::int32_t>(high >> 1)) * 0x1p-31 +
           (static_cast<double>(static_cast<std::int32_t>(low >> 1)) * 0x1p-62 + 0x1p-63);
}

PYASMG_HD std::uint32_t quadrant_of(std::uint32_t word) { return (word + 0x20000000u) >> 30; }

PYASMG_HD float angle_in_quadrant(std::uint32_t word, std::uint32_t quadrant) {
    return static_cast<float>(static_cast<std::int32_t>(word - (quadrant << 30))) * 0x1p-30f;
}

PYASMG_HD double angle_in_quadrant(std::uint32_t high, std::uint32_t low, std::uint32_t quadrant) {
    return static_cast<double>(static_cast<std::int32_t>(high - (quadrant << 30))) * 0x1p-30 +
           static_cast<double>(static_cast<std::int32_t>(low >> 1)) * 0x1p-61;
}

// r (cos, sin) of the angle quadrant + t quarter turns, r = sqrt(-2 ln u).
template <class T>
PYASMG_HD void polar(T u, T t, std::uint32_t quadrant, T& z0, T& z1) {
    const T radius = std::sqrt(T(-2) * log_positive(u));
    T sine, cosine;
    sincos_quarter(t, sine, cosine);
    const bool odd = (quadrant & 1u) != 0;
    const T c = odd ? sine : cosine;
    const T s = odd ? cosine : sine;
    z0 = radius * (((quadrant + 1u) & 2u) != 0 ? -c : c);
    z1 = radius * ((quadrant & 2u) != 0 ? -s : s);
}

}  // namespace detail

// The normals of one lane of a tile from the words of its block: out[w] belongs to coordinate 16 * w + lane.
PYASMG_HD void block_normals(std::uint32_t word0, std::uint32_t word1, std::uint32_t word2, std::uint32_t word3,
                             float& z0, float& z1, float& z2, float& z3) {
    const std::uint32_t first = detail::quadrant_of(word1), second = detail::quadrant_of(word3);
    detail::polar(detail::radius_uniform(word0), detail::angle_in_quadrant(word1, first), first, z0, z1);
    detail::polar(detail::radius_uniform(word2), detail::angle_in_quadrant(word3, second), second, z2, z3);
}

PYASMG_HD void block_normals(std::uint32_t word0, std::uint32_t word1, std::uint32_t word2, std::uint32_t word3,
                             double& z0, double& z1) {
    const std::uint32_t quadrant = detail::quadrant_of(word3);
    detail::polar(detail::radius_uniform(word1, word0), detail::angle_in_quadrant(word3, word2, quadrant), quadrant, z0,
                  z1);
}

// All normals of n_tiles tiles from first_tile on: out[0 .. n_tiles * kTileSize<T>) are the coordinates from
// first_tile * kTileSize<T> on.
template <class T>
void fill_normals(const RandomAddress& address, std::size_t first_tile, std::size_t n_tiles, T* out);

}  // namespace pyasmg
