#include "gram.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

namespace pyasmg {
namespace {

std::string entry(std::size_t i, std::size_t j, double value) {
    char text[96];
    std::snprintf(text, sizeof text, "G[%zu, %zu] = %.17g", i, j, value);
    return text;
}

}  // namespace

bool scale_gram(std::size_t m, const double* gram, double* c, int* exponent) {
    if (m == 0) throw std::invalid_argument("`G` must have shape (m, m) with m >= 1; got (0, 0).");
    for (std::size_t i = 0; i < m * m; ++i)
        if (!std::isfinite(gram[i]))
            throw std::invalid_argument("`G` must be finite; got " + entry(i / m, i % m, gram[i]) + ".");

    std::vector<double> norm(m), shrink(m);
    bool positive = true;
    for (std::size_t i = 0; i < m; ++i) {
        const double square = gram[i * m + i];
        if (square < 0.0)
            throw std::invalid_argument("`G` must have no negative diagonal entry (they are squared norms); got " +
                                        entry(i, i, square) + ".");
        norm[i] = std::sqrt(square);
        positive = positive && square > 0.0;
        const int e = square > 0.0 ? std::ilogb(square) : 0;
        exponent[i] = (e - (e & 1)) / 2;  // floor(e / 2)
        shrink[i] = std::ldexp(1.0, -exponent[i]);
    }
    for (std::size_t i = 0; i < m; ++i) {
        c[i * m + i] = gram[i * m + i] * shrink[i] * shrink[i];
        for (std::size_t j = 0; j < i; ++j) {
            const double lower = gram[i * m + j], upper = gram[j * m + i];
            double mean = lower;
            if (lower != upper) {
                if (std::abs(lower - upper) > kSymmetryTolerance * norm[i] * norm[j])
                    throw std::invalid_argument("`G` must be symmetric (to 1e-5 of sqrt(G_ii G_jj)); got " +
                                                entry(i, j, lower) + " and " + entry(j, i, upper) + ".");
                mean = 0.5 * lower + 0.5 * upper;
            }
            // The clamp leaves every Gram matrix as it is (C_ii < 4), and keeps finite what is none.
            c[i * m + j] = c[j * m + i] = std::clamp(mean * shrink[i] * shrink[j], -4.0, 4.0);
        }
    }
    return positive;
}

void unit_gram(std::size_t m, const double* gram, double* norm, double* cosines) {
    for (std::size_t i = 0; i < m; ++i) norm[i] = std::sqrt(gram[i * m + i]);
    for (std::size_t i = 0; i < m; ++i) {
        cosines[i * m + i] = norm[i] > 0.0 ? 1.0 : 0.0;
        for (std::size_t j = 0; j < i; ++j) {
            const double mean = 0.5 * (gram[i * m + j] + gram[j * m + i]);
            const bool both = norm[i] > 0.0 && norm[j] > 0.0;
            cosines[i * m + j] = cosines[j * m + i] = both ? std::clamp(mean / norm[j] / norm[i], -1.0, 1.0) : 0.0;
        }
    }
}

}  // namespace pyasmg
