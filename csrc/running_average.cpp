#include "running_average.hpp"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "lanes.hpp"
#include "portable.hpp"
#include "simd.hpp"

namespace pyasmg {
namespace {

// Columns: the rows of a block stay in the caches between the two loops. A quarter of it takes up to twice as long, as
// hardware prefetching starts anew with each row.
constexpr std::size_t kBlock = 4096;

template <class T>
struct Rows {
    std::size_t m, d;
    const T* x;  // null: y stays where it is
    T rate;
    T* y;
    const double* weights;
};

// From the nearer end, as the other would lose digits.
template <class T, bool kNear>
PYASMG_HD void move_row(const T* PYASMG_RESTRICT to, T rate, std::size_t n, T* PYASMG_RESTRICT row) {
    for (std::size_t k = 0; k < n; ++k) {
        const T way = to[k] - row[k];
        row[k] = kNear ? row[k] + rate * way : to[k] - way * (T(1) - rate);
    }
}

template <class T, class A>
PYASMG_HD void add_row(const T* PYASMG_RESTRICT row, A weight, std::size_t n, A* PYASMG_RESTRICT sum) {
    for (std::size_t k = 0; k < n; ++k) sum[k] += weight * static_cast<A>(row[k]);
}

template <class T, class A>
PYASMG_HD double inner_product(const T* row, const A* other, std::size_t n) {
    A lanes[kLanes] = {};
    std::size_t k = 0;
    for (; k + kLanes <= n; k += kLanes) {
        for (int l = 0; l < kLanes; ++l) lanes[l] += static_cast<A>(row[k + l]) * other[k + l];
    }
    for (std::size_t l = 0; k < n; ++k, ++l) lanes[l] += static_cast<A>(row[k]) * other[k];
    return sum_lanes(lanes);
}

template <class T, class A>
PYASMG_HD void average(const Rows<T>& rows, double* slopes) {
    std::fill_n(slopes, rows.m, 0.0);
    A sum[kBlock];
    for (std::size_t begin = 0; begin < rows.d; begin += kBlock) {
        const std::size_t n = std::min(kBlock, rows.d - begin);
        std::fill_n(sum, n, A(0));
        for (std::size_t i = 0; i < rows.m; ++i) {
            T* row = rows.y + i * rows.d + begin;
            const T* to = rows.x == nullptr ? nullptr : rows.x + i * rows.d + begin;
            if (to != nullptr && rows.rate < T(0.5)) {
                move_row<T, true>(to, rows.rate, n, row);
            } else if (to != nullptr) {
                move_row<T, false>(to, rows.rate, n, row);
            }
            add_row<T, A>(row, static_cast<A>(rows.weights[i]), n, sum);
        }
        for (std::size_t i = 0; i < rows.m; ++i) {
            slopes[i] += inner_product<T, A>(rows.y + i * rows.d + begin, sum, n);
        }
    }
}

template <class T>
PYASMG_HD void native_loop(const Rows<T>& rows, double* slopes) {
    average<T, T>(rows, slopes);
}
template <class T>
PYASMG_HD void double_loop(const Rows<T>& rows, double* slopes) {
    average<T, double>(rows, slopes);
}
PYASMG_SIMD_VARIANTS(native, (const Rows<T>& rows, double* slopes), (rows, slopes))
PYASMG_SIMD_VARIANTS(double, (const Rows<T>& rows, double* slopes), (rows, slopes))

}  // namespace

template <class T>
void running_average(std::size_t m, std::size_t d, const T* x, double rate, T* y, const double* weights,
                     Precision precision, double* slopes) {
    Rows<T> rows{m, d, x, static_cast<T>(rate), y, weights};
    if (precision == Precision::in_double) return double_dispatch<T>(rows, slopes);
    native_dispatch<T>(rows, slopes);
    const auto in_range = [](double slope) { return std::abs(slope) >= 1e-30 && std::abs(slope) <= 1e34; };
    if (std::is_same_v<T, float> && !std::all_of(slopes, slopes + m, in_range)) {
        rows.x = nullptr;
        double_dispatch<T>(rows, slopes);
    }
}

template void running_average<float>(std::size_t, std::size_t, const float*, double, float*, const double*, Precision,
                                     double*);
template void running_average<double>(std::size_t, std::size_t, const double*, double, double*, const double*,
                                      Precision, double*);

}  // namespace pyasmg
