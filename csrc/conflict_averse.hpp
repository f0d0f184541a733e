// CAGrad: the best worst rate in a ball around the mean gradient, where a few steps of pivoting find it.
#pragma once

#include <cstddef>

namespace pyasmg {

struct ConflictAverse {
    std::size_t m;
    const double* cosines;  // C, row-major m x m, of unit vectors u_i
    const double* inner;    // u_i'g0, (m,)
    const double* shares;   // positive, (m,): the rate nu has the bound nu * shares_i along u_i
    double radius;          // of the ball
    bool held;              // the rate may not be positive
};

// With y >= 0 the coefficients of the unit vectors in d - g0, looks for u_i'd >= nu shares_i, with equality where
// y_i > 0, and |d - g0| = radius. On a face y is linear in nu, which follows from the radius; every index that violates
// its condition changes sides, from `inside` on (m, nonzero for inside). Returns true, and y, where all conditions hold
// to a few roundings of their terms; false where that leads nowhere within 8 rounds. O(m^3) each.
bool conflict_averse_guess(const ConflictAverse& problem, const unsigned char* inside, double* y);

// v >= 0 with d = g0 + sum_i v_i g_i the direction of CAGrad, |d - g0| = c |g0|, from a Gram matrix with finite
// entries: true, and v (m,), where no gradient is zero and the guess from the min-norm weights is right, or g0
// vanishes.
bool conflict_averse_weights(std::size_t m, const double* gram, double c, double* v);

}  // namespace pyasmg
