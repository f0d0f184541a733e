// The runtime on a CUDA device. Compiled by nvcc without contraction (-fmad=false): the bits of the kernels are those
// of the CPU's core. Nothing here runs at load time; the driver is first touched by cuda_info() or cuda_runtime().
#include <cuda_runtime_api.h>
#include <unistd.h>

#include <cstdio>

#include "runtime.hpp"

#if !defined(PYASMG_CUDA_ARCHITECTURES)
#define PYASMG_CUDA_ARCHITECTURES "unknown"
#endif

namespace pyasmg::device {
namespace {

template <class Kernel>
__global__ void __launch_bounds__(kThreads) run(const Kernel kernel) {
    extern __shared__ __align__(16) unsigned char shared[];
    typename Kernel::State state;
    const Place place{blockIdx.x, static_cast<int>(threadIdx.x)};
    kernel.begin(state, place, shared);
    const std::size_t n_steps = kernel.steps();
    for (std::size_t step = 0; step < n_steps; ++step) {
        kernel.produce(step, state, place, shared);
        __syncthreads();
        kernel.consume(step, state, place, shared);
    }
    __syncthreads();
    kernel.end(state, place, shared);
}

std::string gigabytes(std::size_t n_bytes) {
    char text[32];
    std::snprintf(text, sizeof(text), "%.3f GiB", static_cast<double>(n_bytes) / (1024.0 * 1024.0 * 1024.0));
    return text;
}

void check(cudaError_t status, const char* call) {
    if (status == cudaSuccess) return;
    cudaGetLastError();  // an error that is not sticky ends here
    throw std::runtime_error(std::string("CUDA: ") + call + " failed: " + cudaGetErrorName(status) + ", " +
                             cudaGetErrorString(status) + ".");
}

#define PYASMG_CHECK(call) check(call, #call)

// A number for cudaStream_t; 1 is what DLPack calls the legacy default stream, as cudaStreamLegacy does.
cudaStream_t stream_of(Stream stream) { return reinterpret_cast<cudaStream_t>(stream); }

// The caller's device is his again when a call ends.
class OnDevice {
  public:
    explicit OnDevice(int index) {
        PYASMG_CHECK(cudaGetDevice(&before_));
        if (index != before_) PYASMG_CHECK(cudaSetDevice(index));
        changed_ = index != before_;
    }
    OnDevice(const OnDevice&) = delete;
    OnDevice& operator=(const OnDevice&) = delete;
    ~OnDevice() {
        if (changed_) cudaSetDevice(before_);
    }

  private:
    int before_ = 0;
    bool changed_ = false;
};

class CudaRuntime final : public Runtime {
  public:
    explicit CudaRuntime(int index) : index_(index), process_(getpid()) {}

    std::string name() const override { return "cuda:" + std::to_string(index_); }
    int dlpack_type() const override { return 2; }
    int index() const override { return index_; }

    void* allocate(std::size_t n_bytes, const std::string& what) override {
        const OnDevice here(enter());
        void* memory = nullptr;
        const cudaError_t status = cudaMalloc(&memory, n_bytes);
        if (status == cudaErrorMemoryAllocation) {
            cudaGetLastError();
            std::size_t n_free = 0, n_total = 0;
            const bool known = cudaMemGetInfo(&n_free, &n_total) == cudaSuccess;
            throw OutOfMemory("out of memory on " + name() + ": " + what + " takes " + gigabytes(n_bytes) +
                              (known ? ", " + gigabytes(n_free) + " of " + gigabytes(n_total) + " are free." : "."));
        }
        check(status, "cudaMalloc");
        return memory;
    }

    void release(void* memory) noexcept override {
        if (getpid() != process_) return;  // a forked child's context is not its own
        int before = 0;
        if (cudaGetDevice(&before) != cudaSuccess) return;  // also while the process ends
        cudaSetDevice(index_);
        cudaFree(memory);
        cudaSetDevice(before);
    }

    void upload(void* to, const void* from, std::size_t n_bytes, Stream stream) override {
        if (n_bytes == 0) return;
        const OnDevice here(enter());
        // From pageable memory: returns when the source has been read.
        PYASMG_CHECK(cudaMemcpyAsync(to, from, n_bytes, cudaMemcpyHostToDevice, stream_of(stream)));
    }

    void download(void* to, const void* from, std::size_t n_bytes, Stream stream) override {
        if (n_bytes == 0) return;
        const OnDevice here(enter());
        PYASMG_CHECK(cudaMemcpyAsync(to, from, n_bytes, cudaMemcpyDeviceToHost, stream_of(stream)));
        PYASMG_CHECK(cudaStreamSynchronize(stream_of(stream)));
    }

    void copy(void* to, const void* from, std::size_t n_bytes, Stream stream) override {
        const OnDevice here(enter());
        PYASMG_CHECK(cudaMemcpyAsync(to, from, n_bytes, cudaMemcpyDeviceToDevice, stream_of(stream)));
    }

    void order(Stream waiting, Stream done) override {
        if (waiting == done) return;
        const OnDevice here(enter());
        cudaEvent_t event = nullptr;
        PYASMG_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
        cudaError_t status = cudaEventRecord(event, stream_of(done));
        if (status == cudaSuccess) status = cudaStreamWaitEvent(stream_of(waiting), event, 0);
        cudaEventDestroy(event);
        check(status, "cudaEventRecord, cudaStreamWaitEvent");
    }

#define PYASMG_DEFINE(...)                                                                 \
    void launch(const __VA_ARGS__& kernel, std::size_t n_blocks, Stream stream) override { \
        launch_kernel(kernel, n_blocks, stream);                                           \
    }
    PYASMG_KERNELS(PYASMG_DEFINE)
#undef PYASMG_DEFINE

  private:
    int enter() const {
        if (getpid() != process_) {
            throw std::runtime_error(
                "a CUDA search cannot be used in a forked child of the process that made it; start the child with "
                "multiprocessing's \"spawn\", and hand it `state_dict()`.");
        }
        return index_;
    }

    template <class Kernel>
    void launch_kernel(const Kernel& kernel, std::size_t n_blocks, Stream stream) const {
        constexpr std::size_t most_blocks = 0x7fffffff, without_asking = 48 * 1024;
        if (n_blocks == 0 || n_blocks > most_blocks) {
            throw std::runtime_error("CUDA: a launch of " + std::to_string(n_blocks) + " blocks.");
        }
        const OnDevice here(enter());
        const std::size_t shared = kernel.shared_bytes();
        if (shared > without_asking) {
            PYASMG_CHECK(cudaFuncSetAttribute(run<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                              static_cast<int>(shared)));
        }
        run<Kernel><<<static_cast<unsigned>(n_blocks), kThreads, shared, stream_of(stream)>>>(kernel);
        check(cudaGetLastError(), "the launch of a kernel");
    }

    int index_;
    pid_t process_;
};

}  // namespace

CudaInfo cuda_info(bool with_memory) {
    CudaInfo info;
    info.built = true;
    info.architectures = PYASMG_CUDA_ARCHITECTURES;
    cudaRuntimeGetVersion(&info.runtime_version);
    if (cudaDriverGetVersion(&info.driver_version) != cudaSuccess || info.driver_version == 0) {
        cudaGetLastError();
        info.driver_version = 0;
        info.problem = "there is no NVIDIA driver.";
        return info;
    }
    int n_devices = 0;
    const cudaError_t status = cudaGetDeviceCount(&n_devices);
    if (status != cudaSuccess || n_devices == 0) {
        cudaGetLastError();
        if (status == cudaSuccess || status == cudaErrorNoDevice) {
            info.problem = "there is no CUDA device.";
        } else if (status == cudaErrorInitializationError) {
            info.problem =
                "CUDA cannot start in this process; if it was forked from one that had used CUDA, start it with "
                "multiprocessing's \"spawn\".";
        } else {
            info.problem =
                std::string("the driver answers ") + cudaGetErrorName(status) + ", " + cudaGetErrorString(status) + ".";
        }
        return info;
    }
    for (int i = 0; i < n_devices; ++i) {
        cudaDeviceProp properties{};
        if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) {
            cudaGetLastError();
            continue;
        }
        info.devices.push_back(
            {properties.name, properties.major, properties.minor, properties.totalGlobalMem, std::size_t{0}});
        if (!with_memory) continue;
        int before = 0;
        std::size_t n_total = 0;
        if (cudaGetDevice(&before) == cudaSuccess && cudaSetDevice(i) == cudaSuccess) {
            if (cudaMemGetInfo(&info.devices.back().free_memory, &n_total) != cudaSuccess) cudaGetLastError();
            cudaSetDevice(before);
        } else {
            cudaGetLastError();
        }
    }
    return info;
}

std::shared_ptr<Runtime> cuda_runtime(int index) {
    int n_devices = 0;
    if (const cudaError_t status = cudaGetDeviceCount(&n_devices); status != cudaSuccess || n_devices == 0) {
        cudaGetLastError();
        throw std::runtime_error(cuda_info(false).problem);
    }
    if (index < 0 || index >= n_devices) {
        throw std::runtime_error("there is no cuda:" + std::to_string(index) +
                                 "; this machine has cuda:0 to cuda:" + std::to_string(n_devices - 1) + ".");
    }
    auto runtime = std::make_shared<CudaRuntime>(index);
    const OnDevice here(index);
    cudaFuncAttributes attributes{};
    const cudaError_t status = cudaFuncGetAttributes(&attributes, run<ReduceKernel>);
    if (status == cudaErrorNoKernelImageForDevice || status == cudaErrorInvalidDeviceFunction) {
        cudaGetLastError();
        cudaDeviceProp properties{};
        PYASMG_CHECK(cudaGetDeviceProperties(&properties, index));
        throw std::runtime_error("this build has no code for cuda:" + std::to_string(index) + ", " + properties.name +
                                 " (compute capability " + std::to_string(properties.major) + "." +
                                 std::to_string(properties.minor) +
                                 "); it was built for " PYASMG_CUDA_ARCHITECTURES ".");
    }
    check(status, "cudaFuncGetAttributes");
    return runtime;
}

}  // namespace pyasmg::device
