// Lengths are taken out first. With p = 1 / alpha, C = S^-1 G S^-1 (gram.hpp), a_i = C_ii, and D_i the weight s_i w_i
// that gradient i would have if it were orthogonal to all others, v_i = s_i w_i / D_i solves
//     L_i = z_i,    z_i = v_i^-p,    L = (C D v) / (a D),
// whose solution is v = 1 for orthogonal gradients. It minimises a convex function (v'DCDv / 2 minus concave terms).
//
// Newton's method is primal-dual: y = log v and log z are both unknowns, and each step takes L = z as linear in v and
// z, and log z + p y = 0 as it is. Its matrix is symmetric positive definite and needs no scaling (its diagonal is v +
// p z). A step is cut where its linear model ends. L = z is soon reached so, and kept, while some z_i still have
// decades to travel, where Newton's method on the single equation overshoots.
//
// Where 0 is in the convex hull of the gradients there is no solution: delta makes one, large and short. Rounding
// decides the steps there once delta is too small for float64; the method notices and starts again with a larger one.
#include "fair_weights.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>
#include <vector>

#include "cholesky.hpp"
#include "elementary.hpp"
#include "gram.hpp"

namespace pyasmg {
namespace {

constexpr double kLog2 = 0.69314718055994530942;
constexpr double kUnit = std::numeric_limits<double>::epsilon();
constexpr double kRounding = 4.0 * kUnit;    // a residual of this relative size says no more
constexpr double kGap = 1e-4;                // the most that log z + p y may then be off, unseen as z is
constexpr double kFinished = 1e-9;           // the error after a step of this size is its square
constexpr double kReach = 4.0;               // what a logarithm may change in one step; more where it is unseen
constexpr double kLowest = -300.0;           // of log D, and of log v in L: beyond, v counts by its logarithm only
constexpr double kLeastShift = 4.0 * kUnit;  // delta, and what it grows by
constexpr double kShiftGrowth = 64.0;
constexpr int kMaxSteps = 300;
constexpr int kPatience =
    40;  // steps without one of half the size; log v may rise by 36 in steps of 1 before it settles

// f exp(x) 2^n for f > 0, held within the range of normal numbers.
double scaled_exp(double f, double x, int n) {
    const double k = std::floor(x / kLog2 + 0.5);
    const double exponent = std::clamp(k + n, -5000.0, 5000.0);
    int shift = 0;
    const double fraction = std::frexp(f * exp_bounded(x - k * kLog2), &shift);
    const double value = std::ldexp(fraction, static_cast<int>(exponent) + shift);
    return std::clamp(value, std::numeric_limits<double>::min(), std::numeric_limits<double>::max());
}

// The scaled problem, for n gradients that are not zero.
class Newton {
  public:
    // `c` is n x n; `log_alone` is log D up to a constant.
    Newton(std::vector<double> c, std::vector<double> log_alone, double alpha)
        : n_(log_alone.size()),
          p_(1.0 / alpha),
          most_y_(kReach * std::max(1.0, alpha)),
          most_z_(kReach * std::max(1.0, p_)),
          log_alone_(std::move(log_alone)),
          largest_(*std::max_element(log_alone_.begin(), log_alone_.end())),
          c_(std::move(c)),
          square_(n_),
          norm_(n_),
          alone_(n_),
          y_(n_),
          log_z_(n_),
          v_(n_),
          u_(n_),
          z_(n_),
          root_(n_),
          residual_(n_),
          step_(n_),
          matrix_(n_ * n_) {
        for (std::size_t i = 0; i < n_; ++i) {
            square_[i] = c_[i * n_ + i];
            norm_[i] = std::sqrt(square_[i]);
            alone_[i] = exp_bounded(std::max(log_alone_[i] - largest_, kLowest));
        }
    }

    // Solves with G + delta diag(G) in the place of G; false where rounding, or a G that is indefinite, is in the way.
    bool solve(double delta) {
        for (std::size_t i = 0; i < n_; ++i) c_[i * n_ + i] = square_[i] * (1.0 + delta);
        start();
        double least = kReach;
        int waited = 0;
        for (int i = 0; i < kMaxSteps; ++i) {
            if (refresh_residual()) return true;
            ++n_steps_;
            refresh_matrix();
            if (!factorise(n_, matrix_.data())) return false;
            solve_factorised(n_, matrix_.data(), step_.data());
            const double size = update();
            if (!std::isfinite(size)) return false;
            if (size <= kFinished) return true;
            if (size > kReach) continue;
            waited = size < 0.5 * least ? 0 : waited + 1;
            least = std::min(least, size);
            if (waited == kPatience) return false;
        }
        return false;
    }

    double weight(std::size_t i, int exponent) const {  // w_i = D_i v_i / s_i
        if (y_[i] > kLowest && log_alone_[i] - largest_ > kLowest)
            return scaled_exp(alone_[i] * v_[i], largest_, -exponent);
        return scaled_exp(1.0, log_alone_[i] + y_[i], -exponent);
    }
    int n_steps() const { return n_steps_; }

  private:
    void start() {  // the best multiple of v = 1
        double quadratic = 0.0, linear = 0.0;
        for (std::size_t i = 0; i < n_; ++i) {
            double sum = 0.0;
            for (std::size_t j = 0; j < n_; ++j) sum += c_[i * n_ + j] * alone_[j];
            quadratic += alone_[i] * sum;
            linear += alone_[i] * alone_[i] * square_[i];
        }
        const double y = quadratic > kUnit * linear ? log_positive(linear / quadratic) / (1.0 + p_) : 0.0;
        std::fill(y_.begin(), y_.end(), y);
        std::fill(v_.begin(), v_.end(), exp_bounded(y));
        std::fill(log_z_.begin(), log_z_.end(), -p_ * y);
    }

    // v, z, and the residual of L = z; true where it and that of log z + p y = 0 are nothing but rounding.
    bool refresh_residual() {
        for (std::size_t i = 0; i < n_; ++i) {
            z_[i] = exp_bounded(log_z_[i]);
            u_[i] = alone_[i] * v_[i];
        }
        bool rounding = true;
        for (std::size_t i = 0; i < n_; ++i) {
            const double* row = c_.data() + i * n_;
            double sum = 0.0, magnitude = 0.0;
            for (std::size_t j = 0; j < n_; ++j) {
                const double term = row[j] * u_[j];
                sum += term;
                magnitude += std::abs(term);
            }
            const double scale = 1.0 / (square_[i] * alone_[i]);
            const double gap = log_z_[i] + p_ * y_[i];
            residual_[i] = sum * scale - z_[i] + z_[i] * gap;
            rounding =
                rounding && std::abs(residual_[i]) <= kRounding * (magnitude * scale + z_[i]) && std::abs(gap) <= kGap;
        }
        return rounding;
    }

    void refresh_matrix() {
        for (std::size_t i = 0; i < n_; ++i) root_[i] = std::sqrt(v_[i]) / norm_[i];
        for (std::size_t i = 0; i < n_; ++i) {
            const double* c = c_.data() + i * n_;
            double* row = matrix_.data() + i * n_;
            for (std::size_t j = i; j < n_; ++j) row[j] = root_[i] * c[j] * root_[j];
            row[i] += p_ * z_[i];
            step_[i] = -alone_[i] * square_[i] * root_[i] * residual_[i];
        }
    }

    // Takes the step, and returns the most that it wanted to change a logarithm by; infinite where it is none.
    double update() {
        double size = 0.0;
        for (std::size_t i = 0; i < n_; ++i) {
            const double dy = step_[i] / (alone_[i] * square_[i] * root_[i]);
            const double dz = -(log_z_[i] + p_ * y_[i]) - p_ * dy;
            if (!std::isfinite(dy) || !std::isfinite(dz)) return std::numeric_limits<double>::infinity();
            size = std::max({size, std::abs(dy), std::abs(dz)});
            // Far below z_i, v_i is seen in no equation but log z + p y = 0, which is linear: it may rise until it is.
            const double unseen = log_z_[i] - y_[i] - 2.3;
            move(i, std::clamp(dy, -most_y_, std::min(most_y_, std::max(kReach, unseen))));
            log_z_[i] += std::clamp(dz, -most_z_, kReach);
        }
        return size;
    }

    void move(std::size_t i, double dy) {
        const bool seen = y_[i] > kLowest;
        if (std::abs(dy) < 0.1) {  // linear, which keeps L = z to the last digit
            y_[i] += log_positive(1.0 + dy);
            v_[i] *= 1.0 + dy;
        } else {
            y_[i] += dy;
            v_[i] *= exp_bounded(dy);
        }
        if (!seen || !(y_[i] > kLowest)) v_[i] = exp_bounded(std::max(y_[i], kLowest));
    }

    std::size_t n_;
    double p_, most_y_, most_z_;  // 1 / alpha; the most that one step may change y and log z
    std::vector<double> log_alone_;
    double largest_;
    std::vector<double> c_, square_, norm_, alone_;  // C + delta diag(C), a, sqrt(a), D
    std::vector<double> y_, log_z_, v_, u_, z_, root_, residual_, step_, matrix_;
    int n_steps_ = 0;
};

}  // namespace

int fair_weights(std::size_t m, const double* gram, double alpha, const double* preference, double* weights) {
    if (!(alpha > 0.0) || !std::isfinite(alpha)) throw std::invalid_argument("`alpha` must be positive and finite.");
    alpha = std::clamp(alpha, 1e-100, 1e100);  // beyond either, the weights do not change
    std::vector<double> c(m * m);
    std::vector<int> exponent(m);
    const bool positive = scale_gram(m, gram, c.data(), exponent.data());
    for (std::size_t i = 0; i < m; ++i)
        if (!(preference[i] > 0.0) || !std::isfinite(preference[i]))
            throw std::invalid_argument("`preference` must be positive and finite.");

    std::vector<std::size_t> kept;
    for (std::size_t i = 0; i < m; ++i) {
        weights[i] = 0.0;
        if (c[i * m + i] > 0.0) kept.push_back(i);
    }
    const std::size_t n = kept.size();
    if (n == 0) return 0;
    if (!positive) {
        std::vector<double> part(n * n);
        for (std::size_t i = 0; i < n; ++i)
            for (std::size_t j = 0; j < n; ++j) part[i * n + j] = c[kept[i] * m + kept[j]];
        c = std::move(part);
    }
    std::vector<double> log_alone(n);  // of s_i w_i where G_ii w_i = (c_i / w_i)^(1/alpha)
    for (std::size_t i = 0; i < n; ++i) {
        const double log_preference = log_positive(std::max(preference[kept[i]], std::numeric_limits<double>::min()));
        log_alone[i] = log_preference / (1.0 + alpha) + (1.0 - alpha) / (1.0 + alpha) * (kLog2 * exponent[kept[i]]) -
                       alpha / (1.0 + alpha) * log_positive(c[i * n + i]);
    }

    Newton newton(std::move(c), std::move(log_alone), alpha);
    const double most = 4.0 * static_cast<double>(n);  // with this, any G is positive definite
    double delta = kLeastShift;
    while (!newton.solve(delta) && delta < most) delta *= kShiftGrowth;
    for (std::size_t i = 0; i < n; ++i) weights[kept[i]] = newton.weight(i, exponent[kept[i]]);
    return newton.n_steps();
}

}  // namespace pyasmg
