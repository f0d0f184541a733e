// Partial sums added in order: the second half of every sum over coordinates.
#pragma once

#include "launch.hpp"

namespace pyasmg::device {

// out[s * out_stride + c] = the sum of in[r * width + c] over the rows r of segment s, `per_segment` rows each, from
// the first to the last. One thread a sum.
struct ReduceKernel : KernelBase {
    const double* in;  // (n_rows, width)
    std::size_t n_rows, width, per_segment;
    double* out;
    std::size_t out_stride;

    PYASMG_HD std::size_t n_sums() const { return (n_rows + per_segment - 1) / per_segment * width; }
    std::size_t n_blocks() const { return (n_sums() + kThreads - 1) / kThreads; }

    PYASMG_HD void end(State&, Place place, void*) const {
        const std::size_t item = place.block * kThreads + static_cast<std::size_t>(place.thread);
        if (item >= n_sums()) return;
        const std::size_t segment = item / width, column = item % width;
        const std::size_t begin = segment * per_segment;
        const std::size_t stop = begin + per_segment < n_rows ? begin + per_segment : n_rows;
        double sum = 0.0;
        for (std::size_t r = begin; r < stop; ++r) sum += in[r * width + column];
        out[segment * out_stride + column] = sum;
    }
};

}  // namespace pyasmg::device
