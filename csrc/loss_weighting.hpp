// What methods of loss weighting compute on m numbers: too little work for the calls of an array library.
#pragma once

#include <cstddef>

namespace pyasmg {

struct AdamOptions {
    double learning_rate, beta1, beta2, eps, weight_decay;
    double correction1, correction2;  // 1 - beta^t
};

// One step of Adam (Kingma and Ba, 2015) on n numbers: `first` and `second`, the running means, are updated, `moved`
// gets the vector after the step along `gradient`. O(n).
void adam_step(std::size_t n, const AdamOptions& options, const double* vector, const double* gradient, double* first,
               double* second, double* moved);

// shares = exp(values) / sum(exp(values)), without overflow. O(n).
void softmax(std::size_t n, const double* values, double* shares);

// means_i = the mean of the group of values_i in the grouping into at most n_groups >= 1 intervals that has the least
// sum of squares around the means; equal values share a group. Exact, by dynamic programming over the u different
// values: O(n_groups u^2 + n log n). The values must be finite.
void group_means(std::size_t n, const double* values, std::size_t n_groups, double* means);

}  // namespace pyasmg
