// Tests of running_average.hpp.
#pragma once

#include "common.hpp"
#include "running_average.hpp"
#include "simd.hpp"

namespace {

template <class T>
std::vector<T> averaged(std::size_t n, double factor, double rate, const std::string& where) {
    std::mt19937_64 random(n);
    const std::vector<T> x = normal_vector<T>(n, random), before = normal_vector<T>(n, random);
    std::vector<T> y = before;
    const std::size_t first = n / 3;
    const double norm =
        pyasmg::running_average<T>({{x.data(), first}, {x.data() + first, n - first}}, {rate, factor, {}}, y.data());
    double sum = 0.0;
    for (const T entry : x) sum += static_cast<double>(entry) * static_cast<double>(entry);
    CHECK(std::abs(norm - std::sqrt(sum)) <= 1e-6 * norm, where);
    for (std::size_t k = 0; k < n; ++k) {
        const double to = factor * static_cast<double>(x[k]), from = static_cast<double>(before[k]);
        const double tolerance = 4.0 * std::numeric_limits<T>::epsilon() * (std::abs(to) + std::abs(from));
        CHECK(std::abs(static_cast<double>(y[k]) - (from + rate * (to - from))) <= tolerance, where);
    }
    return y;
}

// At every SIMD level the same bits; sizes off every vector.
template <class T>
void test_running_average() {
    const std::string best = pyasmg::simd_level_name();
    for (const std::size_t n : {0, 1, 7, 16, 33, 4095, 5000}) {
        for (const double factor : {1.0, 0.3, 0.0, -1e10}) {
            for (const double rate : {0.0, 0.25, 0.5, 0.75, 1.0}) {
                std::vector<std::vector<T>> found;
                for (const std::string& level : pyasmg::simd_levels()) {
                    pyasmg::set_simd_level(level);
                    const std::string where = level + " " + type_name<T>() + " average of " + std::to_string(n);
                    found.push_back(averaged<T>(n, factor, rate, where));
                    CHECK(same_bits(found.front(), found.back()), where);
                }
            }
        }
    }
    pyasmg::set_simd_level(best);
}

// What cannot be stored leaves the average where it is; a length is reached whatever that of the gradient.
template <class T>
void test_running_average_of_extremes() {
    const double largest = double{std::numeric_limits<T>::max()}, infinity = std::numeric_limits<double>::infinity();
    std::vector<T> y(3, T(0.5));
    const auto moved = [&](const std::vector<T>& x, double factor, std::optional<double> length) {
        return pyasmg::running_average<T>({{x.data(), x.size()}}, {1.0, factor, length}, y.data());
    };
    for (const double bad : {kNan, infinity, -infinity}) {
        CHECK(moved({T(1), static_cast<T>(bad), T(2)}, 1.0, {}) == infinity, "an average of " + std::to_string(bad));
        CHECK(moved({T(1), static_cast<T>(bad), T(2)}, 1.0, 1.0) == infinity, "a length of " + std::to_string(bad));
    }
    CHECK(moved({T(4), T(3), T(0)}, 0.5 * largest, {}) == infinity, "an average that is too long");
    CHECK((y == std::vector<T>{T(0.5), T(0.5), T(0.5)}), "an average that must stay");
    const T small = std::is_same_v<T, float> ? T(1e-44) : T(1e-150);  // whose square is 0 in T, or nearly
    moved({T(0), small, T(0)}, 1.0, 2.0);
    CHECK((y == std::vector<T>{T(0), T(2), T(0)}), "an average of given length");
    moved({T(0), T(0), T(0)}, 1.0, 2.0);
    CHECK((y == std::vector<T>{T(0), T(0), T(0)}), "an average of a zero gradient");
}

}  // namespace
