// What happens to one coordinate: the formulas that the CPU's loops and the GPU's kernels share.
#pragma once

#include <cmath>
#include <cstddef>

#include "distribution.hpp"
#include "elementary.hpp"
#include "portable.hpp"

namespace pyasmg {

// z of a given x with bounds: where x is what was asked, the normal itself (clipping is not invertible).
template <class T>
PYASMG_HD T standardise_bounded(T x, T mean, T std, T inverse_std, T low, T high, T normal) {
    const T changed = (x - mean) * inverse_std;
    return clip(mean + std * normal, low, high) == x ? normal : changed;
}

// Eq. A.152
template <class T>
PYASMG_HD T step_mean(T mean, T std, double mean_step, double p) {
    return static_cast<T>(static_cast<double>(mean) - mean_step * static_cast<double>(std) * p);
}

// The factor of a std, within [1/2, 2]: exp(-step h).
PYASMG_HD double exponential_factor(double std_step, double h) {
    constexpr double log2 = 0.69314718055994530942;
    double r = -std_step * h;
    r = r < log2 ? r : log2;
    r = r > -log2 ? r : -log2;
    return exp_small(r);
}

// The same from Eq. A.153.
PYASMG_HD double inverse_factor(double std_step, double h) {
    double factor = 1.0 + 2.0 * std_step * h;
    factor = factor < 4.0 ? factor : 4.0;
    factor = factor > 0.25 ? factor : 0.25;
    return 1.0 / std::sqrt(factor);
}

// Far from both ends of the exponent range: 1 / std and std^2 in later steps stay finite.
template <class T>
inline constexpr T kSmallest = sizeof(T) == 4 ? T(1e-30) : T(1e-150);
template <class T>
inline constexpr T kLargest = sizeof(T) == 4 ? T(1e30) : T(1e150);

template <class T>
PYASMG_HD T step_std(T std, double factor) {
    constexpr T smallest = kSmallest<T>, largest = kLargest<T>;
    T value = static_cast<T>(static_cast<double>(std) * factor);
    value = value > smallest ? value : smallest;
    return value < largest ? value : largest;
}

// A coordinate that can still move.
template <class T>
PYASMG_HD bool moves(T mean, T std) {
    return mean + T(0.1) * std != mean;
}

// Also true for NaN.
template <class T>
PYASMG_HD bool is_outside(T mean) {
    constexpr T largest = kLargest<T>;
    return !(mean <= largest && mean >= -largest);
}

}  // namespace pyasmg
