// x = clip(mean + std * z), z from the counters.
#pragma once

#include "tile.hpp"

namespace pyasmg::device {

// One block makes a tile of `groups_per_block` groups of rows, a group being the rows that share their normals.
// Writes N d numbers, each once and past the caches; mean and std are read once per block: 2 d ceil(N / rows per block)
// numbers. The stores are of 4 bytes, 16 neighbours at a time: the arithmetic of a normal (about 60 instructions)
// outweighs them, and wider ones would need an exchange between threads first.
template <class T>
struct SampleKernel : KernelBase {
    Distribution<T> at;
    std::size_t first, count;  // rows
    std::size_t first_group, last_group, groups_per_block;
    std::size_t n_tiles;
    T* out;  // (count, d)

    static SampleKernel make(const Distribution<T>& at, std::size_t first, std::size_t count, T* out) {
        SampleKernel kernel{};
        const std::size_t rows = at.mirrored ? 2 : 1;
        kernel.at = at;
        kernel.first = first;
        kernel.count = count;
        kernel.first_group = first / rows;
        kernel.last_group = (first + count + rows - 1) / rows;
        kernel.groups_per_block = 16 / rows;
        kernel.n_tiles = (at.dimension + kTile - 1) / kTile;
        kernel.out = out;
        return kernel;
    }

    std::size_t n_blocks() const {
        return count == 0 ? 0 : (last_group - first_group + groups_per_block - 1) / groups_per_block * n_tiles;
    }

    PYASMG_HD void end(State&, Place place, void*) const {
        const std::size_t tile = place.block % n_tiles, chunk = place.block / n_tiles, begin = tile * kTile;
        T mean[kPerThread] = {}, std[kPerThread] = {}, low[kPerThread] = {}, high[kPerThread] = {}, z[kPerThread];
        PYASMG_UNROLL
        for (int w = 0; w < kPerThread; ++w) {
            const std::size_t k = begin + owned(place.thread, w);
            if (k >= at.dimension) continue;
            mean[w] = at.mean[k];
            std[w] = at.std[k];
            if (at.bounded()) {
                low[w] = at.low[k];
                high[w] = at.high[k];
            }
        }
        const std::size_t per_group = at.mirrored ? 2 : 1;
        const std::size_t group_begin = first_group + chunk * groups_per_block;
        const std::size_t group_end =
            group_begin + groups_per_block < last_group ? group_begin + groups_per_block : last_group;
        for (std::size_t group = group_begin; group < group_end; ++group) {
            owned_normals(at.address(group * per_group), tile, place.thread, z);
            for (std::size_t row = group * per_group; row < (group + 1) * per_group; ++row) {
                if (row < first || row >= first + count) continue;  // a pair's other half
                const T sign = at.sign(row);
                T* to = out + (row - first) * at.dimension;
                PYASMG_UNROLL
                for (int w = 0; w < kPerThread; ++w) {
                    const std::size_t k = begin + owned(place.thread, w);
                    if (k >= at.dimension) continue;
                    const T y = mean[w] + std[w] * (sign * z[w]);
                    store_streaming(to + k, at.bounded() ? clip(y, low[w], high[w]) : y);
                }
            }
        }
    }
};

// The mean, clipped to the box: reads 3 d numbers and writes d.
template <class T>
struct ClipKernel : KernelBase {
    std::size_t dimension;
    const T *mean, *low, *high;
    T* out;  // (dimension,)

    std::size_t n_blocks() const { return (dimension + kTile - 1) / kTile; }

    PYASMG_HD void end(State&, Place place, void*) const {
        const std::size_t begin = place.block * kTile + static_cast<std::size_t>(place.thread);
        for (std::size_t k = begin; k < begin + kTile && k < dimension; k += kThreads) {
            store_streaming(out + k, clip(mean[k], low[k], high[k]));
        }
    }
};

}  // namespace pyasmg::device
