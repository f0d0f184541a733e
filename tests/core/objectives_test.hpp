// Tests of objectives.hpp.
#pragma once

#include "common.hpp"
#include "objectives.hpp"

namespace {

struct Conditioned {
    std::vector<double> w, offset, scale, median, spread;
    std::vector<std::uint8_t> valid;
    std::size_t n_valid;
};

Conditioned conditioned(std::size_t n, std::size_t m, const std::vector<double>& values, bool standardise,
                        const double* center = nullptr) {
    Conditioned c{std::vector<double>(n * m, kNan),
                  std::vector<double>(m, kNan),
                  std::vector<double>(m, kNan),
                  std::vector<double>(m, kNan),
                  std::vector<double>(m, kNan),
                  std::vector<std::uint8_t>(n, 9),
                  999};
    pyasmg::ObjectiveSummary summary{
        0, c.offset.data(), c.scale.data(), c.median.data(), c.spread.data(), c.valid.data()};
    pyasmg::condition_objectives(n, m, values.data(), center, standardise, c.w.data(), summary);
    c.n_valid = summary.n_valid;
    return c;
}

// Compares with the definition, for equal weights.
void check_aggregate(const Conditioned& c, std::size_t n, std::size_t m, const std::string& where) {
    const std::vector<double> weights(m, 1.0 / static_cast<double>(m));
    std::vector<double> row_sums(n), a(n, 0.0);
    double mean = 0.0, square = 0.0, gradient = 0.0;
    const auto n_valid = static_cast<double>(c.n_valid);
    for (std::size_t j = 0; j < n; ++j) {
        row_sums[j] = c.valid[j] != 0 ? 5.0 + static_cast<double>(j) : 0.0;
        for (std::size_t i = 0; c.valid[j] != 0 && i < m; ++i)
            a[j] += n_valid * c.w[j * m + i] / static_cast<double>(m);
        mean += a[j] / n_valid;
    }
    for (std::size_t j = 0; j < n; ++j) {
        if (c.valid[j] == 0) continue;
        square += std::pow(a[j] - mean, 2) / n_valid;
        gradient += 0.5 * (a[j] - mean) / n_valid * (row_sums[j] / 10.0 - 1.0);
    }
    const pyasmg::Aggregate found =
        pyasmg::aggregate(n, m, c.w.data(), c.valid.data(), c.n_valid, weights.data(), row_sums.data(), 10);
    CHECK(std::abs(found.std - std::sqrt(square)) < 1e-7, where);  // the square root of a rounding, for one row
    CHECK(std::abs(found.mean_std_gradient - gradient) < 1e-11 * static_cast<double>(n), where);
}

void test_follow_scales() {
    double scale[] = {2.0, 0.0, kDenormal, kHuge}, log_scale[4] = {}, count[4] = {}, ratio[4];
    pyasmg::follow_scales(4, scale, log_scale, count, ratio);
    for (const int i : {0, 2, 3}) {
        CHECK(ratio[i] == 1.0 && count[i] == 1.0, "the first unit is the first scale");
        CHECK(std::abs(log_scale[i] - std::log(scale[i])) <= 1e-15 * std::abs(log_scale[i]) + 1e-15, "logarithm");
    }
    CHECK(ratio[1] == 0.0 && count[1] == 0.0 && log_scale[1] == 0.0, "a constant objective is left alone");
    std::swap(scale[2], scale[3]);
    for (int step = 0; step < 50; ++step) {
        pyasmg::follow_scales(4, scale, log_scale, count, ratio);
        for (const int i : {0, 2, 3}) CHECK(std::isfinite(log_scale[i]) && std::isfinite(ratio[i]), "hostile scales");
        CHECK(std::abs(ratio[0] - 1.0) < 1e-5, "a scale that stays");
    }
    const double expected = std::exp(std::log(scale[2]) - log_scale[2]);
    CHECK(std::abs(ratio[2] - expected) <= 1e-5 * expected, "ratio");
}

void test_objectives() {
    std::mt19937_64 random(21);
    for (const std::size_t n : {1u, 2u, 3u, 20u, 101u}) {
        for (const std::size_t m : {1u, 3u, 17u}) {
            std::vector<double> values = normal_vector<double>(n * m, random, 3.0, 5.0);
            if (n > 4) values[m] = kNan, values[3 * m - 1] = -kInf;  // rows 1 and 2
            const std::size_t n_valid = n > 4 ? n - 2 : n;
            const std::vector<double> center = normal_vector<double>(m, random);
            for (const bool standardise : {false, true}) {
                for (const double* at : {static_cast<const double*>(nullptr), center.data()}) {
                    const auto c = conditioned(n, m, values, standardise, at);
                    const std::string where = "N = " + std::to_string(n) + ", m = " + std::to_string(m);
                    CHECK(c.n_valid == n_valid, where);
                    for (std::size_t i = 0; i < m; ++i) {
                        double sum = 0.0, square = 0.0;
                        const double scale = standardise ? c.scale[i] : 1.0, share = 1.0 / static_cast<double>(n_valid);
                        const double rounding = 1e-12 + (standardise ? 0x1p-20 * share : 0.0);
                        for (std::size_t j = 0; j < n; ++j) {
                            CHECK((c.valid[j] == 1) == !(n > 4 && (j == 1 || j == 2)), where);
                            const bool counts = c.valid[j] != 0 && scale > 0.0;
                            const double expected = counts ? (values[j * m + i] - c.offset[i]) / scale * share : 0.0;
                            CHECK(std::abs(c.w[j * m + i] - expected) <= rounding, where);
                            if (c.valid[j] != 0) sum += values[j * m + i] * share;
                        }
                        for (std::size_t j = 0; j < n; ++j) {
                            if (c.valid[j] != 0) square += std::pow(values[j * m + i] - sum, 2) * share;
                        }
                        CHECK(std::abs(c.scale[i] - std::sqrt(square)) < 1e-12, where);
                        CHECK(std::abs(c.offset[i] - (at != nullptr ? at[i] : sum)) < 1e-12, where);
                    }
                    check_aggregate(c, n, m, where);
                }
            }
        }
    }
}

void test_hostile_objectives() {
    const double columns[][4] = {
        {kHuge, -kHuge, 0.0, 1.0},     {kDenormal, 0.0, 2 * kDenormal, 0.0}, {1e-310, 3e-310, 2e-310, 1e-310},
        {kHuge, kHuge, kHuge, kHuge},  {1.0, 1.0 + 0x1p-52, 1.0, 1.0},       {0.0, -0.0, 0.0, 0.0},
        {1e300, 1e-300, -1e300, 1e10}, {kHuge, kHuge, kHuge, -kHuge},
    };
    for (const auto& column : columns) {
        const std::vector<double> values(column, column + 4);
        for (const double center : {kNan, 0.0, 1.0}) {  // NaN: none
            const auto c = conditioned(4, 1, values, true, std::isnan(center) ? nullptr : &center);
            const std::string where = "column from " + std::to_string(column[0]);
            CHECK(c.n_valid == 4 && std::isfinite(c.scale[0]) && std::isfinite(c.offset[0]), where);
            if (std::isnan(center)) CHECK(all_finite(c.w), where);
            for (const double weight : {0.0, kDenormal, 1.0, kHuge}) {
                const double row_sums[] = {0.0, kDenormal, 1.0, kHuge};
                pyasmg::aggregate(4, 1, c.w.data(), c.valid.data(), 4, &weight, row_sums, 1);
            }
            conditioned(4, 1, values, false, std::isnan(center) ? nullptr : &center);
        }
    }
    const auto none = conditioned(3, 2, {kNan, 1, 2, kInf, -kInf, 0}, true);
    CHECK(none.n_valid == 0 && none.w == std::vector<double>(6, 0.0), "every row failed");
    const double weights[] = {0.5, 0.5};
    const double row_sums[] = {0.0, 0.0, 0.0};
    const auto nothing = pyasmg::aggregate(3, 2, none.w.data(), none.valid.data(), 0, weights, row_sums, 5);
    CHECK(nothing.std == 0.0 && nothing.mean_std_gradient == 0.0, "every row failed");
}

}  // namespace
