// Stands in for cuda_runtime.cu in a build without CUDA.
#include "runtime.hpp"

namespace pyasmg::device {

CudaInfo cuda_info(bool) {
    CudaInfo info;
    info.problem = "this pyasmg was built without CUDA; build it where nvcc is, with PYASMG_CUDA=ON.";
    return info;
}

std::shared_ptr<Runtime> cuda_runtime(int) { throw std::runtime_error(cuda_info(false).problem); }

}  // namespace pyasmg::device
