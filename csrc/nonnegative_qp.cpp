#include "nonnegative_qp.hpp"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "cholesky.hpp"
#include "gram.hpp"

namespace pyasmg {
namespace {

constexpr double kUnit = std::numeric_limits<double>::epsilon();
constexpr double kNullEntry = 1e-12;  // of a null vector, relative to its largest: below, rounding
constexpr int kPivotRounds = 30;
constexpr double kProven = 1e3;  // terms larger than this times the right-hand side come of a nearly singular face

using Face = std::vector<std::size_t>;
using Vector = std::vector<double>;

class Program {
  public:
    Program(std::size_t m, const double* matrix, const double* linear)
        : m_(m),
          matrix_(matrix),
          linear_(linear),
          noise_(8.0 * static_cast<double>(m + 4) * kUnit),
          value_(m),
          terms_(m) {}

    bool active_set(bool bounded, double* result);
    bool pivot(double* result);

  private:
    double entry(std::size_t i, std::size_t j) const { return matrix_[i * m_ + j]; }
    void evaluate(const Vector& y, const Face& face);
    bool factorise_face(const Face& face, double smallest_pivot);
    Vector null_vector(const Face& face) const;
    bool enter(std::size_t entering, Vector& y, Face& face);

    std::size_t m_;
    const double* matrix_;
    const double* linear_;
    double noise_;  // a condition that is missed by this share of its terms is met
    Vector value_;  // C y + q
    Vector terms_;  // the sizes of its terms
    Vector block_;
};

// `face` holds the indices of all entries of y that are not zero.
void Program::evaluate(const Vector& y, const Face& face) {
    for (std::size_t j = 0; j < m_; ++j) {
        value_[j] = linear_[j];
        terms_[j] = std::abs(linear_[j]);
    }
    for (const std::size_t i : face) {
        const double* row = matrix_ + i * m_;  // C is symmetric
        const double factor = y[i];
        for (std::size_t j = 0; j < m_; ++j) {
            const double term = factor * row[j];
            value_[j] += term;
            terms_[j] += std::abs(term);
        }
    }
}

// Leaves the factor of C on the face in block_; false where a pivot is too small.
bool Program::factorise_face(const Face& face, double smallest_pivot) {
    const std::size_t n = face.size();
    block_.resize(n * n);
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = i; j < n; ++j) block_[i * n + j] = entry(face[i], face[j]);
    }
    if (!factorise(n, block_.data())) return false;
    for (std::size_t i = 0; i < n; ++i) {
        if (block_[i * n + i] * block_[i * n + i] <= smallest_pivot) return false;
    }
    return true;
}

// z with C z = 0 on the face and 1 as its last entry.
Vector Program::null_vector(const Face& face) const {
    if (face.size() == 1) return {1.0};
    const auto n = static_cast<Eigen::Index>(face.size() - 1);
    Eigen::MatrixXd block(n, n);
    Eigen::VectorXd right(n);
    for (Eigen::Index i = 0; i < n; ++i) {
        for (Eigen::Index j = 0; j < n; ++j) {
            block(i, j) = entry(face[static_cast<std::size_t>(i)], face[static_cast<std::size_t>(j)]);
        }
        right(i) = -entry(face[static_cast<std::size_t>(i)], face.back());
    }
    Eigen::VectorXd z = block.partialPivLu().solve(right);
    if (!z.allFinite()) z = block.completeOrthogonalDecomposition().solve(right);
    Vector result(z.data(), z.data() + n);
    result.push_back(1.0);
    return result;
}

// Walks to the minimum on the face with one more index; false where the value falls for ever.
bool Program::enter(std::size_t entering, Vector& y, Face& face) {
    face.push_back(entering);
    while (!face.empty()) {
        const std::size_t n = face.size();
        const bool regular = factorise_face(face, 64.0 * static_cast<double>(n) * kUnit);
        Vector target(n), change(n);
        if (regular) {
            for (std::size_t i = 0; i < n; ++i) target[i] = -linear_[face[i]];
            solve_factorised(n, block_.data(), target.data());
        }
        std::vector<bool> falling(n);
        if (!regular || (y[entering] == 0.0 && target.back() <= 0.0)) {  // the pivot of what enters is rounding
            // C z = 0, and the value falls along z as it does with the entering variable
            change = null_vector(face);
            double largest = 0.0;
            for (const double value : change) largest = std::max(largest, std::abs(value));
            for (std::size_t i = 0; i < n; ++i) falling[i] = change[i] < -kNullEntry * largest;
            if (std::find(falling.begin(), falling.end(), true) == falling.end()) return false;
        } else {
            if (std::all_of(target.begin(), target.end(), [](double value) { return value > 0.0; })) {
                for (std::size_t i = 0; i < n; ++i) y[face[i]] = target[i];
                return true;
            }
            for (std::size_t i = 0; i < n; ++i) {
                change[i] = target[i] - y[face[i]];
                falling[i] = !(target[i] > 0.0);
            }
        }
        std::size_t blocking = 0;
        double step = std::numeric_limits<double>::infinity();
        for (std::size_t i = 0; i < n; ++i) {
            if (!falling[i]) continue;
            const double reach = y[face[i]] / std::max(-change[i], std::numeric_limits<double>::min());
            if (reach < step) {
                step = reach;
                blocking = i;
            }
        }
        for (std::size_t i = 0; i < n; ++i) y[face[i]] = std::max(y[face[i]] + step * change[i], 0.0);
        y[face[blocking]] = 0.0;
        face.erase(face.begin() + static_cast<std::ptrdiff_t>(blocking));
    }
    return true;
}

bool Program::active_set(bool bounded, double* result) {
    Vector y(m_, 0.0);
    Face face;
    std::vector<bool> banned(m_, false);
    std::set<Face> seen = {face};
    bool ended = true;
    for (std::size_t turn = 0; turn < 20 * m_ + 50; ++turn) {
        evaluate(y, face);
        std::size_t entering = m_;
        for (std::size_t i = 0; i < m_; ++i) {
            if (banned[i] || !(value_[i] < -noise_ * terms_[i])) continue;
            if (std::find(face.begin(), face.end(), i) != face.end()) continue;
            if (entering == m_ || value_[i] < value_[entering]) entering = i;
        }
        if (entering == m_) break;
        Vector moved = y;
        Face moved_face = face;
        const bool found = enter(entering, moved, moved_face);
        if (!found && !bounded) {
            ended = false;
            break;
        }
        Face key = moved_face;
        std::sort(key.begin(), key.end());
        if (!found || !seen.insert(key).second) {  // a violation that was rounding
            banned[entering] = true;
            continue;
        }
        y.swap(moved);
        face.swap(moved_face);
        std::fill(banned.begin(), banned.end(), false);
    }
    std::copy(y.begin(), y.end(), result);
    return ended;
}

bool Program::pivot(double* result) {
    std::vector<bool> inside(m_);
    double size = 0.0;
    for (std::size_t i = 0; i < m_; ++i) {
        inside[i] = linear_[i] < 0.0;
        size = std::max(size, std::abs(linear_[i]));
    }
    Vector y(m_), target;
    Face face;
    for (int round = 0; round < kPivotRounds; ++round) {
        face.clear();
        target.clear();
        for (std::size_t i = 0; i < m_; ++i) {
            y[i] = 0.0;
            if (!inside[i]) continue;
            face.push_back(i);
            target.push_back(-linear_[i]);
        }
        if (!factorise_face(face, 0.0)) return false;
        solve_factorised(face.size(), block_.data(), target.data());
        for (std::size_t i = 0; i < face.size(); ++i) y[face[i]] = target[i];
        evaluate(y, face);
        bool open = false;
        for (std::size_t i = 0; i < m_; ++i) {
            const bool bad = inside[i] ? !(y[i] > 0.0) : value_[i] < -noise_ * terms_[i];
            if (!bad) continue;
            inside[i] = !inside[i];
            open = true;
        }
        if (open) continue;
        std::copy(y.begin(), y.end(), result);
        return *std::max_element(terms_.begin(), terms_.end()) < kProven * size || size == 0.0;
    }
    return false;
}

}  // namespace

bool nonnegative_qp(std::size_t m, const double* matrix, const double* linear, bool bounded, double* y) {
    return Program(m, matrix, linear).active_set(bounded, y);
}

void bounded_qps(std::size_t m, std::size_t count, const double* matrix, const double* linears, double* y) {
    for (std::size_t row = 0; row < count; ++row) {
        Program program(m, matrix, linears + row * m);
        if (!program.pivot(y + row * m)) program.active_set(true, y + row * m);
    }
}

void upgrad_weights(std::size_t m, const double* gram, double* weights) {
    std::fill_n(weights, m, 1.0 / static_cast<double>(m));
    std::vector<std::size_t> nonzero;
    for (std::size_t i = 0; i < m; ++i) {
        if (gram[i * m + i] > 0.0) nonzero.push_back(i);
    }
    const std::size_t n = nonzero.size();
    if (n == 0) return;
    std::vector<double> norms(m), all(m * m), cosines(n * n), y(n * n);
    unit_gram(m, gram, norms.data(), all.data());
    double longest = 0.0;
    for (std::size_t i = 0; i < n; ++i) {
        longest = std::max(longest, norms[nonzero[i]]);
        for (std::size_t j = 0; j < n; ++j) cosines[i * n + j] = all[nonzero[i] * m + nonzero[j]];
    }
    bounded_qps(n, n, cosines.data(), cosines.data(), y.data());
    for (std::size_t j = 0; j < n; ++j) {
        double sum = 0.0;  // of the unit vector u_j, in all projections
        for (std::size_t i = 0; i < n; ++i) sum += norms[nonzero[i]] / longest * y[i * n + j];
        weights[nonzero[j]] = (1.0 + sum / (norms[nonzero[j]] / longest)) / static_cast<double>(m);
    }
}

}  // namespace pyasmg
