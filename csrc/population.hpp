// Candidates x = clip(mean + std * z) from the counters.
#pragma once

#include "distribution.hpp"

namespace pyasmg {

// Writes candidates first .. first + count - 1 of the generation to out (count x dimension, row-major).
// The same bits for any n_threads, SIMD level and split into calls. Time O(count * dimension), no extra memory.
template <class T>
void sample_population(const Distribution<T>& distribution, std::size_t first, std::size_t count, T* out,
                       int n_threads);

// The standard normals z themselves, count x dimension.
template <class T>
void sample_normals(std::uint64_t seed, std::uint32_t generation, std::size_t first, std::size_t count,
                    std::size_t dimension, T* out, int n_threads);

}  // namespace pyasmg
