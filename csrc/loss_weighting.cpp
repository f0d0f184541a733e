#include "loss_weighting.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

namespace pyasmg {
namespace {

// Sums over the different values, in order, from the first one on; of centred values, so that differences keep digits.
struct Prefix {
    std::vector<double> size, total, squares;

    // The sum of squares around the mean of the values `start` to `stop` - 1.
    double spread(std::size_t start, std::size_t stop) const {
        if (start >= stop) return std::numeric_limits<double>::infinity();
        const double sum = total[stop] - total[start];
        return squares[stop] - squares[start] - sum * sum / (size[stop] - size[start]);
    }
};

}  // namespace

void adam_step(std::size_t n, const AdamOptions& options, const double* gradient, double* vector, double* first,
               double* second) {
    for (std::size_t i = 0; i < n; ++i) {
        const double slope = gradient[i] + options.weight_decay * vector[i];
        first[i] = options.beta1 * first[i] + (1.0 - options.beta1) * slope;
        second[i] = options.beta2 * second[i] + (1.0 - options.beta2) * (slope * slope);
        const double mean = first[i] / options.correction1, square = second[i] / options.correction2;
        vector[i] -= options.learning_rate * mean / (std::sqrt(square) + options.eps);
    }
}

void softmax(std::size_t n, const double* values, double* shares) {
    if (n == 0) return;
    const double largest = *std::max_element(values, values + n);
    double sum = 0.0;
    for (std::size_t i = 0; i < n; ++i) sum += shares[i] = std::exp(values[i] - largest);
    for (std::size_t i = 0; i < n; ++i) shares[i] /= sum;
}

void softmax_slopes(std::size_t n, const double* shares, const double* gradient, double* slopes) {
    double mean = 0.0;
    for (std::size_t i = 0; i < n; ++i) mean += shares[i] * gradient[i];
    for (std::size_t i = 0; i < n; ++i) slopes[i] = shares[i] * (gradient[i] - mean);
}

void gap_slopes(std::size_t n, const GapOptions& options, const double* losses, const double* shares,
                const double* gain, double* by_loss, double* by_share) {
    const auto weighed = [&](std::size_t i) { return options.weighted ? shares[i] * losses[i] : losses[i]; };
    double before = 0.0;  // the slope of the gap to the task before
    for (std::size_t i = 0; i < n; ++i) {
        double after = 0.0;
        if (i + 1 < n) {
            const double gap = weighed(i) - weighed(i + 1);
            after = options.smoothing == 0.0 ? static_cast<double>((gap > 0.0) - (gap < 0.0))
                                             : gap / std::sqrt(gap * gap + options.smoothing);
        }
        const double slope = options.upper * (after - before);
        by_loss[i] = (options.weighted ? slope * shares[i] : slope) + options.lower * shares[i];
        by_share[i] = options.lower * gain[i] + (options.weighted ? slope * losses[i] : 0.0);
        before = after;
    }
}

void gradnorm_slopes(std::size_t n, double alpha, const double* weights, const double* squares, std::size_t stride,
                     const double* losses, const double* initial, double* slopes) {
    const double count = static_cast<double>(n);
    double progress = 0.0, length = 0.0;
    for (std::size_t i = 0; i < n; ++i) {
        progress += losses[i] / initial[i];
        length += weights[i] * std::sqrt(squares[i * stride]);
    }
    progress /= count;
    length /= count;
    for (std::size_t i = 0; i < n; ++i) {
        const double norm = std::sqrt(squares[i * stride]);
        const double rate = progress > 0.0 ? losses[i] / initial[i] / progress : 1.0;
        const double excess = weights[i] * norm - length * std::pow(rate, alpha);
        slopes[i] = excess > 0.0 ? norm : excess < 0.0 ? -norm : 0.0;
    }
}

void moved_weights(std::size_t n, const double* gram, const double* weights, double rate, double rho, double* moved) {
    for (std::size_t i = 0; i < n; ++i) {
        const double slope = std::inner_product(weights, weights + n, gram + i * n, rho * weights[i]);
        moved[i] = weights[i] - rate * slope;
    }
}

void simplex_projection(std::size_t n, const double* point, double* projection) {
    std::vector<double> ordered(point, point + n);
    std::sort(ordered.begin(), ordered.end(), std::greater<>());
    const double largest = ordered[0];
    double total = 0.0, level = 0.0;
    for (std::size_t k = 0; k < n; ++k) {
        total += ordered[k] - largest;  // changes nothing, and keeps digits
        const double excess = (total - 1.0) / static_cast<double>(k + 1);
        if (ordered[k] - largest > excess) level = excess;
    }
    for (std::size_t i = 0; i < n; ++i) projection[i] = std::max(point[i] - largest - level, 0.0);
}

void group_means(std::size_t n, const double* values, std::size_t n_groups, double* means) {
    std::vector<std::size_t> order(n);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [values](std::size_t i, std::size_t j) { return values[i] < values[j]; });

    std::vector<double> distinct;
    std::vector<std::size_t> stops;  // of each different value, in the order
    for (std::size_t k = 0; k < n; ++k) {
        if (k == 0 || values[order[k]] != distinct.back()) {
            distinct.push_back(values[order[k]]);
            stops.push_back(k);
        }
        stops.back() = k + 1;
    }
    const std::size_t u = distinct.size();
    if (n_groups >= u) {
        std::copy_n(values, n, means);
        return;
    }

    const double centre = std::accumulate(values, values + n, 0.0) / static_cast<double>(n);
    Prefix prefix{{0.0}, {0.0}, {0.0}};
    for (std::size_t k = 0; k < u; ++k) {
        const auto count = static_cast<double>(stops[k] - (k == 0 ? 0 : stops[k - 1]));
        const double centred = distinct[k] - centre;
        prefix.size.push_back(prefix.size[k] + count);
        prefix.total.push_back(prefix.total[k] + count * centred);
        prefix.squares.push_back(prefix.squares[k] + count * (centred * centred));
    }
    std::vector<double> best(u + 1), next(u + 1);  // the least sum of squares of the first so many values
    std::vector<std::size_t> cuts(n_groups * (u + 1), 0);
    for (std::size_t stop = 0; stop <= u; ++stop) best[stop] = prefix.spread(0, stop);
    for (std::size_t group = 1; group < n_groups; ++group) {
        for (std::size_t stop = group + 1 == n_groups ? u : 0; stop <= u; ++stop) {
            next[stop] = std::numeric_limits<double>::infinity();
            for (std::size_t start = 0; start < stop; ++start) {
                const double value = best[start] + prefix.spread(start, stop);
                if (value < next[stop]) {
                    next[stop] = value;
                    cuts[group * (u + 1) + stop] = start;
                }
            }
        }
        std::swap(best, next);
    }
    std::size_t stop = u;
    for (std::size_t group = n_groups; group-- > 0;) {
        const std::size_t start = cuts[group * (u + 1) + stop];
        const std::size_t first = start == 0 ? 0 : stops[start - 1], last = stop == 0 ? 0 : stops[stop - 1];
        double sum = 0.0;
        for (std::size_t k = first; k < last; ++k) sum += values[order[k]];
        for (std::size_t k = first; k < last; ++k) means[order[k]] = sum / static_cast<double>(last - first);
        stop = start;
    }
}

}  // namespace pyasmg
