#include "gradient_surgery.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace pyasmg {
namespace {

constexpr double kVanished = 1e-14;  // |v|^2 over the square of the sum of its coefficients: rounding

// v as its coefficients, with its products with all unit vectors at hand.
class Combination {
  public:
    Combination(std::size_t m, const double* cosines, std::size_t first, double* coefficients)
        : m_(m),
          cosines_(cosines),
          coefficients_(coefficients),
          products_(cosines + first * m, cosines + (first + 1) * m) {
        std::fill_n(coefficients_, m_, 0.0);
        coefficients_[first] = 1.0;
    }

    double product(std::size_t j) const { return products_[j]; }

    void add(std::size_t j, double change) {
        coefficients_[j] += change;
        const double* row = cosines_ + j * m_;
        for (std::size_t k = 0; k < m_; ++k) products_[k] += change * row[k];
    }

    // |v|; 0 where nothing but rounding is left of it.
    double length() const {
        double squared = 0.0, size = 0.0;
        for (std::size_t k = 0; k < m_; ++k) {
            squared += coefficients_[k] * products_[k];
            size += std::abs(coefficients_[k]);
        }
        return squared > kVanished * size * size ? std::sqrt(squared) : 0.0;
    }

  private:
    std::size_t m_;
    const double* cosines_;
    double* coefficients_;
    std::vector<double> products_;
};

}  // namespace

void remove_conflicts(std::size_t m, const double* cosines, const std::int64_t* order, double* coefficients) {
    for (std::size_t i = 0; i < m; ++i) {
        Combination v(m, cosines, i, coefficients + i * m);
        for (std::size_t turn = 0; turn + 1 < m; ++turn) {
            const auto j = static_cast<std::size_t>(order[i * (m - 1) + turn]);
            if (v.product(j) < 0.0) v.add(j, -v.product(j));
        }
    }
}

void vaccinate(std::size_t m, const double* cosines, const std::int64_t* order, const Vaccine& vaccine, double* usual,
               double* coefficients) {
    for (std::size_t i = 0; i < m; ++i) {
        Combination v(m, cosines, i, coefficients + i * m);
        if (cosines[i * m + i] == 0.0) continue;
        for (std::size_t turn = 0; turn + 1 < m; ++turn) {
            const auto j = static_cast<std::size_t>(order[i * (m - 1) + turn]);
            const double length = v.length();
            if (cosines[j * m + j] == 0.0 || length == 0.0) continue;
            double& known = usual[i * m + j];
            const double cosine = std::clamp(v.product(j) / length, -1.0, 1.0);
            const double target = std::clamp(known, -vaccine.largest_target, vaccine.largest_target);
            const bool turned = cosine < target;
            if (turned) {
                v.add(j, length * (target * std::sqrt((1.0 - cosine * cosine) / (1.0 - target * target)) - cosine));
            }
            if (turned || vaccine.always) known += vaccine.rate * (cosine - known);
        }
    }
}

void surgery_weights(std::size_t m, const double* norms, const double* coefficients, double factor, double* weights) {
    std::fill_n(weights, m, 0.0);
    for (std::size_t i = 0; i < m; ++i) {
        for (std::size_t j = 0; j < m; ++j) weights[j] += norms[i] * coefficients[i * m + j];
    }
    for (std::size_t j = 0; j < m; ++j) weights[j] = factor * (norms[j] > 0.0 ? weights[j] / norms[j] : 1.0);
}

}  // namespace pyasmg
