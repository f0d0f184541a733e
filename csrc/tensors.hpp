// Small work on PyTorch's tensors in host memory, without PyTorch's headers: through the C exchange API of DLPack 1.3
// a tensor's address costs some 50 ns, where a call of any of its methods costs a microsecond, and several in cold
// caches. Each function serves the usual case only, and says so where it did not.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

#include "leaf_lists.hpp"
#include "row_combination.hpp"

namespace pyasmg {

// Of dlpack.h: what is read of it, in the layout of version 1.
namespace dlpack {

struct Tensor {
    void* data;
    struct Device {
        std::int32_t type, id;
    } device;
    std::int32_t ndim;
    struct Type {
        std::uint8_t code, bits;
        std::uint16_t lanes;
    } dtype;
    std::int64_t *shape, *strides;
    std::uint64_t byte_offset;
};

struct Header {
    std::uint32_t major, minor;
    const Header* older;  // the table of an older version, if any
};

// The functions that are not used stand as addresses.
struct ExchangeApi {
    Header header;
    const void *allocate, *export_managed, *import_managed;
    int (*read)(void* object, Tensor* out);  // 0, or -1 and a Python exception
    const void* stream;
};

constexpr std::uint32_t version = 1;
constexpr std::int32_t host = 1;
constexpr std::uint8_t floating = 2;

}  // namespace dlpack

class Tensors {
public:
    // `kind` and `parameter` are the classes of tensors to be read: subclasses may have rules of their own.
    Tensors(const pybind11::type& kind, const pybind11::type& parameter) : kind_{kind}, parameter_{parameter} {
        const auto capsule = pybind11::getattr(kind, "__dlpack_c_exchange_api__", pybind11::none());
        if (!PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api")) return;  // an older PyTorch
        auto* header = static_cast<const dlpack::Header*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
        while (header != nullptr && header->major > dlpack::version) header = header->older;
        if (header != nullptr && header->major == dlpack::version) {
            read_ = reinterpret_cast<const dlpack::ExchangeApi*>(header)->read;
        }
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

    // Multiplies tensors by factors, in place; the positions of those that it leaves alone.
    std::vector<std::size_t> scale(const std::vector<pybind11::object>& tensors,
                                   const std::vector<double>& factors) const {
        if (factors.size() != tensors.size()) throw std::invalid_argument("as many factors as tensors are needed.");
        std::vector<std::size_t> left;
        for (std::size_t i = 0; i < tensors.size(); ++i) {
            const auto found = view(tensors[i]);
            if (!found) {
                left.push_back(i);
            } else if (found->in_double) {
                multiply(static_cast<double*>(found->data), found->size, factors[i]);
            } else {
                multiply(static_cast<float*>(found->data), found->size, factors[i]);
            }
        }
        return left;
    }

    // Makes each tensor the `.grad` of its parameter, where that is None and both are alike; the positions of the rest.
    std::vector<std::size_t> place(pybind11::handle parameters, pybind11::handle gradients) const {
        namespace py = pybind11;
        if (!is_list(parameters) || !is_list(gradients) ||
            PySequence_Fast_GET_SIZE(parameters.ptr()) != PySequence_Fast_GET_SIZE(gradients.ptr())) {
            throw std::invalid_argument("two lists of the same length are needed.");
        }
        std::vector<std::size_t> left;
        for (py::ssize_t i = 0; i < PySequence_Fast_GET_SIZE(parameters.ptr()); ++i) {
            const auto parameter =
                py::reinterpret_borrow<py::object>(PySequence_Fast_GET_ITEM(parameters.ptr(), i));
            const auto gradient = py::reinterpret_borrow<py::object>(PySequence_Fast_GET_ITEM(gradients.ptr(), i));
            const auto to = view(parameter, Layout::any), from = view(gradient);
            if (to && from && to->in_double == from->in_double && py::getattr(parameter, grad_).is_none()) {
                py::setattr(parameter, grad_, gradient);
            } else {
                left.push_back(static_cast<std::size_t>(i));
            }
        }
        return left;
    }

    // combine_rows() into these tensors, one after the other; False, and nothing is done, where one is not usual.
    bool combine(pybind11::handle matrix, const pybind11::array_t<double, pybind11::array::c_style>& weights,
                 double factor, const std::vector<pybind11::object>& outs) const {
        const auto rows = view(matrix);
        if (!rows || rows->ndim != 2 || weights.ndim() != 1 || weights.size() != rows->shape[0]) return false;
        std::vector<View> views;
        std::size_t n_columns = 0;
        for (const auto& out : outs) {
            const auto found = view(out);
            if (!found || found->in_double != rows->in_double) return false;
            views.push_back(*found);
            n_columns += found->size;
        }
        if (n_columns > static_cast<std::size_t>(rows->shape[1])) return false;
        if (rows->in_double) {
            combine_into<double>(*rows, weights.data(), factor, views);
        } else {
            combine_into<float>(*rows, weights.data(), factor, views);
        }
        return true;
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
    enum class Layout { contiguous, any };

    // What a tensor of single or double precision in host memory holds; nothing for any other.
    std::optional<View> view(pybind11::handle tensor, Layout layout = Layout::contiguous) const {
        namespace py = pybind11;
        const PyTypeObject* type = Py_TYPE(tensor.ptr());
        if (read_ == nullptr || (static_cast<const void*>(type) != kind_.ptr() && type != parameter_type())) return {};
        dlpack::Tensor found{};
        if (read_(tensor.ptr(), &found) != 0) {
            PyErr_Clear();  // a tensor without memory of its own
            return {};
        }
        if (found.device.type != dlpack::host || found.dtype.code != dlpack::floating || found.dtype.lanes != 1 ||
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
        // a view of a complex conjugate has a sign to come
        if (!py::reinterpret_steal<py::object>(PyObject_CallMethodNoArgs(tensor.ptr(), is_neg_.ptr()))
                 .is(py::bool_(false))) {
            if (PyErr_Occurred() != nullptr) throw py::error_already_set();
            return {};
        }
        return View{static_cast<char*>(found.data) + found.byte_offset, found.ndim, found.shape,
                    static_cast<std::size_t>(n), found.dtype.bits == 64};
    }

    const PyTypeObject* parameter_type() const { return reinterpret_cast<const PyTypeObject*>(parameter_.ptr()); }

    template <class T>
    static void multiply(T* data, std::size_t n, double factor) {
        for (std::size_t i = 0; i < n; ++i) data[i] *= static_cast<T>(factor);
    }

    template <class T>
    static void combine_into(const View& rows, const double* weights, double factor, const std::vector<View>& outs) {
        std::vector<Columns<T>> columns;
        std::size_t first = 0;
        for (const View& out : outs) {
            columns.push_back({first, out.size, static_cast<T*>(out.data)});
            first += out.size;
        }
        const pybind11::gil_scoped_release release;  // the arguments keep the memory alive
        combine_rows(static_cast<std::size_t>(rows.shape[0]), static_cast<std::size_t>(rows.shape[1]),
                     static_cast<const T*>(rows.data), weights, factor, columns);
    }

    // interned: Python remembers where it has found the attribute of an interned name
    static pybind11::object interned(const char* name) {
        return pybind11::reinterpret_steal<pybind11::object>(PyUnicode_InternFromString(name));
    }

    pybind11::object kind_, parameter_;
    pybind11::object requires_grad_ = interned("requires_grad"), grad_ = interned("grad"), is_neg_ = interned("is_neg");
    int (*read_)(void*, dlpack::Tensor*) = nullptr;
};

}  // namespace pyasmg
