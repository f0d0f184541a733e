// PCGrad and GradVac: each gradient meets the others one after the other. All of it on coefficients of unit vectors,
// with their cosines.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pyasmg {

// `cosines` is C, row-major m x m, symmetric, with 1 on the diagonal, or a row and a column of zeros for a zero
// gradient. Row i of `order` (m, m - 1) is in which order gradient i meets the others. Row i of `coefficients` (m, m)
// gets those of v_i, which begins as the i-th unit vector. O(m^3).

// v_i loses what opposes u_j: v -= min(v'u_j, 0) u_j (Yu et al., 2020, Algorithm 1).
void remove_conflicts(std::size_t m, const double* cosines, const std::int64_t* order, double* coefficients);

struct Vaccine {
    double rate;            // beta, of the usual cosines
    bool always;            // update them also where nothing is turned
    double largest_target;  // below 1
};

// v_i is turned towards u_j until their cosine is the usual one, where it is less (Wang et al., 2021). `usual` (m, m)
// is updated.
void vaccinate(std::size_t m, const double* cosines, const std::int64_t* order, const Vaccine& vaccine, double* usual,
               double* coefficients);

// What the gradients themselves are multiplied by in factor * sum_i |g_i| v_i, from the coefficients of all v_i and the
// norms; `factor` for a zero gradient. O(m^2).
void surgery_weights(std::size_t m, const double* norms, const double* coefficients, double factor, double* weights);

}  // namespace pyasmg
