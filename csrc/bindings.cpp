// The one place where the core meets Python. Shapes and dtypes are validated in the Python layer, whose messages name
// the user's arguments; here they are checked once more, because a mistake would read foreign memory.
#include "cuda/bindings.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "conflict_averse.hpp"
#include "elementary.hpp"
#include "estimator.hpp"
#include "fair_weights.hpp"
#include "gradient_surgery.hpp"
#include "gram.hpp"
#include "leaf_lists.hpp"
#include "loss_weighting.hpp"
#include "nonnegative_qp.hpp"
#include "objectives.hpp"
#include "outliers.hpp"
#include "population.hpp"
#include "rng.hpp"
#include "row_combination.hpp"
#include "row_products.hpp"
#include "running_average.hpp"
#include "sign_dropout.hpp"
#include "simd.hpp"
#include "simplex_qp.hpp"
#include "spectral.hpp"
#include "tensors.hpp"
#include "update.hpp"

namespace py = pybind11;

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;
template <class T>
using MaybeArray = std::optional<Array<T>>;

using Indices = py::array_t<std::int64_t, py::array::c_style>;

void require(bool condition, const char* message) {
    if (!condition) throw std::invalid_argument(message);
}

std::size_t size(py::ssize_t value) { return static_cast<std::size_t>(value); }

template <class T>
pyasmg::Distribution<T> distribution_of(const Array<T>& mean, const Array<T>& std, const MaybeArray<T>& low,
                                        const MaybeArray<T>& high, std::uint64_t seed, std::uint32_t generation,
                                        bool mirrored) {
    require(mean.ndim() == 1 && std.ndim() == 1 && std.size() == mean.size(), "mean and std must have shape (d,).");
    require(low.has_value() == high.has_value(), "low and high come together.");
    require(!low || (low->size() == mean.size() && high->size() == mean.size()), "bounds must have shape (d,).");
    return {
        size(mean.size()), mean.data(), std.data(), low ? low->data() : nullptr, high ? high->data() : nullptr, seed,
        generation,        mirrored};
}

// Where the columns of x go, one array after the other.
template <class T>
std::vector<pyasmg::Columns<T>> columns_of(const Array<T>& x, std::vector<Array<T>>& outs) {
    std::vector<pyasmg::Columns<T>> columns;
    std::size_t first = 0;
    for (auto& out : outs) {
        columns.push_back({first, size(out.size()), out.mutable_data()});
        first += size(out.size());
    }
    require(first <= size(x.shape(1)), "x must have as many columns as outs have entries.");
    return columns;
}

// m, the number of tasks.
std::size_t square_size(const Array<double>& gram) {
    require(gram.ndim() == 2 && gram.shape(0) == gram.shape(1) && gram.size() > 0,
            "gram must have shape (m, m), m >= 1.");
    return size(gram.shape(0));
}

// The same with what PCGrad and GradVac get.
std::size_t surgery_size(const Array<double>& gram, const Indices& order) {
    const auto m = static_cast<py::ssize_t>(square_size(gram));
    require(order.ndim() == 2 && order.shape(0) == m && order.shape(1) == m - 1,
            "order must have shape (m, m - 1), m >= 1.");
    const std::int64_t* entry = order.data();
    for (py::ssize_t i = 0; i < order.size(); ++i)
        require(entry[i] >= 0 && entry[i] < m, "order must hold 0 .. m - 1.");
    return size(m);
}

template <class T>
void bind_kernels(py::module_& m) {
    m.def(
        "sample_population",
        [](const Array<T>& mean, const Array<T>& std, const MaybeArray<T>& low, const MaybeArray<T>& high,
           std::uint64_t seed, std::uint32_t generation, bool mirrored, std::size_t first, Array<T> out,
           int n_threads) {
            const auto at = distribution_of(mean, std, low, high, seed, generation, mirrored);
            require(out.ndim() == 2 && size(out.shape(1)) == at.dimension, "out must have shape (count, d).");
            const std::size_t count = size(out.shape(0));
            T* data = out.mutable_data();
            const py::gil_scoped_release release;  // pure C++ on arrays that the arguments keep alive
            pyasmg::sample_population(at, first, count, data, n_threads);
        },
        py::arg("mean").noconvert(), py::arg("std").noconvert(), py::arg("low").noconvert(),
        py::arg("high").noconvert(), py::arg("seed"), py::arg("generation"), py::arg("mirrored"), py::arg("first"),
        py::arg("out").noconvert(), py::arg("n_threads"));

    m.def(
        "sample_normals",
        [](std::uint64_t seed, std::uint32_t generation, std::size_t first, Array<T> out, int n_threads) {
            require(out.ndim() == 2, "out must have shape (count, d).");
            const std::size_t count = size(out.shape(0)), dimension = size(out.shape(1));
            T* data = out.mutable_data();
            const py::gil_scoped_release release;
            pyasmg::sample_normals(seed, generation, first, count, dimension, data, n_threads);
        },
        py::arg("seed"), py::arg("generation"), py::arg("first"), py::arg("out").noconvert(), py::arg("n_threads"));

    m.def(
        "estimate",
        [](const Array<T>& mean, const Array<T>& std, const MaybeArray<T>& low, const MaybeArray<T>& high,
           std::uint64_t seed, std::uint32_t generation, bool mirrored, const MaybeArray<T>& x,
           const Array<std::uint8_t>& valid, const Array<double>& w, Array<T> mean_gradient, Array<T> std_gradient,
           int n_threads) {
            const auto at = distribution_of(mean, std, low, high, seed, generation, mirrored);
            require(w.ndim() == 2, "w must have shape (N, m).");
            const std::size_t count = size(w.shape(0)), n_objectives = size(w.shape(1));
            require(size(valid.size()) == count, "valid must have shape (N,).");
            require(!x || (x->ndim() == 2 && size(x->shape(0)) == count && size(x->shape(1)) == at.dimension),
                    "x must have shape (N, d).");
            require(size(mean_gradient.size()) == n_objectives * at.dimension &&
                        std_gradient.size() == mean_gradient.size(),
                    "gradients must have shape (m, d).");
            const std::vector<T> weights(w.data(), w.data() + w.size());
            Array<double> gram({w.shape(1), w.shape(1)}), row_sums(w.shape(0));
            const pyasmg::Sample<T> sample{count, x ? x->data() : nullptr, valid.data()};
            const pyasmg::Estimate<T> out{mean_gradient.mutable_data(), std_gradient.mutable_data(),
                                          gram.mutable_data(), row_sums.mutable_data()};
            {
                const py::gil_scoped_release release;
                pyasmg::estimate(at, sample, n_objectives, weights.data(), out, n_threads);
            }
            return py::make_tuple(gram, row_sums);
        },
        py::arg("mean").noconvert(), py::arg("std").noconvert(), py::arg("low").noconvert(),
        py::arg("high").noconvert(), py::arg("seed"), py::arg("generation"), py::arg("mirrored"),
        py::arg("x").noconvert(), py::arg("valid").noconvert(), py::arg("w").noconvert(),
        py::arg("mean_gradient").noconvert(), py::arg("std_gradient").noconvert(), py::arg("n_threads"));

    m.def(
        "row_products",
        [](const Array<T>& x, bool in_double) {
            require(x.ndim() == 2 && x.shape(0) > 0, "x must have shape (m, d), m >= 1.");
            Array<double> gram({x.shape(0), x.shape(0)});
            double* data = gram.mutable_data();
            {
                const py::gil_scoped_release release;
                pyasmg::row_products(size(x.shape(0)), size(x.shape(1)), x.data(),
                                     in_double ? pyasmg::Precision::in_double : pyasmg::Precision::native, data);
            }
            return gram;
        },
        py::arg("x").noconvert(), py::arg("in_double"));

    // Moves y; returns the slopes.
    m.def(
        "running_average",
        [](const Array<T>& x, double rate, Array<T> y, const Array<double>& weights, bool in_double) {
            require(x.ndim() == 2 && y.ndim() == 2 && y.shape(0) == x.shape(0) && y.shape(1) == x.shape(1) &&
                        weights.ndim() == 1 && weights.size() == x.shape(0),
                    "x and y must have shape (m, d), weights (m,).");
            Array<double> slopes(weights.size());
            double* data = slopes.mutable_data();
            T* moved = y.mutable_data();
            {
                const py::gil_scoped_release release;
                pyasmg::running_average(size(x.shape(0)), size(x.shape(1)), x.data(), rate, moved, weights.data(),
                                        in_double ? pyasmg::Precision::in_double : pyasmg::Precision::native, data);
            }
            return slopes;
        },
        py::arg("x").noconvert(), py::arg("rate"), py::arg("y").noconvert(), py::arg("weights").noconvert(),
        py::arg("in_double"));

    // Fills `outs` one after the other with columns of the combination.
    m.def(
        "combine_rows",
        [](const Array<T>& x, const Array<double>& weights, double factor, std::vector<Array<T>> outs) {
            require(x.ndim() == 2 && weights.ndim() == 1 && weights.size() == x.shape(0),
                    "x must have shape (m, d), weights (m,).");
            const auto columns = columns_of(x, outs);
            const py::gil_scoped_release release;
            pyasmg::combine_rows(size(x.shape(0)), size(x.shape(1)), x.data(), weights.data(), factor, columns);
        },
        py::arg("x").noconvert(), py::arg("weights").noconvert(), py::arg("factor"), py::arg("outs").noconvert());

    // `generator` is numpy's PCG64, see pcg64.hpp; what comes back is the same after the draws.
    m.def(
        "sign_dropout",
        [](const Array<T>& x, const MaybeArray<double>& leak, const pyasmg::Pcg64Words& generator,
           std::vector<Array<T>> outs) {
            require(x.ndim() == 2 && (!leak || (leak->ndim() == 1 && leak->size() == x.shape(0))),
                    "x must have shape (m, d), leak (m,).");
            const auto columns = columns_of(x, outs);
            pyasmg::Pcg64 pcg = pyasmg::pcg64_from(generator);
            {
                const py::gil_scoped_release release;
                pyasmg::sign_dropout(size(x.shape(0)), size(x.shape(1)), x.data(), leak ? leak->data() : nullptr, pcg,
                                     columns);
            }
            return pyasmg::pcg64_words(pcg);
        },
        py::arg("x").noconvert(), py::arg("leak").noconvert(), py::arg("generator"), py::arg("outs").noconvert());

    // Writes the new mean to mean_gradient[0] and the new std to std_gradient[0].
    m.def(
        "update_distribution",
        [](const Array<T>& mean, const Array<T>& std, const MaybeArray<T>& low, const MaybeArray<T>& high,
           Array<T> mean_gradient, Array<T> std_gradient, const Array<double>& coefficients, double mean_step,
           double std_step, double std_shift, bool inverse, const MaybeArray<double>& path, MaybeArray<double> new_path,
           std::size_t path_stride, double path_rate, int n_threads) {
            const auto at = distribution_of(mean, std, low, high, 0, 0, false);
            const std::size_t n_objectives = size(coefficients.size());
            require(n_objectives > 0 && size(mean_gradient.size()) == n_objectives * at.dimension &&
                        std_gradient.size() == mean_gradient.size(),
                    "gradients must have shape (m, d).");
            require(path.has_value() == new_path.has_value(), "path and new_path come together.");
            require(!path || (path_stride > 0 && path->size() == new_path->size() &&
                              size(path->size()) == (at.dimension + path_stride - 1) / path_stride),
                    "path and new_path must have shape (ceil(d / path_stride),).");
            pyasmg::PathInput following;
            if (path) following = {path_stride, path_rate, path->data(), new_path->mutable_data()};
            T* new_mean = mean_gradient.mutable_data();
            T* new_std = std_gradient.mutable_data();
            const pyasmg::UpdateInput<T> input{at.dimension,
                                               n_objectives,
                                               new_mean,
                                               new_std,
                                               coefficients.data(),
                                               mean_step,
                                               std_step,
                                               std_shift,
                                               inverse ? pyasmg::StdForm::inverse : pyasmg::StdForm::exponential,
                                               at.low,
                                               at.high,
                                               following};
            pyasmg::UpdateSummary summary;
            {
                const py::gil_scoped_release release;
                summary = pyasmg::update_distribution(input, at.mean, at.std, new_mean, new_std, n_threads);
            }
            return py::make_tuple(summary.max_std, summary.min_std, summary.finite, summary.effective,
                                  summary.path_norm, summary.step_norm);
        },
        py::arg("mean").noconvert(), py::arg("std").noconvert(), py::arg("low").noconvert(),
        py::arg("high").noconvert(), py::arg("mean_gradient").noconvert(), py::arg("std_gradient").noconvert(),
        py::arg("coefficients").noconvert(), py::arg("mean_step"), py::arg("std_step"), py::arg("std_shift"),
        py::arg("inverse"), py::arg("path").noconvert(), py::arg("new_path").noconvert(), py::arg("path_stride"),
        py::arg("path_rate"), py::arg("n_threads"));
}

}  // namespace

PYBIND11_MODULE(_core, m) {
    m.doc() = "Numerical core of pyasmg.";

    bind_kernels<float>(m);
    bind_kernels<double>(m);

    m.def(
        "condition_objectives",
        [](const Array<double>& values, const MaybeArray<double>& center, bool standardise) {
            require(values.ndim() == 2, "values must have shape (N, m).");
            require(!center || center->size() == values.shape(1), "center must have shape (m,).");
            const py::ssize_t n_objectives = values.shape(1);
            Array<double> w({values.shape(0), n_objectives});
            Array<double> offset(n_objectives), scale(n_objectives), median(n_objectives), spread(n_objectives);
            Array<std::uint8_t> valid(values.shape(0));
            pyasmg::ObjectiveSummary summary{0,
                                             offset.mutable_data(),
                                             scale.mutable_data(),
                                             median.mutable_data(),
                                             spread.mutable_data(),
                                             valid.mutable_data()};
            pyasmg::condition_objectives(size(values.shape(0)), size(values.shape(1)), values.data(),
                                         center ? center->data() : nullptr, standardise, w.mutable_data(), summary);
            return py::make_tuple(w, valid, summary.n_valid, offset, scale, median, spread);
        },
        py::arg("values").noconvert(), py::arg("center").noconvert(), py::arg("standardise"));

    // Returns a changed copy of w, or None where it needs no change.
    m.def(
        "pull_in",
        [](const Array<double>& w, const Array<std::uint8_t>& valid, const Array<double>& weights, double far,
           std::size_t fewest) -> MaybeArray<double> {
            require(w.ndim() == 2 && valid.size() == w.shape(0) && weights.size() == w.shape(1),
                    "w must have shape (N, m), valid (N,), weights (m,).");
            Array<double> pulled({w.shape(0), w.shape(1)});
            if (!pyasmg::pull_in(size(w.shape(0)), size(w.shape(1)), w.data(), valid.data(), weights.data(), far,
                                 fewest, pulled.mutable_data()))
                return std::nullopt;
            return pulled;
        },
        py::arg("w").noconvert(), py::arg("valid").noconvert(), py::arg("weights").noconvert(), py::arg("far"),
        py::arg("fewest"));

    // Returns (ratio, log_scale, count); the arguments are left as they are.
    m.def(
        "follow_scales",
        [](const Array<double>& scale, const Array<double>& log_scale, const Array<double>& count) {
            require(scale.ndim() == 1 && log_scale.size() == scale.size() && count.size() == scale.size(),
                    "scale, log_scale and count must have shape (m,).");
            const py::ssize_t n_objectives = scale.size();
            Array<double> ratio(n_objectives), new_log_scale(n_objectives), new_count(n_objectives);
            std::copy_n(log_scale.data(), n_objectives, new_log_scale.mutable_data());
            std::copy_n(count.data(), n_objectives, new_count.mutable_data());
            pyasmg::follow_scales(size(n_objectives), scale.data(), new_log_scale.mutable_data(),
                                  new_count.mutable_data(), ratio.mutable_data());
            return py::make_tuple(ratio, new_log_scale, new_count);
        },
        py::arg("scale").noconvert(), py::arg("log_scale").noconvert(), py::arg("count").noconvert());

    m.def(
        "aggregate",
        [](const Array<double>& w, const Array<std::uint8_t>& valid, std::size_t n_valid, const Array<double>& weights,
           const Array<double>& row_sums, std::size_t dimension) {
            require(w.ndim() == 2 && valid.size() == w.shape(0) && weights.size() == w.shape(1) &&
                        row_sums.size() == w.shape(0),
                    "w must have shape (N, m), valid and row_sums (N,), weights (m,).");
            const pyasmg::Aggregate result =
                pyasmg::aggregate(size(w.shape(0)), size(w.shape(1)), w.data(), valid.data(), n_valid, weights.data(),
                                  row_sums.data(), dimension);
            return py::make_tuple(result.std, result.mean_std_gradient);
        },
        py::arg("w").noconvert(), py::arg("valid").noconvert(), py::arg("n_valid"), py::arg("weights").noconvert(),
        py::arg("row_sums").noconvert(), py::arg("dimension"));

    m.def(
        "unit_gram",
        [](const Array<double>& gram) {
            require(gram.ndim() == 2 && gram.shape(0) == gram.shape(1), "gram must have shape (m, m).");
            Array<double> norms(gram.shape(0)), cosines({gram.shape(0), gram.shape(0)});
            pyasmg::unit_gram(size(gram.shape(0)), gram.data(), norms.mutable_data(), cosines.mutable_data());
            return py::make_tuple(norms, cosines);
        },
        py::arg("gram").noconvert());

    m.def(
        "simplex_qp",
        [](const Array<double>& gram) {
            require(gram.ndim() == 2 && gram.shape(0) == gram.shape(1) && gram.size() > 0,
                    "gram must have shape (m, m), m >= 1.");
            Array<double> weights(gram.shape(0));
            const double value = pyasmg::simplex_qp(size(gram.shape(0)), gram.data(), weights.mutable_data());
            return py::make_tuple(weights, value);
        },
        py::arg("gram").noconvert());

    // first and second are updated.
    // Moves `vector`, and updates `first` and `second`.
    m.def(
        "adam_step",
        [](Array<double> vector, const Array<double>& gradient, Array<double> first, Array<double> second,
           double learning_rate, double beta1, double beta2, double eps, double weight_decay, double correction1,
           double correction2) {
            const auto n = vector.size();
            require(vector.ndim() == 1 && gradient.size() == n && first.size() == n && second.size() == n,
                    "gradient, first and second must have the size of vector.");
            pyasmg::adam_step(size(n), {learning_rate, beta1, beta2, eps, weight_decay, correction1, correction2},
                              gradient.data(), vector.mutable_data(), first.mutable_data(), second.mutable_data());
        },
        py::arg("vector").noconvert(), py::arg("gradient").noconvert(), py::arg("first").noconvert(),
        py::arg("second").noconvert(), py::arg("learning_rate"), py::arg("beta1"), py::arg("beta2"), py::arg("eps"),
        py::arg("weight_decay"), py::arg("correction1"), py::arg("correction2"));

    m.def(
        "softmax",
        [](const Array<double>& values) {
            require(values.ndim() == 1, "values must have shape (n,).");
            Array<double> shares(values.size());
            pyasmg::softmax(size(values.size()), values.data(), shares.mutable_data());
            return shares;
        },
        py::arg("values").noconvert());

    m.def(
        "softmax_slopes",
        [](const Array<double>& shares, const Array<double>& gradient) {
            require(shares.ndim() == 1 && gradient.size() == shares.size(), "gradient must have the size of shares.");
            Array<double> slopes(shares.size());
            pyasmg::softmax_slopes(size(shares.size()), shares.data(), gradient.data(), slopes.mutable_data());
            return slopes;
        },
        py::arg("shares").noconvert(), py::arg("gradient").noconvert());

    // Returns the gradients on the losses and on the shares.
    m.def(
        "gap_slopes",
        [](const Array<double>& losses, const Array<double>& shares, const Array<double>& gain, bool weighted,
           double upper, double lower, double smoothing) {
            const auto n = losses.size();
            require(losses.ndim() == 1 && shares.size() == n && gain.size() == n,
                    "shares and gain must have the size of losses.");
            Array<double> by_loss(n), by_share(n);
            pyasmg::gap_slopes(size(n), {weighted, upper, lower, smoothing}, losses.data(), shares.data(), gain.data(),
                               by_loss.mutable_data(), by_share.mutable_data());
            return py::make_tuple(by_loss, by_share);
        },
        py::arg("losses").noconvert(), py::arg("shares").noconvert(), py::arg("gain").noconvert(), py::arg("weighted"),
        py::arg("upper"), py::arg("lower"), py::arg("smoothing"));

    m.def(
        "group_means",
        [](const Array<double>& values, std::size_t n_groups) {
            require(values.ndim() == 1 && n_groups > 0, "values must have shape (n,), and n_groups must be positive.");
            Array<double> means(values.size());
            pyasmg::group_means(size(values.size()), values.data(), n_groups, means.mutable_data());
            return means;
        },
        py::arg("values").noconvert(), py::arg("n_groups"));

    m.def("distinct_leaves", &pyasmg::distinct_leaves, py::arg("kind"), py::arg("first"), py::arg("others"));

    py::class_<pyasmg::Tensors>(m, "Tensors")
        .def(py::init<const py::type&, const py::type&, const py::function&>(), py::arg("kind"), py::arg("parameter"),
             py::arg("empty_like"))
        .def("scalars", &pyasmg::Tensors::scalars, py::arg("list"), py::arg("n"))
        .def("fill_row", &pyasmg::Tensors::fill_row, py::arg("matrix"), py::arg("row"), py::arg("found"),
             py::arg("count"))
        .def("starts", &pyasmg::Tensors::starts, py::arg("list"), py::arg("gradient"))
        .def("passes", &pyasmg::Tensors::passes, py::arg("run"), py::arg("starts"), py::arg("targets"),
             py::arg("heads"), py::arg("matrix"), py::arg("keep_last"), py::arg("otherwise"))
        .def("fits", &pyasmg::Tensors::fits, py::arg("matrix"), py::arg("n_rows"), py::arg("targets"))
        .def("gram", &pyasmg::Tensors::gram, py::arg("matrix"), py::arg("exact_work"))
        .def("place", &pyasmg::Tensors::place, py::arg("parameters"), py::arg("gradients"))
        .def("place_copies", &pyasmg::Tensors::place_copies, py::arg("parameters"), py::arg("gradients"),
             py::arg("factors"))
        .def("combine", &pyasmg::Tensors::combine, py::arg("matrix"), py::arg("weights"),
             py::arg("targets"))
        .def("sign_dropout", &pyasmg::Tensors::sign_dropout, py::arg("matrix"), py::arg("leak").noconvert(),
             py::arg("generator"), py::arg("targets"))
        .def("running_average", &pyasmg::Tensors::running_average, py::arg("matrix"), py::arg("rate"),
             py::arg("average"), py::arg("weights").noconvert(), py::arg("exact_work"));

    // Returns (weights, number of Newton steps).
    m.def(
        "fair_weights",
        [](const Array<double>& gram, double alpha, const Array<double>& preference) {
            require(gram.ndim() == 2 && gram.shape(0) == gram.shape(1) && gram.size() > 0,
                    "gram must have shape (m, m), m >= 1.");
            require(preference.size() == gram.shape(0), "preference must have shape (m,).");
            Array<double> weights(gram.shape(0));
            const int n_steps = pyasmg::fair_weights(size(gram.shape(0)), gram.data(), alpha, preference.data(),
                                                     weights.mutable_data());
            return py::make_tuple(weights, n_steps);
        },
        py::arg("gram").noconvert(), py::arg("alpha"), py::arg("preference").noconvert());

    // Returns (y, whether the value has a bound).
    m.def(
        "nonnegative_qp",
        [](const Array<double>& matrix, const Array<double>& linear, bool bounded) {
            require(matrix.ndim() == 2 && matrix.shape(0) == matrix.shape(1), "matrix must have shape (m, m).");
            require(linear.ndim() == 1 && linear.size() == matrix.shape(0), "linear must have shape (m,).");
            Array<double> y(linear.size());
            const bool has_bound =
                pyasmg::nonnegative_qp(size(linear.size()), matrix.data(), linear.data(), bounded, y.mutable_data());
            return py::make_tuple(y, has_bound);
        },
        py::arg("matrix").noconvert(), py::arg("linear").noconvert(), py::arg("bounded"));

    m.def(
        "bounded_qps",
        [](const Array<double>& matrix, const Array<double>& linears) {
            require(matrix.ndim() == 2 && matrix.shape(0) == matrix.shape(1), "matrix must have shape (m, m).");
            require(linears.ndim() == 2 && linears.shape(1) == matrix.shape(0), "linears must have shape (count, m).");
            Array<double> y({linears.shape(0), linears.shape(1)});
            pyasmg::bounded_qps(size(matrix.shape(0)), size(linears.shape(0)), matrix.data(), linears.data(),
                                y.mutable_data());
            return y;
        },
        py::arg("matrix").noconvert(), py::arg("linears").noconvert());

    // The coefficients, and whether they were found.
    m.def(
        "conflict_averse_guess",
        [](const Array<double>& cosines, const Array<double>& inner, const Array<double>& shares, double radius,
           const Array<std::uint8_t>& inside, bool held) {
            const auto n = inner.size();
            require(cosines.ndim() == 2 && cosines.shape(0) == n && cosines.shape(1) == n && shares.size() == n &&
                        inside.size() == n,
                    "cosines must have shape (m, m), inner, shares and inside (m,).");
            Array<double> y(n);
            const bool found = pyasmg::conflict_averse_guess(
                {size(n), cosines.data(), inner.data(), shares.data(), radius, held}, inside.data(), y.mutable_data());
            return py::make_tuple(y, found);
        },
        py::arg("cosines").noconvert(), py::arg("inner").noconvert(), py::arg("shares").noconvert(), py::arg("radius"),
        py::arg("inside").noconvert(), py::arg("held"));

    m.def(
        "upgrad_weights",
        [](const Array<double>& gram) {
            const std::size_t n_tasks = square_size(gram);
            Array<double> weights(gram.shape(0));
            pyasmg::upgrad_weights(n_tasks, gram.data(), weights.mutable_data());
            return weights;
        },
        py::arg("gram").noconvert());

    // The weights; None where they are not found at once.
    m.def(
        "conflict_averse_weights",
        [](const Array<double>& gram, double c) -> std::optional<Array<double>> {
            const std::size_t n_tasks = square_size(gram);
            Array<double> weights(gram.shape(0));
            if (!pyasmg::conflict_averse_weights(n_tasks, gram.data(), c, weights.mutable_data())) return {};
            return weights;
        },
        py::arg("gram").noconvert(), py::arg("c"));

    m.def(
        "remove_conflicts",
        [](const Array<double>& gram, const Indices& order, double factor) {
            const std::size_t n_tasks = surgery_size(gram, order);
            std::vector<double> norms(n_tasks), cosines(n_tasks * n_tasks), coefficients(n_tasks * n_tasks);
            pyasmg::unit_gram(n_tasks, gram.data(), norms.data(), cosines.data());
            pyasmg::remove_conflicts(n_tasks, cosines.data(), order.data(), coefficients.data());
            Array<double> weights(gram.shape(0));
            pyasmg::surgery_weights(n_tasks, norms.data(), coefficients.data(), factor, weights.mutable_data());
            return weights;
        },
        py::arg("gram").noconvert(), py::arg("order").noconvert(), py::arg("factor"));

    // Returns (weights, usual); the argument is left as it is.
    m.def(
        "vaccinate",
        [](const Array<double>& gram, const Indices& order, double factor, double rate, bool always,
           double largest_target, const Array<double>& usual) {
            const std::size_t n_tasks = surgery_size(gram, order);
            require(usual.size() == gram.size(), "usual must have shape (m, m).");
            std::vector<double> norms(n_tasks), cosines(n_tasks * n_tasks), coefficients(n_tasks * n_tasks);
            pyasmg::unit_gram(n_tasks, gram.data(), norms.data(), cosines.data());
            Array<double> updated({gram.shape(0), gram.shape(1)}), weights(gram.shape(0));
            std::copy_n(usual.data(), usual.size(), updated.mutable_data());
            pyasmg::vaccinate(n_tasks, cosines.data(), order.data(), {rate, always, largest_target},
                              updated.mutable_data(), coefficients.data());
            pyasmg::surgery_weights(n_tasks, norms.data(), coefficients.data(), factor, weights.mutable_data());
            return py::make_tuple(weights, updated);
        },
        py::arg("gram").noconvert(), py::arg("order").noconvert(), py::arg("factor"), py::arg("rate"),
        py::arg("always"), py::arg("largest_target"), py::arg("usual").noconvert());

    m.def(
        "impartial_weights",
        [](const Array<double>& gram) {
            const std::size_t n_tasks = square_size(gram);
            Array<double> weights(gram.shape(0));
            pyasmg::impartial_weights(n_tasks, gram.data(), weights.mutable_data());
            return weights;
        },
        py::arg("gram").noconvert());

    // `scale` is "min", "median" or "rmse".
    m.def(
        "aligned_weights",
        [](const Array<double>& gram, const std::string& scale, const Array<double>& wanted) {
            const std::size_t n_tasks = square_size(gram);
            require(wanted.ndim() == 1 && wanted.size() == gram.shape(0), "wanted must have shape (m,).");
            require(scale == "min" || scale == "median" || scale == "rmse", "scale must be min, median or rmse.");
            const auto kind = scale == "min"      ? pyasmg::AlignedScale::smallest
                              : scale == "median" ? pyasmg::AlignedScale::median
                                                  : pyasmg::AlignedScale::mean;
            Array<double> weights(gram.shape(0));
            pyasmg::aligned_weights(n_tasks, gram.data(), kind, wanted.data(), weights.mutable_data());
            return weights;
        },
        py::arg("gram").noconvert(), py::arg("scale"), py::arg("wanted").noconvert());

    m.def(
        "gradnorm_slopes",
        [](const Array<double>& gram, double alpha, const Array<double>& weights, const Array<double>& losses,
           const Array<double>& initial) {
            const std::size_t n_tasks = square_size(gram);
            require(
                weights.size() == gram.shape(0) && losses.size() == weights.size() && initial.size() == weights.size(),
                "weights, losses and initial must have shape (m,).");
            Array<double> slopes(gram.shape(0));
            pyasmg::gradnorm_slopes(n_tasks, alpha, weights.data(), gram.data(), n_tasks + 1, losses.data(),
                                    initial.data(), slopes.mutable_data());
            return slopes;
        },
        py::arg("gram").noconvert(), py::arg("alpha"), py::arg("weights").noconvert(), py::arg("losses").noconvert(),
        py::arg("initial").noconvert());

    m.def(
        "simplex_projection",
        [](const Array<double>& point) {
            require(point.ndim() == 1 && point.size() > 0, "point must have shape (n,), n >= 1.");
            Array<double> projection(point.size());
            pyasmg::simplex_projection(size(point.size()), point.data(), projection.mutable_data());
            return projection;
        },
        py::arg("point").noconvert());

    m.def(
        "philox4x32",
        [](std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
            pyasmg::philox4x32(counter[0], counter[1], counter[2], counter[3], key[0], key[1]);
            return counter;
        },
        py::arg("counter"), py::arg("key"));

    // The same bits on every machine, unlike libm's.
    m.def("log", [](double value) { return pyasmg::log_positive(value); }, py::arg("value"));
    m.def("exp", [](double value) { return pyasmg::exp_bounded(value); }, py::arg("value"));

    m.def("simd_levels", &pyasmg::simd_levels);
    m.def("simd_level", &pyasmg::simd_level_name);
    m.def("set_simd_level", &pyasmg::set_simd_level, py::arg("name"));

    pyasmg::device::bind_device(m);
}
