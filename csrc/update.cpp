#include "update.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "coordinate.hpp"
#include "cut.hpp"
#include "distribution.hpp"
#include "elementary.hpp"
#include "lanes.hpp"
#include "parallel.hpp"
#include "simd.hpp"

namespace pyasmg {
namespace {

constexpr std::size_t kBlock = kMaxBlock;

template <class T>
struct Step {
    const UpdateInput<T>& input;
    const T* mean;
    const T* std;
    T* new_mean;
    T* new_std;
};

template <class T>
PYASMG_HD void combine(const T* gradient, const Step<T>& step, std::size_t begin, std::size_t n,
                       double* PYASMG_RESTRICT sum) {
    for (std::size_t k = 0; k < n; ++k) sum[k] = 0.0;
    for (std::size_t i = 0; i < step.input.n_objectives; ++i) {
        const T* PYASMG_RESTRICT row = gradient + i * step.input.dimension + begin;
        const double c = step.input.coefficients[i];
        for (std::size_t k = 0; k < n; ++k) sum[k] += c * static_cast<double>(row[k]);
    }
}

// Advances the path by the coordinates begin .. begin + n - 1 of p.
PYASMG_HD void follow_path(const PathInput& in, std::size_t begin, std::size_t n, const double* p, double* path_lanes,
                           double* step_lanes) {
    for (std::size_t i = (begin + in.stride - 1) / in.stride; i * in.stride < begin + n; ++i) {
        const double step = p[i * in.stride - begin];
        const double value = (1.0 - in.rate) * in.path[i] + in.rate * step;
        in.new_path[i] = value;
        path_lanes[i % kLanes] += value * value;
        step_lanes[i % kLanes] += step * step;
    }
}

template <class T>
PYASMG_HD void step_loop(const Step<T>& step, std::size_t segment_begin, std::size_t segment_end,
                         UpdateSummary& summary) {
    const UpdateInput<T>& in = step.input;
    alignas(64) double p[kBlock], h[kBlock];
    double max_std = 0.0, min_std = std::numeric_limits<double>::infinity();
    double path_lanes[kLanes] = {}, step_lanes[kLanes] = {};
    int effective = 0, outside = 0;
    for (std::size_t begin = segment_begin; begin < segment_end; begin += kBlock) {
        const std::size_t n = std::min(kBlock, segment_end - begin);
        const T* PYASMG_RESTRICT old_mean = step.mean + begin;
        const T* PYASMG_RESTRICT old_std = step.std + begin;
        combine(in.mean_gradient, step, begin, n, p);
        combine(in.std_gradient, step, begin, n, h);
        if (in.path.path != nullptr) follow_path(in.path, begin, n, p, path_lanes, step_lanes);
        // From here on the gradients of this block are not read any more: the outputs may lie over them.
        T* PYASMG_RESTRICT mean = step.new_mean + begin;
        T* PYASMG_RESTRICT std = step.new_std + begin;
        for (std::size_t k = 0; k < n; ++k) mean[k] = step_mean(old_mean[k], old_std[k], in.mean_step, p[k]);
        if (in.form == StdForm::exponential) {
            for (std::size_t k = 0; k < n; ++k) h[k] = exponential_factor(in.std_step, h[k] - in.std_shift);
        } else {
            for (std::size_t k = 0; k < n; ++k) h[k] = inverse_factor(in.std_step, h[k] - in.std_shift);
        }
        for (std::size_t k = 0; k < n; ++k) std[k] = step_std(old_std[k], h[k]);
        if (in.low != nullptr) {
            const T* PYASMG_RESTRICT low = in.low + begin;
            const T* PYASMG_RESTRICT high = in.high + begin;
            for (std::size_t k = 0; k < n; ++k) {
                mean[k] = clip(mean[k], low[k], high[k]);
                const T width = high[k] - low[k];
                std[k] = std[k] < width ? std[k] : width;
            }
        }
        for (std::size_t k = 0; k < n; ++k) {
            const auto value = static_cast<double>(std[k]);
            max_std = value > max_std ? value : max_std;
            min_std = value < min_std ? value : min_std;
            effective |= static_cast<int>(moves(mean[k], std[k]));
            outside |= static_cast<int>(is_outside(mean[k]));
        }
    }
    summary.max_std = max_std;
    summary.min_std = min_std;
    summary.finite = outside == 0;
    summary.effective = effective != 0;
    summary.path_norm = sum_lanes(path_lanes);
    summary.step_norm = sum_lanes(step_lanes);
}

PYASMG_SIMD_VARIANTS(step,
                     (const Step<T>& step, std::size_t segment_begin, std::size_t segment_end, UpdateSummary& summary),
                     (step, segment_begin, segment_end, summary))

}  // namespace

template <class T>
UpdateSummary update_distribution(const UpdateInput<T>& input, const T* mean, const T* std, T* new_mean, T* new_std,
                                  int n_threads) {
    // The cut into segments depends on the dimension alone, so that sums do not depend on the number of threads.
    const std::size_t length = segment_length(input.dimension);
    const std::size_t n_segments = divide_up(input.dimension, length);
    const Step<T> step{input, mean, std, new_mean, new_std};
    UpdateSummary parts[kMaxSegments] = {};
    parallel_for(n_segments, useful_threads(8 * input.dimension, n_threads), [&](std::size_t begin, std::size_t end) {
        for (std::size_t s = begin; s < end; ++s) {
            step_dispatch<T>(step, s * length, std::min(input.dimension, (s + 1) * length), parts[s]);
        }
    });
    UpdateSummary all = parts[0];
    for (std::size_t s = 1; s < n_segments; ++s) {
        all.max_std = std::max(all.max_std, parts[s].max_std);
        all.min_std = std::min(all.min_std, parts[s].min_std);
        all.finite = all.finite && parts[s].finite;
        all.effective = all.effective || parts[s].effective;
        all.path_norm += parts[s].path_norm;
        all.step_norm += parts[s].step_norm;
    }
    return all;
}

template UpdateSummary update_distribution<float>(const UpdateInput<float>&, const float*, const float*, float*, float*,
                                                  int);
template UpdateSummary update_distribution<double>(const UpdateInput<double>&, const double*, const double*, double*,
                                                   double*, int);

}  // namespace pyasmg
