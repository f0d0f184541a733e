// Tests of row_combination.hpp and sign_dropout.hpp.
#pragma once

#include <algorithm>

#include "common.hpp"
#include "row_combination.hpp"
#include "sign_dropout.hpp"
#include "simd.hpp"

namespace {

template <class T>
std::vector<T> combined(std::size_t m, std::size_t d, const std::vector<T>& x, const std::vector<double>& weights,
                        const std::string& where) {
    std::vector<T> first(d / 3), second(d - d / 3);
    const std::vector<pyasmg::Columns<T>> columns = {{0, first.size(), first.data()},
                                                     {first.size(), second.size(), second.data()}};
    pyasmg::combine_rows(m, d, x.data(), weights.data(), 2.0, columns);
    first.insert(first.end(), second.begin(), second.end());
    for (std::size_t k = 0; k < d; ++k) {
        double sum = 0.0, size = 0.0;
        for (std::size_t i = 0; i < m; ++i) {
            const double term = 2.0 * weights[i] * static_cast<double>(x[i * d + k]);
            sum += term;
            size += std::abs(term);
        }
        const double tolerance = 4.0 * static_cast<double>(m) * std::numeric_limits<T>::epsilon() * size;
        CHECK(std::abs(static_cast<double>(first[k]) - sum) <= tolerance, where);
    }
    return first;
}

// Draws one by one, as numpy does.
double next_uniform(pyasmg::Pcg64& generator) {
    std::uint32_t bits = 0;
    pyasmg::fill_bits(generator, 1, &bits);
    return static_cast<double>(pyasmg::unit_float(bits));
}

template <class T>
std::vector<T> dropped(std::size_t m, std::size_t d, const std::vector<T>& x, const double* leak,
                       const std::string& where) {
    const pyasmg::Pcg64 start{12345, 2 * 678 + 1, m % 2 == 0, 42};
    pyasmg::Pcg64 moved = start, twin = start;
    std::vector<T> out(d, static_cast<T>(kNan));
    pyasmg::sign_dropout(m, d, x.data(), leak, moved, {{0, d / 2, out.data()}, {d / 2, d - d / 2, out.data() + d / 2}});
    for (std::size_t k = 0; k < d; ++k) {
        T above = 0, below = 0;
        for (std::size_t i = 0; i < m; ++i) (x[i * d + k] > T(0) ? above : below) += x[i * d + k];
        const bool keep = above > static_cast<T>(next_uniform(twin)) * (above - below);
        double sum = 0.0, size = 0.0;
        for (std::size_t i = 0; i < m; ++i) {
            const double value = static_cast<double>(x[i * d + k]);
            sum += (keep ? value > 0.0 : value < 0.0) ? value : (leak == nullptr ? 0.0 : leak[i] * value);
            size += std::abs(value);
        }
        const double tolerance = 4.0 * static_cast<double>(m) * std::numeric_limits<T>::epsilon() * size;
        CHECK(std::abs(static_cast<double>(out[k]) - sum) <= tolerance, where);
    }
    CHECK(moved.state == twin.state && moved.has_half == twin.has_half && moved.half == twin.half, where);
    return out;
}

// At every SIMD level the same bits; sizes off every strip and block.
template <class T>
void test_row_combination() {
    const std::string best = pyasmg::simd_level_name();
    for (const std::size_t m : {1, 2, 3, 4, 5, 9}) {
        for (const std::size_t d : {0, 1, 7, 16, 33, 1025, 2048, 6500}) {
            std::mt19937_64 random(m + d);
            const std::vector<T> x = normal_vector<T>(m * d, random);
            std::vector<double> weights = normal_vector<double>(m, random), leak(m, 0.25);
            if (m > 2) weights[1] = 0.0;
            std::vector<std::vector<T>> found;
            for (const std::string& level : pyasmg::simd_levels()) {
                pyasmg::set_simd_level(level);
                const std::string where =
                    level + " " + type_name<T>() + " " + std::to_string(m) + " x " + std::to_string(d);
                std::vector<T> all = combined(m, d, x, weights, where);
                for (const double* share :
                     {static_cast<const double*>(nullptr), static_cast<const double*>(leak.data())}) {
                    const std::vector<T> out = dropped(m, d, x, share, where + " dropout");
                    all.insert(all.end(), out.begin(), out.end());
                }
                found.push_back(all);
                CHECK(same_bits(found.front(), found.back()), where);
            }
        }
    }
    pyasmg::set_simd_level(best);
}

}  // namespace
