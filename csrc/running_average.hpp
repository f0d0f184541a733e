// The running average of a matrix with few rows and many columns, and what the weights of its rows follow.
#pragma once

#include <cstddef>

#include "row_products.hpp"

namespace pyasmg {

// y moves by `rate` of its way to x, both (m, d) row-major, and then slopes = y y' weights, both (m,): the gradient of
// |y' weights|^2 / 2. One pass, O(m d) time and no extra memory. Precision as in row_products: sums over 4,096 columns
// are taken in T or in double, those over these in double; slopes outside of +-[1e-30, 1e34] in double after all.
template <class T>
void running_average(std::size_t m, std::size_t d, const T* x, double rate, T* y, const double* weights,
                     Precision precision, double* slopes);

}  // namespace pyasmg
