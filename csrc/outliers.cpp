#include "outliers.hpp"

#include <algorithm>
#include <vector>

namespace pyasmg {

bool pull_in(std::size_t count, std::size_t n_objectives, const std::uint8_t* valid, const double* weights, double far,
             std::size_t fewest, double* w) {
    const std::size_t m = n_objectives;
    struct Row {
        double value;
        std::size_t index;
    };
    std::vector<Row> rows;
    rows.reserve(count);
    for (std::size_t j = 0; j < count; ++j) {
        if (valid[j] == 0) continue;
        double value = 0.0;
        for (std::size_t i = 0; i < m; ++i) value += weights[i] * w[j * m + i];
        rows.push_back({value, j});
    }
    const std::size_t n = rows.size();
    if (n < fewest || n == 0) return false;
    std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
        return a.value < b.value || (a.value == b.value && a.index < b.index);
    });
    const double first = rows[n / 4].value, middle = rows[n / 2].value, third = rows[3 * n / 4].value;
    const double limit = third + far * (third - first);
    if (!(rows.back().value > limit) || !(limit > middle)) return false;
    const double* centre = w + rows[n / 2].index * m;
    for (std::size_t k = n; k-- > 0 && rows[k].value > limit;) {
        const double shrink = (limit - middle) / (rows[k].value - middle);
        double* row = w + rows[k].index * m;
        for (std::size_t i = 0; i < m; ++i) row[i] = centre[i] + shrink * (row[i] - centre[i]);
    }
    for (std::size_t i = 0; i < m; ++i) {
        double mean = 0.0;
        for (std::size_t j = 0; j < count; ++j) mean += w[j * m + i];  // 0 where not valid
        mean /= static_cast<double>(n);
        for (const Row& row : rows) w[row.index * m + i] -= mean;
    }
    return true;
}

}  // namespace pyasmg
