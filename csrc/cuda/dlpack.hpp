// The structs of DLPack (https://dmlc.github.io/dlpack, version 1.0), as far as arrays pass through here.
#pragma once

#include <cstdint>

namespace pyasmg::device {

struct DLDevice {
    std::int32_t type, id;
};

struct DLDataType {
    std::uint8_t code, bits;  // 2 is floating point
    std::uint16_t lanes;
};

struct DLTensor {
    void* data;
    DLDevice device;
    std::int32_t ndim;
    DLDataType dtype;
    std::int64_t* shape;
    std::int64_t* strides;  // in elements; null where compact
    std::uint64_t byte_offset;
};

struct DLManagedTensor {
    DLTensor tensor;
    void* context;
    void (*deleter)(DLManagedTensor*);
};

struct DLManagedTensorVersioned {
    std::uint32_t major, minor;
    void* context;
    void (*deleter)(DLManagedTensorVersioned*);
    std::uint64_t flags;  // bit 0: read only
    DLTensor tensor;
};

}  // namespace pyasmg::device
