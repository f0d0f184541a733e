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
#include <vector>

#include "arrays.hpp"
#include "elementary.hpp"
#include "estimator.hpp"
#include "gram.hpp"
#include "mtl_bindings.hpp"
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
#include "update.hpp"

namespace py = pybind11;

namespace {

using namespace pyasmg::binding;

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

    // Moves y; returns the norm of the gradient.
    m.def(
        "running_average",
        [](const Array<T>& x, double rate, double factor, std::optional<double> length, Array<T> y) {
            require(x.ndim() == 1 && y.ndim() == 1 && y.size() == x.size(), "x and y must have shape (n,).");
            T* moved = y.mutable_data();
            const py::gil_scoped_release release;
            return pyasmg::running_average<T>({{x.data(), size(x.size())}}, {rate, factor, length}, moved);
        },
        py::arg("x").noconvert(), py::arg("rate"), py::arg("factor"), py::arg("length"), py::arg("y").noconvert());

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

    pyasmg::bind_mtl(m);

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
