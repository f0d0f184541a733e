// The step of the search distribution along the weighted natural gradient.
#pragma once

#include <cstddef>

namespace pyasmg {

enum class StdForm {
    exponential,  // Sigma    *= exp(-2 b h): always positive, no drift under pure noise
    inverse       // Sigma^-1 *= 1 + 2 b h    Eq. A.153
};

// A running mean of the mean's natural gradient p = sum_i c_i P_i on every stride-th coordinate:
// new_path = (1 - rate) * path + rate * p. Null where it is not wanted.
struct PathInput {
    std::size_t stride = 1;
    double rate = 0.0;
    const double* path = nullptr;  // (ceil(d / stride),)
    double* new_path = nullptr;    // the same length, elsewhere
};

template <class T>
struct UpdateInput {
    std::size_t dimension;
    std::size_t n_objectives;
    const T* mean_gradient;      // (m, d) P
    const T* std_gradient;       // (m, d) H
    const double* coefficients;  // (m,) c_i = lambda_i / sigma-hat
    double mean_step;
    double std_step;
    double std_shift;  // subtracted from h: the part of its mean over the coordinates that is not followed
    StdForm form;
    const T* low = nullptr;   // (d,) both null or both set
    const T* high = nullptr;  // (d,)
    PathInput path{};
};

struct UpdateSummary {
    double max_std;
    double min_std;
    bool finite;       // every mean is at most 1e150 (float: 1e30) in magnitude after the step
    bool effective;    // some coordinate can still move: mean + std / 10 != mean
    double path_norm;  // |new_path|^2
    double step_norm;  // |p|^2 on the path's coordinates
};

// mean - mean_step * std * sum_i c_i P_i                               Eq. A.152
// std by `form`,  h = sum_i c_i H_i - std_shift                        Eq. A.153 (with std_shift = 0)
// One step changes a std by a factor of at most 2 either way; this is also what keeps the inverse form positive.
// With bounds the mean is clipped to the box and a std is held at or below the width of its interval. Stds stay
// positive normal numbers. Time O(m d), same bits for any n_threads and SIMD level. The new mean and std are written to
// new_mean and new_std, which may be the first rows of the two gradients: a step that turns out to be not finite can
// then be refused without a copy of the state.
template <class T>
UpdateSummary update_distribution(const UpdateInput<T>& input, const T* mean, const T* std, T* new_mean, T* new_std,
                                  int n_threads = 1);

}  // namespace pyasmg
