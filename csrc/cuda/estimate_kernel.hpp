// The natural-gradient estimates of up to M objectives and the squared norms of z, in one pass over the sample.
#pragma once

#include "../coordinate.hpp"
#include "../cut.hpp"
#include "../lanes.hpp"
#include "tile.hpp"

namespace pyasmg::device {

static_assert(kTile == kMaxBlock);

// Where z comes from.
enum class Source : int { regenerated, given, given_bounded };

// One block owns a tile of coordinates and runs over all rows, four at a time, so that 16 loads of each thread are
// under way together. A thread keeps the sums of its own four coordinates in registers, added in the order of the rows
// in the working precision: the CPU's order, hence its bits. Squared norms of z are summed in the CPU's order as well:
// z^2 is staged in shared memory and 16 lanes per row and block of coordinates add it up.
//
// Reads N d numbers of x once for each group of M objectives (none if regenerated), mean and std once; writes 2 M d.
// At N = 100, M = 2 in float32 that is 424 bytes a coordinate, 400 of them x. Partial norms: N / 1024 doubles a
// coordinate.
template <class T, int M, Source source>
struct EstimateKernel {
    struct State {
        T p[M][kPerThread], h[M][kPerThread];
        T mean[kPerThread], inverse_std[kPerThread];
    };

    Distribution<T> at;
    const T* x;                 // (N, d), where given
    const std::uint32_t* rows;  // (n_rows,) the valid ones
    const T* pull;              // (n_rows,) or null: x counts as mean + (x - mean) * pull where that is not 0
    const T* w;                 // (n_rows, m)
    const T* w_sums;            // (m,)
    std::size_t n_rows, m;
    std::size_t objective;                         // the first of this group
    int active;                                    // so many of M are wanted
    std::size_t coordinate_begin, coordinate_end;  // the first is a multiple of kTile
    std::size_t stride;                            // of the rows of the gradients, which start at `coordinate_begin`
    T *mean_gradient, *std_gradient;
    double* norms;  // (blocks of coordinates, n_rows) or null: not wanted
    int sub_bits;   // a tile holds 2^sub_bits blocks of coordinates, see block_size

    // Neighbouring tiles' rows lie 16 words apart in the banks, and so do neighbouring groups of 64 coordinates.
    static constexpr std::size_t kRowStride = kTile + kTile / 4 + kLanes;

    PYASMG_HD std::size_t lane_sums() const { return (kRowGroup * kLanes) << sub_bits; }
    PYASMG_HD std::size_t shared_bytes() const {
        return norms == nullptr ? 0 : (2 * kRowGroup * kRowStride + 2 * lane_sums()) * sizeof(T);
    }
    PYASMG_HD std::size_t steps() const { return (n_rows + kRowGroup - 1) / kRowGroup; }
    PYASMG_HD std::size_t first(Place place) const { return coordinate_begin + place.block * kTile; }
    PYASMG_HD T* squares(void* shared, std::size_t step) const {
        return static_cast<T*>(shared) + step % 2 * kRowGroup * kRowStride;
    }
    PYASMG_HD T* lanes(void* shared, std::size_t step) const {
        return static_cast<T*>(shared) + 2 * kRowGroup * kRowStride + step % 2 * lane_sums();
    }

    PYASMG_HD void begin(State& state, Place place, void*) const {
        PYASMG_UNROLL
        for (int c = 0; c < kPerThread; ++c) {
            const std::size_t k = first(place) + owned(place.thread, c);
            state.mean[c] = k < coordinate_end ? at.mean[k] : T(0);
            state.inverse_std[c] = k < coordinate_end ? T(1) / at.std[k] : T(0);
            PYASMG_UNROLL
            for (int i = 0; i < M; ++i) state.p[i][c] = state.h[i][c] = T(0);
        }
    }

    // In the usual case there is nothing to ask: all coordinates and rows exist, and x counts as it stands. To ask
    // takes longer than to add up.
    PYASMG_HD bool is_usual(std::size_t step, Place place) const {
        return first(place) + kTile <= coordinate_end && (step + 1) * kRowGroup <= n_rows &&
               (source == Source::regenerated || pull == nullptr);
    }

    template <bool kUsual>
    PYASMG_HD void standardise(std::size_t r, const T (&given)[kPerThread], const State& state, Place place,
                               T (&z)[kPerThread]) const {
        const T factor = kUsual || source == Source::regenerated || pull == nullptr ? T(0) : pull[r];
        PYASMG_UNROLL
        for (int c = 0; c < kPerThread; ++c) {
            const std::size_t k = first(place) + owned(place.thread, c);
            if (!kUsual && k >= coordinate_end) {
                z[c] = T(0);
                continue;
            }
            if constexpr (source == Source::regenerated) continue;
            const T mean = state.mean[c];
            const T value = !kUsual && factor != T(0) ? mean + (given[c] - mean) * factor : given[c];
            if constexpr (source == Source::given) {
                z[c] = (value - mean) * state.inverse_std[c];
            } else {
                z[c] = standardise_bounded(value, mean, at.std[k], state.inverse_std[c], at.low[k], at.high[k], z[c]);
            }
        }
    }

    PYASMG_HD void produce(std::size_t step, State& state, Place place, void* shared) const {
        if (is_usual(step, place)) {
            add_rows<true>(step, state, place, shared);
        } else {
            add_rows<false>(step, state, place, shared);
        }
    }

    template <bool kUsual>
    PYASMG_HD void add_rows(std::size_t step, State& state, Place place, void* shared) const {
        const std::size_t r0 = step * kRowGroup;
        T given[kRowGroup][kPerThread] = {};
        if constexpr (source != Source::regenerated) {
            PYASMG_UNROLL
            for (std::size_t r = 0; r < kRowGroup; ++r) {
                if (!kUsual && r0 + r >= n_rows) continue;
                const std::size_t start = first(place) + owned(place.thread, 0);
                const T* from = x + static_cast<std::size_t>(rows[r0 + r]) * at.dimension + start;
                PYASMG_UNROLL
                for (int c = 0; c < kPerThread; ++c) {
                    const std::size_t k = owned(0, c);
                    if (kUsual || start + k < coordinate_end) given[r][c] = load_streaming(from + k);
                }
            }
        }
        T normals[kPerThread] = {};
        std::uint32_t candidate = 0;  // whose normals these are
        PYASMG_UNROLL
        for (std::size_t r = 0; r < kRowGroup; ++r) {
            if (!kUsual && r0 + r >= n_rows) continue;
            T z[kPerThread];
            if constexpr (source != Source::given) {
                const std::size_t row = rows[r0 + r];
                const RandomAddress address = at.address(row);
                if (r == 0 || address.candidate != candidate) {  // a pair has the same
                    owned_normals(address, first(place) / kTile, place.thread, normals);
                    candidate = address.candidate;
                }
                const bool turned = at.sign(row) < T(0);
                PYASMG_UNROLL
                for (int c = 0; c < kPerThread; ++c) z[c] = turned ? -normals[c] : normals[c];
            }
            standardise<kUsual>(r0 + r, given[r], state, place, z);
            const T* weights = w + (r0 + r) * m + objective;
            PYASMG_UNROLL
            for (int i = 0; i < M; ++i) {
                const T weight = i < active ? weights[i] : T(0);
                PYASMG_UNROLL
                for (int c = 0; c < kPerThread; ++c) {
                    const T weighted = weight * z[c];
                    state.p[i][c] = state.p[i][c] + weighted;
                    state.h[i][c] = state.h[i][c] + weighted * z[c];
                }
            }
            if (norms == nullptr) continue;
            // the four coordinates of a thread lie in one group of 64
            T* to =
                squares(shared, step) + r * kRowStride + place.thread / kLanes * (64 + kLanes) + place.thread % kLanes;
            PYASMG_UNROLL
            for (int c = 0; c < kPerThread; ++c) to[c * kLanes] = z[c] * z[c];
        }
    }

    // The lanes of the step before are complete: add them up.
    PYASMG_HD void finish_norms(std::size_t step, Place place, void* shared) const {
        const auto r = static_cast<std::size_t>(place.thread >> sub_bits), row = step * kRowGroup + r;
        const auto sub = static_cast<std::size_t>(place.thread & ((1 << sub_bits) - 1));
        if (r >= kRowGroup || row >= n_rows || first(place) + sub * (kTile >> sub_bits) >= coordinate_end) return;
        const T* from = lanes(shared, step) + place.thread * kLanes;
        norms[((place.block << sub_bits) + sub) * n_rows + row] = sum_lanes(from);
    }

    PYASMG_HD void consume(std::size_t step, State&, Place place, void* shared) const {
        if (norms == nullptr) return;
        if (step > 0) finish_norms(step - 1, place, shared);
        for (int s = place.thread; s < static_cast<int>(lane_sums()); s += kThreads) {
            const int lane = s % kLanes, sub = s / kLanes & ((1 << sub_bits) - 1), r = s / kLanes >> sub_bits;
            if (step * kRowGroup + static_cast<std::size_t>(r) >= n_rows) continue;
            const int n_groups = static_cast<int>(kTile / 64) >> sub_bits;  // of 64 coordinates, 80 words apart
            const T* from = squares(shared, step) + r * static_cast<int>(kRowStride) + sub * n_groups * 80 + lane;
            T sum = T(0);
            for (int g = 0; g < n_groups; ++g, from += 80) {
                PYASMG_UNROLL
                for (int q = 0; q < 4; ++q) sum += from[q * kLanes];
            }
            lanes(shared, step)[s] = sum;
        }
    }

    PYASMG_HD void end(State& state, Place place, void* shared) const {
        if (norms != nullptr && n_rows > 0) finish_norms(steps() - 1, place, shared);
        PYASMG_UNROLL
        for (int i = 0; i < M; ++i) {
            if (i >= active) continue;
            const std::size_t row = objective + static_cast<std::size_t>(i);
            PYASMG_UNROLL
            for (int c = 0; c < kPerThread; ++c) {
                const std::size_t k = place.block * kTile + owned(place.thread, c);
                if (coordinate_begin + k >= coordinate_end) continue;
                mean_gradient[row * stride + k] = state.p[i][c];
                std_gradient[row * stride + k] = T(0.5) * (state.h[i][c] - w_sums[row]);
            }
        }
    }
};

}  // namespace pyasmg::device
