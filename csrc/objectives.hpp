// Objective values made ready for the estimator.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pyasmg {

struct ObjectiveSummary {
    std::size_t n_valid;
    double* offset;       // (m,) what was subtracted: the mean over the valid rows, or `center`
    double* scale;        // (m,) population standard deviation of each objective, 0 where it is constant
    double* median;       // (m,) over the valid rows
    double* spread;       // (m,) largest minus smallest valid value
    std::uint8_t* valid;  // (N,) 0 for a row with a value that is not finite
};

// w_ji = (F_ji - offset_i) / (scale_i if `standardise` else 1) / n_valid for valid rows, 0 for the others.
// An objective that is constant over the valid rows gets w = 0 when standardised. No overflow for any finite F.
// Shapes: values and w (N, m) row-major; center (m,) or null. Time O(N m).
void condition_objectives(std::size_t count, std::size_t n_objectives, const double* values, const double* center,
                          bool standardise, double* w, ObjectiveSummary& summary);

// Population standard deviation over the valid rows of a_j = sum_i weights_i n_valid w_ji (w as above): the sigma-hat
// of Eqs. A.152-A.153.
double aggregated_std(std::size_t count, std::size_t n_objectives, const double* w, const std::uint8_t* valid,
                      std::size_t n_valid, const double* weights);

}  // namespace pyasmg
