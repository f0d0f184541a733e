// IMTL-G and Aligned-MTL: weights of gradients from the eigenvectors of a small matrix.
#pragma once

#include <cstddef>

namespace pyasmg {

// `gram` is a row-major m x m Gram matrix with finite entries, in both functions; `weights` has m entries. Eigenvalues
// up to 64 m eps of the largest are rounding. O(m^3) time, O(m^2) memory.

// d = sum_i w_i g_i has equal projections on all g_i / |g_i|, with sum w = 1 (IMTL-G, Liu et al., 2021): w_i
// proportional to y_i / |g_i|, y the shortest solution of C y = 1 with the cosines C. Zero gradients have the weight 0;
// all have it where there is no such y, or where sum y_i / |g_i| vanishes.
void impartial_weights(std::size_t m, const double* gram, double* weights);

enum class AlignedScale { smallest, median, mean };

// sqrt(l) sum_k v_k (v_k'wanted) / sqrt(l_k) over the eigenvectors v_k of G with eigenvalues l_k that are not rounding;
// l is the smallest of these, their median or their mean (Aligned-MTL, Senushkin et al., 2023, Algorithm 1). `wanted`
// itself where all gradients are zero.
void aligned_weights(std::size_t m, const double* gram, AlignedScale scale, const double* wanted, double* weights);

}  // namespace pyasmg
