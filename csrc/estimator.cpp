#include "estimator.hpp"

#include <algorithm>
#include <vector>

#include "coordinate.hpp"
#include "cut.hpp"
#include "lanes.hpp"
#include "parallel.hpp"
#include "rng.hpp"
#include "simd.hpp"

namespace pyasmg {
namespace {

constexpr std::size_t kMaxSlice = 64;

template <class T>
struct Pass {
    const Distribution<T>& at;
    const Sample<T>& sample;
    const std::vector<std::size_t>& rows;  // the valid ones
    std::size_t n_objectives;
    const T* w;
    const T* w_sums;  // (m,)
    Estimate<T> out;
    std::size_t block;
};

// z of one row on coordinates [begin, begin + n); z has room for a whole block. Returns |z|^2 over them.
template <class T>
PYASMG_HD double standardise_row(const Pass<T>& pass, std::size_t row, std::size_t begin, std::size_t n,
                                 const T* PYASMG_RESTRICT inverse_std, T* PYASMG_RESTRICT z) {
    const Distribution<T>& at = pass.at;
    const T* PYASMG_RESTRICT mean = at.mean + begin;
    const T* PYASMG_RESTRICT x = pass.sample.x == nullptr ? nullptr : pass.sample.x + row * at.dimension + begin;
    if (x == nullptr || at.bounded()) {
        constexpr std::size_t size = kTileSize<T>;
        fill_normals(at.address(row), begin / size, (n + size - 1) / size, z);
        if (const T sign = at.sign(row); sign < T(0)) {
            for (std::size_t k = 0; k < n; ++k) z[k] = -z[k];
        }
    }
    if (x != nullptr && at.bounded()) {
        const T* PYASMG_RESTRICT std = at.std + begin;
        const T* PYASMG_RESTRICT low = at.low + begin;
        const T* PYASMG_RESTRICT high = at.high + begin;
        for (std::size_t k = 0; k < n; ++k) {
            z[k] = standardise_bounded(x[k], mean[k], std[k], inverse_std[k], low[k], high[k], z[k]);
        }
    } else if (x != nullptr) {
        for (std::size_t k = 0; k < n; ++k) z[k] = (x[k] - mean[k]) * inverse_std[k];
    }
    for (std::size_t k = n; k < round_up(n, kLanes); ++k) z[k] = T(0);
    T lanes[kLanes] = {};
    for (std::size_t k = 0; k < n; k += kLanes) {
        for (int l = 0; l < kLanes; ++l) lanes[l] += z[k + l] * z[k + l];
    }
    return sum_lanes(lanes);
}

// Asks for coordinates [begin, begin + n) of a group of rows. Each row is another page, where hardware prefetching
// starts anew; a few lines at a time between the sums keep the memory busy meanwhile.
template <class T>
PYASMG_HD void prefetch_rows(const Pass<T>& pass, std::size_t first, std::size_t begin, std::size_t n) {
#if defined(__GNUC__)
    const std::size_t last = std::min(pass.rows.size(), first + kRowGroup);
    for (std::size_t r = first; r < last; ++r) {
        const T* x = pass.sample.x + pass.rows[r] * pass.at.dimension + begin;
        for (std::size_t k = 0; k < n; k += 64 / sizeof(T)) __builtin_prefetch(x + k, 0, 3);
    }
#else
    (void)pass, (void)first, (void)begin, (void)n;
#endif
}

// p += w z and h += w z^2 for R rows at once; R is a constant.
template <std::size_t R, class T>
PYASMG_HD void accumulate(const T* PYASMG_RESTRICT z, std::size_t stride, const T* w, std::size_t n,
                          T* PYASMG_RESTRICT p, T* PYASMG_RESTRICT h) {
    for (std::size_t k = 0; k < n; ++k) {
        T sum_p = p[k], sum_h = h[k];
        for (std::size_t r = 0; r < R; ++r) {
            const T value = z[r * stride + k];
            const T weighted = w[r] * value;
            sum_p = sum_p + weighted;
            sum_h = sum_h + weighted * value;
        }
        p[k] = sum_p;
        h[k] = sum_h;
    }
}

template <class T>
PYASMG_HD double dot(const T* PYASMG_RESTRICT a, const T* PYASMG_RESTRICT b, std::size_t n) {
    double lanes[kLanes] = {};
    std::size_t k = 0;
    for (; k + kLanes <= n; k += kLanes) {
        for (int l = 0; l < kLanes; ++l) lanes[l] += static_cast<double>(a[k + l]) * static_cast<double>(b[k + l]);
    }
    for (int l = 0; k < n; ++k, ++l) lanes[l] += static_cast<double>(a[k]) * static_cast<double>(b[k]);
    return sum_lanes(lanes);
}

template <class T>
PYASMG_HD void segment_loop(const Pass<T>& pass, std::size_t segment_begin, std::size_t segment_end,
                            double* PYASMG_RESTRICT gram, double* PYASMG_RESTRICT row_sums) {
    const std::size_t dimension = pass.at.dimension, m = pass.n_objectives;
    alignas(64) T z[kRowGroup * kMaxBlock];
    alignas(64) T inverse_std[kMaxBlock];
    T group_w[kRowGroup];
    for (std::size_t begin = segment_begin; begin < segment_end; begin += pass.block) {
        const std::size_t n = std::min(pass.block, segment_end - begin);
        for (std::size_t i = 0; i < m; ++i) {
            std::fill_n(pass.out.mean_gradient + i * dimension + begin, n, T(0));
            std::fill_n(pass.out.std_gradient + i * dimension + begin, n, T(0));
        }
        for (std::size_t k = 0; k < n; ++k) inverse_std[k] = T(1) / pass.at.std[begin + k];
        for (std::size_t first = 0; first < pass.rows.size(); first += kRowGroup) {
            const std::size_t group = std::min(kRowGroup, pass.rows.size() - first);
            for (std::size_t r = 0; r < group; ++r) {
                const std::size_t row = pass.rows[first + r];
                row_sums[row] += standardise_row(pass, row, begin, n, inverse_std, z + r * kMaxBlock);
            }
            for (std::size_t i = 0; i < m; ++i) {
                T* p = pass.out.mean_gradient + i * dimension + begin;
                T* h = pass.out.std_gradient + i * dimension + begin;
                for (std::size_t r = 0; r < group; ++r) group_w[r] = pass.w[pass.rows[first + r] * m + i];
                if (group == kRowGroup) {
                    for (std::size_t k = 0; k < n; k += kMaxSlice) {
                        const std::size_t slice = std::min(kMaxSlice, n - k);
                        if (i == 0 && pass.sample.x != nullptr)
                            prefetch_rows(pass, first + kRowGroup, begin + k, slice);
                        if (slice == kMaxSlice) {
                            accumulate<kRowGroup>(z + k, kMaxBlock, group_w, kMaxSlice, p + k, h + k);
                        } else {
                            accumulate<kRowGroup>(z + k, kMaxBlock, group_w, slice, p + k, h + k);
                        }
                    }
                } else {
                    for (std::size_t r = 0; r < group; ++r)
                        accumulate<1>(z + r * kMaxBlock, kMaxBlock, group_w + r, n, p, h);
                }
            }
        }
        for (std::size_t i = 0; i < m; ++i) {
            T* PYASMG_RESTRICT h = pass.out.std_gradient + i * dimension + begin;
            for (std::size_t k = 0; k < n; ++k) h[k] = T(0.5) * (h[k] - pass.w_sums[i]);
        }
        for (std::size_t i = 0; i < m; ++i) {
            for (std::size_t j = 0; j <= i; ++j) {
                const T* p = pass.out.mean_gradient + begin;
                const T* h = pass.out.std_gradient + begin;
                gram[i * m + j] +=
                    dot(p + i * dimension, p + j * dimension, n) + 2.0 * dot(h + i * dimension, h + j * dimension, n);
            }
        }
    }
}

PYASMG_SIMD_VARIANTS(segment,
                     (const Pass<T>& pass, std::size_t segment_begin, std::size_t segment_end, double* gram,
                      double* row_sums),
                     (pass, segment_begin, segment_end, gram, row_sums))

}  // namespace

template <class T>
void estimate(const Distribution<T>& distribution, const Sample<T>& sample, std::size_t n_objectives, const T* w,
              const Estimate<T>& out, int n_threads) {
    const std::size_t m = n_objectives, dimension = distribution.dimension;
    std::vector<std::size_t> rows;
    rows.reserve(sample.count);
    for (std::size_t j = 0; j < sample.count; ++j) {
        if (sample.valid[j] != 0) rows.push_back(j);
    }
    std::vector<T> w_sums(m, T(0));
    for (const std::size_t j : rows) {
        for (std::size_t i = 0; i < m; ++i) w_sums[i] += w[j * m + i];
    }
    const Pass<T> pass{distribution, sample, rows, m, w, w_sums.data(), out, block_size<T>(m)};

    const std::size_t length = segment_length(dimension);
    const std::size_t n_segments = divide_up(dimension, length);
    const std::size_t stride = m * m + sample.count;
    std::vector<double> partial(n_segments * stride, 0.0);
    parallel_for(
        n_segments, useful_threads(rows.size() * dimension, n_threads), [&](std::size_t begin, std::size_t end) {
            for (std::size_t s = begin; s < end; ++s) {
                double* gram = partial.data() + s * stride;
                segment_dispatch<T>(pass, s * length, std::min(dimension, (s + 1) * length), gram, gram + m * m);
            }
        });

    std::fill_n(out.gram, m * m, 0.0);
    std::fill_n(out.row_sums, sample.count, 0.0);
    for (std::size_t s = 0; s < n_segments; ++s) {
        const double* gram = partial.data() + s * stride;
        for (std::size_t i = 0; i < m; ++i) {
            for (std::size_t j = 0; j <= i; ++j) out.gram[i * m + j] += gram[i * m + j];
        }
        for (std::size_t j = 0; j < sample.count; ++j) out.row_sums[j] += gram[m * m + j];
    }
    for (std::size_t i = 0; i < m; ++i) {
        for (std::size_t j = 0; j < i; ++j) out.gram[j * m + i] = out.gram[i * m + j];
    }
}

template void estimate<float>(const Distribution<float>&, const Sample<float>&, std::size_t, const float*,
                              const Estimate<float>&, int);
template void estimate<double>(const Distribution<double>&, const Sample<double>&, std::size_t, const double*,
                               const Estimate<double>&, int);

}  // namespace pyasmg
