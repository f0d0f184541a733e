// Which coordinates of a tile a thread owns, and their normals.
#pragma once

#include "../distribution.hpp"
#include "../rng.hpp"
#include "launch.hpp"

namespace pyasmg::device {

static_assert(kThreads % kLanes == 0 && kTile % kTileSize<float> == 0 && kTile % kTileSize<double> == 0);

// Coordinate of the tile that thread t owns as its w-th: the words of one Philox block (float) or of two (double) go to
// one thread, and 16 neighbouring threads touch 16 neighbouring coordinates: whole memory sectors.
PYASMG_HD std::size_t owned(int thread, int w) {
    const int lane = thread % kLanes, group = thread / kLanes;
    return static_cast<std::size_t>(group * kPerThread * kLanes + w * kLanes + lane);
}

// The normals of the owned coordinates of a tile.
template <class T>
PYASMG_HD void owned_normals(const RandomAddress& address, std::size_t tile, int thread, T (&z)[kPerThread]) {
    constexpr int n_blocks = sizeof(T) == 4 ? 1 : 2, per_block = kPerThread / n_blocks;
    const int lane = thread % kLanes, group = thread / kLanes;
    PYASMG_UNROLL
    for (int b = 0; b < n_blocks; ++b) {
        const auto counter_tile =
            static_cast<std::uint32_t>(tile * (kTile / kTileSize<T>)+static_cast<std::size_t>(group * n_blocks + b));
        std::uint32_t c0 = counter_tile * kLanes + static_cast<std::uint32_t>(lane);
        std::uint32_t c1 = address.candidate, c2 = address.generation, c3 = address.stream;
        philox4x32(c0, c1, c2, c3, static_cast<std::uint32_t>(address.seed),
                   static_cast<std::uint32_t>(address.seed >> 32));
        T* out = z + b * per_block;
        if constexpr (sizeof(T) == 4) {
            block_normals(c0, c1, c2, c3, out[0], out[1], out[2], out[3]);
        } else {
            block_normals(c0, c1, c2, c3, out[0], out[1]);
        }
    }
}

}  // namespace pyasmg::device
