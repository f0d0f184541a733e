#include "conflict_averse.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cholesky.hpp"
#include "gram.hpp"
#include "simplex_qp.hpp"

namespace pyasmg {
namespace {

constexpr double kEps = std::numeric_limits<double>::epsilon();
constexpr int kRounds = 8;

struct Face {
    std::vector<std::size_t> index;
    std::vector<double> start, growth;  // y = start + rate * growth
};

double dot(const Face& face, const double* values, const std::vector<double>& coefficients) {
    double sum = 0.0;
    for (std::size_t k = 0; k < face.index.size(); ++k) sum += values[face.index[k]] * coefficients[k];
    return sum;
}

// False where the vectors of the face are linearly dependent.
bool solve_face(const ConflictAverse& problem, Face& face) {
    const std::size_t n = face.index.size();
    std::vector<double> block(n * n);
    face.start.resize(n);
    face.growth.resize(n);
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j < n; ++j)
            block[i * n + j] = problem.cosines[face.index[i] * problem.m + face.index[j]];
        face.start[i] = -problem.inner[face.index[i]];
        face.growth[i] = problem.shares[face.index[i]];
    }
    if (!factorise(n, block.data())) return false;
    solve_factorised(n, block.data(), face.start.data());
    solve_factorised(n, block.data(), face.growth.data());
    return true;
}

// What the conditions look at: C y + linear, with linear = inner - rate * shares, and the sizes of its terms.
struct Slack {
    std::vector<double> linear, value, products;  // products = |C| |y|

    Slack(const ConflictAverse& problem, double rate, const double* y)
        : linear(problem.m), value(problem.m), products(problem.m) {
        for (std::size_t i = 0; i < problem.m; ++i) {
            const double* row = problem.cosines + i * problem.m;
            linear[i] = problem.inner[i] - rate * problem.shares[i];
            double sum = 0.0, size = 0.0;
            for (std::size_t j = 0; j < problem.m; ++j) {
                sum += row[j] * y[j];
                size += std::abs(row[j]) * std::abs(y[j]);
            }
            value[i] = sum + linear[i];
            products[i] = size;
        }
    }
};

bool is_optimal(const ConflictAverse& problem, const Slack& slack, const double* y) {
    const double noise = 16.0 * static_cast<double>(problem.m + 4) * kEps;
    double largest = 0.0, square = 0.0, size = 0.0;
    for (std::size_t i = 0; i < problem.m; ++i) {
        largest = std::max(largest, std::abs(y[i]));
        square += y[i] * (slack.value[i] - slack.linear[i]);
        size += std::abs(y[i]) * slack.products[i];
    }
    for (std::size_t i = 0; i < problem.m; ++i) {
        if (!(y[i] >= -noise * largest)) return false;
        if (!(slack.value[i] >= -noise * (slack.products[i] + std::abs(slack.linear[i])))) return false;
    }
    const double wanted = problem.radius * problem.radius;
    return std::abs(square - wanted) <= noise * (size + wanted);
}

}  // namespace

bool conflict_averse_guess(const ConflictAverse& problem, const unsigned char* inside, double* y) {
    const std::size_t m = problem.m;
    std::vector<unsigned char> in(inside, inside + m);
    Face face;
    for (int round = 0; round < kRounds; ++round) {
        face.index.clear();
        for (std::size_t i = 0; i < m; ++i) {
            if (in[i] != 0) face.index.push_back(i);
        }
        if (face.index.empty() || !solve_face(problem, face)) return false;
        const double bend = dot(face, problem.shares, face.growth), slope = dot(face, problem.shares, face.start);
        if (!(bend > 0.0)) return false;
        const double wanted = problem.radius * problem.radius + dot(face, problem.inner, face.start);
        // or the rate that comes next to the radius
        const double rate = (std::sqrt(std::max(slope * slope + bend * wanted, 0.0)) - slope) / bend;
        std::fill_n(y, m, 0.0);
        for (std::size_t k = 0; k < face.index.size(); ++k) y[face.index[k]] = face.start[k] + rate * face.growth[k];

        const Slack slack(problem, rate, y);
        bool any_bad = false;
        double largest_terms = 0.0, largest_linear = 0.0;
        for (std::size_t i = 0; i < m; ++i) {
            const double terms = slack.products[i] + std::abs(slack.linear[i]);
            largest_terms = std::max(largest_terms, terms);
            largest_linear = std::max(largest_linear, std::abs(slack.linear[i]));
            const bool bad =
                in[i] != 0 ? !(y[i] > 0.0) : slack.value[i] < -8.0 * static_cast<double>(m + 4) * kEps * terms;
            if (bad) in[i] ^= 1;
            any_bad = any_bad || bad;
        }
        if (any_bad) continue;
        // nothing has cancelled, and the rate is one that may be
        const bool safe = largest_terms < 1e3 * largest_linear && !(problem.held && rate > 0.0);
        return safe && is_optimal(problem, slack, y);
    }
    return false;
}

bool conflict_averse_weights(std::size_t m, const double* gram, double c, double* v) {
    for (std::size_t i = 0; i < m; ++i) {
        if (!(gram[i * m + i] > 0.0)) return false;
    }
    std::vector<double> norms(m), cosines(m * m);
    unit_gram(m, gram, norms.data(), cosines.data());
    const double longest = *std::max_element(norms.begin(), norms.end()), n = static_cast<double>(m);
    for (double& norm : norms) norm /= longest;

    std::vector<double> inner(m);  // u_i'g0
    double squared = 0.0, terms = 0.0;
    for (std::size_t i = 0; i < m; ++i) {
        double sum = 0.0, size = 0.0;
        for (std::size_t j = 0; j < m; ++j) {
            sum += cosines[i * m + j] * norms[j];
            size += std::abs(cosines[i * m + j]) * norms[j];
        }
        inner[i] = sum / n;
        squared += norms[i] * inner[i] / n;
        terms += norms[i] * size / (n * n);
    }
    std::fill_n(v, m, 0.0);
    if (squared <= 64.0 * n * kEps * terms) return true;

    // g_i'd >= nu is u_i'd >= rate * shares_i, with nu = rate * smallest norm
    const double shortest = *std::min_element(norms.begin(), norms.end());
    std::vector<double> shares(m), scaled(m * m), weights(m), y(m);
    for (std::size_t i = 0; i < m; ++i) {
        shares[i] = shortest / norms[i];
        for (std::size_t j = 0; j < m; ++j) scaled[i * m + j] = cosines[i * m + j] * norms[j] * norms[i];
    }
    simplex_qp(m, scaled.data(), weights.data());
    std::vector<unsigned char> inside(m);
    for (std::size_t i = 0; i < m; ++i) inside[i] = weights[i] > 0.0 ? 1 : 0;
    const ConflictAverse problem{m, cosines.data(), inner.data(), shares.data(), c * std::sqrt(squared), false};
    if (!conflict_averse_guess(problem, inside.data(), y.data())) return false;
    for (std::size_t i = 0; i < m; ++i) v[i] = y[i] / norms[i];
    return true;
}

}  // namespace pyasmg
