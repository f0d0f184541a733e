// G w = (c / w)^(1/alpha): the weights of Nash-MTL (alpha = 1), FairGrad, and PIVRG (alpha = 2, Eq. 8).
#pragma once

#include <cstddef>

namespace pyasmg {

// Writes the m weights w > 0 that solve (G + delta diag(G)) w = (c / w)^(1/alpha) elementwise; `gram` is row-major
// m x m, its symmetric part counts, and `preference` holds c. The solution is unique, and large where 0 is in the
// convex hull of the gradients, where delta = 0 has none. delta = 4 * 2^-52, and larger by factors of 64 only where
// float64 cannot tell the solution otherwise. A zero gradient (G_ii = 0) is left out: w_i = 0. A weight beyond the
// range of normal numbers is held at its end. Returns the number of Newton steps, a bounded one. Throws
// std::invalid_argument where G is no Gram matrix (gram.hpp), or alpha or some c_i is not positive and finite.
// Deterministic, no libm function that differs between machines, no global state.
int fair_weights(std::size_t m, const double* gram, double alpha, const double* preference, double* weights);

}  // namespace pyasmg
