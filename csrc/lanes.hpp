// Sums whose order does not depend on the vector width.
#pragma once

#include "portable.hpp"
#include "rng.hpp"

namespace pyasmg {

// The sum of kLanes partial sums, in a fixed order.
template <class T>
PYASMG_HD double sum_lanes(const T* lanes) {
    double half[kLanes / 2], quarter[kLanes / 4];
    for (int l = 0; l < kLanes / 2; ++l) {
        half[l] = static_cast<double>(lanes[l]) + static_cast<double>(lanes[l + kLanes / 2]);
    }
    for (int l = 0; l < kLanes / 4; ++l) quarter[l] = half[l] + half[l + kLanes / 4];
    return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
}

}  // namespace pyasmg
