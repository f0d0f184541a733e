// The search distribution as the kernels see it, and the clipping of samples to a box.
#pragma once

#include <cstddef>
#include <cstdint>

#include "portable.hpp"
#include "rng.hpp"

namespace pyasmg {

// x = clip(mean + std * z); all arrays of length `dimension`; low and high are both null (no bounds) or both set.
template <class T>
struct Distribution {
    std::size_t dimension;
    const T* mean;
    const T* std;
    const T* low = nullptr;
    const T* high = nullptr;
    std::uint64_t seed = 0;
    std::uint32_t generation = 0;
    bool mirrored = false;  // row 2 k + 1 has the normals of row 2 k with the other sign

    // Where the normals of a row come from, and their sign.
    PYASMG_HD RandomAddress address(std::size_t row) const {
        return {seed, generation, static_cast<std::uint32_t>(mirrored ? row / 2 : row)};
    }
    PYASMG_HD T sign(std::size_t row) const { return mirrored && row % 2 == 1 ? T(-1) : T(1); }

    PYASMG_HD bool bounded() const { return low != nullptr; }
};

// The point of [low, high] nearest to y; either side may be infinite. The result is always inside, whatever y is.
template <class T>
PYASMG_HD T clip(T y, T low, T high) {
    const T above = y > low ? y : low;  // low for the NaN of an overflowed y
    return above < high ? above : high;
}

}  // namespace pyasmg
