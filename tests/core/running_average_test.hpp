// Tests of running_average.hpp.
#pragma once

#include "common.hpp"
#include "running_average.hpp"
#include "simd.hpp"

namespace {

// The moved rows, then the slopes.
template <class T>
std::vector<double> averaged(std::size_t m, std::size_t d, double rate, pyasmg::Precision precision,
                             const std::string& where) {
    std::mt19937_64 random(m + d);
    const std::vector<T> x = normal_vector<T>(m * d, random), before = normal_vector<T>(m * d, random);
    const std::vector<double> weights = normal_vector<double>(m, random);
    std::vector<T> y = before;
    std::vector<double> slopes(m, kNan);
    pyasmg::running_average(m, d, x.data(), rate, y.data(), weights.data(), precision, slopes.data());
    for (std::size_t k = 0; k < m * d; ++k) {
        const double to = static_cast<double>(x[k]), from = static_cast<double>(before[k]);
        const double tolerance = 4.0 * std::numeric_limits<T>::epsilon() * (std::abs(to) + std::abs(from));
        CHECK(std::abs(static_cast<double>(y[k]) - (from + rate * (to - from))) <= tolerance, where);
    }
    const bool exact = precision == pyasmg::Precision::in_double || std::is_same_v<T, double>;
    for (std::size_t i = 0; i < m; ++i) {
        double sum = 0.0, size = 0.0;
        for (std::size_t j = 0; j < m; ++j) {
            for (std::size_t k = 0; k < d; ++k) {
                const double product = static_cast<double>(y[i * d + k]) * static_cast<double>(y[j * d + k]);
                sum += weights[j] * product;
                size += std::abs(weights[j] * product);
            }
        }
        CHECK(std::abs(slopes[i] - sum) <= (exact ? 1e-13 : 1e-6) * size, where);
    }
    std::vector<double> all(y.begin(), y.end());
    all.insert(all.end(), slopes.begin(), slopes.end());
    return all;
}

// At every SIMD level the same bits; sizes off every vector and block.
template <class T>
void test_running_average() {
    const std::string best = pyasmg::simd_level_name();
    for (const std::size_t m : {1, 2, 3, 5, 13}) {
        for (const std::size_t d : {0, 1, 7, 16, 33, 4095, 4096, 5000}) {
            for (const auto precision : {pyasmg::Precision::native, pyasmg::Precision::in_double}) {
                std::vector<std::vector<double>> found;
                for (const std::string& level : pyasmg::simd_levels()) {
                    pyasmg::set_simd_level(level);
                    const std::string where =
                        level + " " + type_name<T>() + " " + std::to_string(m) + " x " + std::to_string(d) + " average";
                    found.push_back(averaged<T>(m, d, m % 2 == 0 ? 0.25 : 0.75, precision, where));
                    CHECK(same_bits(found.front(), found.back()), where);
                }
            }
        }
    }
    pyasmg::set_simd_level(best);
}

}  // namespace
