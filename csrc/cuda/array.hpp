// An array on a device as Python sees it: DLPack both ways, no copy.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <vector>

#include "../dlpack.hpp"
#include "runtime.hpp"

namespace pyasmg::device {

namespace py = pybind11;

// C-contiguous, float32 or float64. The memory is ours, or lent by a DLPack capsule; it is kept alive by `owner`.
struct Array {
    std::shared_ptr<Runtime> runtime;
    std::shared_ptr<void> owner;
    void* data = nullptr;
    std::vector<std::int64_t> shape;
    int bits = 0;
    Stream stream = 0;  // on which it was last written

    std::size_t size() const {
        std::size_t n = 1;
        for (const std::int64_t extent : shape) n *= static_cast<std::size_t>(extent);
        return n;
    }
    std::size_t n_bytes() const { return size() * static_cast<std::size_t>(bits) / 8; }
};

inline Array empty_array(const std::shared_ptr<Runtime>& runtime, std::vector<std::int64_t> shape, int bits,
                         Stream stream, const std::string& what) {
    Array array{runtime, nullptr, nullptr, std::move(shape), bits, stream};
    auto memory = std::make_shared<Buffer<unsigned char>>(runtime, array.n_bytes(), what);
    array.data = memory->data();
    array.owner = memory;
    return array;
}

namespace detail {

// What an exported capsule owns.
template <class Managed>
struct Exported {
    Managed managed{};
    std::shared_ptr<void> owner;
    std::vector<std::int64_t> shape;
};

template <class Managed>
py::capsule export_as(const Array& array, const char* name) {
    auto* exported = new Exported<Managed>{{}, array.owner, array.shape};
    exported->managed.tensor = {array.data,
                                {array.runtime->dlpack_type(), array.runtime->index()},
                                static_cast<std::int32_t>(array.shape.size()),
                                {2, static_cast<std::uint8_t>(array.bits), 1},
                                exported->shape.data(),
                                nullptr,
                                0};
    exported->managed.context = exported;
    exported->managed.deleter = [](Managed* managed) { delete static_cast<Exported<Managed>*>(managed->context); };
    // A capsule that nobody took still has its name, and then gives the memory back itself.
    PyObject* capsule = PyCapsule_New(&exported->managed, name, [](PyObject* object) {
        constexpr const char* own = std::is_same_v<Managed, DLManagedTensor> ? "dltensor" : "dltensor_versioned";
        if (!PyCapsule_IsValid(object, own)) return;
        auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(object, own));
        managed->deleter(managed);
    });
    if (capsule == nullptr) {
        delete exported;
        throw py::error_already_set();
    }
    return py::reinterpret_steal<py::capsule>(capsule);
}

template <class Managed>
Array import_as(const std::shared_ptr<Runtime>& runtime, Managed* managed, Stream stream) {
    const DLTensor& tensor = managed->tensor;
    const std::shared_ptr<void> owner(managed, [](void* pointer) {
        auto* given = static_cast<Managed*>(pointer);
        if (given->deleter != nullptr) given->deleter(given);
    });
    if (tensor.device.type != runtime->dlpack_type() || tensor.device.id != runtime->index()) {
        throw py::value_error("must lie on " + runtime->name() + "; got DLPack device (" +
                              std::to_string(tensor.device.type) + ", " + std::to_string(tensor.device.id) + ").");
    }
    if (tensor.dtype.code != 2 || tensor.dtype.lanes != 1 || (tensor.dtype.bits != 32 && tensor.dtype.bits != 64)) {
        throw py::type_error("must be of dtype float32 or float64.");
    }
    Array array{runtime,
                owner,
                static_cast<char*>(tensor.data) + tensor.byte_offset,
                std::vector<std::int64_t>(tensor.shape, tensor.shape + tensor.ndim),
                tensor.dtype.bits,
                stream};
    std::int64_t expected = 1;
    for (int i = tensor.ndim - 1; tensor.strides != nullptr && i >= 0; --i) {
        if (tensor.shape[i] != 1 && tensor.strides[i] != expected) {
            throw py::value_error("must be C-contiguous.");
        }
        expected *= tensor.shape[i];
    }
    return array;
}

}  // namespace detail

// `versioned`: the consumer knows DLPack 1.
inline py::capsule to_dlpack(const Array& array, bool versioned) {
    if (!versioned) return detail::export_as<DLManagedTensor>(array, "dltensor");
    py::capsule capsule = detail::export_as<DLManagedTensorVersioned>(array, "dltensor_versioned");
    static_cast<DLManagedTensorVersioned*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor_versioned"))->major = 1;
    return capsule;
}

inline Array from_dlpack(const std::shared_ptr<Runtime>& runtime, const py::object& capsule, Stream stream) {
    if (PyCapsule_IsValid(capsule.ptr(), "dltensor")) {
        auto* managed = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
        PyCapsule_SetName(capsule.ptr(), "used_dltensor");
        return detail::import_as(runtime, managed, stream);
    }
    if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned")) {
        auto* managed =
            static_cast<DLManagedTensorVersioned*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor_versioned"));
        if (managed->major != 1) throw py::value_error("must speak DLPack 1.");
        PyCapsule_SetName(capsule.ptr(), "used_dltensor_versioned");
        return detail::import_as(runtime, managed, stream);
    }
    throw py::type_error("must be a fresh DLPack capsule.");
}

}  // namespace pyasmg::device
