// What the search needs of a device: memory, copies, streams and the launch of its kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "estimate_kernel.hpp"
#include "gram_kernel.hpp"
#include "reduce_kernel.hpp"
#include "sample_kernel.hpp"
#include "step_kernel.hpp"

#define PYASMG_ESTIMATE_KERNELS(X, T, M)         \
    X(EstimateKernel<T, M, Source::regenerated>) \
    X(EstimateKernel<T, M, Source::given>)       \
    X(EstimateKernel<T, M, Source::given_bounded>)
#define PYASMG_TYPED_KERNELS(X, T)   \
    X(SampleKernel<T>)               \
    X(ClipKernel<T>)                 \
    PYASMG_ESTIMATE_KERNELS(X, T, 1) \
    PYASMG_ESTIMATE_KERNELS(X, T, 2) \
    PYASMG_ESTIMATE_KERNELS(X, T, 4) \
    X(GramKernel<T>)                 \
    X(StepKernel<T>)                 \
    X(PathKernel<T>)
#define PYASMG_KERNELS(X)           \
    PYASMG_TYPED_KERNELS(X, float)  \
    PYASMG_TYPED_KERNELS(X, double) \
    X(ReduceKernel)                 \
    X(FinishKernel)

namespace pyasmg::device {

// A cudaStream_t as a number; 0 is the legacy default stream.
using Stream = std::uintptr_t;

// A std::bad_alloc that says what for, how much was asked and how much there was.
class OutOfMemory : public std::bad_alloc {
  public:
    explicit OutOfMemory(std::string message) : message_(std::move(message)) {}
    const char* what() const noexcept override { return message_.c_str(); }

  private:
    std::string message_;
};

class Runtime {
  public:
    virtual ~Runtime() = default;
    virtual std::string name() const = 0;
    virtual int dlpack_type() const = 0;  // kDLCUDA = 2, kDLCPU = 1
    virtual int index() const = 0;        // of the device

    // Throws OutOfMemory; `what` says what the memory is for.
    virtual void* allocate(std::size_t n_bytes, const std::string& what) = 0;
    virtual void release(void* memory) noexcept = 0;

    // Host memory may be reused as soon as a call returns; `download` returns when the data is there.
    virtual void upload(void* to, const void* from, std::size_t n_bytes, Stream stream) = 0;
    virtual void download(void* to, const void* from, std::size_t n_bytes, Stream stream) = 0;
    virtual void copy(void* to, const void* from, std::size_t n_bytes, Stream stream) = 0;

    // Work given to `waiting` from now on starts after what was given to `done` before.
    virtual void order(Stream waiting, Stream done) = 0;

#define PYASMG_DECLARE(...) virtual void launch(const __VA_ARGS__& kernel, std::size_t n_blocks, Stream stream) = 0;
    PYASMG_KERNELS(PYASMG_DECLARE)
#undef PYASMG_DECLARE
};

// Runs the kernels on the host, block by block and thread by thread: slow, for tests. Memory starts as NaN; no more
// than `memory_limit` bytes are given out. The order of blocks and threads is turned round at every launch if
// `alternating`.
std::shared_ptr<Runtime> emulated_runtime(std::size_t memory_limit, bool alternating);

// The CUDA device of that number. Throws std::runtime_error in words where there is none, or none that this build has
// code for, or where it was built without CUDA.
std::shared_ptr<Runtime> cuda_runtime(int index);

struct CudaDevice {
    std::string name;
    int major, minor;  // compute capability
    std::size_t total_memory, free_memory;
};

struct CudaInfo {
    bool built = false;
    std::string architectures;                    // that this build has code for
    int runtime_version = 0, driver_version = 0;  // 1000 major + 10 minor; 0 without
    std::string problem;                          // why there is no device, or empty
    std::vector<CudaDevice> devices;
};

// Asks the driver; never throws for what it finds. Free memory can be asked of a context only: one is made on each
// device `with_memory`, and none without (free_memory is then 0).
CudaInfo cuda_info(bool with_memory);

// Memory of a device with one owner.
template <class T>
class Buffer {
  public:
    Buffer() = default;
    Buffer(std::shared_ptr<Runtime> runtime, std::size_t size, const std::string& what) : runtime_(std::move(runtime)) {
        if (size > ~std::size_t{0} / sizeof(T)) throw OutOfMemory(what + " has more bytes than can be counted.");
        data_ = size == 0 ? nullptr : static_cast<T*>(runtime_->allocate(size * sizeof(T), what));
        size_ = size;
    }
    Buffer(Buffer&& other) noexcept { swap(other); }
    Buffer& operator=(Buffer&& other) noexcept {
        Buffer moved(std::move(other));
        swap(moved);
        return *this;
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() {
        if (data_ != nullptr) runtime_->release(data_);
    }

    void swap(Buffer& other) noexcept {
        std::swap(runtime_, other.runtime_);
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
    }
    T* data() const { return data_; }
    std::size_t size() const { return size_; }

  private:
    std::shared_ptr<Runtime> runtime_;
    T* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace pyasmg::device
