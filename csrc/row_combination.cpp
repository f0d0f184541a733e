#include "row_combination.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "portable.hpp"
#include "simd.hpp"

namespace pyasmg {
namespace {

constexpr std::size_t kBlock = 2048;  // columns: what is added up stays in the nearest cache
constexpr std::size_t kStrip = 64;    // bytes, a cache line
constexpr std::size_t kMaxRows = 4;   // at a time

// out = sum_i weights_i row_i, on top of `out` if `kAdd`. The next block of each row, which mostly is another page
// where hardware prefetching starts anew, is asked for meanwhile.
template <class T, std::size_t kRows, bool kAdd>
PYASMG_HD void add_rows(const T* const* rows, const T* weights, std::size_t n, T* PYASMG_RESTRICT out) {
    typedef T Strip __attribute__((vector_size(kStrip)));
    constexpr std::size_t kLanes = kStrip / sizeof(T);
    const std::size_t whole = n - n % kLanes;
    for (std::size_t k = 0; k < whole; k += kLanes) {
        Strip sum = {}, row;
        if (kAdd) std::memcpy(&sum, out + k, kStrip);
        for (std::size_t i = 0; i < kRows; ++i) {
            std::memcpy(&row, rows[i] + k, kStrip);
            __builtin_prefetch(rows[i] + k + kBlock, 0, 2);
            sum += weights[i] * row;
        }
        std::memcpy(out + k, &sum, kStrip);
    }
    for (std::size_t k = whole; k < n; ++k) {
        T sum = kAdd ? out[k] : T(0);
        for (std::size_t i = 0; i < kRows; ++i) sum += weights[i] * rows[i][k];
        out[k] = sum;
    }
}

template <class T, bool kAdd>
PYASMG_HD void add_some(std::size_t n_rows, const T* const* rows, const T* weights, std::size_t n, T* out) {
    switch (n_rows) {
        case 1:
            return add_rows<T, 1, kAdd>(rows, weights, n, out);
        case 2:
            return add_rows<T, 2, kAdd>(rows, weights, n, out);
        case 3:
            return add_rows<T, 3, kAdd>(rows, weights, n, out);
        default:
            return add_rows<T, 4, kAdd>(rows, weights, n, out);
    }
}

template <class T>
PYASMG_HD void combination_loop(const std::vector<const T*>& rows, const std::vector<T>& weights, T factor,
                                const Columns<T>& columns) {
    const T* here[kMaxRows];
    T* out = columns.out;
    for (std::size_t begin = 0; begin < columns.size; begin += kBlock) {
        const std::size_t size = std::min(kBlock, columns.size - begin);
        if (rows.empty()) std::fill_n(out + begin, size, T(0));
        for (std::size_t i = 0; i < rows.size(); i += kMaxRows) {
            const std::size_t n_rows = std::min(kMaxRows, rows.size() - i);
            for (std::size_t r = 0; r < n_rows; ++r) here[r] = rows[i + r] + columns.first + begin;
            if (i == 0) {
                add_some<T, false>(n_rows, here, weights.data(), size, out + begin);
            } else {
                add_some<T, true>(n_rows, here, weights.data() + i, size, out + begin);
            }
        }
        if (factor != T(1)) {
            for (std::size_t k = begin; k < begin + size; ++k) out[k] *= factor;
        }
    }
}

PYASMG_SIMD_VARIANTS(combination,
                     (const std::vector<const T*>& rows, const std::vector<T>& weights, T factor,
                      const Columns<T>& columns),
                     (rows, weights, factor, columns))

}  // namespace

template <class T>
void combine_rows(std::size_t m, std::size_t d, const T* x, const double* weights, double factor,
                  const std::vector<Columns<T>>& columns) {
    std::vector<const T*> rows;
    std::vector<T> values;
    for (std::size_t i = 0; i < m; ++i) {
        if (weights[i] == 0.0) continue;
        rows.push_back(x + i * d);
        values.push_back(static_cast<T>(weights[i]));
    }
    for (const Columns<T>& part : columns) combination_dispatch<T>(rows, values, static_cast<T>(factor), part);
}

template void combine_rows<float>(std::size_t, std::size_t, const float*, const double*, double,
                                  const std::vector<Columns<float>>&);
template void combine_rows<double>(std::size_t, std::size_t, const double*, const double*, double,
                                   const std::vector<Columns<double>>&);

}  // namespace pyasmg
