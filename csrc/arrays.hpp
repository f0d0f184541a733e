// What the bindings take: numpy's arrays, of the very type and C-ordered.
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <optional>
#include <stdexcept>

namespace pyasmg::binding {

namespace py = pybind11;

template <class T>
using Array = py::array_t<T, py::array::c_style>;
template <class T>
using MaybeArray = std::optional<Array<T>>;

using Indices = py::array_t<std::int64_t, py::array::c_style>;

inline void require(bool condition, const char* message) {
    if (!condition) throw std::invalid_argument(message);
}

inline std::size_t size(py::ssize_t value) { return static_cast<std::size_t>(value); }

}  // namespace pyasmg::binding
