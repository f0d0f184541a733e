// The inner products of the rows of a matrix with few rows and many columns: the Gram matrix of tasks' gradients.
#pragma once

#include <cstddef>

namespace pyasmg {

enum class Precision { native, in_double };

// gram = x x', (m, m) and exactly symmetric; x is (m, d) row-major. Products and sums over 1,024 columns are taken in
// T, or in double for Precision::in_double; the sums over these in double. Where a float may have lost digits at the
// ends of its range, a squared norm outside of [1e-30, 1e34], all of it is taken in double after all. An infinity or
// NaN of a row reaches all its entries.
//
// The one kernel whose rounding depends on the SIMD level: it takes fused multiply-adds where the machine has them, and
// lets the vector width decide the order within a block. Nothing that has to be repeated to the bit is made of it.
// Time O(m^2 d), half of the products being taken once; no extra memory.
template <class T>
void row_products(std::size_t m, std::size_t d, const T* x, Precision precision, double* gram);

}  // namespace pyasmg
