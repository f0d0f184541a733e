// Tests of simplex_qp.hpp, fair_weights.hpp, nonnegative_qp.hpp, conflict_averse.hpp and gradient_surgery.hpp.
#pragma once

#include "common.hpp"
#include "conflict_averse.hpp"
#include "fair_weights.hpp"
#include "gradient_surgery.hpp"
#include "gram.hpp"
#include "nonnegative_qp.hpp"
#include "simplex_qp.hpp"
#include "spectral.hpp"

namespace {

std::vector<double> gram_of(const std::vector<double>& vectors, std::size_t m, std::size_t r) {
    std::vector<double> gram(m * m);
    for (std::size_t i = 0; i < m; ++i) {
        for (std::size_t j = 0; j < m; ++j) {
            double sum = 0.0;
            for (std::size_t k = 0; k < r; ++k) sum += vectors[i * r + k] * vectors[j * r + k];
            gram[i * m + j] = sum;
        }
    }
    return gram;
}

// The weights lie on the simplex; where `conditions`, no vertex descends from them (to 1e-9 of the largest entry).
void check_simplex(std::size_t m, const std::vector<double>& gram, const std::string& where, bool conditions = true) {
    std::vector<double> weights(m, kNan), again(m, kNan);
    const double value = pyasmg::simplex_qp(m, gram.data(), weights.data());
    double sum = 0.0, least = kInf;
    for (const double weight : weights) {
        CHECK(weight >= 0.0, where);
        sum += weight;
    }
    CHECK(std::abs(sum - 1.0) < 1e-12, where);
    CHECK(value >= 0.0 && std::isfinite(value), where);
    for (std::size_t i = 0; i < m; ++i) least = std::min(least, gram[i * m + i]);
    CHECK(value <= least * (1.0 + 1e-9), where);
    CHECK(pyasmg::simplex_qp(m, gram.data(), again.data()) == value && same_bits(weights, again), where);
    if (!conditions) return;
    double largest = 0.0;
    for (const double entry : gram) largest = std::max(largest, std::abs(entry));
    for (std::size_t i = 0; i < m; ++i) {
        double slope = 0.0;
        for (std::size_t j = 0; j < m; ++j) slope += gram[i * m + j] * weights[j];
        CHECK(slope >= value - 1e-9 * largest, where);
    }
}

void test_simplex_qp() {
    std::mt19937_64 random(33);
    for (const std::size_t m : {1u, 2u, 3u, 4u, 7u, 10u, 33u, 64u, 100u, 200u}) {
        for (const std::size_t r : {std::size_t{1}, std::max<std::size_t>(1, m / 2), m, 3 * m}) {
            const std::string where = "m = " + std::to_string(m) + ", rank " + std::to_string(r);
            std::vector<double> vectors = normal_vector<double>(m * r, random, 1.0, 0.3);
            check_simplex(m, gram_of(vectors, m, r), where);
            for (std::size_t i = 0; i < m * r; ++i) vectors[i] = std::round(4.0 * vectors[i]);  // ties, zero rows
            check_simplex(m, gram_of(vectors, m, r), where + ", integers");
            if (m > 100) continue;
            for (std::size_t i = 0; i < m; ++i) {  // norms from 1e-15 to 1e15
                const double norm = std::pow(10.0, -15.0 + 30.0 * static_cast<double>(i) / static_cast<double>(m));
                for (std::size_t k = 0; k < r; ++k) vectors[i * r + k] *= norm;
            }
            check_simplex(m, gram_of(vectors, m, r), where + ", wide norms", false);
        }
        std::vector<double> identity(m * m, 0.0), ones(m * m, 1.0), zero(m * m, 0.0);
        for (std::size_t i = 0; i < m; ++i) identity[i * m + i] = 1.0;
        check_simplex(m, identity, "identity");
        check_simplex(m, ones, "duplicates");
        check_simplex(m, zero, "zero");
        for (const double scale : {1e-308, 1e-150, 1e150, 1e308}) {
            std::vector<double> scaled = identity;
            for (double& entry : scaled) entry *= scale;
            check_simplex(m, scaled, "identity times " + std::to_string(scale));
        }
        std::vector<double> noisy = ones;  // a little indefinite, as rounding leaves it
        for (double& entry : noisy) entry += 1e-15 * std::normal_distribution<double>()(random);
        for (std::size_t i = 0; i < m; ++i) {
            for (std::size_t j = 0; j < i; ++j) noisy[i * m + j] = noisy[j * m + i];
        }
        check_simplex(m, noisy, "noisy duplicates");
        std::vector<double> negative(m * m, -1.0);  // far from any Gram matrix
        for (std::size_t i = 0; i < m; ++i) negative[i * m + i] = 1.0;
        check_simplex(m, negative, "indefinite", false);
    }
    check_simplex(2, {kDenormal, 0.0, 0.0, kDenormal}, "denormal", false);
    check_simplex(2, {kHuge, -kHuge, -kHuge, kHuge}, "huge", false);
    check_simplex(2, {kHuge, kHuge, kHuge, kDenormal}, "entries beyond Cauchy-Schwarz", false);
    check_simplex(3, {1, 0, 0, 0, 0, 0, 0, 0, 1}, "a zero gradient");
}

void test_simplex_qp_refuses() {
    std::vector<double> weights(2, kNan);
    CHECK(refuses([&] { pyasmg::simplex_qp(0, nullptr, nullptr); }), "m = 0");
    const std::vector<std::vector<double>> bad = {{kNan, 0, 0, 1}, {1, kInf, kInf, 1}, {1, -kInf, 0, 1},
                                                  {-1, 0, 0, 1},   {1, 0.5, -0.5, 1},  {-kDenormal, 0, 0, 1}};
    for (const auto& gram : bad) {
        CHECK(refuses([&] { pyasmg::simplex_qp(2, gram.data(), weights.data()); }), std::to_string(gram[0]));
    }
}

// Positive and finite where the gradient is not zero, the same bits again; where `solvable`, G w = (c / w)^(1/alpha).
void check_fair(std::size_t m, const std::vector<double>& gram, double alpha, const std::vector<double>& preference,
                const std::string& where, bool solvable = false) {
    std::vector<double> weights(m, kNan), again(m, kNan);
    const int n_steps = pyasmg::fair_weights(m, gram.data(), alpha, preference.data(), weights.data());
    CHECK(0 <= n_steps && n_steps <= 5000, where);
    for (std::size_t i = 0; i < m; ++i) {
        CHECK(std::isfinite(weights[i]) && (weights[i] > 0.0) == (gram[i * m + i] > 0.0), where);
    }
    CHECK(pyasmg::fair_weights(m, gram.data(), alpha, preference.data(), again.data()) == n_steps, where);
    CHECK(same_bits(weights, again), where);
    if (!solvable) return;
    for (std::size_t i = 0; i < m; ++i) {
        const double right = std::pow(preference[i] / weights[i], 1.0 / alpha);
        double sum = 0.0, magnitude = right;
        for (std::size_t j = 0; j < m; ++j) {
            sum += gram[i * m + j] * weights[j];
            magnitude += std::abs(gram[i * m + j]) * weights[j];
        }
        CHECK(std::abs(sum - right) <= 1e-11 * magnitude, where);
    }
}

void test_fair_weights() {
    std::mt19937_64 random(34);
    const std::vector<double> alphas = {1e-300, 1e-3, 0.5, 1.0, 2.0, 5.0, 1e3, kHuge};
    for (const std::size_t m : {1u, 2u, 3u, 7u, 33u}) {
        const std::vector<double> ones(m, 1.0);
        for (const std::size_t r : {std::size_t{1}, std::max<std::size_t>(1, m / 2), 2 * m}) {
            std::vector<double> vectors = normal_vector<double>(m * r, random);
            const std::vector<double> gram = gram_of(vectors, m, r);
            for (double& value : vectors) value = std::round(2.0 * value);  // opposing, equal and zero rows
            const std::vector<double> integers = gram_of(vectors, m, r);
            for (const double alpha : alphas) {
                const std::string where =
                    "m = " + std::to_string(m) + ", rank " + std::to_string(r) + ", alpha " + std::to_string(alpha);
                check_fair(m, gram, alpha, ones, where, r > m && 0.5 <= alpha && alpha <= 5.0);
                check_fair(m, integers, alpha, ones, where + ", integers");
            }
        }
        std::vector<double> identity(m * m, 0.0), opposed(m * m, -1.0), wide = ones;
        for (std::size_t i = 0; i < m; ++i) identity[i * m + i] = opposed[i * m + i] = 1.0;
        for (std::size_t i = 0; i < m; ++i) wide[i] = i % 3 == 0 ? kHuge : i % 3 == 1 ? kDenormal : 1.0;
        for (const double alpha : alphas) {
            check_fair(m, identity, alpha, wide, "preferences of any size");
            check_fair(m, opposed, alpha, ones, "far from any Gram matrix");
            check_fair(m, std::vector<double>(m * m, 0.0), alpha, ones, "zero");
            for (const double scale : {kDenormal, 1e-308, 1e150, kHuge}) {
                std::vector<double> scaled = identity;
                scaled[0] *= scale;
                check_fair(m, scaled, alpha, wide, "identity with " + std::to_string(scale));
                for (std::size_t i = 1; i < m; ++i) scaled[i] = scaled[i * m] = std::sqrt(scale);
                check_fair(m, scaled, alpha, wide, "all along the first, which is " + std::to_string(scale));
            }
        }
    }
}

void test_fair_weights_refuses() {
    std::vector<double> weights(2, kNan);
    const std::vector<double> identity = {1, 0, 0, 1}, ones = {1, 1};
    CHECK(refuses([&] { pyasmg::fair_weights(0, nullptr, 1.0, nullptr, nullptr); }), "m = 0");
    for (const double bad : {0.0, -1.0, kInf, -kInf, kNan}) {
        const std::vector<double> preference = {1, bad};
        const std::string where = std::to_string(bad);
        CHECK(refuses([&] { pyasmg::fair_weights(2, identity.data(), bad, ones.data(), weights.data()); }), where);
        CHECK(refuses([&] { pyasmg::fair_weights(2, identity.data(), 1.0, preference.data(), weights.data()); }),
              where);
    }
    const std::vector<std::vector<double>> bad = {
        {kNan, 0, 0, 1}, {1, kInf, kInf, 1}, {-1, 0, 0, 1}, {1, 0.5, -0.5, 1}};
    for (const auto& gram : bad) {
        CHECK(refuses([&] { pyasmg::fair_weights(2, gram.data(), 1.0, ones.data(), weights.data()); }), "G");
    }
}

void check_nonnegative(std::size_t m, const std::vector<double>& c, const double* q, const std::vector<double>& y,
                       const std::string& where) {
    for (std::size_t i = 0; i < m; ++i) {
        double value = q[i], terms = std::abs(q[i]);
        for (std::size_t j = 0; j < m; ++j) {
            value += c[i * m + j] * y[j];
            terms += std::abs(c[i * m + j] * y[j]);
        }
        CHECK(y[i] >= 0.0 && value >= -1e-12 * terms, where);
        if (y[i] > 0.0) CHECK(std::abs(value) <= 1e-12 * terms, where);
    }
}

// Unit vectors in r dimensions, projected onto what is dual to all of them: also more vectors than dimensions, and the
// same one twice.
void test_nonnegative_qp() {
    std::mt19937_64 random(3);
    for (const std::size_t m : {1, 2, 3, 10, 40}) {
        for (const std::size_t r : {std::size_t(1), std::size_t(3), m, 2 * m}) {
            std::vector<double> rows = normal_vector<double>(m * r, random);
            if (m > 2) std::copy_n(rows.begin(), r, rows.begin() + static_cast<std::ptrdiff_t>(2 * r));
            std::vector<double> c = gram_of(rows, m, r);
            std::vector<double> norms(m), y(m, kNan), together(m * m, kNan);
            for (std::size_t i = 0; i < m; ++i) norms[i] = std::sqrt(c[i * m + i]);
            for (std::size_t i = 0; i < m * m; ++i) c[i] /= norms[i / m] * norms[i % m];
            for (std::size_t i = 0; i < m; ++i) c[i * m + i] = 1.0;
            pyasmg::bounded_qps(m, m, c.data(), c.data(), together.data());
            for (std::size_t i = 0; i < m; ++i) {
                const std::string where =
                    std::to_string(m) + " vectors in " + std::to_string(r) + ", the " + std::to_string(i);
                CHECK(pyasmg::nonnegative_qp(m, c.data(), c.data() + i * m, true, y.data()), where);
                check_nonnegative(m, c, c.data() + i * m, y, where);
                const auto row = together.begin() + static_cast<std::ptrdiff_t>(i * m);
                check_nonnegative(m, c, c.data() + i * m, {row, row + static_cast<std::ptrdiff_t>(m)}, where);
            }
        }
    }
    const std::vector<double> opposed = {1, -1, -1, 1}, down = {-1, -1};
    std::vector<double> y(2, kNan);
    CHECK(!pyasmg::nonnegative_qp(2, opposed.data(), down.data(), false, y.data()), "no bound");
    CHECK(pyasmg::nonnegative_qp(0, nullptr, nullptr, false, nullptr), "nothing to solve");
}

// Two opposed vectors and a zero one; and that GradVac with usual cosines of 0 is PCGrad.
void test_unit_gram() {
    const std::vector<double> gram = {4.0, 8.0, 0.0, 8.0, 9.0, 0.0, 0.0, 0.0, 0.0};
    std::vector<double> norm(3, kNan), cosines(9, kNan);
    pyasmg::unit_gram(3, gram.data(), norm.data(), cosines.data());
    CHECK(same_bits(norm, {2.0, 3.0, 0.0}), "norms");
    CHECK(same_bits(cosines, {1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0}), "cosines");
}

// Equality on the face and no violation off it, at the radius; or no answer.
void test_conflict_averse_guess() {
    std::mt19937_64 random(11);
    int n_found = 0;
    for (std::size_t m = 1; m <= 12; ++m) {
        for (int trial = 0; trial < 20; ++trial) {
            const std::size_t r = trial % 5 == 4 ? 1 : 2 * m;  // every fifth is singular
            std::vector<double> u = normal_vector<double>(m * r, random);
            for (std::size_t i = 0; i < m; ++i) {
                double square = 0.0;
                for (std::size_t k = 0; k < r; ++k) square += u[i * r + k] * u[i * r + k];
                for (std::size_t k = 0; k < r; ++k) u[i * r + k] /= std::sqrt(square);
            }
            const std::vector<double> c = gram_of(u, m, r);
            std::vector<double> inner(m, 0.0), shares(m), y(m, kNan);
            for (std::size_t i = 0; i < m; ++i) {
                shares[i] = 1.0 / static_cast<double>(1 + i);
                for (std::size_t j = 0; j < m; ++j) inner[i] += c[i * m + j] / static_cast<double>(m);
            }
            const double radius = 0.3;
            const std::vector<unsigned char> inside(m, 1);
            if (!pyasmg::conflict_averse_guess({m, c.data(), inner.data(), shares.data(), radius, false}, inside.data(),
                                               y.data())) {
                continue;
            }
            ++n_found;
            double square = 0.0, rate = kInf;
            std::vector<double> slope(m);
            for (std::size_t i = 0; i < m; ++i) {
                double sum = 0.0;
                for (std::size_t j = 0; j < m; ++j) sum += c[i * m + j] * y[j];
                square += y[i] * sum;
                slope[i] = inner[i] + sum;
                rate = std::min(rate, slope[i] / shares[i]);
            }
            CHECK(std::abs(square - radius * radius) < 1e-10, std::to_string(m));
            for (std::size_t i = 0; i < m; ++i) {
                CHECK(y[i] >= -1e-12, std::to_string(m));
                CHECK(y[i] < 1e-12 || std::abs(slope[i] - rate * shares[i]) < 1e-9, std::to_string(m));
            }
        }
    }
    CHECK(n_found > 100, std::to_string(n_found));
    std::vector<double> y(2, kNan);
    const std::vector<double> bad = {1.0, kNan, kNan, 1.0}, ones = {1.0, 1.0};
    const unsigned char none[] = {0, 0}, all[] = {1, 1};
    CHECK(!pyasmg::conflict_averse_guess({2, bad.data(), ones.data(), ones.data(), 0.5, false}, all, y.data()), "NaN");
    CHECK(!pyasmg::conflict_averse_guess({2, bad.data(), ones.data(), ones.data(), 0.5, false}, none, y.data()),
          "none");
}

void test_gradient_surgery() {
    const double r = std::sqrt(0.5);
    const std::vector<double> cosines = {1, -r, 0, -r, 1, 0, 0, 0, 0};
    const std::vector<std::int64_t> order = {1, 2, 2, 0, 0, 1};
    std::vector<double> found(9, kNan), usual(9, 0.0), vaccinated(9, kNan);
    pyasmg::remove_conflicts(3, cosines.data(), order.data(), found.data());
    const std::vector<double> expected = {1, r, 0, r, 1, 0, 0, 0, 1};
    CHECK(same_bits(found, expected), "PCGrad");
    pyasmg::vaccinate(3, cosines.data(), order.data(), {0.5, true, 1.0 - 1e-6}, usual.data(), vaccinated.data());
    for (std::size_t k = 0; k < 9; ++k) CHECK(std::abs(vaccinated[k] - expected[k]) < 1e-15, "GradVac");
    CHECK(usual[1] == -0.5 * r && usual[3] == -0.5 * r && usual[2] == 0.0, "usual cosines");
    double alone = kNan;
    pyasmg::remove_conflicts(1, cosines.data(), nullptr, &alone);
    CHECK(alone == 1.0, "one task");
}

void test_surgery_weights() {
    const std::vector<double> norms = {2.0, 1.0, 0.0}, coefficients = {1, 3, 0, 0, 1, 0, 0, 0, 1};
    std::vector<double> weights(3, kNan);
    pyasmg::surgery_weights(3, norms.data(), coefficients.data(), 0.5, weights.data());
    CHECK(same_bits(weights, {0.5, 3.5, 0.5}), "in units of the gradients; a zero gradient has the factor");
}

// Orthogonal gradients, opposed ones, a zero one and none, of methods that take the whole matrix at once.
void test_weights_at_once() {
    const double r = std::sqrt(0.5);
    const std::vector<double> diagonal = {4, 0, 0, 0, 0, 0, 0, 0, 1}, opposed = {1, -r, -r, 1};
    std::vector<double> weights(3, kNan);
    pyasmg::impartial_weights(3, diagonal.data(), weights.data());
    CHECK(std::abs(weights[0] - 1.0 / 3.0) < 1e-15 && weights[1] == 0.0, "IMTL-G");
    const std::vector<double> ones(3, 1.0), none(9, 0.0), line = {1, -1, -1, 1};
    pyasmg::aligned_weights(3, diagonal.data(), pyasmg::AlignedScale::smallest, ones.data(), weights.data());
    CHECK(std::abs(weights[0] - 0.5) < 1e-15 && weights[1] == 0.0 && weights[2] == 1.0, "Aligned-MTL, smallest");
    pyasmg::aligned_weights(3, diagonal.data(), pyasmg::AlignedScale::median, ones.data(), weights.data());
    CHECK(std::abs(weights[2] - std::sqrt(2.5)) < 1e-15, "Aligned-MTL, median");
    pyasmg::aligned_weights(3, none.data(), pyasmg::AlignedScale::mean, ones.data(), weights.data());
    CHECK(same_bits(weights, {1.0, 1.0, 1.0}), "no gradients");
    pyasmg::impartial_weights(3, none.data(), weights.data());
    CHECK(same_bits(weights, {0.0, 0.0, 0.0}), "no gradients");
    pyasmg::impartial_weights(2, line.data(), weights.data());
    CHECK(weights[0] == 0.0 && weights[1] == 0.0, "no equal projections");

    pyasmg::upgrad_weights(3, diagonal.data(), weights.data());
    for (const double weight : weights) CHECK(std::abs(weight - 1.0 / 3.0) < 1e-15, "nothing to remove");
    pyasmg::upgrad_weights(2, opposed.data(), weights.data());
    for (std::size_t i = 0; i < 2; ++i) CHECK(std::abs(weights[i] - 0.5 * (1.0 + r)) < 1e-15, "conflicts removed");

    CHECK(!pyasmg::conflict_averse_weights(3, diagonal.data(), 0.5, weights.data()), "a zero gradient");
    CHECK(pyasmg::conflict_averse_weights(2, opposed.data(), 0.5, weights.data()), "CAGrad");
    const double length = std::sqrt(0.5 * (1.0 - r)), v = 0.5 * length / (2.0 * length);  // |g0|, |g1 + g2| = 2 |g0|
    for (std::size_t i = 0; i < 2; ++i) CHECK(std::abs(weights[i] - v) < 1e-14, "half of g0, on both alike");
    CHECK(pyasmg::conflict_averse_weights(2, line.data(), 0.5, weights.data()) && weights[0] == 0.0, "no mean");
}

}  // namespace
