// One pass over the sample: natural-gradient estimates for every objective, their Gram matrix and the row sums.
#pragma once

#include <cstddef>
#include <cstdint>

#include "distribution.hpp"

namespace pyasmg {

template <class T>
struct Sample {
    std::size_t count;          // N rows
    const T* x = nullptr;       // (N, d) row-major as it was evaluated, or null: z is regenerated from the counters
    const std::uint8_t* valid;  // (N,) 0 marks a failed evaluation: the row is not read
};

template <class T>
struct Estimate {
    T* mean_gradient;  // (m, d)  P_i = sum_j w_ji z_j                  Eq. 4.12
    T* std_gradient;   // (m, d)  H_i = 1/2 sum_j w_ji (z_j * z_j - 1)  Eq. 4.13
    double* gram;      // (m, m)  P_i . P_k + 2 H_i . H_k               Eqs. 4.10-4.11
    double* row_sums;  // (N,)    |z_j|^2; 0 for a failed row
};

// w is (N, m) row-major and holds the transformed objective values, already divided by the number of valid rows.
//
// z_j is (x_j - mean) / std for a given x, so that a candidate which the caller changed counts where it was evaluated.
// With bounds, a coordinate that was not changed takes its z from the counters (clipping is not invertible).
//
// Every sum runs in an order fixed by (N, d, m): the same bits for any n_threads and SIMD level.
// Time O(N d m + d m^2), extra memory O(N + m^2) and O(1) blocks of coordinates.
template <class T>
void estimate(const Distribution<T>& distribution, const Sample<T>& sample, std::size_t n_objectives, const T* w,
              const Estimate<T>& out, int n_threads);

}  // namespace pyasmg
