// A weighted sum of the rows of a matrix with few rows and many columns: the step made of the tasks' gradients.
#pragma once

#include <cstddef>
#include <vector>

namespace pyasmg {

// The `size` columns from `first` on, and where they go.
template <class T>
struct Columns {
    std::size_t first;
    std::size_t size;
    T* out;
};

// out_k = factor * sum_i weights_i x_ik for these columns k of x, (m, d) row-major. Rows of weight 0 are not read. Sums
// in T, row after row, so that every SIMD level gives the same bits. Time O(m) per column.
template <class T>
void combine_rows(std::size_t m, std::size_t d, const T* x, const double* weights, double factor,
                  const std::vector<Columns<T>>& columns);

}  // namespace pyasmg
