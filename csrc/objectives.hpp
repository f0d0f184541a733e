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
// Standardised values are rounded to 2^-20, far below what N samples can tell: rounding errors of F, which depend on
// its units, then end here instead of being amplified by a chaotic path.
// Shapes: values and w (N, m) row-major; center (m,) or null. Time O(N m).
void condition_objectives(std::size_t count, std::size_t n_objectives, const double* values, const double* center,
                          bool standardise, double* w, ObjectiveSummary& summary);

// A persistent unit for each objective: exp(log_scale_i) is a running geometric mean of its standard deviations,
//     log_scale_i += 4 / (count_i + 4) * (log(scale_i) - log_scale_i),    count_i += 1,
// which remembers about the last quarter of the run. ratio_i = scale_i / exp(log_scale_i), rounded to 20 bits for the
// same reason as above; 0, and no update, where scale_i is 0. All arrays (m,).
void follow_scales(std::size_t n_objectives, const double* scale, double* log_scale, double* count, double* ratio);

struct Aggregate {
    double std;                // sigma-hat of Eqs. A.152-A.153
    double mean_std_gradient;  // (1 / d) sum_k sum_i weights_i H_ik with the mean of a_j subtracted, from |z_j|^2 alone
};

// Of a_j = sum_i weights_i n_valid w_ji (w as above) over the valid rows; row_sums (N,) holds |z_j|^2.
Aggregate aggregate(std::size_t count, std::size_t n_objectives, const double* w, const std::uint8_t* valid,
                    std::size_t n_valid, const double* weights, const double* row_sums, std::size_t dimension);

}  // namespace pyasmg
