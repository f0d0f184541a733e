#include "spectral.hpp"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "gram.hpp"

namespace pyasmg {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Solver = Eigen::SelfAdjointEigenSolver<Matrix>;

constexpr double kEps = std::numeric_limits<double>::epsilon();

Solver decompose(const Matrix& matrix) {
    Solver solver(matrix);
    if (solver.info() != Eigen::Success) throw std::runtime_error("the eigenvalues of `G` were not found.");
    return solver;
}

// The first eigenvalue, in ascending order, that is above a bound.
Eigen::Index first_above(const Eigen::VectorXd& values, double bound) {
    return static_cast<Eigen::Index>(std::upper_bound(values.data(), values.data() + values.size(), bound) -
                                     values.data());
}

double median(const Eigen::Ref<const Eigen::VectorXd>& ascending) {
    const Eigen::Index n = ascending.size();
    return 0.5 * (ascending[(n - 1) / 2] + ascending[n / 2]);
}

}  // namespace

void impartial_weights(std::size_t m, const double* gram, double* weights) {
    std::fill_n(weights, m, 0.0);
    std::vector<std::size_t> nonzero;
    for (std::size_t i = 0; i < m; ++i) {
        if (gram[i * m + i] > 0.0) nonzero.push_back(i);
    }
    const std::size_t n = nonzero.size();
    if (n == 0) return;
    std::vector<double> norms(m), cosines(m * m);
    unit_gram(m, gram, norms.data(), cosines.data());
    const auto size = static_cast<Eigen::Index>(n);
    Matrix block(size, size);
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j < n; ++j)
            block(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(j)) = cosines[nonzero[i] * m + nonzero[j]];
    }

    const Solver solver = decompose(block);
    const Eigen::VectorXd& values = solver.eigenvalues();
    const Eigen::VectorXd shares = solver.eigenvectors().colwise().sum();  // of the vector of ones
    const Eigen::Index outside = first_above(values, 64.0 * static_cast<double>(n) * kEps);
    if (!(shares.head(outside).squaredNorm() <= 1e-12 * static_cast<double>(n))) return;
    const Eigen::Index rank = size - outside;
    const Eigen::VectorXd y =
        solver.eigenvectors().rightCols(rank) * (shares.tail(rank).array() / values.tail(rank).array()).matrix();

    double shortest = norms[nonzero[0]];
    for (const std::size_t i : nonzero) shortest = std::min(shortest, norms[i]);
    std::vector<double> found(n);
    double total = 0.0, terms = 0.0;
    for (std::size_t k = 0; k < n; ++k) {
        found[k] = y[static_cast<Eigen::Index>(k)] * (shortest / norms[nonzero[k]]);
        total += found[k];
        terms += std::abs(found[k]);
    }
    if (!(std::abs(total) > 16.0 * static_cast<double>(n) * kEps * terms)) return;
    for (std::size_t k = 0; k < n; ++k) weights[nonzero[k]] = found[k] / total;
}

void aligned_weights(std::size_t m, const double* gram, AlignedScale scale, const double* wanted, double* weights) {
    const auto size = static_cast<Eigen::Index>(m);
    const Eigen::Map<const Matrix> g(gram, size, size);
    const Eigen::Map<const Eigen::VectorXd> from(wanted, size);
    Eigen::Map<Eigen::VectorXd> to(weights, size);
    const double largest = g.diagonal().maxCoeff();
    if (largest == 0.0) {
        to = from;
        return;
    }
    const Solver solver = decompose(g / largest);
    const Eigen::VectorXd& values = solver.eigenvalues();
    const Eigen::Index rank = size - first_above(values, 64.0 * static_cast<double>(m) * kEps * values[size - 1]);
    const Eigen::VectorXd inside = values.tail(rank);
    const double chosen = scale == AlignedScale::smallest ? inside[0]
                          : scale == AlignedScale::median ? median(inside)
                                                          : inside.mean();
    const auto vectors = solver.eigenvectors().rightCols(rank);
    to = vectors * ((chosen / inside.array()).sqrt() * (vectors.transpose() * from).array()).matrix();
}

}  // namespace pyasmg
