// What methods compute on m numbers: too little work for the calls of an array library.
#pragma once

#include <cstddef>

namespace pyasmg {

struct AdamOptions {
    double learning_rate, beta1, beta2, eps, weight_decay;
    double correction1, correction2;  // 1 - beta^t
};

// One step of Adam (Kingma and Ba, 2015) along `gradient`: moves the n numbers of `vector`, and updates `first` and
// `second`, the running means. O(n).
void adam_step(std::size_t n, const AdamOptions& options, const double* gradient, double* vector, double* first,
               double* second);

// shares = exp(values) / sum(exp(values)), without overflow. O(n).
void softmax(std::size_t n, const double* values, double* shares);

// slopes_i = shares_i (gradient_i - sum_j shares_j gradient_j): from a gradient on shares = softmax(values) to that on
// the values. O(n).
void softmax_slopes(std::size_t n, const double* shares, const double* gradient, double* slopes);

struct GapOptions {
    bool weighted;        // tau = sigma(W) instead of 1
    double upper, lower;  // the factors of the two terms
    double smoothing;     // |y| is sqrt(y^2 + smoothing)
};

// The gradients of upper sum_i |tau_i loss_i - tau_{i+1} loss_{i+1}| + lower sum_i share_i loss_i on the losses and on
// the shares (BiLB4MTL, Eqs. 1-2), with the gradient `gain` of the last sum on the shares, which may be another one
// than the losses. O(n).
void gap_slopes(std::size_t n, const GapOptions& options, const double* losses, const double* shares,
                const double* gain, double* by_loss, double* by_share);

// GradNorm's slopes of sum_i |w_i n_i - mean(w n) r_i^alpha| on the weights w, the second term held (Chen et al., 2018,
// Algorithm 1): the signs times n, the norms of the gradients, with r the progress losses / initial over its mean (all
// ones where that is not positive). `squares` are those of the norms, `stride` apart. O(n).
void gradnorm_slopes(std::size_t n, double alpha, const double* weights, const double* squares, std::size_t stride,
                     const double* losses, const double* initial, double* slopes);

// The weights w of MoCo before their projection: w - rate (G w + rho w), for a Gram matrix G, (n, n) row-major. O(n^2).
void moved_weights(std::size_t n, const double* gram, const double* weights, double rate, double rho, double* moved);

// The point of the simplex next to `point`, by sorting: O(n log n).
void simplex_projection(std::size_t n, const double* point, double* projection);

// means_i = the mean of the group of values_i in the grouping into at most n_groups >= 1 intervals that has the least
// sum of squares around the means; equal values share a group. Exact, by dynamic programming over the u different
// values: O(n_groups u^2 + n log n). The values must be finite.
void group_means(std::size_t n, const double* values, std::size_t n_groups, double* means);

}  // namespace pyasmg
