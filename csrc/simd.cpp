#include "simd.hpp"

#include <atomic>
#include <stdexcept>

namespace pyasmg {
namespace {

constexpr const char* kNames[] = {"baseline", "x86-64-v3", "x86-64-v4"};

SimdLevel best_level() {
#if PYASMG_X86_LEVELS
    __builtin_cpu_init();
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                    __builtin_cpu_supports("bmi2");
    const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512vl");
    return v4 ? SimdLevel::v4 : v3 ? SimdLevel::v3 : SimdLevel::baseline;
#else
    return SimdLevel::baseline;
#endif
}

std::atomic<SimdLevel>& active_level() {
    static std::atomic<SimdLevel> level{best_level()};
    return level;
}

}  // namespace

SimdLevel simd_level() { return active_level().load(std::memory_order_relaxed); }

std::vector<std::string> simd_levels() { return {kNames, kNames + static_cast<int>(best_level()) + 1}; }

std::string simd_level_name() { return kNames[static_cast<int>(simd_level())]; }

void set_simd_level(const std::string& name) {
    for (int level = 0; level <= static_cast<int>(best_level()); ++level) {
        if (name == kNames[level]) {
            active_level().store(static_cast<SimdLevel>(level));
            return;
        }
    }
    throw std::invalid_argument("this machine has no SIMD level '" + name + "'.");
}

}  // namespace pyasmg
