// Python lists of parameters, read in one pass: in Python, the same checks of a hundred parameters that a backward pass
// has driven out of the caches take as long as a layer.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace pyasmg {

inline bool is_list(pybind11::handle object) {
    return PyList_CheckExact(object.ptr()) || PyTuple_CheckExact(object.ptr());
}

// The entries of `first` and of all lists in `others` as one list, if each of them is of this very class, has a true
// `requires_grad`, and stands there once; None otherwise, and where something else than lists and tuples was given. For
// a list, None stands for an empty one. O(n log n) for n entries.
inline pybind11::object distinct_leaves(const pybind11::type& kind, pybind11::handle first, pybind11::handle others) {
    namespace py = pybind11;
    std::vector<py::object> entries;
    const auto take = [&entries](py::handle list) {
        if (!is_list(list)) return false;
        for (py::ssize_t i = 0; i < PySequence_Fast_GET_SIZE(list.ptr()); ++i) {
            entries.push_back(py::reinterpret_borrow<py::object>(PySequence_Fast_GET_ITEM(list.ptr(), i)));
        }
        return true;
    };
    if (!first.is_none() && !take(first)) return py::none();
    if (!others.is_none()) {
        if (!is_list(others)) return py::none();
        for (py::ssize_t i = 0; i < PySequence_Fast_GET_SIZE(others.ptr()); ++i) {
            if (!take(PySequence_Fast_GET_ITEM(others.ptr(), i))) return py::none();
        }
    }

    // interned: Python remembers where it has found the attribute of an interned name
    const auto name = py::reinterpret_steal<py::object>(PyUnicode_InternFromString("requires_grad"));
    for (const py::object& entry : entries) {
        if (py::type::handle_of(entry).ptr() != kind.ptr()) return py::none();
        if (!py::getattr(entry, name).is(py::bool_(true))) return py::none();
    }
    std::vector<const PyObject*> addresses;
    for (const py::object& entry : entries) addresses.push_back(entry.ptr());
    std::sort(addresses.begin(), addresses.end());
    if (std::adjacent_find(addresses.begin(), addresses.end()) != addresses.end()) return py::none();
    py::list every(entries.size());
    for (std::size_t i = 0; i < entries.size(); ++i) {
        PyList_SET_ITEM(every.ptr(), static_cast<py::ssize_t>(i), entries[i].release().ptr());
    }
    return every;
}

}  // namespace pyasmg
