// min over the simplex of l'Gl (Eqs. 4.10-4.11) for any positive semi-definite G: any scaling, any rank.
#pragma once

#include <cstddef>

namespace pyasmg {

// Minimises l'Gl over {l >= 0, sum l = 1}; `gram` is row-major m x m, and its symmetric part is what counts.
// Writes m weights (>= 0, their sum 1 to a few roundings) and returns l'Gl at these weights, 0 where an
// indefinite G makes it negative. Throws std::invalid_argument where G is no Gram matrix (gram.hpp).
// Deterministic, a bounded number of pivots, no global state.
double simplex_qp(std::size_t m, const double* gram, double* weights);

}  // namespace pyasmg
