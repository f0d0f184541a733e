// Small work on PyTorch's tensors in host memory, without PyTorch's headers: through the C exchange API of DLPack 1.3
// a tensor's address costs some 50 ns, where a call of any of its methods costs a microsecond, and several in cold
// caches. Each function serves the usual case only, and says so where it did not.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "dlpack.hpp"
#include "leaf_lists.hpp"
#include "row_combination.hpp"
#include "row_products.hpp"
#include "running_average.hpp"
#include "sign_dropout.hpp"

namespace pyasmg {

class Tensors {
    using Vector = pybind11::array_t<double, pybind11::array::c_style>;
    static constexpr std::size_t kLarge = std::size_t{1} << 18;  // numbers: smaller ones are not worth holding

    using Goals = std::vector<std::tuple<double, double, std::optional<double>>>;

  public:
    // `kind` and `parameter` are the classes of tensors to be read: subclasses may have rules of their own;
    // `empty_like` makes new ones.
    Tensors(const pybind11::type& kind, const pybind11::type& parameter, const pybind11::function& empty_like)
        : kind_{kind}, parameter_{parameter}, empty_like_{empty_like} {
        const auto capsule = pybind11::getattr(kind, "__dlpack_c_exchange_api__", pybind11::none());
        if (!PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api")) return;  // an older PyTorch
        auto* api = static_cast<const DLPackExchangeAPI*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
        while (api != nullptr && api->major > kDLPackMajor) api = api->older;
        if (api != nullptr && api->major == kDLPackMajor) read_ = api->read;
    }

    // The values of n scalars that require a gradient, if all are usual and finite; None otherwise.
    pybind11::object scalars(pybind11::handle list, pybind11::ssize_t n) const {
        namespace py = pybind11;
        if (read_ == nullptr || !is_list(list) || PySequence_Fast_GET_SIZE(list.ptr()) != n) return py::none();
        py::array_t<double> values(n);
        for (py::ssize_t i = 0; i < n; ++i) {
            const py::handle entry = PySequence_Fast_GET_ITEM(list.ptr(), i);
            const auto found = view(entry);
            if (!found || found->ndim != 0 || !py::getattr(entry, requires_grad_).is(py::bool_(true))) {
                return py::none();
            }
            const double value = found->in_double ? *static_cast<const double*>(found->data)
                                                  : double{*static_cast<const float*>(found->data)};
            if (!std::isfinite(value)) return py::none();
            values.mutable_at(i) = value;
        }
        return std::move(values);
    }

    // Copies the first `count` entries of the tuple `found` into a row of the matrix, one after the other. False, and
    // the row is anything, where they are not as the row is, or not as many numbers.
    bool fill_row(pybind11::handle matrix, std::int64_t row, pybind11::handle found, pybind11::ssize_t count) const {
        const auto rows = view(matrix);
        if (!rows || rows->ndim != 2 || row < 0 || row >= rows->shape[0] || !is_list(found) || count < 0 ||
            count > PySequence_Fast_GET_SIZE(found.ptr())) {
            return false;
        }
        const auto n_columns = static_cast<std::size_t>(rows->shape[1]), width = rows->width();
        char* out = static_cast<char*>(rows->data) + static_cast<std::size_t>(row) * n_columns * width;
        std::size_t n_left = n_columns;
        for (pybind11::ssize_t i = 0; i < count; ++i) {
            const auto entry = view(PySequence_Fast_GET_ITEM(found.ptr(), i));
            if (!entry || entry->in_double != rows->in_double || entry->size > n_left) return false;
            if (entry->size > 0) std::memcpy(out, entry->data, entry->size * width);
            out += entry->size * width;
            n_left -= entry->size;
        }
        return n_left == 0;
    }

    // For each of these scalars of one type what a backward pass starts from: ((scalar,), (gradient,)), the gradients
    // all the same new tensor. None where they are not usual, or of several types.
    pybind11::object starts(pybind11::handle list, double gradient) const {
        namespace py = pybind11;
        if (!is_list(list) || PySequence_Fast_GET_SIZE(list.ptr()) == 0) return py::none();
        const py::object start = new_like(PySequence_Fast_GET_ITEM(list.ptr(), 0));
        const auto out = view(start);
        if (!out || out->ndim != 0) return py::none();
        on_entries(*out, [gradient](auto* x) { *x = static_cast<std::remove_reference_t<decltype(*x)>>(gradient); });
        const auto shared = py::make_tuple(start);
        py::list made;
        for (py::ssize_t i = 0; i < PySequence_Fast_GET_SIZE(list.ptr()); ++i) {
            const auto scalar = py::reinterpret_borrow<py::object>(PySequence_Fast_GET_ITEM(list.ptr(), i));
            const auto found = view(scalar);
            if (!found || found->ndim != 0 || found->in_double != out->in_double) return py::none();
            made.append(py::make_tuple(py::make_tuple(scalar), shared));
        }
        return std::move(made);
    }

    // A backward pass for each task: calls run(*start, targets + head, keep) for what each pass starts from and each
    // head, with `keep` false in the last pass unless `keep_last`. What comes for the targets goes to the task's row of
    // the matrix: by fill_row(), or where there are goals (of rate, factor and length), by running_average().
    // otherwise(matrix, task, result) does it where these do not serve. Returns what comes for the heads; and with
    // goals the norms, or what `otherwise` has returned.
    std::pair<pybind11::list, pybind11::list> passes(const pybind11::function& run, const pybind11::list& starts,
                                                     const pybind11::tuple& targets, const pybind11::tuple& heads,
                                                     pybind11::handle matrix, const std::optional<Goals>& goals,
                                                     bool keep_last, const pybind11::function& otherwise) const {
        namespace py = pybind11;
        if (heads.size() != starts.size()) throw std::invalid_argument("as many heads as tasks are needed.");
        if (goals && goals->size() != starts.size()) throw std::invalid_argument("as many goals as tasks are needed.");
        const auto n_targets = static_cast<py::ssize_t>(targets.size());
        py::list rest, norms;
        // Malloc gives what is free at the end of its heap back to the system once that is large, and a pass would have
        // to fault in anew what the pass before has freed: a tenth of its time. So one of the gradients that lie there
        // stays until the next pass is done.
        py::object held;
        for (std::size_t task = 0; task < starts.size(); ++task) {
            const py::tuple start = starts[task];
            if (start.size() != 2) throw std::invalid_argument("a pass starts from a pair.");
            const auto inputs =
                py::reinterpret_steal<py::object>(PySequence_Concat(targets.ptr(), py::object(heads[task]).ptr()));
            if (!inputs) throw py::error_already_set();
            const bool keep = keep_last || task + 1 < starts.size();
            // nothing refers to it after this turn: its memory, warm in the cache, is free for the next one
            PyObject* const arguments[] = {PyTuple_GET_ITEM(start.ptr(), 0), PyTuple_GET_ITEM(start.ptr(), 1),
                                           inputs.ptr(), keep ? Py_True : Py_False};
            const auto found = py::reinterpret_steal<py::object>(PyObject_Vectorcall(run.ptr(), arguments, 4, nullptr));
            if (!found) throw py::error_already_set();
            const auto row = static_cast<std::int64_t>(task);
            if (goals) {
                py::object norm = running_average(matrix, row, found, n_targets, (*goals)[task]);
                norms.append(norm.is_none() ? otherwise(matrix, task, found) : norm);
            } else if (!fill_row(matrix, row, found, n_targets)) {
                otherwise(matrix, task, found);
            }
            auto head = py::reinterpret_steal<py::object>(PySequence_GetSlice(found.ptr(), n_targets, PY_SSIZE_T_MAX));
            if (!head) throw py::error_already_set();
            rest.append(std::move(head));
            held = highest(found, n_targets);
        }
        return {std::move(rest), std::move(norms)};
    }

    // Whether a matrix has this many rows, each as long as all of these together, and numbers of the same type as all.
    bool fits(pybind11::handle matrix, std::int64_t n_rows, pybind11::handle targets) const {
        const auto rows = view(matrix);
        if (!rows || rows->ndim != 2 || rows->shape[0] != n_rows || !is_list(targets)) return false;
        std::size_t n_columns = 0;
        for (pybind11::ssize_t i = 0; i < PySequence_Fast_GET_SIZE(targets.ptr()); ++i) {
            const auto target = view(PySequence_Fast_GET_ITEM(targets.ptr(), i), Layout::any);
            if (!target || target->in_double != rows->in_double) return false;
            n_columns += target->size;
        }
        return static_cast<std::size_t>(rows->shape[1]) == n_columns;
    }

    // row_products() of a matrix: in double precision throughout up to this many products. None if it is not usual.
    pybind11::object gram(pybind11::handle matrix, std::size_t exact_work) const {
        const auto rows = view(matrix);
        if (!rows || rows->ndim != 2 || rows->shape[0] == 0) return pybind11::none();
        pybind11::array_t<double> products({rows->shape[0], rows->shape[0]});
        double* out = products.mutable_data();
        on_numbers(*rows, [&](auto* x, std::size_t m, std::size_t d) {
            row_products(m, d, x, precision_for(x, m * m * d, exact_work), out);
        });
        return std::move(products);
    }

    // Makes each gradient the `.grad` of its parameter where that is None and both are alike, and nothing has to be
    // copied; the positions of the rest.
    std::vector<std::size_t> place(pybind11::handle parameters, pybind11::handle gradients) const {
        namespace py = pybind11;
        const std::size_t n = length(parameters);
        if (length(gradients) != n) throw std::invalid_argument("as many gradients as parameters are needed.");
        std::vector<std::size_t> left;
        for (std::size_t i = 0; i < n; ++i) {
            const py::object parameter = item(parameters, i), gradient = item(gradients, i);
            const auto to = view(parameter, Layout::any), from = view(gradient);
            if (to && from && to->in_double == from->in_double && py::getattr(parameter, grad_).is_none()) {
                py::setattr(parameter, grad_, gradient);
            } else {
                left.push_back(i);
            }
        }
        return left;
    }

    // New tensors with the numbers of all gradients in lists of lists, those of list i multiplied by factor i where
    // there are factors; and the positions in the result that hold None, because the gradient is not usual.
    std::pair<pybind11::list, std::vector<std::size_t>> copies(pybind11::handle lists,
                                                               const std::optional<Vector>& factors) const {
        namespace py = pybind11;
        const std::size_t n = length(lists);
        if (factors && (factors->ndim() != 1 || static_cast<std::size_t>(factors->size()) != n)) {
            throw std::invalid_argument("as many factors as lists are needed.");
        }
        py::list made;
        std::vector<std::size_t> left;
        for (std::size_t i = 0; i < n; ++i) {
            const py::object list = item(lists, i);
            const double factor = factors ? factors->data()[i] : 1.0;
            for (std::size_t j = 0; j < length(list); ++j) {
                const py::object gradient = item(list, j);
                const auto from = view(gradient);
                if (!from) {
                    left.push_back(made.size());
                    made.append(py::none());
                    continue;
                }
                made.append(new_like(gradient));
                const auto to = view(made[made.size() - 1]);
                if (!to || to->size != from->size) throw std::logic_error("a new tensor is not like the other.");
                on_entries(*to, [&, from = *from](auto* out) {
                    multiply(static_cast<decltype(out)>(from.data), from.size, factor, out);
                });
            }
        }
        return {std::move(made), std::move(left)};
    }

    // The rows' sum with these weights, cut into new tensors like `targets`, one after the other; None where one is not
    // usual. Weights that leave the range of single precision are brought in first.
    pybind11::object combine(pybind11::handle matrix, const Vector& weights, pybind11::handle targets) const {
        const auto rows = view(matrix);
        if (!rows || rows->ndim != 2 || weights.ndim() != 1 || weights.size() != rows->shape[0])
            return pybind11::none();
        const auto made = pieces(*rows, targets);
        if (!made) return pybind11::none();
        std::vector<double> scaled(weights.data(), weights.data() + weights.size());
        double largest = 0.0;
        for (const double weight : scaled) largest = std::max(largest, std::abs(weight));
        const bool in_range = (1e-10 < largest && largest < 1e10) || largest == 0.0;
        if (!in_range) {
            for (double& weight : scaled) weight /= largest;
        }
        on_numbers(*rows, [&](auto* x, std::size_t m, std::size_t d) {
            combine_rows(m, d, x, scaled.data(), in_range ? 1.0 : largest, columns_of(x, made->views));
        });
        return made->tensors;
    }

    // sign_dropout() into new tensors like `targets`, one after the other, and the generator after it. None where one
    // is not usual.
    pybind11::object sign_dropout(pybind11::handle matrix, const std::optional<Vector>& leak,
                                  const Pcg64Words& generator, pybind11::handle targets) const {
        const auto rows = view(matrix);
        if (!rows || rows->ndim != 2 || (leak && (leak->ndim() != 1 || leak->size() != rows->shape[0]))) {
            return pybind11::none();
        }
        const auto made = pieces(*rows, targets);
        if (!made) return pybind11::none();
        Pcg64 pcg = pcg64_from(generator);
        on_numbers(*rows, [&](auto* x, std::size_t m, std::size_t d) {
            pyasmg::sign_dropout(m, d, x, leak ? leak->data() : nullptr, pcg, columns_of(x, made->views));
        });
        return pybind11::make_tuple(made->tensors, pcg64_words(pcg));
    }

    // running_average() of a row of the matrix, for a gradient in the first `count` entries of the tuple `found`, one
    // after the other; the goal is a rate, a factor and a length. None, and the row is as before, where they are not as
    // the row is, or not as many numbers.
    pybind11::object running_average(pybind11::handle matrix, std::int64_t row, pybind11::handle found,
                                     pybind11::ssize_t count, const Goals::value_type& goal) const {
        const auto rows = view(matrix);
        if (!rows || rows->ndim != 2 || row < 0 || row >= rows->shape[0] || !is_list(found) || count < 0 ||
            count > PySequence_Fast_GET_SIZE(found.ptr())) {
            return pybind11::none();
        }
        std::vector<View> parts;
        std::size_t n = 0;
        for (pybind11::ssize_t i = 0; i < count; ++i) {
            const auto part = view(PySequence_Fast_GET_ITEM(found.ptr(), i));
            if (!part || part->in_double != rows->in_double) return pybind11::none();
            parts.push_back(*part);
            n += part->size;
        }
        if (n != static_cast<std::size_t>(rows->shape[1])) return pybind11::none();
        const auto [rate, factor, length] = goal;
        double norm = 0.0;
        on_numbers(*rows, [&, goal = Goal{rate, factor, length}](auto* x, std::size_t, std::size_t d) {
            using Number = std::remove_const_t<std::remove_pointer_t<decltype(x)>>;
            std::vector<Part<Number>> gradient;
            for (const View& part : parts) gradient.push_back({static_cast<const Number*>(part.data), part.size});
            Number* y = static_cast<Number*>(rows->data) + static_cast<std::size_t>(row) * d;
            norm = pyasmg::running_average(gradient, goal, y);
        });
        return pybind11::float_(norm);
    }

  private:
    // Numbers one after the other in host memory.
    struct View {
        void* data;
        std::int32_t ndim;
        const std::int64_t* shape;
        std::size_t size;
        bool in_double;
        std::size_t width() const { return in_double ? sizeof(double) : sizeof(float); }
    };
    enum class Layout { contiguous, any };  // `any`: what counts is what it is, not its numbers

    // What a tensor of single or double precision in host memory holds; nothing for any other.
    std::optional<View> view(pybind11::handle tensor, Layout layout = Layout::contiguous) const {
        namespace py = pybind11;
        if (read_ == nullptr || !is_tensor(tensor)) return {};
        DLTensor found{};
        if (read_(tensor.ptr(), &found) != 0) {
            PyErr_Clear();  // a tensor without memory of its own
            return {};
        }
        if (found.device.type != kDLHost || found.dtype.code != kDLFloat || found.dtype.lanes != 1 ||
            (found.dtype.bits != 32 && found.dtype.bits != 64)) {
            return {};
        }
        std::int64_t n = 1;
        bool contiguous = true;
        for (std::int32_t axis = found.ndim; axis-- > 0;) {
            if (found.strides != nullptr && found.shape[axis] != 1 && found.strides[axis] != n) contiguous = false;
            n *= found.shape[axis];
        }
        if ((n > 0 && found.data == nullptr) || (layout == Layout::contiguous && n > 0 && !contiguous)) return {};
        // The imaginary part of a complex conjugate has a sign to come. It is a view of stride 2.
        if (n == 1 && layout == Layout::contiguous &&
            !py::reinterpret_steal<py::object>(PyObject_CallMethodNoArgs(tensor.ptr(), is_neg_.ptr()))
                 .is(py::bool_(false))) {
            if (PyErr_Occurred() != nullptr) throw py::error_already_set();
            return {};
        }
        return View{static_cast<char*>(found.data) + found.byte_offset, found.ndim, found.shape,
                    static_cast<std::size_t>(n), found.dtype.bits == 64};
    }

    // The entry that lies highest in memory among the large ones of the first `count`; None if there is none.
    pybind11::object highest(pybind11::handle list, pybind11::ssize_t count) const {
        pybind11::object found = pybind11::none();
        const void* address = nullptr;
        if (!is_list(list)) return found;
        for (pybind11::ssize_t i = 0; i < std::min(count, PySequence_Fast_GET_SIZE(list.ptr())); ++i) {
            const pybind11::handle entry = PySequence_Fast_GET_ITEM(list.ptr(), i);
            const auto one = view(entry);
            if (!one || one->size < kLarge || one->data < address) continue;
            address = one->data;
            found = pybind11::reinterpret_borrow<pybind11::object>(entry);
        }
        return found;
    }

    static pybind11::object item(pybind11::handle list, std::size_t i) {
        return pybind11::reinterpret_borrow<pybind11::object>(
            PySequence_Fast_GET_ITEM(list.ptr(), static_cast<pybind11::ssize_t>(i)));
    }

    static std::size_t length(pybind11::handle list) {
        if (!is_list(list)) throw std::invalid_argument("a list or a tuple is needed.");
        return static_cast<std::size_t>(PySequence_Fast_GET_SIZE(list.ptr()));
    }

    bool is_tensor(pybind11::handle object) const {
        const void* type = Py_TYPE(object.ptr());
        return type == kind_.ptr() || type == parameter_.ptr();
    }

    // Calls a function on a pointer to the numbers.
    template <class Function>
    static void on_entries(const View& numbers, Function function) {
        if (numbers.in_double) {
            function(static_cast<double*>(numbers.data));
        } else {
            function(static_cast<float*>(numbers.data));
        }
    }

    template <class T>
    static void multiply(const T* data, std::size_t n, double factor, T* out) {
        for (std::size_t i = 0; i < n; ++i) out[i] = data[i] * static_cast<T>(factor);
    }

    struct Pieces {
        pybind11::list tensors;
        std::vector<View> views;
    };

    // New tensors like the targets, for the numbers of a row; nothing where one is not usual, or there are too many.
    std::optional<Pieces> pieces(const View& rows, pybind11::handle targets) const {
        if (!is_list(targets)) return {};
        Pieces made;
        std::size_t n_columns = 0;
        for (pybind11::ssize_t i = 0; i < PySequence_Fast_GET_SIZE(targets.ptr()); ++i) {
            made.tensors.append(new_like(PySequence_Fast_GET_ITEM(targets.ptr(), i)));
            const auto found = view(made.tensors[static_cast<std::size_t>(i)]);
            if (!found || found->in_double != rows.in_double) return {};
            made.views.push_back(*found);
            n_columns += found->size;
        }
        if (n_columns > static_cast<std::size_t>(rows.shape[1])) return {};
        return made;
    }

    template <class T>
    static std::vector<Columns<T>> columns_of(const T*, const std::vector<View>& outs) {
        std::vector<Columns<T>> columns;
        std::size_t first = 0;
        for (const View& out : outs) {
            columns.push_back({first, out.size, static_cast<T*>(out.data)});
            first += out.size;
        }
        return columns;
    }

    // Calls a kernel on a matrix; other threads may run meanwhile, as the arguments keep the memory alive.
    template <class Kernel>
    static void on_numbers(const View& rows, Kernel kernel) {
        const auto m = static_cast<std::size_t>(rows.shape[0]), d = static_cast<std::size_t>(rows.shape[1]);
        const pybind11::gil_scoped_release release;
        if (rows.in_double) {
            kernel(static_cast<const double*>(rows.data), m, d);
        } else {
            kernel(static_cast<const float*>(rows.data), m, d);
        }
    }

    template <class T>
    static Precision precision_for(const T*, std::size_t work, std::size_t exact_work) {
        return std::is_same_v<T, double> || work <= exact_work ? Precision::in_double : Precision::native;
    }

    pybind11::object new_like(pybind11::handle tensor) const {
        auto made = pybind11::reinterpret_steal<pybind11::object>(PyObject_CallOneArg(empty_like_.ptr(), tensor.ptr()));
        if (!made) throw pybind11::error_already_set();
        return made;
    }

    // interned: Python remembers where it has found the attribute of an interned name
    static pybind11::object interned(const char* name) {
        return pybind11::reinterpret_steal<pybind11::object>(PyUnicode_InternFromString(name));
    }

    pybind11::object kind_, parameter_, empty_like_;
    pybind11::object requires_grad_ = interned("requires_grad"), grad_ = interned("grad"), is_neg_ = interned("is_neg");
    int (*read_)(void*, DLTensor*) = nullptr;
};

}  // namespace pyasmg
