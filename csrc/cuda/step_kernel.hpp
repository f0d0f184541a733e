// The step of mean and stds along the weighted gradients, the running path, and what is reported of both.
#pragma once

#include "../coordinate.hpp"
#include "../lanes.hpp"
#include "launch.hpp"

namespace pyasmg::device {

// The weighted gradients as the kernels see them.
template <class T>
struct Gradients {
    const T *mean, *std;         // rows `stride` apart, from `begin` on
    const double* coefficients;  // (m,)
    std::size_t stride, m;
    std::size_t begin, end;  // coordinates

    PYASMG_HD double combine(const T* rows, std::size_t k) const {
        double sum = 0.0;
        for (std::size_t i = 0; i < m; ++i) sum += coefficients[i] * static_cast<double>(rows[i * stride + k - begin]);
        return sum;
    }
};

struct StepPart {
    double max_std, min_std;
    int effective, outside;
};

PYASMG_HD StepPart join(const StepPart& a, const StepPart& b) {
    return {a.max_std > b.max_std ? a.max_std : b.max_std, a.min_std < b.min_std ? a.min_std : b.min_std,
            a.effective | b.effective, a.outside | b.outside};
}

// Joins what the threads of a block hold, as phases: nobody touches what another one does between two barriers.
struct JoinSteps : KernelBase {
    PYASMG_HD std::size_t shared_bytes() const { return kThreads * sizeof(StepPart); }
    PYASMG_HD std::size_t steps() const { return 8; }
    PYASMG_HD void consume(std::size_t step, State&, Place place, void* shared) const {
        static_assert(kThreads == 256);
        auto* parts = static_cast<StepPart*>(shared);
        const int stride = 128 >> step;
        if (place.thread < stride) parts[place.thread] = join(parts[place.thread], parts[place.thread + stride]);
    }
};

// Reads 2 (m + 1) d numbers and writes 2 d, which may lie over the first rows of the gradients.
template <class T>
struct StepKernel : JoinSteps {
    Gradients<T> gradients;
    const T *mean, *std, *low, *high;  // whole vectors
    double mean_step, std_step, std_shift;
    T reach;  // stds that the mean may lie outside a side
    bool inverse;
    T *new_mean, *new_std;  // of the coordinates from gradients.begin on
    StepPart* parts;        // (blocks,)

    static constexpr std::size_t kPerBlock = 16 * static_cast<std::size_t>(kThreads);
    std::size_t n_blocks() const { return (gradients.end - gradients.begin + kPerBlock - 1) / kPerBlock; }

    PYASMG_HD static T smaller(T a, T b) { return a < b ? a : b; }

    PYASMG_HD void begin(State&, Place place, void* shared) const {
        StepPart part{0.0, 1e300, 0, 0};
        const std::size_t start = gradients.begin + place.block * kPerBlock + static_cast<std::size_t>(place.thread);
        for (std::size_t k = start; k < start + kPerBlock && k < gradients.end; k += kThreads) {
            const double p = gradients.combine(gradients.mean, k);
            const double h = gradients.combine(gradients.std, k) - std_shift;
            T next = step_mean(mean[k], std[k], mean_step, p);
            T spread = step_std(std[k], inverse ? inverse_factor(std_step, h) : exponential_factor(std_step, h));
            bool moving;
            if (low != nullptr) {
                const T margin = reach * std[k], lower = low[k] - margin, upper = high[k] + margin;
                next = clip(next, lower, upper);
                spread = smaller(spread, upper - lower);
                moving = moves(next, spread);
                spread = smaller(spread, high[k] - low[k]);
            } else {
                moving = moves(next, spread);
            }
            new_mean[k - gradients.begin] = next;
            new_std[k - gradients.begin] = spread;
            const auto value = static_cast<double>(spread);
            part = join(part, {value, value, moving ? 1 : 0, is_outside(next) ? 1 : 0});
        }
        static_cast<StepPart*>(shared)[place.thread] = part;
    }

    PYASMG_HD void end(State&, Place place, void* shared) const {
        if (place.thread == 0) parts[place.block] = static_cast<StepPart*>(shared)[0];
    }
};

// new_path = (1 - rate) path + rate p on every stride-th coordinate, one group of 16 lanes a segment of coordinates.
template <class T>
struct PathKernel : KernelBase {
    Gradients<T> gradients;  // begin is a multiple of `length`
    std::size_t length;      // of a segment
    std::size_t path_stride;
    double rate;
    const double* path;  // of all coordinates
    double* new_path;
    double* norms;  // (segments, 2): |new_path|^2 and |p|^2 of each segment of this range

    static constexpr std::size_t kGroups = kThreads / kLanes;
    PYASMG_HD std::size_t n_segments() const { return (gradients.end - gradients.begin + length - 1) / length; }
    std::size_t n_blocks() const { return (n_segments() + kGroups - 1) / kGroups; }
    PYASMG_HD std::size_t shared_bytes() const { return 2 * kThreads * sizeof(double); }
    PYASMG_HD std::size_t steps() const { return 1; }

    PYASMG_HD void produce(std::size_t, State&, Place place, void* shared) const {
        const std::size_t lane = static_cast<std::size_t>(place.thread) % kLanes;
        const std::size_t segment = place.block * kGroups + static_cast<std::size_t>(place.thread) / kLanes;
        double of_path = 0.0, of_step = 0.0;
        if (segment < n_segments()) {
            const std::size_t begin = gradients.begin + segment * length;
            const std::size_t stop = begin + length < gradients.end ? begin + length : gradients.end;
            const std::size_t least = (begin + path_stride - 1) / path_stride;
            std::size_t i = least + (lane + kLanes - least % kLanes) % kLanes;  // the first with i % kLanes = lane
            for (; i * path_stride < stop; i += kLanes) {
                const double step = gradients.combine(gradients.mean, i * path_stride);
                const double value = (1.0 - rate) * path[i] + rate * step;
                new_path[i] = value;
                of_path += value * value;
                of_step += step * step;
            }
        }
        auto* lanes = static_cast<double*>(shared);
        lanes[place.thread] = of_path;
        lanes[kThreads + place.thread] = of_step;
    }

    PYASMG_HD void consume(std::size_t, State&, Place place, void* shared) const {
        const std::size_t segment = place.block * kGroups + static_cast<std::size_t>(place.thread) / kLanes;
        if (place.thread % kLanes != 0 || segment >= n_segments()) return;
        const auto* lanes = static_cast<const double*>(shared) + place.thread;
        norms[2 * segment] = sum_lanes(lanes);
        norms[2 * segment + 1] = sum_lanes(lanes + kThreads);
    }
};

struct StepResult {
    StepPart part;
    double path_norm, step_norm;
};

// One block: everything that a step reports, in one piece.
struct FinishKernel : JoinSteps {
    const StepPart* parts;
    std::size_t n_parts;
    const double* norms;  // (n_segments, 2) or null: no path
    std::size_t n_segments;
    StepResult* out;

    std::size_t n_blocks() const { return 1; }

    PYASMG_HD void begin(State&, Place place, void* shared) const {
        StepPart part{0.0, 1e300, 0, 0};
        for (auto i = static_cast<std::size_t>(place.thread); i < n_parts; i += kThreads) part = join(part, parts[i]);
        static_cast<StepPart*>(shared)[place.thread] = part;
    }

    PYASMG_HD void end(State&, Place place, void* shared) const {
        if (place.thread != 0) return;
        StepResult result{static_cast<StepPart*>(shared)[0], 0.0, 0.0};
        for (std::size_t s = 0; norms != nullptr && s < n_segments; ++s) {
            result.path_norm += norms[2 * s];
            result.step_norm += norms[2 * s + 1];
        }
        *out = result;
    }
};

}  // namespace pyasmg::device
