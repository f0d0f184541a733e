// The structs of DLPack (https://dmlc.github.io/dlpack, version 1), as far as arrays pass through here.
#pragma once

#include <cstdint>

namespace pyasmg {

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

// The C exchange API of version 1.3, which the class of an array has as `__dlpack_c_exchange_api__`.
struct DLPackExchangeAPI {
    std::uint32_t major, minor;
    const DLPackExchangeAPI* older;  // the table of an older version, if any
    // functions that are not called here stand as addresses
    const void *allocate, *export_managed, *import_managed;
    int (*read)(void* object, DLTensor* out);  // 0, or -1 and a Python exception; the object keeps the memory
    const void* stream;
};

inline constexpr std::uint32_t kDLPackMajor = 1;
inline constexpr std::int32_t kDLHost = 1;
inline constexpr std::uint8_t kDLFloat = 2;

}  // namespace pyasmg
