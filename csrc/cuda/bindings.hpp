// The part of the Python module that knows devices, `_core._device`; included by bindings.cpp.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "array.hpp"
#include "search.hpp"

namespace pyasmg::device {

template <class T>
using HostArray = py::array_t<T, py::array::c_style>;

inline void require(bool condition, const char* message) {
    if (!condition) throw std::invalid_argument(message);
}

template <class T>
const T* data_of(const std::optional<HostArray<T>>& array) {
    return array ? array->data() : nullptr;
}

template <class T>
py::array to_host(const Runtime& runtime, const T* data, std::vector<py::ssize_t> shape, Stream stream) {
    HostArray<T> out(std::move(shape));
    T* to = out.mutable_data();
    const auto n_bytes = static_cast<std::size_t>(out.nbytes());
    if (n_bytes > 0) {
        const py::gil_scoped_release release;
        const_cast<Runtime&>(runtime).download(to, data, n_bytes, stream);
    }
    return std::move(out);
}

// Pointers into arrays that their owners keep alive; `x` and `out` were checked in Python.
template <class T>
void bind_search(py::module_& m, const char* name) {
    using Search = DeviceSearch<T>;
    using Host = HostArray<T>;
    py::class_<Search>(m, name)
        .def(py::init([](const std::shared_ptr<Runtime>& runtime, const Host& mean, const Host& std,
                         const std::optional<Host>& low, const std::optional<Host>& high, std::uint64_t seed,
                         bool mirrored, bool keep_gradients) {
                 require(mean.ndim() == 1 && mean.size() > 0 && std.size() == mean.size() &&
                             low.has_value() == high.has_value() &&
                             (!low || (low->size() == mean.size() && high->size() == mean.size())),
                         "mean, std and bounds must have shape (d,).");
                 const py::gil_scoped_release release;
                 return std::make_unique<Search>(runtime, static_cast<std::size_t>(mean.size()), mean.data(),
                                                 std.data(), data_of(low), data_of(high), seed, mirrored,
                                                 keep_gradients);
             }),
             py::arg("runtime"), py::arg("mean").noconvert(), py::arg("std").noconvert(), py::arg("low").noconvert(),
             py::arg("high").noconvert(), py::arg("seed"), py::arg("mirrored"), py::arg("keep_gradients"))
        .def("mean",
             [](const Search& search, Stream stream) {
                 return to_host(*search.runtime(), search.mean(), {static_cast<py::ssize_t>(search.dimension())},
                                stream);
             })
        .def("std",
             [](const Search& search, Stream stream) {
                 return to_host(*search.runtime(), search.std(), {static_cast<py::ssize_t>(search.dimension())},
                                stream);
             })
        .def("sample",
             [](Search& search, std::uint32_t generation, std::size_t first, Array& out, std::size_t skip,
                Stream stream) {  // rows skip, skip + 1, ... of out; with skip = 1 row 0 becomes the clipped mean
                 require(out.shape.size() == 2 && static_cast<std::size_t>(out.shape[1]) == search.dimension() &&
                             out.bits == 8 * static_cast<int>(sizeof(T)) && skip <= 1 &&
                             static_cast<std::size_t>(out.shape[0]) >= skip,
                         "out must have shape (count, d).");
                 auto* data = static_cast<T*>(out.data);
                 out.stream = stream;
                 const std::size_t d = search.dimension(), count = static_cast<std::size_t>(out.shape[0]) - skip;
                 const py::gil_scoped_release release;
                 if (skip == 1) search.center(data, stream);
                 search.sample(generation, first, count, data + skip * d, stream);
             })
        .def("estimate",
             [](Search& search, std::uint32_t generation, const Array* x, std::size_t skip,
                const std::optional<Host>& pull, const HostArray<std::uint8_t>& valid, const HostArray<double>& w,
                Stream stream) {
                 require(w.ndim() == 2 && w.shape(1) > 0 && valid.size() == w.shape(0), "w must have shape (N, m).");
                 const auto count = static_cast<std::size_t>(w.shape(0)), m = static_cast<std::size_t>(w.shape(1));
                 require(!pull || pull->size() == w.shape(0), "pull must have shape (N,).");
                 require(
                     x == nullptr || (x->shape.size() == 2 && static_cast<std::size_t>(x->shape[0]) == count + skip &&
                                      static_cast<std::size_t>(x->shape[1]) == search.dimension() &&
                                      x->bits == 8 * static_cast<int>(sizeof(T))),
                     "x must have shape (N, d).");
                 const std::vector<T> weights(w.data(), w.data() + w.size());
                 const T* candidates =
                     x == nullptr ? nullptr : static_cast<const T*>(x->data) + skip * search.dimension();
                 EstimateResult result;
                 {
                     const py::gil_scoped_release release;
                     result = search.estimate(generation, candidates, data_of(pull), count, valid.data(), m,
                                              weights.data(), stream);
                 }
                 HostArray<double> gram({w.shape(1), w.shape(1)}), row_sums(w.shape(0));
                 std::copy(result.gram.begin(), result.gram.end(), gram.mutable_data());
                 std::copy(result.row_sums.begin(), result.row_sums.end(), row_sums.mutable_data());
                 return py::make_tuple(gram, row_sums);
             })
        .def("step", [](Search& search, const HostArray<double>& coefficients, double mean_step, double std_step,
                        double std_shift, double reach, bool inverse, const Array& path, Array& new_path,
                        std::size_t path_stride, double path_rate, Stream stream) {
            require(path.bits == 64 && new_path.bits == 64 && path_stride > 0 && path.size() == new_path.size() &&
                        path.size() == divide_up(search.dimension(), path_stride),
                    "path and new_path must have shape (ceil(d / path_stride),).");
            const std::vector<double> c(coefficients.data(), coefficients.data() + coefficients.size());
            new_path.stream = stream;
            UpdateSummary summary;
            {
                const py::gil_scoped_release release;
                summary = search.step(c, mean_step, std_step, std_shift, static_cast<T>(reach),
                                      inverse ? StdForm::inverse : StdForm::exponential,
                                      static_cast<const double*>(path.data), static_cast<double*>(new_path.data),
                                      path_stride, path_rate, stream);
            }
            return py::make_tuple(summary.max_std, summary.min_std, summary.finite, summary.effective,
                                  summary.path_norm, summary.step_norm);
        });
}

inline py::dict info_dict(bool with_memory) {
    const CudaInfo info = cuda_info(with_memory);
    py::list devices;
    for (const CudaDevice& device : info.devices) {
        py::dict entry;
        entry["name"] = device.name;
        entry["compute_capability"] = py::make_tuple(device.major, device.minor);
        entry["total_memory"] = device.total_memory;
        entry["free_memory"] = device.free_memory;
        devices.append(entry);
    }
    const auto version = [](int number) -> py::object {
        if (number == 0) return py::none();
        return py::str(std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10));
    };
    py::dict result;
    result["built"] = info.built;
    result["architectures"] = info.architectures;
    result["runtime_version"] = version(info.runtime_version);
    result["driver_version"] = version(info.driver_version);
    result["devices"] = devices;
    result["problem"] = info.problem;
    return result;
}

inline void bind_device(py::module_& core) {
    py::module_ m = core.def_submodule("_device", "The search on a CUDA device; see csrc/cuda/.");

    py::class_<Runtime, std::shared_ptr<Runtime>>(m, "Runtime")
        .def_property_readonly("name", &Runtime::name)
        .def_property_readonly(
            "dlpack_device",
            [](const Runtime& runtime) { return py::make_tuple(runtime.dlpack_type(), runtime.index()); })
        .def("order", &Runtime::order, py::call_guard<py::gil_scoped_release>());
    m.def("cuda_runtime", &cuda_runtime, py::arg("index"), py::call_guard<py::gil_scoped_release>());
    m.def("emulated_runtime", &emulated_runtime, py::arg("memory_limit"), py::arg("alternating"));
    m.def("cuda_info", &info_dict, py::arg("with_memory"));

    py::class_<Array>(m, "Array")
        .def_property_readonly("shape", [](const Array& array) { return py::tuple(py::cast(array.shape)); })
        .def_property_readonly("bits", [](const Array& array) { return array.bits; })
        .def_property_readonly("pointer",
                               [](const Array& array) { return reinterpret_cast<std::uintptr_t>(array.data); })
        .def_property_readonly("stream", [](const Array& array) { return array.stream; })
        .def_property_readonly("runtime", [](const Array& array) { return array.runtime; })
        .def_property_readonly("shared", [](const Array& array) { return array.owner.use_count() > 1; })
        .def("to_dlpack", &to_dlpack, py::arg("versioned"))
        .def("numpy", [](const Array& array) {
            const std::vector<py::ssize_t> shape(array.shape.begin(), array.shape.end());
            if (array.bits == 32)
                return to_host(*array.runtime, static_cast<const float*>(array.data), shape, array.stream);
            return to_host(*array.runtime, static_cast<const double*>(array.data), shape, array.stream);
        });
    m.def("empty", &empty_array, py::arg("runtime"), py::arg("shape"), py::arg("bits"), py::arg("stream"),
          py::arg("what"));
    m.def(
        "reshaped",
        [](Array array, std::vector<std::int64_t> shape) {
            const std::size_t size = array.size();
            array.shape = std::move(shape);
            require(array.size() == size, "shape must have as many elements.");
            return array;
        },
        py::arg("array"), py::arg("shape"));
    m.def("from_dlpack", &from_dlpack, py::arg("runtime"), py::arg("capsule"), py::arg("stream"));
    m.def(
        "upload",
        [](const std::shared_ptr<Runtime>& runtime, const py::array& values, Stream stream, const std::string& what) {
            const auto host = py::array::ensure(values, py::array::c_style);
            require(
                static_cast<bool>(host) && host.dtype().kind() == 'f' && (host.itemsize() == 4 || host.itemsize() == 8),
                "values must be float32 or float64.");
            Array array = empty_array(runtime, {host.shape(), host.shape() + host.ndim()},
                                      static_cast<int>(8 * host.itemsize()), stream, what);
            const py::gil_scoped_release release;
            runtime->upload(array.data, host.data(), array.n_bytes(), stream);
            return array;
        },
        py::arg("runtime"), py::arg("values"), py::arg("stream"), py::arg("what"));
    bind_search<float>(m, "Search32");
    bind_search<double>(m, "Search64");
}

}  // namespace pyasmg::device
