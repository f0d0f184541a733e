// x = clip(mean + std * z), z from the counters.
#pragma once

#include "tile.hpp"

namespace pyasmg::device {

// One block makes a tile of `groups_per_block` groups of rows, a group being the rows that share their normals.
// Writes N d numbers, each once and past the caches; mean and std are read once per block: 2 d ceil(N / rows per block)
// numbers. The stores are of 4 bytes, 16 neighbours at a time: the arithmetic of a normal outweighs them, and wider
// ones would need an exchange between threads first. What is asked of a number beyond its arithmetic costs as much
// again: whole tiles ask for no end, and a search without bounds for no sides.
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
        // A launch has fewer than 2^32 blocks; a division in 64 bits takes as long as some normals.
        const auto block = static_cast<std::uint32_t>(place.block), tiles = static_cast<std::uint32_t>(n_tiles);
        const std::size_t tile = block % tiles, chunk = block / tiles;
        const bool whole = (tile + 1) * kTile <= at.dimension;
        if (at.bounded()) {
            if (whole) return fill<true, true>(tile, chunk, place.thread);
            return fill<false, true>(tile, chunk, place.thread);
        }
        if (whole) return fill<true, false>(tile, chunk, place.thread);
        fill<false, false>(tile, chunk, place.thread);
    }

  private:
    template <bool kWhole, bool kBounded>
    PYASMG_HD void fill(std::size_t tile, std::size_t chunk, int thread) const {
        const std::size_t start = tile * kTile + owned(thread, 0);
        const auto exists = [&](int w) { return kWhole || start + step(w) < at.dimension; };
        T mean[kPerThread] = {}, std[kPerThread] = {}, low[kPerThread] = {}, high[kPerThread] = {}, z[kPerThread];
        PYASMG_UNROLL
        for (int w = 0; w < kPerThread; ++w) {
            if (!exists(w)) continue;
            mean[w] = at.mean[start + step(w)];
            std[w] = at.std[start + step(w)];
            if constexpr (kBounded) {
                low[w] = at.low[start + step(w)];
                high[w] = at.high[start + step(w)];
            }
        }
        const std::size_t per_group = at.mirrored ? 2 : 1, group_begin = first_group + chunk * groups_per_block;
        const std::size_t group_end =
            group_begin + groups_per_block < last_group ? group_begin + groups_per_block : last_group;
        for (std::size_t group = group_begin; group < group_end; ++group) {
            owned_normals(at.address(group * per_group), tile, thread, z);
            PYASMG_UNROLL
            for (int w = 0; w < kPerThread; ++w) z[w] = std[w] * z[w];
            for (std::size_t row = group * per_group; row < (group + 1) * per_group; ++row) {
                if (row >= first && row < first + count) {  // else a pair's other half
                    T* to = out + (row - first) * at.dimension + start;
                    PYASMG_UNROLL
                    for (int w = 0; w < kPerThread; ++w) {
                        const T y = mean[w] + z[w];
                        if (exists(w)) store_streaming(to + step(w), kBounded ? clip(y, low[w], high[w]) : y);
                    }
                }
                PYASMG_UNROLL
                for (int w = 0; w < kPerThread; ++w) z[w] = -z[w];  // exactly what the other sign gives
            }
        }
    }

    // From the first coordinate that a thread owns to its w-th.
    PYASMG_HD static std::size_t step(int w) { return owned(0, w); }
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
