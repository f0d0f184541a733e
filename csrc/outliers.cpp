#include "outliers.hpp"

#include <algorithm>
#include <vector>

namespace pyasmg {
namespace {

// The k-th smallest value, where those before `from` are no larger than the rest.
double place(std::vector<double>& values, std::size_t from, std::size_t k) {
    const auto at = values.begin() + static_cast<std::ptrdiff_t>(k);
    std::nth_element(values.begin() + static_cast<std::ptrdiff_t>(from), at, values.end());
    return *at;
}

}  // namespace

bool pull_in(std::size_t count, std::size_t n_objectives, const double* w, const std::uint8_t* valid,
             const double* weights, double far, std::size_t fewest, double* pulled) {
    const std::size_t m = n_objectives;
    std::vector<double> values(count, 0.0), sorted;
    sorted.reserve(count);
    for (std::size_t j = 0; j < count; ++j) {
        for (std::size_t i = 0; i < m; ++i) values[j] += weights[i] * w[j * m + i];
        if (valid[j] != 0) sorted.push_back(values[j]);
    }
    const std::size_t n = sorted.size();
    if (n < fewest || n == 0) return false;
    const double first = place(sorted, 0, n / 4), median = place(sorted, n / 4, n / 2);
    const double third = place(sorted, n / 2, 3 * n / 4);
    const double limit = third + far * (third - first);
    const double largest = *std::max_element(sorted.begin() + static_cast<std::ptrdiff_t>(3 * n / 4), sorted.end());
    if (!(largest > limit) || !(limit > median)) return false;
    std::size_t middle = 0;
    while (valid[middle] == 0 || values[middle] != median) ++middle;
    const double* centre = w + middle * m;
    std::copy_n(w, count * m, pulled);
    for (std::size_t j = 0; j < count; ++j) {
        if (valid[j] == 0 || !(values[j] > limit)) continue;
        const double shrink = (limit - median) / (values[j] - median);
        for (std::size_t i = 0; i < m; ++i) pulled[j * m + i] = centre[i] + shrink * (w[j * m + i] - centre[i]);
    }
    for (std::size_t i = 0; i < m; ++i) {
        double mean = 0.0;
        for (std::size_t j = 0; j < count; ++j) mean += pulled[j * m + i];  // 0 where not valid
        mean /= static_cast<double>(n);
        for (std::size_t j = 0; j < count; ++j) {
            if (valid[j] != 0) pulled[j * m + i] -= mean;
        }
    }
    return true;
}

}  // namespace pyasmg
