// Tests of row_products.hpp.
#pragma once

#include "common.hpp"
#include "row_products.hpp"
#include "simd.hpp"

namespace {

template <class T>
void check_row_products(std::size_t m, std::size_t d, pyasmg::Precision precision, const std::string& where) {
    std::mt19937_64 random(m + d);
    const std::vector<T> x = normal_vector<T>(m * d, random);
    std::vector<double> gram(m * m, kNan);
    pyasmg::row_products(m, d, x.data(), precision, gram.data());
    const bool exact = precision == pyasmg::Precision::in_double || std::is_same_v<T, double>;
    for (std::size_t i = 0; i < m; ++i) {
        for (std::size_t j = 0; j < m; ++j) {
            double sum = 0.0, size = 0.0;
            for (std::size_t k = 0; k < d; ++k) {
                const double product = static_cast<double>(x[i * d + k]) * static_cast<double>(x[j * d + k]);
                sum += product;
                size += std::abs(product);
            }
            CHECK(std::abs(gram[i * m + j] - sum) <= (exact ? 1e-13 : 1e-6) * size, where);
            CHECK(gram[i * m + j] == gram[j * m + i], where);
        }
    }
}

// At every SIMD level, sizes off every tile, vector and block.
template <class T>
void test_row_products() {
    const std::string best = pyasmg::simd_level_name();
    for (const std::string& level : pyasmg::simd_levels()) {
        pyasmg::set_simd_level(level);
        for (const std::size_t m : {1, 2, 3, 4, 5, 13}) {
            for (const std::size_t d : {0, 1, 7, 16, 33, 2047, 2048, 4500}) {
                const std::string where =
                    level + " " + type_name<T>() + " " + std::to_string(m) + " x " + std::to_string(d);
                check_row_products<T>(m, d, pyasmg::Precision::native, where);
                check_row_products<T>(m, d, pyasmg::Precision::in_double, where + " in double");
            }
        }
        std::vector<T> x(3 * 100, T(1));
        x[150] = static_cast<T>(kNan);
        std::vector<double> gram(9);
        pyasmg::row_products(3, 100, x.data(), pyasmg::Precision::native, gram.data());
        for (int i = 0; i < 9; ++i) CHECK(std::isnan(gram[i]) == (i / 3 == 1 || i % 3 == 1), "a NaN stays in its row");
    }
    pyasmg::set_simd_level(best);
}

}  // namespace
