// What a solver needs of a Gram matrix: that it is one, and a scaling that takes the lengths out of it.
#pragma once

#include <cstddef>

namespace pyasmg {

inline constexpr double kSymmetryTolerance = 1e-5;  // passes a Gram matrix that came out of float32 products

// Checks the row-major m x m `gram` and writes C = S^-1 G S^-1, s_i = 2^exponent_i, where the symmetric part of
// G counts: C is exact, and C_ii is in [1, 4), or 0 where G_ii = 0 (exponent 0). Returns false where some G_ii = 0.
// Throws std::invalid_argument where m = 0, an entry is not finite, a diagonal entry is negative, or
// |G_ij - G_ji| > kSymmetryTolerance * sqrt(G_ii G_jj); its message calls the matrix `G`.
bool scale_gram(std::size_t m, const double* gram, double* c, int* exponent);

// norm_i = sqrt(G_ii), and the cosines C_ij of the symmetric part, within [-1, 1]; C_ii is 1, but 0 where G_ii = 0, as
// is all of its row and column.
void unit_gram(std::size_t m, const double* gram, double* norm, double* cosines);

}  // namespace pyasmg
