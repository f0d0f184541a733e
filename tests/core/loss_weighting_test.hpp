// Tests of loss_weighting.hpp.
#pragma once

#include <algorithm>

#include "common.hpp"
#include "loss_weighting.hpp"

namespace {

void test_adam_step() {
    const std::vector<double> gradient = {0.5, 0.0};
    std::vector<double> vector = {1.0, -2.0}, first = {0.0, 0.0}, second = {0.0, 0.0};
    pyasmg::adam_step(2, {0.1, 0.9, 0.99, 0.0, 0.0, 1.0 - 0.9, 1.0 - 0.99}, gradient.data(), vector.data(),
                      first.data(), second.data());
    CHECK(std::abs(vector[0] - 0.9) < 1e-15, "the first step has the length of the rate");
    CHECK(std::isnan(vector[1]), "0 / 0 without eps");
    CHECK(std::abs(first[0] - 0.05) < 1e-16 && std::abs(second[0] - 0.0025) < 1e-17, "means");
}

void test_softmax() {
    const std::vector<double> values = {1e300, 0.0, 1e300};
    std::vector<double> shares(3, kNan);
    pyasmg::softmax(3, values.data(), shares.data());
    CHECK(shares[0] == 0.5 && shares[1] == 0.0 && shares[2] == 0.5, "large values");
    pyasmg::softmax(0, nullptr, nullptr);
}

void test_softmax_slopes() {
    const std::vector<double> shares = {0.5, 0.25, 0.25}, gradient = {2.0, 0.0, 4.0};
    std::vector<double> slopes(3, kNan);
    pyasmg::softmax_slopes(3, shares.data(), gradient.data(), slopes.data());
    CHECK(slopes[0] == 0.0 && slopes[1] == -0.5 && slopes[2] == 0.5, "around the mean");
    pyasmg::softmax_slopes(0, nullptr, nullptr, nullptr);
}

// Gaps of one task, of equal losses, and of weighted ones.
void test_gap_slopes() {
    const std::vector<double> losses = {1.0, 3.0, 3.0}, shares = {0.5, 0.25, 0.25}, gain = {1.0, 2.0, 3.0};
    std::vector<double> by_loss(3, kNan), by_share(3, kNan);
    pyasmg::gap_slopes(3, {false, 2.0, 4.0, 0.0}, losses.data(), shares.data(), gain.data(), by_loss.data(),
                       by_share.data());
    CHECK(by_loss == (std::vector<double>{0.0, 3.0, 1.0}), "signs of the gaps");
    CHECK(by_share == (std::vector<double>{4.0, 8.0, 12.0}), "the gain");
    pyasmg::gap_slopes(3, {true, 2.0, 4.0, 0.0}, losses.data(), shares.data(), gain.data(), by_loss.data(),
                       by_share.data());
    CHECK(by_loss == (std::vector<double>{1.0, 1.5, 1.0}), "signs of the weighted gaps");
    CHECK(by_share == (std::vector<double>{2.0, 14.0, 12.0}), "the weights enter the gaps");
    pyasmg::gap_slopes(1, {true, 2.0, 4.0, 0.5}, losses.data(), shares.data(), gain.data(), by_loss.data(),
                       by_share.data());
    CHECK(by_loss[0] == 2.0 && by_share[0] == 4.0, "one task has no gap");
}

void test_gradnorm_slopes() {
    const std::vector<double> gram = {4.0, kNan, kNan, 1.0}, weights = {1.0, 1.0}, losses = {1.0, 3.0};
    std::vector<double> slopes(2, kNan);
    pyasmg::gradnorm_slopes(2, 0.0, weights.data(), gram.data(), 3, losses.data(), weights.data(), slopes.data());
    CHECK(slopes[0] == 2.0 && slopes[1] == -1.0, "above and below the mean length");
    pyasmg::gradnorm_slopes(2, 1.0, weights.data(), gram.data(), 3, losses.data(), losses.data(), slopes.data());
    CHECK(slopes[0] == 2.0 && slopes[1] == -1.0, "equal progress");
    pyasmg::gradnorm_slopes(2, 1.0, weights.data(), gram.data(), 3, losses.data(), weights.data(), slopes.data());
    CHECK(slopes[0] == 2.0 && slopes[1] == -1.0, "0.75 and 2.25 of them");
}

void test_simplex_projection() {
    const std::vector<double> point = {0.5, 1e20, 0.5}, inside = {0.25, 0.25, 0.5};
    std::vector<double> projection(3, kNan);
    pyasmg::simplex_projection(3, point.data(), projection.data());
    CHECK(projection == (std::vector<double>{0.0, 1.0, 0.0}), "a corner");
    pyasmg::simplex_projection(3, inside.data(), projection.data());
    CHECK(projection == inside, "a point of the simplex");
    pyasmg::simplex_projection(1, point.data(), projection.data());
    CHECK(projection[0] == 1.0, "one number");
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
