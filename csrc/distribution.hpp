// The search distribution as the kernels see it, and the folding of samples into a box.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "portable.hpp"

namespace pyasmg {

// x = fold(mean + std * z), all arrays of length `dimension`; low and high are both null (no bounds) or both set.
template <class T>
struct Distribution {
    std::size_t dimension;
    const T* mean;
    const T* std;
    const T* low = nullptr;
    const T* high = nullptr;
    std::uint64_t seed = 0;
    std::uint32_t generation = 0;

    bool bounded() const { return low != nullptr; }
};

// Reflects y at the sides of [low, high] until it lies inside (a triangle wave); either side may be infinite.
// Values inside are returned unchanged to the bit; the result is always inside, whatever y is.
template <class T>
PYASMG_HD T fold(T y, T low, T high) {
    T folded = y < low ? low + (low - y) : y;
    folded = folded > high ? high - (folded - high) : folded;
    const T width = high - low;
    const T period = width + width;
    const T turns = (y - low) / period;
    const T phase = (turns - std::floor(turns)) * period;
    const T wrapped = low + (phase > width ? period - phase : phase);
    folded = (folded < low) | (folded > high) ? wrapped : folded;  // more than one reflection
    folded = folded > low ? folded : low;                          // rounding; NaN of an overflowed y
    return folded < high ? folded : high;
}

}  // namespace pyasmg
