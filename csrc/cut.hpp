// How sums over the coordinates are cut: by (N, d, m) alone, never by threads, vector width or device.
#pragma once

#include <cstddef>

namespace pyasmg {

// Coordinates are cut into at most this many segments, each summed in order; the segments' sums are then added in
// order.
inline constexpr std::size_t kMaxSegments = 64;
inline constexpr std::size_t kMaxBlock = 1024;
inline constexpr std::size_t kRowGroup = 4;  // rows that are worked on together; no sum depends on it

inline std::size_t divide_up(std::size_t value, std::size_t by) { return (value + by - 1) / by; }
inline std::size_t round_up(std::size_t value, std::size_t multiple) { return divide_up(value, multiple) * multiple; }

// A multiple of kMaxBlock.
inline std::size_t segment_length(std::size_t dimension) {
    return round_up(divide_up(dimension, kMaxSegments), kMaxBlock);
}

// Block of coordinates whose 2 m accumulators stay in a CPU's first-level cache; divides kMaxBlock, multiple of every
// tile size. Squared norms and inner products are summed over one block at a time.
template <class T>
std::size_t block_size(std::size_t n_objectives) {
    std::size_t block = kMaxBlock;
    while (block > 64 && 2 * n_objectives * block * sizeof(T) > 16 * 1024) block /= 2;
    return block;
}

}  // namespace pyasmg
