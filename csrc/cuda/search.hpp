// The search distribution on a device, with the functions of the CPU's core: sample, estimate, step.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "../update.hpp"
#include "runtime.hpp"

namespace pyasmg::device {

struct EstimateResult {
    std::vector<double> gram;      // (m, m)
    std::vector<double> row_sums;  // (N,)
};

// The running mean of the gradient's path, on the device.
struct Path {
    Buffer<double> values;
};

// Bits equal those of sample_population, estimate and update_distribution in the CPU's core. Every call works on the
// stream it is given; `estimate` and `step` wait for their few results: m^2 + N and 6 numbers.
//
// Memory: mean and std (and the bounds), the gradients of all objectives (2 m d numbers) if they are kept, else those
// of a slab of coordinates and, during a step, a second mean and std; partial sums. A slab takes at most scratch_bytes,
// its partial sums a quarter of that, or both what one segment of coordinates (d / 64) takes where that is more. A call
// that throws leaves mean and std as they were.
template <class T>
class DeviceSearch {
  public:
    // Copies d numbers each from the host; low and high both null or both set.
    DeviceSearch(std::shared_ptr<Runtime> runtime, std::size_t dimension, const T* mean, const T* std, const T* low,
                 const T* high, std::uint64_t seed, bool mirrored, bool keep_gradients,
                 std::size_t scratch_bytes = std::size_t{256} << 20);

    std::size_t dimension() const { return dimension_; }
    const std::shared_ptr<Runtime>& runtime() const { return runtime_; }
    const T* mean() const { return mean_.data(); }
    const T* std() const { return std_.data(); }

    // Rows first .. first + count - 1 of the generation to `out` (count, d) on the device.
    void sample(std::uint32_t generation, std::size_t first, std::size_t count, T* out, Stream stream);

    // The point of the box that is nearest to the mean to `out` (d,) on the device.
    void center(T* out, Stream stream);

    // As pyasmg::estimate. x (N, d) lies on the device, or is null; it must stay there until `step`. The rest lies on
    // the host; `pull` (N,) or null: row j counts as mean + (x_j - mean) * pull_j where pull_j is not 0.
    EstimateResult estimate(std::uint32_t generation, const T* x, const T* pull, std::size_t count,
                            const std::uint8_t* valid, std::size_t n_objectives, const T* w, Stream stream);

    // As pyasmg::update_distribution along the gradients of the last `estimate`, with each side `reach` stds further
    // out; then a std is at most as wide as the box. Mean and std change if the result is finite. The path is read and
    // written on every path_stride-th coordinate.
    UpdateSummary step(const std::vector<double>& coefficients, double mean_step, double std_step, double std_shift,
                       T reach, StdForm form, const double* path, double* new_path, std::size_t path_stride,
                       double path_rate, Stream stream);

  private:
    struct Slab {
        std::size_t begin, end;  // coordinates; whole segments
    };
    // What `estimate` was given, ready on the device: a step without kept gradients needs it again.
    struct Given {
        std::uint32_t generation = 0;
        const T* x = nullptr;
        std::size_t n_rows = 0, m = 0;
        Buffer<std::uint32_t> rows;
        Buffer<T> values;  // w (n_rows, m), then its sums (m,), then pull (n_rows,)
        bool pulled = false;
    };

    Distribution<T> at(std::uint32_t generation) const;
    std::vector<Slab> slabs() const;
    void gradients_of(const Slab& slab, T* mean_gradient, T* std_gradient, std::size_t stride, double* norms,
                      Stream stream);
    template <int M>
    void launch_group(const Slab& slab, std::size_t objective, T* mean_gradient, T* std_gradient, std::size_t stride,
                      double* norms, Stream stream);
    template <int M, Source source>
    void launch_estimate(const Slab& slab, std::size_t objective, T* mean_gradient, T* std_gradient, std::size_t stride,
                         double* norms, Stream stream);
    template <class Number>
    void reserve(Buffer<Number>& buffer, std::size_t size, const char* what);
    std::string sizes(const char* what) const;

    std::shared_ptr<Runtime> runtime_;
    std::size_t dimension_;
    std::uint64_t seed_;
    bool mirrored_, keep_gradients_;
    std::size_t scratch_bytes_;
    Buffer<T> mean_, std_, low_, high_, next_mean_, next_std_;
    Buffer<T> mean_gradient_, std_gradient_;
    Buffer<double> partial_, sums_, coefficients_, path_norms_;
    Buffer<StepPart> parts_;
    Buffer<StepResult> result_;
    Given given_;
    bool estimated_ = false;
};

}  // namespace pyasmg::device
