// GradDrop: of the entries of all gradients, those of one sign are kept, at random.
#pragma once

#include <cstddef>
#include <vector>

#include "pcg64.hpp"
#include "row_combination.hpp"

namespace pyasmg {

// out_k = sum of what is kept of these columns k of x, (m, d) row-major: its positive entries where
// U_k < (sum of the positive ones) / (sum of all sizes), else its negative ones; of the others a share `leak` (m), or
// nothing where `leak` is null (Chen et al., 2020, Algorithm 1). One U per column from the generator, which moves on.
// Sums in T, row after row, so that every SIMD level gives the same bits. Time O(m d).
template <class T>
void sign_dropout(std::size_t m, std::size_t d, const T* x, const double* leak, Pcg64& generator,
                  const std::vector<Columns<T>>& columns);

}  // namespace pyasmg
