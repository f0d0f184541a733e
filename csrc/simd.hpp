// Run-time choice of the SIMD level. A hot loop is written once as an always-inline template and instantiated for each
// level by PYASMG_SIMD_VARIANTS; every level gives the same bits, because the loops use no fused multiply-adds and
// their order of summation is fixed by the code, not by the vector width.
#pragma once

#include <string>
#include <vector>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define PYASMG_X86_LEVELS 1
#define PYASMG_TARGET_V3 __attribute__((target("arch=x86-64-v3")))
#if defined(__clang__)  // which knows no preferred width here, and would ignore the whole attribute
#define PYASMG_TARGET_V4 __attribute__((target("arch=x86-64-v4")))
#else
#define PYASMG_TARGET_V4 __attribute__((target("arch=x86-64-v4,prefer-vector-width=512")))
#endif
#else
#define PYASMG_X86_LEVELS 0
#endif

namespace pyasmg {

enum class SimdLevel { baseline = 0, v3 = 1, v4 = 2 };

// The level in use: the machine's best one unless set_simd_level lowered it.
SimdLevel simd_level();

// All levels that this machine has, lowest first.
std::vector<std::string> simd_levels();
std::string simd_level_name();

// Throws std::invalid_argument for a name that this machine does not have.
void set_simd_level(const std::string& name);

}  // namespace pyasmg

// Defines NAME##_dispatch<T>(ARGS), which calls NAME##_loop<T>(PASS) compiled for the level in use.
#if PYASMG_X86_LEVELS
#define PYASMG_SIMD_VARIANTS(NAME, ARGS, PASS) \
    template <class T>                         \
    PYASMG_TARGET_V4 void NAME##_v4 ARGS {     \
        NAME##_loop<T> PASS;                   \
    }                                          \
    template <class T>                         \
    PYASMG_TARGET_V3 void NAME##_v3 ARGS {     \
        NAME##_loop<T> PASS;                   \
    }                                          \
    template <class T>                         \
    void NAME##_dispatch ARGS {                \
        switch (simd_level()) {                \
            case SimdLevel::v4:                \
                return NAME##_v4<T> PASS;      \
            case SimdLevel::v3:                \
                return NAME##_v3<T> PASS;      \
            case SimdLevel::baseline:          \
                break;                         \
        }                                      \
        NAME##_loop<T> PASS;                   \
    }
#else
#define PYASMG_SIMD_VARIANTS(NAME, ARGS, PASS) \
    template <class T>                         \
    void NAME##_dispatch ARGS {                \
        NAME##_loop<T> PASS;                   \
    }
#endif
