#include "sign_dropout.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "portable.hpp"
#include "simd.hpp"

namespace pyasmg {
namespace {

constexpr std::size_t kBlock = 1024;  // columns: the sums stay in the nearest cache

template <class T>
PYASMG_HD void dropout_loop(std::size_t m, std::size_t d, const T* matrix, const double* leak, Pcg64& generator,
                            const Columns<T>& columns) {
    typedef T Line __attribute__((vector_size(64)));  // of the cache
    using Mask = decltype(Line{} > Line{});
    constexpr std::size_t kLine = sizeof(Line) / sizeof(T);
    const T* x = matrix + columns.first;
    alignas(64) T above[kBlock], below[kBlock];
    alignas(64) std::uint32_t bits[kBlock];
    for (std::size_t begin = 0; begin < columns.size; begin += kBlock) {
        const std::size_t n = std::min(kBlock, columns.size - begin);
        fill_bits(generator, n, bits);
        std::fill_n(above, n, T(0));
        std::fill_n(below, n, T(0));
        for (std::size_t i = 0; i < m; ++i) {
            const T* PYASMG_RESTRICT row = x + i * d + begin;
            std::size_t k = 0;
            for (; k + kLine <= n; k += kLine) {
                Line values, sum;
                std::memcpy(&values, row + k, sizeof(Line));
                // the row's next block mostly is another page, where hardware prefetching starts anew
                __builtin_prefetch(row + k + kBlock, 0, 2);
                std::memcpy(&sum, above + k, sizeof(Line));
                sum += reinterpret_cast<Line>((values > Line{}) & reinterpret_cast<Mask>(values));
                std::memcpy(above + k, &sum, sizeof(Line));
                std::memcpy(&sum, below + k, sizeof(Line));
                sum += reinterpret_cast<Line>((values < Line{}) & reinterpret_cast<Mask>(values));
                std::memcpy(below + k, &sum, sizeof(Line));
            }
            for (; k < n; ++k) {
                above[k] += row[k] > T(0) ? row[k] : T(0);
                below[k] += row[k] < T(0) ? row[k] : T(0);
            }
        }
        T* PYASMG_RESTRICT kept = columns.out + begin;
        if (leak == nullptr) {
            for (std::size_t k = 0; k < n; ++k) {
                kept[k] = above[k] > static_cast<T>(unit_float(bits[k])) * (above[k] - below[k]) ? above[k] : below[k];
            }
            continue;
        }
        // From here on `above` says by its sign which entries are kept.
        for (std::size_t k = 0; k < n; ++k) {
            above[k] = above[k] > static_cast<T>(unit_float(bits[k])) * (above[k] - below[k]) ? T(1) : T(-1);
            kept[k] = T(0);
        }
        for (std::size_t i = 0; i < m; ++i) {
            const T* PYASMG_RESTRICT row = x + i * d + begin;
            const T share = static_cast<T>(leak[i]);
            for (std::size_t k = 0; k < n; ++k) kept[k] += (row[k] * above[k] > T(0) ? T(1) : share) * row[k];
        }
    }
}

PYASMG_SIMD_VARIANTS(dropout,
                     (std::size_t m, std::size_t d, const T* x, const double* leak, Pcg64& generator,
                      const Columns<T>& columns),
                     (m, d, x, leak, generator, columns))

}  // namespace

template <class T>
void sign_dropout(std::size_t m, std::size_t d, const T* x, const double* leak, Pcg64& generator,
                  const std::vector<Columns<T>>& columns) {
    for (const Columns<T>& part : columns) dropout_dispatch<T>(m, d, x, leak, generator, part);
}

template void sign_dropout<float>(std::size_t, std::size_t, const float*, const double*, Pcg64&,
                                  const std::vector<Columns<float>>&);
template void sign_dropout<double>(std::size_t, std::size_t, const double*, const double*, Pcg64&,
                                   const std::vector<Columns<double>>&);

}  // namespace pyasmg
