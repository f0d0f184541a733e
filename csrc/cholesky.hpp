// Cholesky's factorisation of small dense matrices.
#pragma once

#include <cmath>
#include <cstddef>

namespace pyasmg {

// U with N = U'U over the upper triangle of the row-major n x n matrix; false where N is not positive definite.
inline bool factorise(std::size_t n, double* matrix) {
    for (std::size_t k = 0; k < n; ++k) {
        double* top = matrix + k * n;
        if (!(top[k] > 0.0)) return false;
        const double inverse = 1.0 / std::sqrt(top[k]);
        for (std::size_t j = k; j < n; ++j) top[j] *= inverse;
        for (std::size_t i = k + 1; i < n; ++i) {
            double* row = matrix + i * n;
            const double factor = top[i];
            for (std::size_t j = i; j < n; ++j) row[j] -= factor * top[j];
        }
    }
    return true;
}

// U'U x = b, in place.
inline void solve_factorised(std::size_t n, const double* factor, double* x) {
    for (std::size_t k = 0; k < n; ++k) {
        const double* row = factor + k * n;
        x[k] /= row[k];
        for (std::size_t j = k + 1; j < n; ++j) x[j] -= row[j] * x[k];
    }
    for (std::size_t k = n; k-- > 0;) {
        const double* row = factor + k * n;
        double sum = x[k];
        for (std::size_t j = k + 1; j < n; ++j) sum -= row[j] * x[j];
        x[k] = sum / row[k];
    }
}

}  // namespace pyasmg
