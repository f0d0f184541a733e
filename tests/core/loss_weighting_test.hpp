// Tests of loss_weighting.hpp.
#pragma once

#include <algorithm>

#include "common.hpp"
#include "loss_weighting.hpp"

namespace {

void test_adam_step() {
    const std::vector<double> vector = {1.0, -2.0}, gradient = {0.5, 0.0};
    std::vector<double> first = {0.0, 0.0}, second = {0.0, 0.0}, moved(2, kNan);
    pyasmg::adam_step(2, {0.1, 0.9, 0.99, 0.0, 0.0, 1.0 - 0.9, 1.0 - 0.99}, vector.data(), gradient.data(),
                      first.data(), second.data(), moved.data());
    CHECK(std::abs(moved[0] - 0.9) < 1e-15, "the first step has the length of the rate");
    CHECK(std::isnan(moved[1]), "0 / 0 without eps");
    CHECK(std::abs(first[0] - 0.05) < 1e-16 && std::abs(second[0] - 0.0025) < 1e-17, "means");
}

void test_softmax() {
    const std::vector<double> values = {1e300, 0.0, 1e300};
    std::vector<double> shares(3, kNan);
    pyasmg::softmax(3, values.data(), shares.data());
    CHECK(shares[0] == 0.5 && shares[1] == 0.0 && shares[2] == 0.5, "large values");
    pyasmg::softmax(0, nullptr, nullptr);
}

// Against every cut of the sorted values into two groups.
void test_group_means() {
    std::mt19937_64 random(3);
    for (std::size_t n = 1; n <= 12; ++n) {
        std::vector<double> values = normal_vector<double>(n, random);
        if (n > 5) values[1] = values[4];
        std::vector<double> means(n, kNan), sorted = values;
        std::sort(sorted.begin(), sorted.end());
        double best = kInf;
        for (std::size_t cut = 0; cut < n; ++cut) {
            double sum = 0.0;
            for (const auto& [begin, end] : {std::pair<std::size_t, std::size_t>{0, cut}, {cut, n}}) {
                double mean = 0.0;
                for (std::size_t k = begin; k < end; ++k) mean += sorted[k] / static_cast<double>(end - begin);
                for (std::size_t k = begin; k < end; ++k) sum += (sorted[k] - mean) * (sorted[k] - mean);
            }
            best = std::min(best, sum);
        }
        pyasmg::group_means(n, values.data(), 2, means.data());
        double sum = 0.0;
        for (std::size_t k = 0; k < n; ++k) sum += (values[k] - means[k]) * (values[k] - means[k]);
        CHECK(std::abs(sum - best) <= 1e-12 * (1.0 + best), std::to_string(n));
        if (n > 5) CHECK(means[1] == means[4], "equal values share a group");
        for (const std::size_t n_groups : {1, 3, 7, 20}) {
            pyasmg::group_means(n, values.data(), n_groups, means.data());
            CHECK(all_finite(means), std::to_string(n_groups));
        }
    }
}

}  // namespace
