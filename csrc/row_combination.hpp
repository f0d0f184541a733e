// A weighted sum of the rows of a matrix with few rows and many columns: the step made of the tasks' gradients.
#pragma once

#include <cstddef>

namespace pyasmg {

// out_k = factor * sum_i weights_i x_ik for the n columns of x that begin at `first`; x is (m, d) row-major. Rows of
// weight 0 are not read. Sums in T, row after row, so that every SIMD level gives the same bits. Time O(m n).
template <class T>
void combine_rows(std::size_t m, std::size_t d, const T* x, const double* weights, double factor, std::size_t first,
                  std::size_t n, T* out);

}  // namespace pyasmg
