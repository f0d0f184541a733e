// The part of the Python module for pyasmg.mtl; included by bindings.cpp.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "conflict_averse.hpp"
#include "fair_weights.hpp"
#include "gradient_surgery.hpp"
#include "gram.hpp"
#include "leaf_lists.hpp"
#include "loss_weighting.hpp"
#include "nonnegative_qp.hpp"
#include "spectral.hpp"
#include "tensors.hpp"

namespace pyasmg {
namespace binding {

// m, the number of tasks.
inline std::size_t square_size(const Array<double>& gram) {
    require(gram.ndim() == 2 && gram.shape(0) == gram.shape(1) && gram.size() > 0,
            "gram must have shape (m, m), m >= 1.");
    return size(gram.shape(0));
}

// The same with what PCGrad and GradVac get.
inline std::size_t surgery_size(const Array<double>& gram, const Indices& order) {
    const auto m = static_cast<py::ssize_t>(square_size(gram));
    require(order.ndim() == 2 && order.shape(0) == m && order.shape(1) == m - 1,
            "order must have shape (m, m - 1), m >= 1.");
    const std::int64_t* entry = order.data();
    for (py::ssize_t i = 0; i < order.size(); ++i)
        require(entry[i] >= 0 && entry[i] < m, "order must hold 0 .. m - 1.");
    return size(m);
}

// A rule that makes weights of a Gram matrix and of nothing else.
inline auto of_gram(void (*rule)(std::size_t, const double*, double*)) {
    return [rule](const Array<double>& gram) {
        const std::size_t n_tasks = square_size(gram);
        Array<double> weights(gram.shape(0));
        rule(n_tasks, gram.data(), weights.mutable_data());
        return weights;
    };
}

}  // namespace binding

inline void bind_mtl(pybind11::module_& m) {
    using namespace binding;
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

    m.def("distinct", &pyasmg::distinct, py::arg("kind"), py::arg("first"), py::arg("others"));
    m.def("distinct_leaves", &pyasmg::distinct_leaves, py::arg("kind"), py::arg("first"), py::arg("others"));

    py::class_<pyasmg::Tensors>(m, "Tensors")
        .def(py::init<const py::type&, const py::type&, const py::function&>(), py::arg("kind"), py::arg("parameter"),
             py::arg("empty_like"))
        .def("scalars", &pyasmg::Tensors::scalars, py::arg("list"), py::arg("n"))
        .def("fill_row", &pyasmg::Tensors::fill_row, py::arg("matrix"), py::arg("row"), py::arg("found"),
             py::arg("count"))
        .def("starts", &pyasmg::Tensors::starts, py::arg("list"), py::arg("gradient"))
        .def("passes", &pyasmg::Tensors::passes, py::arg("run"), py::arg("starts"), py::arg("targets"),
             py::arg("heads"), py::arg("matrix"), py::arg("goals"), py::arg("keep_last"), py::arg("otherwise"))
        .def("fits", &pyasmg::Tensors::fits, py::arg("matrix"), py::arg("n_rows"), py::arg("targets"))
        .def("gram", &pyasmg::Tensors::gram, py::arg("matrix"), py::arg("exact_work"))
        .def("place", &pyasmg::Tensors::place, py::arg("parameters"), py::arg("gradients"))
        .def("copies", &pyasmg::Tensors::copies, py::arg("lists"), py::arg("factors"))
        .def("combine", &pyasmg::Tensors::combine, py::arg("matrix"), py::arg("weights"), py::arg("targets"))
        .def("sign_dropout", &pyasmg::Tensors::sign_dropout, py::arg("matrix"), py::arg("leak").noconvert(),
             py::arg("generator"), py::arg("targets"))
        .def("running_average", &pyasmg::Tensors::running_average, py::arg("matrix"), py::arg("row"), py::arg("found"),
             py::arg("count"), py::arg("goal"));

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

    m.def("upgrad_weights", of_gram(&pyasmg::upgrad_weights), py::arg("gram").noconvert());

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

    m.def("impartial_weights", of_gram(&pyasmg::impartial_weights), py::arg("gram").noconvert());

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
        "moved_weights",
        [](const Array<double>& gram, const Array<double>& weights, double rate, double rho) {
            const std::size_t n_tasks = square_size(gram);
            require(weights.ndim() == 1 && weights.size() == gram.shape(0), "weights must have shape (m,).");
            Array<double> moved(weights.size());
            pyasmg::moved_weights(n_tasks, gram.data(), weights.data(), rate, rho, moved.mutable_data());
            return moved;
        },
        py::arg("gram").noconvert(), py::arg("weights").noconvert(), py::arg("rate"), py::arg("rho"));

    m.def(
        "simplex_projection",
        [](const Array<double>& point) {
            require(point.ndim() == 1 && point.size() > 0, "point must have shape (n,), n >= 1.");
            Array<double> projection(point.size());
            pyasmg::simplex_projection(size(point.size()), point.data(), projection.mutable_data());
            return projection;
        },
        py::arg("point").noconvert());
}

}  // namespace pyasmg
