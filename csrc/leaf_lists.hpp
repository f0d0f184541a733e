// Python lists of parameters, read in one pass: in Python, the same checks of a hundred parameters that a backward pass
// has driven out of the caches take as long as a layer.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <vector>

namespace pyasmg {

inline bool is_list(pybind11::handle object) {
    return PyList_CheckExact(object.ptr()) || PyTuple_CheckExact(object.ptr());
}

// The entries of `first` and of all lists in `others`, one after the other; for a list, None stands for an empty one.
// Nothing where something else than lists and tuples was given. They are borrowed.
inline std::optional<std::vector<PyObject*>> listed_entries(pybind11::handle first, pybind11::handle others) {
    std::vector<PyObject*> entries;
    const auto take = [&entries](pybind11::handle list) {
        if (!is_list(list)) return false;
        PyObject** items = PySequence_Fast_ITEMS(list.ptr());
        entries.insert(entries.end(), items, items + PySequence_Fast_GET_SIZE(list.ptr()));
        return true;
    };
    if (!first.is_none() && !take(first)) return {};
    if (!others.is_none()) {
        if (!is_list(others)) return {};
        for (pybind11::ssize_t i = 0; i < PySequence_Fast_GET_SIZE(others.ptr()); ++i) {
            if (!take(PySequence_Fast_GET_ITEM(others.ptr(), i))) return {};
        }
    }
    return entries;
}

// Whether each of the listed entries is of this very class and stands there once. O(n log n) for n entries; of these no
// more than the class is read.
inline bool are_distinct(const pybind11::type& kind, std::vector<PyObject*> entries) {
    for (PyObject* entry : entries) {
        if (reinterpret_cast<PyObject*>(Py_TYPE(entry)) != kind.ptr()) return false;
    }
    std::sort(entries.begin(), entries.end());
    return std::adjacent_find(entries.begin(), entries.end()) == entries.end();
}

inline bool distinct(const pybind11::type& kind, pybind11::handle first, pybind11::handle others) {
    const auto entries = listed_entries(first, others);
    return entries && are_distinct(kind, *entries);
}

// Whether they have a true `requires_grad` too.
inline bool distinct_leaves(const pybind11::type& kind, pybind11::handle first, pybind11::handle others) {
    namespace py = pybind11;
    const auto entries = listed_entries(first, others);
    if (!entries || !are_distinct(kind, *entries)) return false;
    // interned: Python remembers where it has found the attribute of an interned name
    const auto name = py::reinterpret_steal<py::object>(PyUnicode_InternFromString("requires_grad"));
    for (PyObject* entry : *entries) {
        if (!py::getattr(entry, name).is(py::bool_(true))) return false;
    }
    return true;
}

}  // namespace pyasmg
