#include "running_average.hpp"

#include <cmath>
#include <limits>

#include "portable.hpp"
#include "row_products.hpp"
#include "simd.hpp"

namespace pyasmg {
namespace {

template <class T>
struct Move {
    std::size_t n;
    const T* x;
    double factor;
    T rate;
    T* y;
};

template <class T, bool kScaled, bool kNear>
PYASMG_HD void move_entries(std::size_t n, const T* PYASMG_RESTRICT x, double factor, T rate, T* PYASMG_RESTRICT y) {
    for (std::size_t k = 0; k < n; ++k) {
        const T to = kScaled ? static_cast<T>(factor * static_cast<double>(x[k])) : x[k];
        const T way = to - y[k];
        y[k] = kNear ? y[k] + rate * way : to - way * (T(1) - rate);
    }
}

template <class T, bool kScaled>
PYASMG_HD void move_from(const Move<T>& move) {
    if (move.rate < T(0.5)) {
        move_entries<T, kScaled, true>(move.n, move.x, move.factor, move.rate, move.y);
    } else {
        move_entries<T, kScaled, false>(move.n, move.x, move.factor, move.rate, move.y);
    }
}

template <class T>
PYASMG_HD void move_loop(const Move<T>& move) {
    if (move.factor == 1.0) {
        move_from<T, false>(move);
    } else {
        move_from<T, true>(move);
    }
}
PYASMG_SIMD_VARIANTS(move, (const Move<T>& given), (given))

double factor_for(double norm, const Goal& goal) {
    if (!goal.length) return goal.factor;
    return norm > 0.0 ? *goal.length / norm : 0.0;
}

}  // namespace

template <class T>
double running_average(const std::vector<Part<T>>& gradient, const Goal& goal, T* y) {
    double sum = 0.0;
    for (const Part<T>& part : gradient) {
        double square = 0.0;
        row_products(1, part.n, part.x, Precision::native, &square);
        sum += square;
    }
    const double norm = std::sqrt(sum), factor = factor_for(norm, goal);
    if (!(norm * std::abs(factor) <= double{std::numeric_limits<T>::max()})) {  // or NaN
        return std::numeric_limits<double>::infinity();
    }
    for (const Part<T>& part : gradient) {
        move_dispatch<T>({part.n, part.x, factor, static_cast<T>(goal.rate), y});
        y += part.n;
    }
    return norm;
}

template double running_average<float>(const std::vector<Part<float>>&, const Goal&, float*);
template double running_average<double>(const std::vector<Part<double>>&, const Goal&, double*);

}  // namespace pyasmg
