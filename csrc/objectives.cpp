#include "objectives.hpp"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>

#include "elementary.hpp"

namespace pyasmg {
namespace {

using Matrix = Eigen::Array<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Vector = Eigen::Array<double, Eigen::Dynamic, 1>;

Vector round_grid(const Vector& values) { return (values * 0x1p20).round() * 0x1p-20; }

// Four times the values, as far as they are finite.
Vector bounded(const Vector& quarter) {
    constexpr double most = std::numeric_limits<double>::max() / 4.0;
    return 4.0 * quarter.min(most).max(-most);
}

}  // namespace

void condition_objectives(std::size_t count, std::size_t n_objectives, const double* values, const double* center,
                          bool standardise, double* w, ObjectiveSummary& summary) {
    const auto rows = static_cast<Eigen::Index>(count), m = static_cast<Eigen::Index>(n_objectives);
    const Eigen::Map<const Matrix> all(values, rows, m);
    Eigen::Map<Matrix> out(w, rows, m);
    Eigen::Map<Vector> offset(summary.offset, m), scale(summary.scale, m);

    Matrix valid(rows, m);  // compact
    Eigen::Index n = 0;
    for (Eigen::Index j = 0; j < rows; ++j) {
        const bool finite = all.row(j).isFinite().all();
        summary.valid[j] = finite ? 1 : 0;
        if (finite) valid.row(n++) = all.row(j);
    }
    summary.n_valid = static_cast<std::size_t>(n);
    Eigen::Map<Vector> median(summary.median, m), spread(summary.spread, m);
    for (auto* each : {&offset, &scale, &median, &spread}) each->setZero();
    out.setZero();
    if (n == 0) return;

    Vector deviation(n);
    for (Eigen::Index i = 0; i < m; ++i) {
        // A quarter, because a difference of two finite numbers may overflow; then in units of the largest deviation,
        // because its square may overflow or vanish.
        const double first = 0.25 * valid(0, i);
        deviation = 0.25 * valid.col(i).head(n) - first;
        const double unit = deviation.abs().maxCoeff();
        if (unit > 0.0) {
            deviation /= unit;
            const double mean = deviation.mean();
            const double std = std::sqrt((deviation - mean).square().mean());
            offset[i] = 4.0 * (first + unit * mean);
            scale[i] = 4.0 * (unit * std);
            if (center != nullptr) {
                offset[i] = center[i];
                deviation = 0.25 * valid.col(i).head(n) - 0.25 * center[i];
                deviation = standardise ? round_grid(deviation / unit / std) : bounded(deviation);
            } else {
                deviation = standardise ? round_grid((deviation - mean) / std) : bounded((deviation - mean) * unit);
            }
        } else {
            offset[i] = center != nullptr ? center[i] : valid(0, i);
            deviation =
                standardise ? Vector::Zero(n) : bounded(Vector::Constant(n, 0.25 * valid(0, i) - 0.25 * offset[i]));
        }
        Vector sorted = valid.col(i).head(n);
        spread[i] = sorted.maxCoeff() - sorted.minCoeff();
        std::nth_element(sorted.data(), sorted.data() + n / 2, sorted.data() + n);
        median[i] = sorted[n / 2];
        for (Eigen::Index j = 0, k = 0; j < rows; ++j) {
            if (summary.valid[j] != 0) out(j, i) = deviation[k++] / static_cast<double>(n);
        }
    }
}

void follow_scales(std::size_t n_objectives, const double* scale, double* log_scale, double* count, double* ratio) {
    for (std::size_t i = 0; i < n_objectives; ++i) {
        ratio[i] = 0.0;
        if (!(scale[i] > 0.0)) continue;
        // A power of two in front keeps denormal numbers out of the logarithm.
        int exponent = 0;
        const double mantissa = std::frexp(scale[i], &exponent);
        const double log_value = log_positive(mantissa) + exponent * 0.69314718055994530942;
        log_scale[i] = count[i] > 0.0 ? log_scale[i] + 4.0 / (count[i] + 4.0) * (log_value - log_scale[i]) : log_value;
        count[i] += 1.0;
        const double value = std::frexp(exp_bounded(log_value - log_scale[i]), &exponent);
        ratio[i] = std::ldexp(std::round(value * 0x1p20), exponent - 20);
    }
}

Aggregate aggregate(std::size_t count, std::size_t n_objectives, const double* w, const std::uint8_t* valid,
                    std::size_t n_valid, const double* weights, const double* row_sums, std::size_t dimension) {
    if (n_valid == 0) return {0.0, 0.0};
    const auto rows = static_cast<Eigen::Index>(count), m = static_cast<Eigen::Index>(n_objectives);
    const Eigen::Map<const Matrix> matrix(w, rows, m);
    const Eigen::Map<const Vector> lambda(weights, m), norms(row_sums, rows);
    const auto n = static_cast<double>(n_valid);
    const Vector sums = (matrix.matrix() * lambda.matrix()).array() * n;
    const double unit = sums.abs().maxCoeff();
    if (!(unit > 0.0)) return {0.0, 0.0};
    double mean = 0.0, square = 0.0, gradient = 0.0;
    for (Eigen::Index j = 0; j < rows; ++j) {
        if (valid[j] != 0) mean += sums[j] / unit / n;
    }
    for (Eigen::Index j = 0; j < rows; ++j) {
        const double deviation = sums[j] / unit - mean;
        if (valid[j] != 0) square += deviation * deviation / n;
        if (valid[j] != 0) gradient += unit * deviation / n * (norms[j] / static_cast<double>(dimension) - 1.0);
    }
    return {unit * std::sqrt(square), 0.5 * gradient};
}

}  // namespace pyasmg
