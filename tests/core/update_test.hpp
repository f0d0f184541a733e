// Tests of update.hpp.
#pragma once

#include "common.hpp"
#include "update.hpp"

namespace {

template <class T>
struct Updated {
    std::vector<T> mean, std;
    pyasmg::UpdateSummary summary;
};

template <class T>
Updated<T> updated(const Search<T>& search, const std::vector<T>& p, const std::vector<T>& h,
                   const std::vector<double>& coefficients, double mean_step, double std_step, double std_shift,
                   pyasmg::StdForm form) {
    const T junk(-7777);
    const std::size_t d = search.at.dimension;
    Updated<T> result{std::vector<T>(d, junk), std::vector<T>(d, junk), {}};
    pyasmg::UpdateInput<T> input{d,        coefficients.size(), p.data(), h.data(),      coefficients.data(), mean_step,
                                 std_step, std_shift,           form,     search.at.low, search.at.high};
    result.summary = pyasmg::update_distribution(input, search.mean.data(), search.std.data(), result.mean.data(),
                                                 result.std.data());
    std::vector<T> first_p = p, first_h = h;  // the same into the first rows of the gradients
    input.mean_gradient = first_p.data();
    input.std_gradient = first_h.data();
    const auto again =
        pyasmg::update_distribution(input, search.mean.data(), search.std.data(), first_p.data(), first_h.data());
    first_p.resize(d);
    first_h.resize(d);
    CHECK(same_bits(first_p, result.mean) && same_bits(first_h, result.std), "written over the gradients");
    CHECK(again.max_std == result.summary.max_std && again.finite == result.summary.finite,
          "written over the gradients");
    return result;
}

template <class T>
void test_update() {
    const std::vector<std::string> levels = pyasmg::simd_levels();
    const double tolerance = std::is_same_v<T, float> ? 1e-5 : 1e-13;
    std::mt19937_64 random(9);
    for (const std::size_t d : {1u, 15u, 64u, 65u, 1000u, 2049u}) {
        for (const std::size_t m : {1u, 3u}) {
            for (const auto form : {pyasmg::StdForm::exponential, pyasmg::StdForm::inverse}) {
                for (const bool bounded : {false, true}) {
                    const std::string where = std::string(type_name<T>()) + " d = " + std::to_string(d);
                    const Search<T> search(d, bounded);
                    const auto p = normal_vector<T>(m * d, random), h = normal_vector<T>(m * d, random, 2.0);
                    const std::vector<double> c(m, 0.5);
                    pyasmg::set_simd_level(levels.front());
                    const auto result = updated(search, p, h, c, 0.5, 0.25, 0.125, form);
                    CHECK(result.summary.finite && result.summary.effective, where);
                    for (std::size_t k = 0; k < d; ++k) {
                        double step = 0.0, slope = 0.0;
                        for (std::size_t i = 0; i < m; ++i) step += 0.5 * p[i * d + k], slope += 0.5 * h[i * d + k];
                        auto mean = static_cast<T>(search.mean[k] - 0.5 * search.std[k] * step);
                        double factor = form == pyasmg::StdForm::exponential
                                            ? std::exp(-0.25 * (slope - 0.125))
                                            : 1.0 / std::sqrt(std::max(0.25, 1.0 + 0.5 * (slope - 0.125)));
                        factor = std::min(2.0, std::max(0.5, factor));
                        auto std = static_cast<double>(search.std[k]) * factor;
                        if (bounded) {
                            mean = pyasmg::clip(mean, search.low[k], search.high[k]);
                            std = std::min(std, static_cast<double>(search.high[k] - search.low[k]));
                        }
                        CHECK(std::abs(result.mean[k] - mean) <= tolerance * (1.0 + std::abs(mean)), where);
                        CHECK(std::abs(result.std[k] - std) <= tolerance * std, where);
                        CHECK(result.summary.min_std <= result.std[k] && result.std[k] <= result.summary.max_std,
                              where);
                    }
                    for (const std::string& level : levels) {
                        pyasmg::set_simd_level(level);
                        const auto again = updated(search, p, h, c, 0.5, 0.25, 0.125, form);
                        CHECK(same_bits(again.mean, result.mean) && same_bits(again.std, result.std), where + level);
                        CHECK(again.summary.max_std == result.summary.max_std, where + level);
                    }
                }
            }
        }
    }
}

template <class T>
void test_hostile_update() {
    const T limit = std::is_same_v<T, float> ? T(1e30) : T(1e150);
    for (const bool bounded : {false, true}) {
        for (const auto form : {pyasmg::StdForm::exponential, pyasmg::StdForm::inverse}) {
            for (const double value : {kNan, kInf, -kInf, kHuge, -kHuge, kDenormal, 0.0}) {
                Search<T> search(65, bounded);
                std::vector<T> p(65, T(0)), h(65, T(0));
                p[3] = h[4] = p[64] = h[64] = static_cast<T>(value);
                const auto result = updated(search, p, h, {1.0}, 1.0, 1.0, 0.0, form);
                const std::string where = std::string(type_name<T>()) + " " + std::to_string(value);
                bool inside = true;
                for (std::size_t k = 0; k < 65; ++k) {
                    CHECK(result.std[k] > T(0) && result.std[k] <= limit, where);
                    inside = inside && std::abs(result.mean[k]) <= limit;
                    if (bounded) CHECK(search.low[k] <= result.mean[k] && result.mean[k] <= search.high[k], where);
                }
                CHECK(result.summary.finite == inside, where);
            }
            for (const double scale : {1e-29, 1e29}) {  // stds stop at both ends of their range
                Search<T> search(15, false);
                for (T& std : search.std) std = static_cast<T>(scale);
                for (int step = 0; step < 1200; ++step) {
                    const std::vector<T> p(15, T(0)), h(15, scale < 1.0 ? T(9) : T(-9));
                    const auto result = updated(search, p, h, {1.0}, 1.0, 1.0, 0.0, form);
                    std::copy(result.std.begin(), result.std.end(), search.std.begin());
                }
                CHECK(search.std[7] > T(0) && std::isfinite(T(1) / search.std[7]) && search.std[7] <= limit, "range");
            }
        }
    }
    Search<T> search(4, false);
    for (T& std : search.std) std = std::is_same_v<T, float> ? T(1e-20) : T(1e-100);
    for (T& mean : search.mean) mean = T(1);
    const std::vector<T> zero(4, T(0));
    CHECK(!updated(search, zero, zero, {1.0}, 1.0, 1.0, 0.0, pyasmg::StdForm::exponential).summary.effective,
          "no effect");
}

}  // namespace
