// Tests of estimator.hpp.
#pragma once

#include "estimator.hpp"
#include "sampling_test.hpp"

namespace {

template <class T>
struct Answer {
    std::vector<T> p, h;
    std::vector<double> gram, row_sums;
};

template <class T>
Answer<T> estimated(const Distribution<T>& at, const std::vector<T>* x, const std::vector<std::uint8_t>& valid,
                    std::size_t m, const std::vector<T>& w, int n_threads = 1) {
    const T junk(-7777);
    Answer<T> answer{std::vector<T>(m * at.dimension, junk), std::vector<T>(m * at.dimension, junk),
                     std::vector<double>(m * m, -7777.0), std::vector<double>(valid.size(), -7777.0)};
    pyasmg::estimate(at, pyasmg::Sample<T>{valid.size(), x != nullptr ? x->data() : nullptr, valid.data()}, m, w.data(),
                     pyasmg::Estimate<T>{answer.p.data(), answer.h.data(), answer.gram.data(), answer.row_sums.data()},
                     n_threads);
    return answer;
}

template <class T>
bool same_bits(const Answer<T>& a, const Answer<T>& b) {
    return same_bits(a.p, b.p) && same_bits(a.h, b.h) && same_bits(a.gram, b.gram) && same_bits(a.row_sums, b.row_sums);
}

// Compares with the definition, summed in double.
template <class T>
void check_estimate(const Answer<T>& answer, std::size_t d, std::size_t m, const std::vector<T>& z,
                    const std::vector<std::uint8_t>& valid, const std::vector<T>& w, const std::string& where) {
    const double tolerance = std::is_same_v<T, float> ? 2e-4 : 1e-11;
    std::vector<double> p(m * d, 0.0), h(m * d, 0.0);
    for (std::size_t j = 0; j < valid.size(); ++j) {
        double square = 0.0;
        for (std::size_t k = 0; valid[j] != 0 && k < d; ++k) {
            const auto value = static_cast<double>(z[j * d + k]);
            square += value * value;
            for (std::size_t i = 0; i < m; ++i) {
                p[i * d + k] += static_cast<double>(w[j * m + i]) * value;
                h[i * d + k] += 0.5 * static_cast<double>(w[j * m + i]) * (value * value - 1.0);
            }
        }
        CHECK(std::abs(answer.row_sums[j] - square) <= tolerance * (1.0 + square), where);
    }
    double worst = 0.0;
    for (std::size_t k = 0; k < m * d; ++k) {
        worst = std::max({worst, std::abs(answer.p[k] - p[k]), std::abs(answer.h[k] - h[k])});
    }
    CHECK(worst <= tolerance, where + " error " + std::to_string(worst));
    for (std::size_t i = 0; i < m; ++i) {
        for (std::size_t j = 0; j < m; ++j) {
            double sum = 0.0;
            for (std::size_t k = 0; k < d; ++k) {
                sum += p[i * d + k] * p[j * d + k] + 2.0 * h[i * d + k] * h[j * d + k];
            }
            CHECK(std::abs(answer.gram[i * m + j] - sum) <= tolerance * (1.0 + static_cast<double>(d)), where);
        }
    }
}

template <class T>
void test_estimate() {
    const std::vector<std::string> levels = pyasmg::simd_levels();
    std::mt19937_64 random(5);
    const std::size_t shapes[][3] = {{1, 1, 1},  {2, 15, 2},    {3, 63, 3},    {4, 64, 1},
                                     {5, 65, 7}, {20, 1000, 3}, {7, 1025, 40}, {6, 2049, 2}};
    for (const auto& [n, d, m] : shapes) {
        for (const int kind : {0, 1, 2, 3}) {
            const bool bounded = kind % 2 == 1;
            const Search<T> search(d, bounded, kind >= 2);
            pyasmg::set_simd_level(levels.front());
            const std::string where = std::string(type_name<T>()) + " N = " + std::to_string(n) +
                                      ", d = " + std::to_string(d) + ", m = " + std::to_string(m) +
                                      (bounded ? ", bounded" : "");
            std::vector<T> z = normals_behind(search.at, n), x = population(search.at, 0, n);
            std::vector<T> w = normal_vector<T>(n * m, random, 1.0 / static_cast<double>(n));
            std::vector<std::uint8_t> valid(n, 1);
            if (n > 2) {  // a failed row, whose candidate and values are never read
                valid[1] = 0;
                std::fill_n(x.begin() + static_cast<std::ptrdiff_t>(d), d, static_cast<T>(kNan));
                std::fill_n(w.begin() + static_cast<std::ptrdiff_t>(m), m, static_cast<T>(kNan));
            }
            const Answer<T> regenerated = estimated(search.at, static_cast<std::vector<T>*>(nullptr), valid, m, w);
            const Answer<T> given = estimated(search.at, &x, valid, m, w);
            check_estimate(regenerated, d, m, z, valid, w, where);
            check_estimate(given, d, m, z, valid, w, where);
            if (bounded) CHECK(same_bits(regenerated, given), where);
            x[d - 1] += T(0.0625);  // a changed candidate counts where it was evaluated
            z[d - 1] = (x[d - 1] - search.mean[d - 1]) / search.std[d - 1];
            const Answer<T> changed = estimated(search.at, &x, valid, m, w);
            check_estimate(changed, d, m, z, valid, w, where + ", changed");
            for (const std::string& level : levels) {
                pyasmg::set_simd_level(level);
                for (const int n_threads : {1, 2, 3, 4}) {
                    CHECK(same_bits(estimated(search.at, &x, valid, m, w, n_threads), changed), where + " " + level);
                }
            }
            const Answer<T> none = estimated(search.at, &x, std::vector<std::uint8_t>(n, 0), m, w);
            CHECK(none.p == std::vector<T>(m * d, T(0)) && none.h == none.p, where + ", all rows failed");
            CHECK(none.gram == std::vector<double>(m * m, 0.0), where + ", all rows failed");
        }
    }
}

template <class T>
void test_hostile_estimate() {
    const Search<T> bounded(65, true), free(65, false);
    const std::size_t n = 6;
    for (const auto* search : {&bounded, &free}) {
        for (const double value : {kNan, kInf, -kInf, kDenormal, static_cast<double>(std::numeric_limits<T>::max())}) {
            std::vector<T> x = population(search->at, 0, n);
            x[70] = static_cast<T>(value);
            const std::vector<T> w(n, T(0.25));
            const auto answer = estimated(search->at, &x, std::vector<std::uint8_t>(n, 1), 1, w);
            const bool ordinary = std::abs(value) < 1.0;
            if (ordinary) CHECK(std::isfinite(answer.row_sums[1]), "a denormal is a number like others");
            if (!std::isfinite(static_cast<T>(value)))
                CHECK(!std::isfinite(answer.row_sums[1]), "seen in the row sums");
            CHECK(std::isfinite(answer.row_sums[0]), "other rows are untouched");
        }
    }
}

// Enough samples for four threads; one wide candidate, and many.
template <class T>
void test_threads() {
    const std::size_t shapes[][2] = {{1, 600011}, {64, 10007}, {600, 1000}};
    for (const auto& [n, d] : shapes) {
        for (const int kind : {0, 1, 2}) {
            const Search<T> search(d, kind == 1, kind == 2);
            const std::string where = std::string(type_name<T>()) + " N = " + std::to_string(n);
            const std::vector<T> z = normals(search.at, 0, n), x = population(search.at, 0, n);
            const std::vector<T> w(n * 2, T(1) / static_cast<T>(n));
            std::vector<std::uint8_t> valid(n, 1);
            if (n > 1) valid[n / 2] = 0;
            const Answer<T> answer = estimated(search.at, &x, valid, 2, w);
            for (const int n_threads : {2, 3, 4}) {
                CHECK(same_bits(normals(search.at, 0, n, n_threads), z), where);
                CHECK(same_bits(population(search.at, 0, n, n_threads), x), where);
                CHECK(same_bits(estimated(search.at, &x, valid, 2, w, n_threads), answer), where);
            }
        }
    }
}

}  // namespace
