#include "search.hpp"

#include <algorithm>

namespace pyasmg::device {
namespace {

std::size_t n_pairs(std::size_t m) { return m * (m + 1) / 2; }

}  // namespace

template <class T>
DeviceSearch<T>::DeviceSearch(std::shared_ptr<Runtime> runtime, std::size_t dimension, const T* mean, const T* std,
                              const T* low, const T* high, std::uint64_t seed, bool mirrored, bool keep_gradients,
                              std::size_t scratch_bytes)
    : runtime_(std::move(runtime)),
      dimension_(dimension),
      seed_(seed),
      mirrored_(mirrored),
      keep_gradients_(keep_gradients),
      scratch_bytes_(scratch_bytes) {
    const auto put = [&](Buffer<T>& to, const T* from, const char* what) {
        if (from == nullptr) return;
        reserve(to, dimension_, what);
        runtime_->upload(to.data(), from, dimension_ * sizeof(T), 0);
    };
    put(mean_, mean, "the mean");
    put(std_, std, "the stds");
    put(low_, low, "the lower bounds");
    put(high_, high, "the upper bounds");
    // Any stream may be used from here on: wait for the copies.
    T last{};
    runtime_->download(&last, std_.data(), sizeof(T), 0);
}

template <class T>
std::string DeviceSearch<T>::sizes(const char* what) const {
    return std::string(what) + " of a search with d = " + std::to_string(dimension_) +
           (given_.m > 0 ? ", m = " + std::to_string(given_.m) + ", N = " + std::to_string(given_.n_rows) : "") + ", " +
           (sizeof(T) == 4 ? "float32" : "float64");
}

template <class T>
template <class Number>
void DeviceSearch<T>::reserve(Buffer<Number>& buffer, std::size_t size, const char* what) {
    if (buffer.size() >= size) return;
    buffer = Buffer<Number>();  // first free, then ask
    buffer = Buffer<Number>(runtime_, size, sizes(what));
}

template <class T>
Distribution<T> DeviceSearch<T>::at(std::uint32_t generation) const {
    return {dimension_, mean_.data(), std_.data(), low_.data(), high_.data(), seed_, generation, mirrored_};
}

template <class T>
void DeviceSearch<T>::sample(std::uint32_t generation, std::size_t first, std::size_t count, T* out, Stream stream) {
    const auto kernel = SampleKernel<T>::make(at(generation), first, count, out);
    if (kernel.n_blocks() > 0) runtime_->launch(kernel, kernel.n_blocks(), stream);
}

template <class T>
void DeviceSearch<T>::center(T* out, Stream stream) {
    if (low_.data() == nullptr) return runtime_->copy(out, mean_.data(), dimension_ * sizeof(T), stream);
    ClipKernel<T> kernel{};
    kernel.dimension = dimension_;
    kernel.mean = mean_.data();
    kernel.low = low_.data();
    kernel.high = high_.data();
    kernel.out = out;
    runtime_->launch(kernel, kernel.n_blocks(), stream);
}

// Whole segments, as many as keep the partial sums (and the gradients that are not kept) small.
template <class T>
std::vector<typename DeviceSearch<T>::Slab> DeviceSearch<T>::slabs() const {
    const std::size_t length = segment_length(dimension_), m = given_.m;
    const std::size_t partial = length / block_size<T>(m) * (given_.n_rows + n_pairs(m)) * sizeof(double);
    std::size_t n = scratch_bytes_ / 4 / std::max<std::size_t>(partial, 1);
    if (!keep_gradients_) n = std::min(n, scratch_bytes_ / (2 * m * length * sizeof(T)));
    n = std::max<std::size_t>(n, 1);
    std::vector<Slab> slabs;
    for (std::size_t begin = 0; begin < dimension_; begin += n * length) {
        slabs.push_back({begin, std::min(dimension_, begin + n * length)});
    }
    return slabs;
}

template <class T>
template <int M, Source source>
void DeviceSearch<T>::launch_estimate(const Slab& slab, std::size_t objective, T* mean_gradient, T* std_gradient,
                                      std::size_t stride, double* norms, Stream stream) {
    const std::size_t n_weights = given_.n_rows * given_.m;
    EstimateKernel<T, M, source> kernel{};
    kernel.at = at(given_.generation);
    kernel.x = given_.x;
    kernel.rows = given_.rows.data();
    kernel.w = given_.values.data();
    kernel.w_sums = kernel.w + n_weights;
    kernel.pull = given_.pulled ? kernel.w_sums + given_.m : nullptr;
    kernel.n_rows = given_.n_rows;
    kernel.m = given_.m;
    kernel.objective = objective;
    kernel.active = static_cast<int>(std::min<std::size_t>(M, given_.m - objective));
    kernel.coordinate_begin = slab.begin;
    kernel.coordinate_end = slab.end;
    kernel.stride = stride;
    kernel.mean_gradient = mean_gradient;
    kernel.std_gradient = std_gradient;
    kernel.norms = objective == 0 ? norms : nullptr;
    while (kTile >> kernel.sub_bits > block_size<T>(given_.m)) ++kernel.sub_bits;
    runtime_->launch(kernel, divide_up(slab.end - slab.begin, kTile), stream);
}

template <class T>
template <int M>
void DeviceSearch<T>::launch_group(const Slab& slab, std::size_t objective, T* mean_gradient, T* std_gradient,
                                   std::size_t stride, double* norms, Stream stream) {
    if (given_.x == nullptr) {
        launch_estimate<M, Source::regenerated>(slab, objective, mean_gradient, std_gradient, stride, norms, stream);
    } else if (low_.data() != nullptr) {
        launch_estimate<M, Source::given_bounded>(slab, objective, mean_gradient, std_gradient, stride, norms, stream);
    } else {
        launch_estimate<M, Source::given>(slab, objective, mean_gradient, std_gradient, stride, norms, stream);
    }
}

// One pass over the sample for every four objectives.
template <class T>
void DeviceSearch<T>::gradients_of(const Slab& slab, T* mean_gradient, T* std_gradient, std::size_t stride,
                                   double* norms, Stream stream) {
    for (std::size_t i = 0; i < given_.m;) {
        const std::size_t left = given_.m - i;
        if (left == 1) {
            launch_group<1>(slab, i, mean_gradient, std_gradient, stride, norms, stream);
            i += 1;
        } else if (left == 2) {
            launch_group<2>(slab, i, mean_gradient, std_gradient, stride, norms, stream);
            i += 2;
        } else {
            launch_group<4>(slab, i, mean_gradient, std_gradient, stride, norms, stream);
            i += 4;
        }
    }
}

template <class T>
EstimateResult DeviceSearch<T>::estimate(std::uint32_t generation, const T* x, const T* pull, std::size_t count,
                                         const std::uint8_t* valid, std::size_t n_objectives, const T* w,
                                         Stream stream) {
    const std::size_t m = n_objectives;
    estimated_ = false;
    std::vector<std::uint32_t> rows;
    std::vector<T> values, factors, w_sums(m, T(0));
    for (std::size_t j = 0; j < count; ++j) {
        if (valid[j] == 0) continue;
        rows.push_back(static_cast<std::uint32_t>(j));
        values.insert(values.end(), w + j * m, w + (j + 1) * m);
        for (std::size_t i = 0; i < m; ++i) w_sums[i] += w[j * m + i];
        if (pull != nullptr) factors.push_back(pull[j]);
    }
    values.insert(values.end(), w_sums.begin(), w_sums.end());
    values.insert(values.end(), factors.begin(), factors.end());

    given_.generation = generation;
    given_.x = x;
    given_.n_rows = rows.size();
    given_.m = m;
    given_.pulled = pull != nullptr;
    const std::vector<Slab> all = slabs();
    const std::size_t longest = all[0].end - all[0].begin, block = block_size<T>(m);
    const std::size_t n_rows = rows.size(), pairs = n_pairs(m), width = n_rows + pairs;
    const std::size_t length = segment_length(dimension_), n_segments = divide_up(dimension_, length);
    const std::size_t stride = keep_gradients_ ? dimension_ : longest;
    reserve(given_.rows, std::max<std::size_t>(n_rows, 1), "the list of rows");
    reserve(given_.values, values.size(), "the weights");
    reserve(mean_gradient_, m * stride, "the mean's gradients");
    reserve(std_gradient_, m * stride, "the stds' gradients");
    reserve(partial_, divide_up(longest, block) * width, "the partial sums");
    reserve(sums_, (n_segments + 1) * width, "the sums of the segments");
    runtime_->upload(given_.rows.data(), rows.data(), n_rows * sizeof(std::uint32_t), stream);
    runtime_->upload(given_.values.data(), values.data(), values.size() * sizeof(T), stream);

    for (const Slab& slab : all) {
        const std::size_t offset = keep_gradients_ ? slab.begin : 0, n = slab.end - slab.begin;
        T* mean_gradient = mean_gradient_.data() + offset;
        T* std_gradient = std_gradient_.data() + offset;
        double* norms = partial_.data();
        double* products = norms + divide_up(n, block) * n_rows;
        double* sums = sums_.data() + slab.begin / length * width;
        gradients_of(slab, mean_gradient, std_gradient, stride, norms, stream);
        GramKernel<T> gram{};
        gram.mean_gradient = mean_gradient;
        gram.std_gradient = std_gradient;
        gram.stride = stride;
        gram.m = m;
        gram.n = n;
        gram.block = block;
        gram.out = products;
        runtime_->launch(gram, gram.n_blocks(), stream);
        ReduceKernel reduce{};
        reduce.n_rows = divide_up(n, block);
        reduce.per_segment = length / block;
        reduce.out_stride = width;
        reduce.in = norms;
        reduce.width = n_rows;
        reduce.out = sums;
        if (n_rows > 0) runtime_->launch(reduce, reduce.n_blocks(), stream);
        reduce.in = products;
        reduce.width = pairs;
        reduce.out = sums + n_rows;
        runtime_->launch(reduce, reduce.n_blocks(), stream);
    }
    ReduceKernel total{};
    total.in = sums_.data();
    total.n_rows = total.per_segment = n_segments;
    total.width = total.out_stride = width;
    total.out = sums_.data() + n_segments * width;
    runtime_->launch(total, total.n_blocks(), stream);
    std::vector<double> packed(width);
    runtime_->download(packed.data(), total.out, width * sizeof(double), stream);

    EstimateResult result{std::vector<double>(m * m), std::vector<double>(count, 0.0)};
    for (std::size_t r = 0; r < n_rows; ++r) result.row_sums[rows[r]] = packed[r];
    for (std::size_t i = 0, pair = n_rows; i < m; ++i) {
        for (std::size_t j = 0; j <= i; ++j, ++pair) result.gram[i * m + j] = result.gram[j * m + i] = packed[pair];
    }
    estimated_ = true;
    return result;
}

template <class T>
UpdateSummary DeviceSearch<T>::step(const std::vector<double>& coefficients, double mean_step, double std_step,
                                    double std_shift, T reach, StdForm form, const double* path, double* new_path,
                                    std::size_t path_stride, double path_rate, Stream stream) {
    if (!estimated_ || coefficients.size() != given_.m) {
        throw std::invalid_argument("`step` must follow `estimate`, with a coefficient for each of its columns.");
    }
    const std::vector<Slab> all = keep_gradients_ ? std::vector<Slab>{{0, dimension_}} : slabs();
    const std::size_t m = given_.m, length = segment_length(dimension_), n_segments = divide_up(dimension_, length);
    const std::size_t stride = keep_gradients_ ? dimension_ : all[0].end - all[0].begin;
    std::size_t n_parts = 0;
    for (const Slab& slab : all) n_parts += divide_up(slab.end - slab.begin, StepKernel<T>::kPerBlock);
    if (!keep_gradients_) {
        reserve(next_mean_, dimension_, "the next mean");
        reserve(next_std_, dimension_, "the next stds");
    }
    reserve(coefficients_, m, "the coefficients");
    reserve(parts_, n_parts, "the summaries");
    reserve(path_norms_, 2 * n_segments, "the norms of the path");
    reserve(result_, 1, "the summary");
    runtime_->upload(coefficients_.data(), coefficients.data(), m * sizeof(double), stream);
    estimated_ = false;

    std::size_t part = 0;
    for (const Slab& slab : all) {
        if (!keep_gradients_) {
            gradients_of(slab, mean_gradient_.data(), std_gradient_.data(), stride, nullptr, stream);
        }
        const Gradients<T> gradients{
            mean_gradient_.data(), std_gradient_.data(), coefficients_.data(), stride, m, slab.begin, slab.end};
        if (path != nullptr) {  // before the step, which may overwrite the gradients
            PathKernel<T> follow{};
            follow.gradients = gradients;
            follow.length = length;
            follow.path_stride = path_stride;
            follow.rate = path_rate;
            follow.path = path;
            follow.new_path = new_path;
            follow.norms = path_norms_.data() + 2 * (slab.begin / length);
            runtime_->launch(follow, follow.n_blocks(), stream);
        }
        StepKernel<T> step{};
        step.gradients = gradients;
        step.mean = mean_.data();
        step.std = std_.data();
        step.low = low_.data();
        step.high = high_.data();
        step.mean_step = mean_step;
        step.std_step = std_step;
        step.std_shift = std_shift;
        step.reach = reach;
        step.inverse = form == StdForm::inverse;
        step.new_mean = keep_gradients_ ? mean_gradient_.data() : next_mean_.data() + slab.begin;
        step.new_std = keep_gradients_ ? std_gradient_.data() : next_std_.data() + slab.begin;
        step.parts = parts_.data() + part;
        runtime_->launch(step, step.n_blocks(), stream);
        part += step.n_blocks();
    }
    FinishKernel finish{};
    finish.parts = parts_.data();
    finish.n_parts = n_parts;
    finish.norms = path == nullptr ? nullptr : path_norms_.data();
    finish.n_segments = n_segments;
    finish.out = result_.data();
    runtime_->launch(finish, finish.n_blocks(), stream);
    StepResult result{};
    runtime_->download(&result, finish.out, sizeof(result), stream);

    const UpdateSummary summary{result.part.max_std,        result.part.min_std, result.part.outside == 0,
                                result.part.effective != 0, result.path_norm,    result.step_norm};
    if (summary.finite && keep_gradients_) {
        runtime_->copy(mean_.data(), mean_gradient_.data(), dimension_ * sizeof(T), stream);
        runtime_->copy(std_.data(), std_gradient_.data(), dimension_ * sizeof(T), stream);
    } else if (summary.finite) {
        mean_.swap(next_mean_);
        std_.swap(next_std_);
    }
    if (!keep_gradients_ && dimension_ * sizeof(T) > scratch_bytes_) {  // small ones wait for the next step
        next_mean_ = Buffer<T>();
        next_std_ = Buffer<T>();
    }
    return summary;
}

template class DeviceSearch<float>;
template class DeviceSearch<double>;

}  // namespace pyasmg::device
