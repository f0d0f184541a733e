// Inner products of the gradients, P_i . P_k + 2 H_i . H_k, over one block of coordinates at a time.
#pragma once

#include "../lanes.hpp"
#include "launch.hpp"

namespace pyasmg::device {

// 16 threads, the lanes, share one (block of coordinates, pair of objectives); the order of the sums is the CPU's.
// Reads 2 (m + 1) m d numbers, all but the first 2 m d of them from a cache, and writes m (m + 1) / 2 doubles a block.
template <class T>
struct GramKernel : KernelBase {
    const T *mean_gradient, *std_gradient;  // rows `stride` apart
    std::size_t stride, m, n;               // n coordinates
    std::size_t block;
    double* out;  // (blocks, m (m + 1) / 2), the pairs (i, j <= i) row by row

    static constexpr std::size_t kGroups = kThreads / kLanes;

    PYASMG_HD std::size_t n_pairs() const { return m * (m + 1) / 2; }
    PYASMG_HD std::size_t n_items() const { return (n + block - 1) / block * n_pairs(); }
    std::size_t n_blocks() const { return (n_items() + kGroups - 1) / kGroups; }
    PYASMG_HD std::size_t shared_bytes() const { return 2 * kThreads * sizeof(double); }
    PYASMG_HD std::size_t steps() const { return 1; }

    PYASMG_HD void produce(std::size_t, State&, Place place, void* shared) const {
        const std::size_t lane = static_cast<std::size_t>(place.thread) % kLanes;
        const std::size_t item = place.block * kGroups + static_cast<std::size_t>(place.thread) / kLanes;
        if (item >= n_items()) return;
        std::size_t i = 0, j = item % n_pairs();
        while (j > i) j -= ++i;
        const std::size_t begin = item / n_pairs() * block, end = begin + block < n ? begin + block : n;
        const T *p = mean_gradient + i * stride, *q = mean_gradient + j * stride;
        const T *g = std_gradient + i * stride, *h = std_gradient + j * stride;
        double of_means = 0.0, of_stds = 0.0;
        for (std::size_t k = begin + lane; k < end; k += kLanes) {
            of_means += static_cast<double>(p[k]) * static_cast<double>(q[k]);
            of_stds += static_cast<double>(g[k]) * static_cast<double>(h[k]);
        }
        auto* lanes = static_cast<double*>(shared);
        lanes[place.thread] = of_means;
        lanes[kThreads + place.thread] = of_stds;
    }

    PYASMG_HD void consume(std::size_t, State&, Place place, void* shared) const {
        const std::size_t item = place.block * kGroups + static_cast<std::size_t>(place.thread) / kLanes;
        if (place.thread % kLanes != 0 || item >= n_items()) return;
        const auto* lanes = static_cast<const double*>(shared) + place.thread;
        out[item] = sum_lanes(lanes) + 2.0 * sum_lanes(lanes + kThreads);
    }
};

}  // namespace pyasmg::device
