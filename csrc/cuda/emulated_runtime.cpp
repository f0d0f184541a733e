#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <unordered_map>

#include "runtime.hpp"

namespace pyasmg::device {
namespace {

class EmulatedRuntime final : public Runtime {
  public:
    EmulatedRuntime(std::size_t memory_limit, bool alternating) : limit_(memory_limit), alternating_(alternating) {}

    std::string name() const override { return "the emulated device"; }
    int dlpack_type() const override { return 1; }
    int index() const override { return 0; }

    void* allocate(std::size_t n_bytes, const std::string& what) override {
        const std::lock_guard<std::mutex> lock(mutex_);
        void* memory = n_bytes <= limit_ - used_ ? std::malloc(n_bytes) : nullptr;
        if (memory == nullptr) {
            throw OutOfMemory("out of memory on " + name() + ": " + what + " takes " + std::to_string(n_bytes) +
                              " bytes, " + std::to_string(limit_ - used_) + " of " + std::to_string(limit_) +
                              " are free.");
        }
        std::memset(memory, 0xff, n_bytes);
        sizes_[memory] = n_bytes;
        used_ += n_bytes;
        return memory;
    }
    void release(void* memory) noexcept override {
        const std::lock_guard<std::mutex> lock(mutex_);
        const auto found = sizes_.find(memory);
        used_ -= found->second;
        sizes_.erase(found);
        std::free(memory);
    }

    void upload(void* to, const void* from, std::size_t n_bytes, Stream) override { move(to, from, n_bytes); }
    void download(void* to, const void* from, std::size_t n_bytes, Stream) override { move(to, from, n_bytes); }
    void copy(void* to, const void* from, std::size_t n_bytes, Stream) override { move(to, from, n_bytes); }
    void order(Stream, Stream) override {}

#define PYASMG_DEFINE(...)                                                            \
    void launch(const __VA_ARGS__& kernel, std::size_t n_blocks, Stream) override {   \
        emulate(kernel, n_blocks, alternating_ && n_launches_.fetch_add(1) % 2 == 1); \
    }
    PYASMG_KERNELS(PYASMG_DEFINE)
#undef PYASMG_DEFINE

  private:
    static void move(void* to, const void* from, std::size_t n_bytes) {
        if (n_bytes > 0) std::memmove(to, from, n_bytes);
    }

    std::size_t limit_, used_ = 0;
    bool alternating_;
    std::atomic<unsigned> n_launches_{0};
    std::mutex mutex_;
    std::unordered_map<void*, std::size_t> sizes_;
};

}  // namespace

std::shared_ptr<Runtime> emulated_runtime(std::size_t memory_limit, bool alternating) {
    return std::make_shared<EmulatedRuntime>(memory_limit, alternating);
}

}  // namespace pyasmg::device
