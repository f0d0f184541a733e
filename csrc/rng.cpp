#include "rng.hpp"

#include <algorithm>

#include "simd.hpp"

#if PYASMG_X86_LEVELS
#include <immintrin.h>
#endif

namespace pyasmg {
namespace {

// Tiles whose words are made ahead of their normals: 4 KiB, which stay in the first-level cache.
constexpr std::size_t kAhead = 16;
constexpr std::size_t kTileWords = 4 * kLanes;

struct Key {
    std::uint32_t low, high;
};

using Words = std::uint32_t;

// words[64 * t + 16 * w + lane] is word w of the block of that lane in tile first_tile + t.
void philox_portable(const RandomAddress& address, Key key, std::uint32_t first_tile, std::size_t n_tiles,
                     Words* PYASMG_RESTRICT words) {
    for (std::size_t t = 0; t < n_tiles; ++t, words += kTileWords) {
        for (int lane = 0; lane < kLanes; ++lane) {
            std::uint32_t c0 = (first_tile + static_cast<std::uint32_t>(t)) * kLanes + static_cast<std::uint32_t>(lane);
            std::uint32_t c1 = address.candidate, c2 = address.generation, c3 = address.stream;
            philox4x32(c0, c1, c2, c3, key.low, key.high);
            words[lane] = c0;
            words[kLanes + lane] = c1;
            words[2 * kLanes + lane] = c2;
            words[3 * kLanes + lane] = c3;
        }
    }
}

#if PYASMG_X86_LEVELS

// GCC's own AVX-512 header starts results from an undefined register and then warns of it (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

// The same integers with one word per 64-bit lane: the widening multiply reads the low halves only, so that the low
// word of a product needs no masking and its high word one shift. Compilers spend twice the instructions.

PYASMG_TARGET_V3 void philox_v3(const RandomAddress& address, Key key, std::uint32_t first_tile, std::size_t n_tiles,
                                Words* PYASMG_RESTRICT words) {
    const __m256i multiplier0 = _mm256_set1_epi64x(0xD2511F53), multiplier1 = _mm256_set1_epi64x(0xCD9E8D57);
    const __m256i pick_even = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
    constexpr int width = 4;
    for (std::size_t t = 0; t < n_tiles; ++t, words += kTileWords) {
        for (int lane = 0; lane < kLanes; lane += 2 * width) {
            __m256i c0[2], c1[2], c2[2], c3[2];
            for (int g = 0; g < 2; ++g) {
                const auto block = static_cast<long long>(static_cast<std::uint32_t>((first_tile + t) * kLanes) +
                                                          static_cast<std::uint32_t>(lane + g * width));
                c0[g] = _mm256_add_epi64(_mm256_set1_epi64x(block), _mm256_setr_epi64x(0, 1, 2, 3));
                c1[g] = _mm256_set1_epi64x(address.candidate);
                c2[g] = _mm256_set1_epi64x(address.generation);
                c3[g] = _mm256_set1_epi64x(address.stream);
            }
            Key round = key;
            for (int r = 0; r < 10; ++r) {
                const __m256i key0 = _mm256_set1_epi64x(round.low), key1 = _mm256_set1_epi64x(round.high);
                for (int g = 0; g < 2; ++g) {
                    const __m256i product0 = _mm256_mul_epu32(c0[g], multiplier0);
                    const __m256i product1 = _mm256_mul_epu32(c2[g], multiplier1);
                    c0[g] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(product1, 32), c1[g]), key0);
                    c1[g] = product1;
                    c2[g] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(product0, 32), c3[g]), key1);
                    c3[g] = product0;
                }
                round.low += 0x9E3779B9u;
                round.high += 0xBB67AE85u;
            }
            for (int g = 0; g < 2; ++g) {
                const __m256i all[4] = {c0[g], c1[g], c2[g], c3[g]};
                for (int w = 0; w < 4; ++w) {
                    const __m256i packed = _mm256_permutevar8x32_epi32(all[w], pick_even);
                    _mm_storeu_si128(reinterpret_cast<__m128i*>(words + w * kLanes + lane + g * width),
                                     _mm256_castsi256_si128(packed));
                }
            }
        }
    }
}

PYASMG_TARGET_V4 void philox_v4(const RandomAddress& address, Key key, std::uint32_t first_tile, std::size_t n_tiles,
                                Words* PYASMG_RESTRICT words) {
    const __m512i multiplier0 = _mm512_set1_epi64(0xD2511F53), multiplier1 = _mm512_set1_epi64(0xCD9E8D57);
    constexpr int width = 8, exclusive_or = 0x96;
    for (std::size_t t = 0; t < n_tiles; ++t, words += kTileWords) {
        __m512i c0[2], c1[2], c2[2], c3[2];
        for (int g = 0; g < 2; ++g) {
            const auto block = static_cast<long long>(static_cast<std::uint32_t>((first_tile + t) * kLanes) +
                                                      static_cast<std::uint32_t>(g * width));
            c0[g] = _mm512_add_epi64(_mm512_set1_epi64(block), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
            c1[g] = _mm512_set1_epi64(address.candidate);
            c2[g] = _mm512_set1_epi64(address.generation);
            c3[g] = _mm512_set1_epi64(address.stream);
        }
        Key round = key;
        for (int r = 0; r < 10; ++r) {
            const __m512i key0 = _mm512_set1_epi64(round.low), key1 = _mm512_set1_epi64(round.high);
            for (int g = 0; g < 2; ++g) {
                const __m512i product0 = _mm512_mul_epu32(c0[g], multiplier0);
                const __m512i product1 = _mm512_mul_epu32(c2[g], multiplier1);
                c0[g] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(product1, 32), c1[g], key0, exclusive_or);
                c1[g] = product1;
                c2[g] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(product0, 32), c3[g], key1, exclusive_or);
                c3[g] = product0;
            }
            round.low += 0x9E3779B9u;
            round.high += 0xBB67AE85u;
        }
        for (int g = 0; g < 2; ++g) {
            const __m512i all[4] = {c0[g], c1[g], c2[g], c3[g]};
            for (int w = 0; w < 4; ++w) {
                _mm256_storeu_si256(reinterpret_cast<__m256i*>(words + w * kLanes + g * width),
                                    _mm512_cvtepi64_epi32(all[w]));
            }
        }
    }
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#endif  // PYASMG_X86_LEVELS

void philox_words(const RandomAddress& address, std::uint32_t first_tile, std::size_t n_tiles, Words* words) {
    const Key key{static_cast<std::uint32_t>(address.seed), static_cast<std::uint32_t>(address.seed >> 32)};
#if PYASMG_X86_LEVELS
    if (simd_level() == SimdLevel::v4) return philox_v4(address, key, first_tile, n_tiles, words);
    if (simd_level() == SimdLevel::v3) return philox_v3(address, key, first_tile, n_tiles, words);
#endif
    philox_portable(address, key, first_tile, n_tiles, words);
}

template <class T>
PYASMG_HD void polar_loop(const Words* PYASMG_RESTRICT words, std::size_t n_tiles, T* PYASMG_RESTRICT out) {
    for (std::size_t t = 0; t < n_tiles; ++t, words += kTileWords, out += kTileSize<T>) {
        for (int lane = 0; lane < kLanes; ++lane) {
            const Words *w0 = words + lane, *w1 = w0 + kLanes, *w2 = w1 + kLanes, *w3 = w2 + kLanes;
            if constexpr (sizeof(T) == 4) {
                block_normals(*w0, *w1, *w2, *w3, out[lane], out[kLanes + lane], out[2 * kLanes + lane],
                              out[3 * kLanes + lane]);
            } else {
                block_normals(*w0, *w1, *w2, *w3, out[lane], out[kLanes + lane]);
            }
        }
    }
}

PYASMG_SIMD_VARIANTS(polar, (const Words* words, std::size_t n_tiles, T* out), (words, n_tiles, out))

}  // namespace

template <class T>
void fill_normals(const RandomAddress& address, std::size_t first_tile, std::size_t n_tiles, T* out) {
    alignas(64) Words words[kAhead * kTileWords];
    while (n_tiles > 0) {
        const std::size_t n = std::min(kAhead, n_tiles);
        philox_words(address, static_cast<std::uint32_t>(first_tile), n, words);
        polar_dispatch<T>(words, n, out);
        first_tile += n;
        n_tiles -= n;
        out += n * kTileSize<T>;
    }
}

template void fill_normals<float>(const RandomAddress&, std::size_t, std::size_t, float*);
template void fill_normals<double>(const RandomAddress&, std::size_t, std::size_t, double*);

}  // namespace pyasmg
