// How a kernel is written so that the same body runs on a GPU and, for tests, on the host.
//
// A kernel is a plain struct with
//     struct State                      what a thread keeps from phase to phase (registers)
//     std::size_t shared_bytes() const  memory that the threads of a block share
//     std::size_t steps() const         the same for every thread
//     begin(state, place, shared)
//     produce(step, state, place, shared), consume(step, ...)     for step = 0 .. steps() - 1
//     end(state, place, shared)
// With a barrier after begin, between produce and consume of a step, and before end; none between the consume of a step
// and the produce of the next, which must therefore touch different shared memory. `begin` and `produce` of step 0 run
// without a barrier between them as well.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "../portable.hpp"

namespace pyasmg::device {

inline constexpr int kThreads = 256;
inline constexpr int kPerThread = 4;  // coordinates of a tile that one thread owns
inline constexpr std::size_t kTile = static_cast<std::size_t>(kThreads) * kPerThread;  // = kMaxBlock

struct Place {
    std::size_t block;
    int thread;
};

struct Stateless {};

// What a kernel without phases need not write.
struct KernelBase {
    using State = Stateless;
    PYASMG_HD std::size_t shared_bytes() const { return 0; }
    PYASMG_HD std::size_t steps() const { return 0; }
    PYASMG_HD void begin(State&, Place, void*) const {}
    PYASMG_HD void produce(std::size_t, State&, Place, void*) const {}
    PYASMG_HD void consume(std::size_t, State&, Place, void*) const {}
    PYASMG_HD void end(State&, Place, void*) const {}
};

// Data that is read or written once: past the caches where the machine can.
template <class T>
PYASMG_HD T load_streaming(const T* from) {
#if defined(__CUDA_ARCH__)
    return __ldcs(from);
#else
    return *from;
#endif
}

template <class T>
PYASMG_HD void store_streaming(T* to, T value) {
#if defined(__CUDA_ARCH__)
    __stcs(to, value);
#else
    *to = value;
#endif
}

// The launch on the host: blocks one after the other, in each phase the threads one after the other. Both orders can be
// turned round, which no result may depend on. Shared memory starts as NaN.
template <class Kernel>
void emulate(const Kernel& kernel, std::size_t n_blocks, bool reversed) {
    std::vector<double> shared((kernel.shared_bytes() + sizeof(double) - 1) / sizeof(double));
    const auto each = [&](std::size_t block, const auto& phase) {
        for (int t = 0; t < kThreads; ++t) phase(Place{block, reversed ? kThreads - 1 - t : t});
    };
    for (std::size_t b = 0; b < n_blocks; ++b) {
        const std::size_t block = reversed ? n_blocks - 1 - b : b;
        std::vector<typename Kernel::State> states(kThreads);
        if (!shared.empty()) std::memset(shared.data(), 0xff, shared.size() * sizeof(double));
        void* memory = shared.data();
        each(block, [&](Place at) { kernel.begin(states[at.thread], at, memory); });
        for (std::size_t step = 0; step < kernel.steps(); ++step) {
            each(block, [&](Place at) { kernel.produce(step, states[at.thread], at, memory); });
            each(block, [&](Place at) { kernel.consume(step, states[at.thread], at, memory); });
        }
        each(block, [&](Place at) { kernel.end(states[at.thread], at, memory); });
    }
}

}  // namespace pyasmg::device
